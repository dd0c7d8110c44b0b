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

// unreachable are the codes that speak of the gateway, not of the transaction.
func unreachable(c codes.Code) bool { return c == codes.Unavailable || c == codes.ResourceExhausted }

func endorseError(txID string, err error) error {
	e := &Error{Stage: StageEndorse, Kind: NotOrdered, TxID: txID, Cause: err}
	st := status.Convert(err)
	e.busy = unreachable(st.Code())
	said, disagree := contractCode(st)
	switch {
	case disagree, strings.Contains(st.Message(), "ProposalResponsePayloads do not match"):
		e.Kind = Conflict
	case said != "":
		e.Kind, e.Code = Refused, said
	}
	return e
}

func submitError(txID string, err error) error {
	if err == nil || status.Code(err) == codes.AlreadyExists {
		return nil // an earlier attempt was ordered: only the node itself can make its transaction ids
	}
	e := &Error{Stage: StageSubmit, Kind: PerhapsOrdered, TxID: txID, Cause: err}
	switch c := status.Code(err); c {
	case codes.ResourceExhausted: // turned away at the door
		e.Kind, e.busy = NotOrdered, true
	case codes.Unavailable: // a broken connection looks the same before and after sending
		e.busy = true
	case codes.Aborted, codes.InvalidArgument, codes.FailedPrecondition, codes.PermissionDenied,
		codes.Unauthenticated, codes.NotFound:
		e.Kind = Refused
	}
	return e
}

func plainError(stage Stage, txID string, err error) error {
	st := status.Convert(err)
	e := &Error{Stage: stage, Kind: NotOrdered, TxID: txID, Cause: err, busy: unreachable(st.Code())}
	if said, disagree := contractCode(st); said != "" && !disagree {
		e.Kind, e.Code = Refused, said
	}
	return e
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

// badStatus is an answer without a block. The commonest cause of the one is a certificate that another
// authority than the organisation's issued, or that has expired; the gateway does not say so itself.
func badStatus(code common.Status, msp string) error {
	if code == common.Status_FORBIDDEN {
		return fmt.Errorf("the gateway answered with status %d: the ledger does not accept this node's certificate as %s's", code, msp)
	}
	return fmt.Errorf("the gateway answered with status %d", code)
}
