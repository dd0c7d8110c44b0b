package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

// A write that waits for a second person, and each thing that becomes of it.
func TestInboxAnswers(t *testing.T) {
	s := open(t)
	s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	s.inbox.holds = true
	const suspend = `{"type":"licence.suspend","record":"bj-scjg.1","version":2,"body":{"reason":"x"}}`
	hold := func(key string) sdk.HeldDraft {
		t.Helper()
		status, h, raw := s.ask(t, auth.Drafter, "POST", "/v1/operations", suspend, "Idempotency-Key", key)
		d := decode[sdk.DecidedDraft](t, raw)
		if status != http.StatusAccepted || h.Get("Location") != "/v1/drafts/"+d.Draft.ID || !d.Draft.Mine {
			t.Fatalf("%d %v %s", status, h, raw)
		}
		return d.Draft
	}
	first, second, third := hold("1"), hold("2"), hold("3")
	if status, _, raw := s.ask(t, auth.Approver, "GET", "/v1/drafts?state=pending&mine=false&limit=2", ""); status != 200 || len(decode[sdk.DraftPage](t, raw).Drafts) != 2 {
		t.Errorf("%d %s", status, raw)
	}
	status, _, raw := s.ask(t, auth.Approver, "GET", "/v1/drafts/"+first.ID+"?from=0&limit=10", "")
	if c := decode[sdk.DraftContent](t, raw); status != 200 || len(c.Rows) != 1 || !c.Draft.MayDecide {
		t.Fatalf("%d %s", status, raw)
	}
	approve := `{"content":"` + first.Content.String() + `"}`
	s.refused(t, auth.Drafter, "POST", "/v1/drafts/"+first.ID+"/approve", approve, model.CodeOwnDraft)
	status, _, raw = s.ask(t, auth.Approver, "POST", "/v1/drafts/"+first.ID+"/approve?wait=committed", approve)
	if d := decode[sdk.DecidedDraft](t, raw); status != 200 || d.Draft.State != sdk.DraftApproved || len(d.Outcomes) != 1 {
		t.Errorf("%d %s", status, raw)
	}
	s.refused(t, auth.Approver, "POST", "/v1/drafts/"+first.ID+"/approve", approve, model.CodeAlreadyDecided)
	status, _, raw = s.ask(t, auth.Approver, "POST", "/v1/drafts/"+second.ID+"/reject", `{"reason":"the wrong licence"}`)
	if d := decode[sdk.DecidedDraft](t, raw); status != 200 || d.Draft.State != sdk.DraftRejected {
		t.Errorf("%d %s", status, raw)
	}
	status, _, raw = s.ask(t, auth.Drafter, "POST", "/v1/drafts/"+third.ID+"/withdraw", `{}`)
	if d := decode[sdk.DecidedDraft](t, raw); status != 200 || d.Draft.State != sdk.DraftWithdrawn {
		t.Errorf("%d %s", status, raw)
	}
	status, _, raw = s.ask(t, auth.Drafter, "POST", "/v1/drafts/"+third.ID+"/resend", `{}`)
	if d := decode[sdk.DecidedDraft](t, raw); status != http.StatusAccepted || d.Draft.ID == third.ID {
		t.Errorf("%d %s", status, raw)
	}
	terms := `{"name":"一月存量","file":"` + model.DigestOf(nil).String() + `","rows":5000,"type":"licence.issue"}`
	status, _, raw = s.ask(t, auth.Drafter, "POST", "/v1/batches", terms, "Idempotency-Key", "b")
	b := decode[sdk.HeldBatch](t, raw)
	if status != 200 || b.Batch.Rows != 5000 {
		t.Fatalf("%d %s", status, raw)
	}
	if status, _, raw = s.ask(t, auth.Drafter, "GET", "/v1/batches/"+b.Batch.ID, ""); status != 200 {
		t.Errorf("%d %s", status, raw)
	}
	s.refused(t, auth.Drafter, "GET", "/v1/batches/1-none", "", model.CodeNotFound)
}
