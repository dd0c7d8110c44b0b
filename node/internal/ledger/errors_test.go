package ledger

import (
	"errors"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// said is a status as Fabric's gateway makes it, with what each peer or orderer said.
func said(t *testing.T, code codes.Code, message string, details ...string) error {
	t.Helper()
	var all []protoadapt.MessageV1
	for i, d := range details {
		all = append(all, protoadapt.MessageV1Of(&gateway.ErrorDetail{Address: "peer" + string(rune('0'+i)) + ":7051", MspId: "TianjinMSP", Message: d}))
	}
	st, err := status.New(code, message).WithDetails(all...)
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

// TestFabricsAnswers goes through what Fabric's gateway service answers (internal/pkg/gateway and the peer's
// limiter of concurrent requests, 2.5), stage by stage.
func TestFabricsAnswers(t *testing.T) {
	const (
		first   = "failed to endorse transaction, see attached details for more info"
		collect = "failed to collect enough transaction endorsements, see attached details for more info"
		nobody  = "no orderers could successfully process transaction"
		many    = "too many requests for /gateway.Gateway, exceeding concurrency limit (500)"
		launch  = "error in simulation: failed to execute transaction 5f: could not launch chaincode zhenglian:1: connection to zhenglian:1 failed: " +
			"error cannot create connection for zhenglian:1: error creating grpc connection to 127.0.0.1:9999: context deadline exceeded"
	)
	for _, tt := range []struct {
		name      string
		stage     Stage
		err       error
		kind      Kind
		code      model.Code // what Unwrap shows
		elsewhere bool
	}{
		{"contract refuses", StageEndorse, said(t, codes.Aborted, first, "chaincode response 500, not_initialised"), Refused, model.CodeNotInitialised, false},
		{"contract refuses at a second endorser", StageEndorse, said(t, codes.Aborted, collect, "chaincode response 500, time_skew", "chaincode response 500, time_skew"), Refused, model.CodeTimeSkew, false},
		{"endorsers refuse differently", StageEndorse, said(t, codes.Aborted, collect, "chaincode response 500, time_skew", "chaincode response 500, personal_identifier"), Conflict, model.CodeLedgerUnavailable, false},
		{"results differ", StageEndorse, said(t, codes.Aborted, collect, "ProposalResponsePayloads do not match", "ProposalResponsePayloads do not match"), Conflict, model.CodeLedgerUnavailable, false},
		{"results differ, one refuses", StageEndorse, said(t, codes.Aborted, collect, "ProposalResponsePayloads do not match", "chaincode response 500, time_skew"), Conflict, model.CodeLedgerUnavailable, false},
		{"results differ, before 2.5", StageEndorse, said(t, codes.Aborted, "failed to assemble transaction: ProposalResponsePayloads do not match"), Conflict, model.CodeLedgerUnavailable, false},
		{"chaincode unreachable", StageEndorse, said(t, codes.Aborted, first, launch), NotOrdered, model.CodeLedgerUnavailable, true},
		{"chaincode ended", StageEndorse, said(t, codes.Aborted, first, "error in simulation: failed to execute transaction 5f: error sending: chaincode stream terminated"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"endorsing peer away", StageEndorse, said(t, codes.Aborted, collect, "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing\""), NotOrdered, model.CodeLedgerUnavailable, true},
		{"certificate not accepted", StageEndorse, said(t, codes.Aborted, first, "error validating proposal: access denied: channel [jjj] creator org unknown, creator is malformed"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"too few peers", StageEndorse, said(t, codes.FailedPrecondition, "failed to select a set of endorsers that satisfy the endorsement policy due to unavailability of peers: [peer0:7051]"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"no combination of peers", StageEndorse, said(t, codes.FailedPrecondition, "no combination of peers can be derived which satisfy the endorsement policy: cannot satisfy"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"an endorser hangs", StageEndorse, said(t, codes.DeadlineExceeded, "endorsement timeout expired while collecting endorsements"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"peer away", StageEndorse, said(t, codes.Unavailable, "connection error"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"too many requests", StageEndorse, said(t, codes.Unknown, many), NotOrdered, model.CodeLedgerUnavailable, true},
		{"too many requests, by code", StageEndorse, said(t, codes.ResourceExhausted, many), NotOrdered, model.CodeLedgerUnavailable, true},
		{"malformed", StageEndorse, said(t, codes.InvalidArgument, "the proposed transaction must contain a signed proposal"), NotOrdered, model.CodeLedgerUnavailable, false},

		{"no orderers known", StageSubmit, said(t, codes.Unavailable, "no orderer nodes available"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"all orderers failed", StageSubmit, said(t, codes.Unavailable, nobody, "rpc error: code = Unavailable desc = error reading from server: EOF"), PerhapsOrdered, model.CodeOutcomeUnknown, true},
		{"no leader", StageSubmit, said(t, codes.Unavailable, nobody), PerhapsOrdered, model.CodeOutcomeUnknown, true},
		{"orderer refuses", StageSubmit, said(t, codes.Aborted, "received unsuccessful response from orderer: status=BAD_REQUEST, info=rejected by Order"), Refused, model.CodeLedgerUnavailable, false},
		{"orderer forbids", StageSubmit, said(t, codes.Aborted, "received unsuccessful response from orderer: status=FORBIDDEN, info=implicit policy evaluation failed"), Refused, model.CodeLedgerUnavailable, false},
		{"orderers hang", StageSubmit, said(t, codes.DeadlineExceeded, "submit timeout expired while broadcasting to ordering service"), PerhapsOrdered, model.CodeOutcomeUnknown, true},
		{"peer gone", StageSubmit, said(t, codes.Unavailable, "error reading from server: EOF"), PerhapsOrdered, model.CodeOutcomeUnknown, true},
		{"not on the channel", StageSubmit, said(t, codes.FailedPrecondition, "channel 'jjj' not found"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"too many requests to submit", StageSubmit, said(t, codes.Unknown, many), NotOrdered, model.CodeLedgerUnavailable, true},
		{"whatever else", StageSubmit, said(t, codes.Unknown, "something"), PerhapsOrdered, model.CodeOutcomeUnknown, false},
		{"a plain error", StageSubmit, errors.New("broken pipe"), PerhapsOrdered, model.CodeOutcomeUnknown, false},
		{"unsigned", StageSubmit, said(t, codes.InvalidArgument, "prepared transaction must be signed"), Refused, model.CodeLedgerUnavailable, false},

		{"contract refuses a question", StageEvaluate, said(t, codes.Unknown, "evaluate call to endorser returned error: chaincode response 500, not_found", "chaincode response 500, not_found"), Refused, model.CodeNotFound, false},
		{"question to an unreachable chaincode", StageEvaluate, said(t, codes.Aborted, "failed to evaluate transaction, see attached details for more info", launch), NotOrdered, model.CodeLedgerUnavailable, true},
		{"question nobody can answer", StageEvaluate, said(t, codes.FailedPrecondition, "no peers available to evaluate chaincode zhenglian in channel jjj"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"question timed out", StageEvaluate, said(t, codes.DeadlineExceeded, "evaluate timeout expired"), NotOrdered, model.CodeLedgerUnavailable, true},
		{"too many requests for questions", StageEvaluate, said(t, codes.Unknown, many), NotOrdered, model.CodeLedgerUnavailable, true},
		{"may not ask for a status", StageStatus, said(t, codes.PermissionDenied, "access denied"), NotOrdered, model.CodeLedgerUnavailable, false},
		{"status timed out", StageStatus, said(t, codes.DeadlineExceeded, "context deadline exceeded"), NotOrdered, model.CodeLedgerUnavailable, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			switch tt.stage {
			case StageEndorse:
				err = endorseError("5f", tt.err)
			case StageSubmit:
				err = submitError("5f", tt.err)
			default:
				err = plainError(tt.stage, "5f", tt.err)
			}
			var e *Error
			if !errors.As(err, &e) || e.Kind != tt.kind || e.Stage != tt.stage || model.AsError(err).Code != tt.code || e.elsewhere() != tt.elsewhere {
				t.Errorf("%v: kind %s, code %s, elsewhere %v", err, e.Kind, model.AsError(err).Code, e.elsewhere())
			}
			for _, d := range status.Convert(tt.err).Details() {
				if text := d.(*gateway.ErrorDetail).GetMessage(); !strings.Contains(err.Error(), text[:min(len(text), 200)]) {
					t.Errorf("%v does not say %q", err, text)
				}
			}
		})
	}
	if err := submitError("5f", said(t, codes.AlreadyExists, "duplicate transaction found [5f]")); err != nil {
		t.Errorf("ordered before: %v", err)
	}
	many8 := make([]string, 20)
	for i := range many8 {
		many8[i] = strings.Repeat("长", 500)
	}
	if err := endorseError("5f", said(t, codes.Aborted, first, many8...)); len(err.Error()) > 4000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
