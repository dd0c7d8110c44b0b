package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

// An auditor finds who tried to approve his own draft: it is logged as that, and as denied.
func TestOwnDraftIsLogged(t *testing.T) {
	s, l := logged(t)
	s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	s.inbox.holds = true
	_, _, raw := s.ask(t, auth.Drafter, "POST", "/v1/operations", `{"type":"licence.suspend","record":"bj-scjg.1","version":2,"body":{"reason":"x"}}`)
	d := decode[sdk.DecidedDraft](t, raw).Draft
	before := l.len()
	s.refused(t, auth.Drafter, "POST", "/v1/drafts/"+d.ID+"/approve", `{"content":"`+d.Content.String()+`"}`, model.CodeOwnDraft)
	got := l.since(before)
	if len(got) != 1 || got[0].Action != "draft.read,draft.approve-licence" || got[0].Allowed || got[0].Policy != "own-draft" || got[0].Status != http.StatusForbidden {
		t.Errorf("%+v", got)
	}
}
