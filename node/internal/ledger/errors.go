package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Stage is the call that failed.
type Stage string

// Stages of a transaction, and the reads.
const (
	StageEndorse  Stage = "endorse"
	StageSubmit   Stage = "submit"
	StageStatus   Stage = "status"
	StageEvaluate Stage = "evaluate"
	StageBlocks   Stage = "blocks"
)

// Kind says what is known after a failure. The set is closed.
type Kind string

const (
	NotOrdered     Kind = "not_ordered"     // nothing was ordered; safe to begin anew
	PerhapsOrdered Kind = "perhaps_ordered" // only blocks can tell; send the same envelope again
	Refused        Kind = "refused"         // the contract (endorse, evaluate) or the ledger (submit) said no
	Conflict       Kind = "conflict"        // endorsers answered differently: one lags; propose again
	Altered        Kind = "altered"         // the gateway returned another transaction than was proposed; nothing was signed
)

// Error is every error of this package's calls.
//
// It unwraps to a *model.Error as well: the contract's code when it refused, outcome_unknown for
// PerhapsOrdered, ledger_unavailable for the rest; so the kinds of package model hold across this seam.
type Error struct {
	Stage Stage
	Kind  Kind
	TxID  string     // where there is one
	Code  model.Code // what the contract said, when it refused
	Cause error

	busy bool // this gateway cannot serve; another may
}

func (e *Error) Error() string {
	s := "ledger: " + string(e.Stage) + ": " + string(e.Kind)
	if e.Code != "" {
		s += " (" + string(e.Code) + ")"
	}
	if e.TxID != "" {
		s += ": transaction " + e.TxID
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the model's error and the cause.
func (e *Error) Unwrap() []error {
	code := model.CodeLedgerUnavailable
	switch {
	case e.Code != "":
		code = e.Code
	case e.Kind == PerhapsOrdered:
		code = model.CodeOutcomeUnknown
	}
	out := []error{model.E(code)}
	if e.Cause != nil {
		out = append(out, e.Cause)
	}
	return out
}

// elsewhere reports whether another gateway may do better.
func (e *Error) elsewhere() bool { return e.busy || e.Kind == Altered }

func altered(own *header, cause error) error {
	return &Error{Stage: StageEndorse, Kind: Altered, TxID: own.txID, Cause: cause}
}

// What Fabric's gateway service answers (2.4 to 3.x) beside its status codes; docs/design/0015 has the table.
const (
	saysMismatch    = "ProposalResponsePayloads do not match"
	saysNoOrderers  = "no orderer nodes available" // none was even tried
	saysTooMany     = "too many requests for"      // the peer's limit; under code Unknown up to 2.5
	saysConcurrency = "exceeding concurrency limit"
)

// turnedAway reports whether the request was refused at the door, before anything was done about it.
func turnedAway(st *status.Status) bool {
	return st.Code() == codes.ResourceExhausted ||
		strings.Contains(st.Message(), saysTooMany) && strings.Contains(st.Message(), saysConcurrency)
}

// notServing are the answers that speak of the gateway, of its view of the others, or of what it reached, and
// not of the transaction.
func notServing(st *status.Status) bool {
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.FailedPrecondition, codes.Unimplemented:
		return true
	}
	return turnedAway(st)
}

func endorseError(txID string, err error) error {
	st := status.Convert(err)
	e := &Error{Stage: StageEndorse, Kind: NotOrdered, TxID: txID, Cause: withDetails(err, st)}
	said, disagree := contractCode(st)
	switch {
	case disagree || mismatch(st):
		e.Kind = Conflict
	case said != "":
		e.Kind, e.Code = Refused, said
	default:
		// Aborted without a word of the contract's: an endorser is away, or its chaincode is.
		e.busy = notServing(st) || st.Code() == codes.Aborted
	}
	return e
}

func submitError(txID string, err error) error {
	if err == nil || status.Code(err) == codes.AlreadyExists {
		return nil // an earlier attempt was ordered: only the node itself can make its transaction ids
	}
	st := status.Convert(err)
	e := &Error{Stage: StageSubmit, Kind: PerhapsOrdered, TxID: txID, Cause: withDetails(err, st), busy: notServing(st)}
	switch c := st.Code(); {
	case turnedAway(st), c == codes.FailedPrecondition, c == codes.Unimplemented:
		e.Kind = NotOrdered // the gateway knows no orderers, or did not look
	case c == codes.Unavailable && st.Message() == saysNoOrderers:
		e.Kind = NotOrdered
	case c == codes.Aborted, c == codes.InvalidArgument, c == codes.PermissionDenied, c == codes.Unauthenticated, c == codes.NotFound:
		e.Kind = Refused
	}
	// All else may have reached an orderer: a connection looks the same that breaks before or after sending.
	return e
}

func plainError(stage Stage, txID string, err error) error {
	st := status.Convert(err)
	e := &Error{Stage: stage, Kind: NotOrdered, TxID: txID, Cause: withDetails(err, st)}
	if said, disagree := contractCode(st); said != "" && !disagree {
		e.Kind, e.Code = Refused, said
	} else {
		e.busy = notServing(st) || stage == StageEvaluate && st.Code() == codes.Aborted
	}
	return e
}

// mismatch reports whether endorsers returned different results.
func mismatch(st *status.Status) bool {
	found := strings.Contains(st.Message(), saysMismatch)
	for _, d := range st.Details() {
		if d, ok := d.(*gateway.ErrorDetail); ok {
			found = found || strings.Contains(d.GetMessage(), saysMismatch)
		}
	}
	return found
}

// detailed is an error with what each endorser or orderer said, which the status only refers to.
type detailed struct {
	error
	said []string
}

func (d *detailed) Error() string { return d.error.Error() + ": " + strings.Join(d.said, "; ") }

func (d *detailed) Unwrap() error { return d.error }

// Of a gateway's details so much is kept.
const (
	maxDetails = 8
	maxDetail  = 300 // bytes
)

func withDetails(err error, st *status.Status) error {
	var said []string
	for _, d := range st.Details() {
		d, ok := d.(*gateway.ErrorDetail)
		if !ok || len(said) == maxDetails {
			continue
		}
		line := fmt.Sprintf("%s (%s): %s", d.GetAddress(), d.GetMspId(), d.GetMessage())
		said = append(said, strings.ToValidUTF8(line[:min(len(line), maxDetail)], ""))
	}
	if len(said) == 0 {
		return err
	}
	return &detailed{err, said}
}

// contractCode finds what the contract answered in a gateway's error, "chaincode response 500, CODE" in
// the message or in each endorser's detail. It reports disagreement when they differ.
func contractCode(st *status.Status) (said model.Code, disagree bool) {
	note := func(text string) {
		c, ok := parseResponse(text)
		switch {
		case !ok:
		case said == "":
			said = c
		case said != c:
			disagree = true
		}
	}
	note(st.Message())
	for _, d := range st.Details() {
		if d, ok := d.(*gateway.ErrorDetail); ok {
			note(d.GetMessage())
		}
	}
	return said, disagree
}

// maxCode is more than any code's length; a longer word is not a code.
const maxCode = 64

// parseResponse reads "… chaincode response N, CODE …". A contract that fails with other words than a code
// has failed internally.
func parseResponse(text string) (model.Code, bool) {
	_, rest, ok := strings.Cut(text, "chaincode response ")
	if !ok {
		return "", false
	}
	number, word, ok := strings.Cut(rest, ", ")
	if !ok {
		return "", false
	}
	if n, err := strconv.Atoi(number); err != nil || n < 400 {
		return "", false
	}
	end := strings.IndexFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' && (r < '0' || r > '9') })
	if end >= 0 {
		return model.CodeInternal, true
	}
	if word == "" || len(word) > maxCode {
		return model.CodeInternal, true
	}
	return model.Code(word), true
}

// errEnded is why a stream of blocks ended without an error of its own.
var errEnded = errors.New("the gateway ended the stream")

func blocksError(err error) error {
	return &Error{Stage: StageBlocks, Kind: NotOrdered, Cause: err, busy: true}
}

// statusError is an answer without a block.
type statusError struct {
	code common.Status
	msp  string
}

func (e statusError) Error() string {
	switch e.code {
	case common.Status_FORBIDDEN:
		// The commonest cause is a certificate that another authority than the organisation's issued, or that
		// has expired; the gateway does not say so itself.
		return fmt.Sprintf("the gateway answered with status %d: the ledger does not accept this node's certificate as %s's", e.code, e.msp)
	case common.Status_NOT_FOUND:
		return fmt.Sprintf("the gateway answered with status %d: it is not on the channel, or has not the block because its peer was restored from a snapshot", e.code)
	}
	return fmt.Sprintf("the gateway answered with status %d (%s)", e.code, e.code)
}

func badStatus(code common.Status, msp string) error { return statusError{code, msp} }
