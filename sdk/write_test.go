package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// reply is one answer of a scripted node: an outcome, a problem, some bytes, or, after it called hang, none ever.
type reply struct {
	status  int
	outcome *model.Outcome
	problem *model.Error
	raw     string
	hang    func()
}

// script answers the requests in order, the last one for ever, each under the same key.
func script(t *testing.T, list bool, replies ...reply) (*Client, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	var key atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k := r.Header.Get("Idempotency-Key"); !key.CompareAndSwap(nil, k) && key.Load() != k {
			t.Errorf("key %v, then %s", key.Load(), k)
		}
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that its caller is gone
		at := replies[min(int(n.Add(1)), len(replies))-1]
		var body any
		switch {
		case at.hang != nil:
			at.hang()
			<-r.Context().Done()
			return
		case at.outcome != nil && list:
			body = []model.Outcome{*at.outcome}
		case at.outcome != nil:
			body = at.outcome
		case at.problem != nil:
			body = at.problem.Problem()
		}
		w.WriteHeader(at.status)
		if body != nil {
			_ = json.NewEncoder(w).Encode(body)
		}
		_, _ = w.Write([]byte(at.raw))
	}))
	t.Cleanup(s.Close)
	return &Client{BaseURL: s.URL, HTTP: s.Client(), Attempts: 1}, &n
}

// What is known once a node has accepted stays known, however the waiting ends.
func TestAcceptedIsKept(t *testing.T) {
	pending := outcomes(1)[0]
	pending.Status, pending.Receipt = model.Pending, nil
	committed := outcomes(1)[0]
	committed.Operation = pending.Operation
	accepted := reply{status: http.StatusAccepted, outcome: &pending}
	refusal := func(code model.Code) reply {
		e := model.E(code)
		return reply{status: e.Status(), problem: e}
	}
	var interrupt context.CancelFunc
	for _, tt := range []struct {
		name   string
		then   []reply
		status model.Progress // of the outcome; "" for none
		err    model.Code
	}{
		{"committed", []reply{accepted, {status: http.StatusOK, outcome: &committed}}, model.Committed, ""},
		{"interrupted", []reply{{hang: func() { interrupt() }}}, model.Pending, model.CodeOutcomeUnknown},
		{"unavailable", []reply{refusal(model.CodeLedgerUnavailable)}, model.Pending, model.CodeOutcomeUnknown},
		{"says that it does not know", []reply{refusal(model.CodeOutcomeUnknown)}, model.Pending, model.CodeOutcomeUnknown},
		{"key revoked", []reply{refusal(model.CodeUnauthenticated)}, model.Pending, model.CodeOutcomeUnknown},
		{"right taken away", []reply{refusal(model.CodeForbidden)}, model.Pending, model.CodeOutcomeUnknown},
		{"unreadable", []reply{{status: http.StatusOK, raw: "{"}}, model.Pending, model.CodeOutcomeUnknown},
		{"refused", []reply{refusal(model.CodeNumberTaken)}, "", model.CodeNumberTaken},
	} {
		for _, list := range []bool{false, true} {
			if list && tt.status == "" {
				continue // a list's refusals are outcomes
			}
			name := tt.name
			c, asked := script(t, list, append([]reply{accepted}, tt.then...)...)
			var ctx context.Context
			ctx, interrupt = context.WithCancel(t.Context())
			told := 0
			w := Write{Accepted: func(out []model.Outcome) {
				if told++; len(out) != 1 || out[0].Operation != pending.Operation || out[0].Status != model.Pending {
					t.Errorf("%s: accepted %+v", name, out)
				}
			}}
			var out model.Outcome
			var err error
			if list {
				var all []model.Outcome
				if all, err = c.Submit(ctx, []model.Draft{{Type: model.LicenceIssue}}, w); len(all) == 1 {
					out = all[0]
				}
			} else {
				out, err = c.Issue(ctx, NewLicence{}, w)
			}
			interrupt()
			if out.Status != tt.status || (tt.status != "" && out.Operation != pending.Operation) || told != 1 {
				t.Errorf("%s: %+v, told %d times", name, out, told)
			}
			if (err == nil) != (tt.err == "") || (err != nil && model.AsError(err).Code != tt.err) {
				t.Errorf("%s: %v", name, err)
			}
			if tt.err == model.CodeOutcomeUnknown {
				if !strings.Contains(err.Error(), "accepted under Idempotency-Key") || strings.Contains(err.Error(), "repeat under") {
					t.Errorf("%s: %v", name, err)
				}
				if tt.then[0].hang != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if int(asked.Load()) != 1+len(tt.then) && tt.status != model.Committed {
				t.Errorf("%s: asked %d times", name, asked.Load())
			}
		}
	}
}

// Before a node has answered nothing is known, and who does not wait is not told of waiting.
func TestNotAccepted(t *testing.T) {
	told := func([]model.Outcome) { t.Error("told of waiting") }
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := script(t, false, reply{hang: cancel})
	if out, err := c.Issue(ctx, NewLicence{}, Write{Accepted: told}); !IsUnknown(err) || out.Status != "" {
		t.Errorf("%+v, %v", out, err)
	}
	pending := outcomes(1)[0]
	pending.Status, pending.Receipt = model.Pending, nil
	c, asked := script(t, false, reply{status: http.StatusAccepted, outcome: &pending})
	if out, err := c.Issue(t.Context(), NewLicence{}, Write{NoWait: true, Accepted: told}); err != nil || out.Status != model.Pending || asked.Load() != 1 {
		t.Errorf("%+v, %v after %d requests", out, err, asked.Load())
	}
}
