package httpapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// held sends a body as a role and expects it to wait.
func (s *site) held(t testing.TB, as auth.Role, method, path, body string) sdk.HeldDraft {
	t.Helper()
	status, h, raw := s.ask(t, as, method, path, body)
	var d sdk.DecidedDraft
	if err := json.Unmarshal(raw, &d); err != nil || status != http.StatusAccepted || h.Get("Location") != "/v1/drafts/"+d.Draft.ID || !d.Draft.Mine || d.Draft.MayDecide {
		t.Fatalf("%d %v %s", status, h, raw)
	}
	return d.Draft
}

// Who sees a draft, who sees what is confidential in it, and who may decide it: a matrix.
func TestWhoSeesADraft(t *testing.T) {
	s := open(t)
	s.inbox.holds = true
	const secret = "11010519491231002X"
	licence := s.held(t, auth.Drafter, "POST", "/v1/operations", `{"type":"licence.issue","body":{"value":{}},"confidential":{"holder_code":"`+secret+`"}}`)
	key := s.held(t, auth.SecurityAdmin, "POST", "/v1/registry/agencies/bj-scjg/keys", `{}`)
	const (
		nothing = iota // not even that it is there
		public
		all
		decide // all, and the right to decide
	)
	for role, want := range map[auth.Role][2]int{ // of the licence, of the key
		auth.Drafter: {all, public}, auth.Approver: {decide, decide}, auth.Auditor: {public, public}, auth.AuditAdmin: {public, public},
		auth.SystemAdmin: {nothing, decide}, auth.SecurityAdmin: {nothing, all},
	} {
		for i, d := range []sdk.HeldDraft{licence, key} {
			status, _, raw := s.ask(t, role, "GET", "/v1/drafts/"+d.ID, "")
			_, _, list := s.ask(t, role, "GET", "/v1/drafts", "")
			if seen := bytes.Contains(list, []byte(d.ID)); seen != (want[i] > nothing) || (status == 200) != seen {
				t.Errorf("%s, draft %d: listed %v, %d %s", role, i, seen, status, raw)
			}
			if status != 200 {
				s.refused(t, role, "POST", "/v1/drafts/"+d.ID+"/reject", `{"reason":"x"}`, model.CodeNotFound)
				continue
			}
			var c sdk.DraftContent
			if err := json.Unmarshal(raw, &c); err != nil || len(c.Rows) != 1 || c.Draft.MayDecide != (want[i] == decide) {
				t.Errorf("%s, draft %d: %s", role, i, raw)
			}
			if i == 0 && bytes.Contains(raw, []byte(secret)) != (want[i] >= all) {
				t.Errorf("%s: %s", role, raw)
			}
			if bytes.Contains(list, []byte(secret)) {
				t.Errorf("the list shows what is confidential to %s", role)
			}
			if want[i] == public {
				s.refused(t, role, "POST", "/v1/drafts/"+d.ID+"/approve", `{"content":"`+d.Content.String()+`"}`, model.CodeForbidden)
				s.refused(t, role, "POST", "/v1/drafts/"+d.ID+"/withdraw", `{}`, model.CodeForbidden)
				s.refused(t, role, "POST", "/v1/drafts/"+d.ID+"/resend", `{}`, model.CodeForbidden)
			}
		}
	}
	s.refused(t, auth.Verifier, "GET", "/v1/drafts", "", model.CodeForbidden)
	// Nobody else's agency.
	token, _, err := s.people.Issue(auth.Grant{Name: "elsewhere", Agency: "tj-scjg", Roles: []auth.Role{auth.Approver}})
	if err != nil {
		t.Fatal(err)
	}
	s.keys["elsewhere"] = token
	s.refused(t, "elsewhere", "GET", "/v1/drafts/"+licence.ID, "", model.CodeNotFound)
	if s.accepted() != 0 {
		t.Error("something was accepted")
	}
}

// One right is not enough where a draft asks for more than it covers.
func TestRightOnAllOperations(t *testing.T) {
	s := open(t)
	s.inbox.holds = true
	both, _, err := s.people.Issue(auth.Grant{Name: "both", Agency: "bj-scjg", Roles: []auth.Role{auth.Drafter}})
	if err != nil {
		t.Fatal(err)
	}
	district, _, err := s.people.Issue(auth.Grant{Name: "district", Agency: "bj-scjg-cy", Roles: []auth.Role{auth.Approver}})
	if err != nil {
		t.Fatal(err)
	}
	s.keys["both"], s.keys["district"] = both, district
	d := s.held(t, "both", "POST", "/v1/operations", `[{"agency":"bj-scjg-cy","type":"licence.cancel","record":"bj-scjg.1","body":{}},{"agency":"bj-scjg","type":"registry.delegate","body":{}}]`)
	own := s.held(t, "both", "POST", "/v1/operations", `{"agency":"bj-scjg-cy","type":"licence.cancel","record":"bj-scjg.2","body":{}}`)
	approve := func(d sdk.HeldDraft) string { return `{"content":"` + d.Content.String() + `"}` }
	s.refused(t, "district", "POST", "/v1/drafts/"+d.ID+"/approve", approve(d), model.CodeNotFound)
	if status, _, raw := s.ask(t, "district", "POST", "/v1/drafts/"+own.ID+"/approve", approve(own)); status != 200 {
		t.Errorf("of its own agency alone: %d %s", status, raw)
	}
	if status, _, raw := s.ask(t, auth.Approver, "POST", "/v1/drafts/"+d.ID+"/approve", approve(d)); status != 200 {
		t.Errorf("%d %s", status, raw)
	}
}

// Every type of operation has a right that approving it needs, and somebody has it.
func TestApprovalActions(t *testing.T) {
	policies, err := auth.OpenPolicies("")
	if err != nil {
		t.Fatal(err)
	}
	for typ := range model.Types {
		action, somebody := httpapi.ApprovalAction(typ), false
		for _, r := range auth.Roles {
			somebody = somebody || policies.Decide([]auth.Role{r}, action, auth.Own).Allowed
		}
		if !somebody {
			t.Errorf("%s needs %s, which nobody has", typ, action)
		}
	}
}

func TestInboxBadInput(t *testing.T) {
	s := open(t)
	s.inbox.holds = true
	d := s.held(t, auth.Drafter, "POST", "/v1/operations", draft)
	for _, tt := range []struct {
		method, path, body string
		want               model.Code
	}{
		{"GET", "/v1/drafts?limit=0", "", model.CodeBadValue},
		{"GET", "/v1/drafts?limit=x", "", model.CodeBadValue},
		{"GET", "/v1/drafts?limit=501", "", model.CodeBadValue},
		{"GET", "/v1/drafts?mine=perhaps", "", model.CodeBadValue},
		{"GET", "/v1/drafts?all=1", "", model.CodeUnknownField},
		{"GET", "/v1/drafts?state=pending&state=approved", "", model.CodeUnknownField},
		{"GET", "/v1/drafts/" + d.ID + "?from=-1", "", model.CodeBadValue},
		{"GET", "/v1/drafts/nobody", "", model.CodeNotFound},
		{"POST", "/v1/drafts/nobody/approve", `{"content":"` + d.Content.String() + `"}`, model.CodeNotFound},
		{"POST", "/v1/drafts/" + d.ID + "/approve", `{}`, model.CodeMissingField},
		{"POST", "/v1/drafts/" + d.ID + "/approve", `{"content":"00"}`, model.CodeBadValue},
		{"POST", "/v1/drafts/" + d.ID + "/approve?wait=people", `{"content":"` + d.Content.String() + `"}`, model.CodeBadValue},
		{"POST", "/v1/drafts/" + d.ID + "/approve", `{"content":"` + model.DigestOf([]byte("other")).String() + `"}`, model.CodeDraftChanged},
		{"POST", "/v1/drafts/" + d.ID + "/approve", `{"content":"` + d.Content.String() + `","as":"bob"}`, model.CodeUnknownField},
		{"POST", "/v1/drafts/" + d.ID + "/reject", `{"reason":"  "}`, model.CodeMissingField},
		{"POST", "/v1/drafts/" + d.ID + "/reject", ``, model.CodeInvalidJSON},
	} {
		if tt.method == "POST" && tt.want == model.CodeBadValue && tt.body != "" { // which of the strict decoder's words it is does not matter
			status, _, raw := s.ask(t, auth.Approver, tt.method, tt.path, tt.body)
			if status != 400 {
				t.Errorf("%s %s: %d %s", tt.path, tt.body, status, raw)
			}
			continue
		}
		s.refused(t, auth.Approver, tt.method, tt.path, tt.body, tt.want)
	}
}

// Who looked at a draft looked at the records that it is about: the access log says so, and under which policy it was
// approved or refused.
func TestDraftsInTheAccessLog(t *testing.T) {
	s, log := logged(t)
	s.inbox.holds = true
	d := s.held(t, auth.Drafter, "POST", "/v1/operations", `{"type":"licence.cancel","kind":"licence","record":"bj-scjg.7","body":{}}`)
	for _, tt := range []struct {
		as                   auth.Role
		method, path, body   string
		route, action        string
		allowed, aboutRecord bool
	}{
		{auth.Approver, "GET", "/v1/drafts", "", "drafts", httpapi.ActionReadDraft, true, false},
		{auth.Approver, "GET", "/v1/drafts/" + d.ID, "", "draft", httpapi.ActionReadDraft, true, true},
		{auth.Auditor, "POST", "/v1/drafts/" + d.ID + "/approve", `{"content":"` + d.Content.String() + `"}`, "approve-draft", httpapi.ActionReadDraft + "," + httpapi.ActionApproveLicence, false, true},
		{auth.Approver, "POST", "/v1/drafts/" + d.ID + "/reject", `{"reason":"x"}`, "reject-draft", httpapi.ActionReadDraft + "," + httpapi.ActionApproveLicence, true, true},
	} {
		before := log.len()
		s.ask(t, tt.as, tt.method, tt.path, tt.body)
		entries := log.since(before)
		if len(entries) != 1 {
			t.Fatalf("%s: %d entries", tt.route, len(entries))
		}
		e, draft, record := entries[0], false, false
		for _, r := range e.Records {
			draft = draft || (r.Kind == "draft" && r.ID == d.ID)
			record = record || (r.Kind == model.KindLicence && r.ID == "bj-scjg.7")
		}
		if e.Route != tt.route || e.Action != tt.action || e.Allowed != tt.allowed || !draft || record != tt.aboutRecord {
			t.Errorf("%s: %+v", tt.route, e)
		}
	}
}
