package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
)

const draft = `{"agency":"bj-scjg","type":"licence.issue","body":{"value":{"number":"京A1"}}}`

func decode[T any](t testing.TB, raw []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

func TestOperations(t *testing.T) {
	s := open(t)
	status, h, raw := s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	o := decode[model.Outcome](t, raw)
	if status != 200 || o.Status != model.Committed || o.Receipt == nil || o.Record != "bj-scjg.1" {
		t.Fatalf("%d %s", status, raw)
	}
	if h.Get("Zhenglian-Operation") != o.Operation.String() || h.Get("Location") != "/v1/operations/"+o.Operation.String() {
		t.Errorf("headers %v", h)
	}
	if p := s.node.people[0]; len(p) != 32 {
		t.Errorf("person %q", p)
	}
	status, _, raw = s.ask(t, auth.Drafter, "GET", "/v1/operations/"+o.Operation.String(), "")
	if again := decode[model.Outcome](t, raw); status != 200 || again.Receipt == nil || *again.Receipt != *o.Receipt {
		t.Errorf("%d %s", status, raw)
	}

	status, _, raw = s.ask(t, auth.Drafter, "POST", "/v1/operations", "["+draft+","+draft+"]")
	if list := decode[[]model.Outcome](t, raw); status != 200 || len(list) != 2 || list[1].Record != "bj-scjg.3" {
		t.Errorf("%d %s", status, raw)
	}
	// Without an agency, the caller's.
	_, _, raw = s.ask(t, auth.Drafter, "POST", "/v1/operations", `{"type":"licence.issue","body":{}}`)
	if o := decode[model.Outcome](t, raw); o.Record != "bj-scjg.4" {
		t.Errorf("%s", raw)
	}
}

func TestOperationsIdempotent(t *testing.T) {
	s := open(t)
	_, _, first := s.ask(t, auth.Drafter, "POST", "/v1/operations", draft, "Idempotency-Key", "k1")
	_, _, again := s.ask(t, auth.Drafter, "POST", "/v1/operations", draft, "Idempotency-Key", "k1")
	if string(first) != string(again) || len(s.node.drafts) != 1 {
		t.Errorf("%s\n%s", first, again)
	}
	s.refused(t, auth.Drafter, "POST", "/v1/operations", draft+" ", model.CodeIdempotencyMismatch, "Idempotency-Key", "k1")
	for _, key := range []string{strings.Repeat("k", 129), "a b", "ключ"} {
		s.refused(t, auth.Drafter, "POST", "/v1/operations", draft, model.CodeBadValue, "Idempotency-Key", key)
	}
}

func TestOperationsPending(t *testing.T) {
	s := open(t)
	s.node.hold = true
	status, _, raw := s.ask(t, auth.Drafter, "POST", "/v1/operations?wait=accepted", draft)
	if o := decode[model.Outcome](t, raw); status != 202 || o.Status != model.Pending || o.Record == "" {
		t.Errorf("%d %s", status, raw)
	}
	done := make(chan int, 1)
	go func() {
		status, _, _ := s.ask(t, auth.Drafter, "POST", "/v1/operations?wait=committed", draft)
		done <- status
	}()
	for deadline := time.Now().Add(10 * time.Second); s.accepted() < 2 && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	s.node.release()
	if status := <-done; status != 200 {
		t.Errorf("after release: %d", status)
	}
	for _, q := range []string{"?wait=soon", "?wait=committed&wait=accepted", "?w=1", "?wait=%zz"} {
		status, _, raw := s.ask(t, auth.Drafter, "POST", "/v1/operations"+q, draft)
		if status != 400 {
			t.Errorf("%s: %d %s", q, status, raw)
		}
	}
}

func (s *site) accepted() int {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return len(s.node.drafts)
}

func TestOperationsRefused(t *testing.T) {
	s := open(t)
	s.node.refuse = model.E(model.CodeNotOwner, "agency")
	p := s.refused(t, auth.Drafter, "POST", "/v1/operations", draft, model.CodeNotOwner)
	if p.Field != "agency" || p.Written != "nothing" || p.Zh == "" || p.Index != nil {
		t.Errorf("%+v", p)
	}
	status, _, raw := s.ask(t, auth.Drafter, "POST", "/v1/operations", "["+draft+","+draft+"]")
	list := decode[[]model.Outcome](t, raw)
	if status != 200 || len(list) != 2 || list[1].Problem == nil || *list[1].Problem.Index != 1 {
		t.Errorf("%d %s", status, raw)
	}
	s.node.refuse = nil

	s.node.acceptErr, s.node.acceptIndex = model.E(model.CodeNumberTaken, "value.number"), 1
	if p := s.refused(t, auth.Drafter, "POST", "/v1/operations", "["+draft+","+draft+"]", model.CodeNumberTaken); p.Index == nil || *p.Index != 1 {
		t.Errorf("%+v", p)
	}
	s.node.acceptErr, s.node.acceptIndex = model.E(model.CodeOutboxFull), -1
	status, h, _ := s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	if status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("%d %v", status, h)
	}
	s.node.acceptErr, s.node.waitErr = nil, model.E(model.CodeFollowerStopped)
	if p := s.refused(t, auth.Drafter, "POST", "/v1/operations", draft, model.CodeOutcomeUnknown); p.Written != "perhaps" {
		t.Errorf("%+v", p)
	}
	s.node.waitErr = nil
	s.node.acceptErr = fmt.Errorf("disk at /var/lib/x: secret")
	if p := s.refused(t, auth.Drafter, "POST", "/v1/operations", draft, model.CodeInternal); p.Detail != "" {
		t.Errorf("an internal cause is told: %+v", p)
	}
}

func TestVerify(t *testing.T) {
	s := open(t)
	s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	status, _, raw := s.ask(t, auth.Verifier, "POST", "/v1/verify", `{"record":"bj-scjg.1"}`)
	v := decode[model.Verdict](t, raw)
	if status != 200 || v.Verdict != model.Valid || v.Record == nil || len(v.History) != 1 || v.Check != "all" {
		t.Errorf("%d %s", status, raw)
	}
	_, _, raw = s.ask(t, auth.Verifier, "POST", "/v1/verify", `[{"record":"bj-scjg.1","at":"2026-01-01"},{"record":"bj-scjg.9"}]`)
	if list := decode[[]model.Verdict](t, raw); len(list) != 2 || list[1].Reason != model.ReasonNotFound {
		t.Errorf("%s", raw)
	}
	if s.node.queries[1].At != "2026-01-01" {
		t.Errorf("%+v", s.node.queries[1])
	}
	_, _, raw = s.ask(t, "", "POST", "/public/verify", `{"number":"京A1","type":"11100000000013338W001"}`)
	if strings.Contains(string(raw), "record") || decode[model.Verdict](t, raw).Verdict != model.NotValid {
		t.Errorf("%s", raw)
	}
}

func TestRecords(t *testing.T) {
	s := open(t)
	for range 3 {
		s.ask(t, auth.Drafter, "POST", "/v1/operations", `{"type":"licence.suspend","record":"bj-scjg.1","body":{"reason":"x"}}`)
	}
	status, _, raw := s.ask(t, auth.Auditor, "GET", "/v1/records/licence/bj-scjg.1", "")
	var rec struct {
		Record model.View
		At     struct{ Height uint64 }
	}
	if err := json.Unmarshal(raw, &rec); err != nil || status != 200 || rec.Record.Version != 3 || rec.At.Height != 7 {
		t.Errorf("%d %s", status, raw)
	}
	var page struct {
		Entries []model.HistoryEntry
		Next    *uint64
	}
	_, _, raw = s.ask(t, auth.Auditor, "GET", "/v1/records/licence/bj-scjg.1/history?limit=2", "")
	if err := json.Unmarshal(raw, &page); err != nil || len(page.Entries) != 2 || page.Next == nil || *page.Next != 1 {
		t.Errorf("%s", raw)
	}
	_, _, raw = s.ask(t, auth.Auditor, "GET", "/v1/records/licence/bj-scjg.1/history?limit=2&from=1", "")
	page.Next = nil
	if err := json.Unmarshal(raw, &page); err != nil || len(page.Entries) != 1 || page.Next != nil || page.Entries[0].Version != 3 {
		t.Errorf("%s", raw)
	}
	for path, want := range map[string]model.Code{
		"/v1/records/licence/bj-scjg.9":                    model.CodeNotFound,
		"/v1/records/passport/bj-scjg.1":                   model.CodeNotFound,
		"/v1/records/licence/bj_scjg.1":                    model.CodeBadID,
		"/v1/records/licence/bj-scjg.1/history?limit=0":    model.CodeBadValue,
		"/v1/records/licence/bj-scjg.1/history?limit=1001": model.CodeBadValue,
		"/v1/records/licence/bj-scjg.1/history?limit=many": model.CodeWrongType,
		"/v1/records/licence/bj-scjg.1/history?from=-2":    model.CodeBadValue,
		"/v1/records/licence/bj-scjg.1/history?form=1":     model.CodeUnknownField,
		"/v1/operations/xyz":                               model.CodeBadID,
		"/v1/operations/" + strings.Repeat("0", 32):        model.CodeNotFound,
		"/v1/nothing":                   model.CodeNotFound,
		"/v1/registry/passports":        model.CodeNotFound,
		"/v1/registry/agencies?after=_": model.CodeBadID,
		"/v1/licences/none":             model.CodeNotFound,
		"/v1/events?from=-2":            model.CodeBadValue,
		"/v1/events?kind=passport":      model.CodeBadValue,
		"/v1/events?since=1":            model.CodeUnknownField,
	} {
		s.refused(t, auth.Auditor, "GET", path, "", want)
	}
	status, _, _ = s.ask(t, auth.Auditor, "DELETE", "/v1/records/licence/bj-scjg.1", "")
	if status != http.StatusNotFound {
		t.Errorf("DELETE: %d", status)
	}
}
