package httpapi_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// fakePeople has one user of each agency and of a party, a key of each, and makes every change at once.
type fakePeople struct {
	mu    sync.Mutex
	made  []model.Draft // every change
	inbox *fakeInbox    // that holds changes, where the test says so
}

var fakeAgencies = []model.AgencyID{"bj-scjg", "bj-scjg-cy", "tj-scjg"}

func (f *fakePeople) List() (users []sdk.User, keys []sdk.APIKey) {
	at := model.TimeOf(time.Unix(1_790_000_000, 0))
	for _, a := range fakeAgencies {
		users = append(users, sdk.User{ID: "usr-" + string(a), Version: 3, Name: "甲", Agency: a, Roles: []string{"drafter"}, Created: at})
		keys = append(keys, sdk.APIKey{ID: "key-" + string(a), Name: "k", User: "usr-" + string(a), Roles: []string{}, Created: at}, sdk.APIKey{ID: "alone-" + string(a), Name: "k", Agency: a, Roles: []string{"verifier"}, Created: at})
	}
	return append(users, sdk.User{ID: "usr-party", Version: 1, Name: "乙", Party: hostedParty, Roles: []string{"trade-party"}, Created: at}), keys
}

func (f *fakePeople) Words(d *model.Draft) (zh, en string, moved bool) {
	return "甲", string(d.Type), false
}

func (f *fakePeople) Change(ctx context.Context, s httpapi.Submission) (sdk.PeopleChanged, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inbox.holds {
		_, _, err := f.inbox.Accept(ctx, s)
		return sdk.PeopleChanged{}, err
	}
	f.made = append(f.made, s.Drafts[0])
	users, keys := f.List()
	if s.Drafts[0].Kind == httpapi.KindKey {
		return sdk.PeopleChanged{Key: &keys[0], Token: "zlk_x"}, nil
	}
	return sdk.PeopleChanged{User: &users[0]}, nil
}

func (f *fakePeople) Draw(context.Context, httpapi.Caller, string) (sdk.PeopleChanged, error) {
	_, keys := f.List()
	return sdk.PeopleChanged{Key: &keys[0], Token: "zlk_x"}, nil
}

func (f *fakePeople) changes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.made)
}

func withPeople(t *testing.T) (*site, *fakePeople) {
	f := new(fakePeople)
	s := open(t, func(c *httpapi.Config, _ *auth.Rates) {
		c.People, c.Clock = f, func() time.Time { return time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC) }
	})
	f.inbox = s.inbox
	return s, f
}

const (
	aUser = `{"name":"甲","agency":"$A","roles":["drafter"]}`
	aKey  = `{"name":"k","agency":"$A","roles":["verifier"],"expires":"2030-01-01T00:00:00.000Z"}`
)

// What a role may not do with people and keys of its own agency, one below it and another is forbidden, and nothing else is.
func TestRightsOverPeople(t *testing.T) {
	s, f := withPeople(t)
	policies, err := auth.OpenPolicies("")
	if err != nil {
		t.Fatal(err)
	}
	tries := []struct{ method, path, body string }{
		{"POST", "/v1/people", aUser}, {"PUT", "/v1/people/usr-$A", aUser}, {"POST", "/v1/people/usr-$A/disable", "{}"}, {"POST", "/v1/people/usr-$A/enable", "{}"},
		{"POST", "/v1/keys", aKey}, {"POST", "/v1/keys", `{"name":"k","user":"usr-$A","expires":"2030-01-01T00:00:00.000Z"}`},
		{"POST", "/v1/keys/key-$A/revoke", "{}"}, {"POST", "/v1/keys/alone-$A/revoke", "{}"},
	}
	for relation, agency := range map[auth.Relation]string{auth.Own: "bj-scjg", auth.BelowOwn: "bj-scjg-cy", auth.Other: "tj-scjg"} {
		put := strings.NewReplacer("$A", agency).Replace
		for _, role := range auth.Roles {
			for _, try := range tries {
				before := f.changes()
				status, _, raw := s.ask(t, role, try.method, put(try.path), put(try.body))
				allowed := policies.Decide([]auth.Role{role}, auth.ChangePeople, relation).Allowed
				if want := map[bool]int{true: http.StatusOK, false: http.StatusForbidden}[allowed]; status != want || (f.changes() != before) != allowed {
					t.Errorf("%s × %s %s × %s: %d %s", role, try.method, try.path, relation, status, raw)
				}
			}
			want := http.StatusOK
			if !policies.Decide([]auth.Role{role}, auth.ReadPeople, auth.Own).Allowed {
				want = http.StatusForbidden
			} else if relation == auth.Other {
				want = http.StatusNotFound
			}
			if status, _, raw := s.ask(t, role, "GET", put("/v1/people/usr-$A"), ""); status != want {
				t.Errorf("%s reads %s: %d %s", role, relation, status, raw)
			}
		}
	}
	// A party's people are those of who hosts it; of a party that nobody hosts here, nobody's.
	party := `{"name":"乙","party":"` + string(hostedParty) + `","roles":["trade-party"]}`
	if status, _, raw := s.ask(t, auth.SecurityAdmin, "POST", "/v1/people", party); status != 200 || f.made[len(f.made)-1].Agency != "bj-scjg-cy" {
		t.Errorf("%d %s", status, raw)
	}
	nobodys, err := model.InventUSCC("91110000X", 5)
	if err != nil {
		t.Fatal(err)
	}
	s.refused(t, auth.SecurityAdmin, "POST", "/v1/people", strings.Replace(party, string(hostedParty), string(nobodys), 1), model.CodeForbidden)
}

// A change is of the user who was looked at: every draft of one says which version that was.
func TestVersionsOfUsers(t *testing.T) {
	s, f := withPeople(t)
	const as = auth.SecurityAdmin
	user := strings.Replace(aUser, "$A", "bj-scjg", 1)
	for _, v := range []string{"-1", "-5", "-9007199254740991"} {
		s.refused(t, as, "PUT", "/v1/people/usr-bj-scjg", strings.Replace(user, "{", `{"version":`+v+`,`, 1), model.CodeBadValue)
		for _, act := range []string{"disable", "enable"} {
			s.refused(t, as, "POST", "/v1/people/usr-bj-scjg/"+act, `{"version":`+v+`}`, model.CodeBadValue)
		}
	}
	if f.changes() != 0 {
		t.Fatal(f.made)
	}
	for version, want := range map[string]uint64{"": 4, `"version":0`: 4, `"version":1`: 2} {
		if status, _, raw := s.ask(t, as, "POST", "/v1/people/usr-bj-scjg/disable", "{"+version+"}"); status != 200 || f.made[len(f.made)-1].Version != want {
			t.Errorf("%s: %d %s, %+v", version, status, raw, f.made)
		}
	}
}

// Pages, refusals, and a change that waits.
func TestPeopleAnswers(t *testing.T) {
	s, f := withPeople(t)
	const as = auth.SecurityAdmin
	var seen []string
	for after := ""; ; {
		status, _, raw := s.ask(t, as, "GET", "/v1/people?limit=2&after="+after, "")
		p := decode[sdk.UserPage](t, raw)
		if status != 200 || len(p.Users) > 2 {
			t.Fatalf("%d %s", status, raw)
		}
		for _, u := range p.Users {
			seen = append(seen, u.ID)
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if got := strings.Join(seen, " "); got != "usr-bj-scjg usr-bj-scjg-cy usr-party" {
		t.Errorf("users %s", got)
	}
	status, _, raw := s.ask(t, as, "GET", "/v1/keys", "")
	if p := decode[sdk.APIKeyPage](t, raw); status != 200 || len(p.Keys) != 4 || p.Keys[3].ID != "alone-bj-scjg-cy" {
		t.Errorf("%d %s", status, raw)
	}
	s.refused(t, as, "GET", "/v1/people?after=usr-none", "", model.CodeBadID)
	for body, code := range map[string]model.Code{
		`{"name":"甲","roles":["drafter"]}`: model.CodeBadValue, `{"name":"甲","agency":"bj-scjg","party":"91110000600037341L","roles":[]}`: model.CodeBadValue,
		`{"version":1,"name":"甲","agency":"bj-scjg","roles":[]}`: model.CodeUnknownField, `{"id":"usr-x"}`: model.CodeUnknownField,
	} {
		s.refused(t, as, "POST", "/v1/people", body, code)
	}
	for body, code := range map[string]model.Code{
		`{"agency":"bj-scjg","expires":"2030-01-01T00:00:00.000Z"}`: model.CodeMissingField, `{"name":"k","agency":"bj-scjg"}`: model.CodeBadValue,
		`{"name":"k","agency":"bj-scjg","expires":"2020-01-01T00:00:00.000Z"}`: model.CodeBadValue, `{"name":"k","agency":"bj-scjg","expires":"2099-01-01T00:00:00.000Z"}`: model.CodeBadValue,
		`{"name":"k","user":"usr-none","expires":"2030-01-01T00:00:00.000Z"}`: model.CodeNotFound,
	} {
		s.refused(t, as, "POST", "/v1/keys", body, code)
	}
	s.refused(t, as, "PUT", "/v1/people/usr-bj-scjg", strings.Replace(aUser, "$A", "bj-scjg-cy", 1), model.CodeBadValue)
	s.refused(t, as, "POST", "/v1/keys/key-none/revoke", "{}", model.CodeNotFound)
	if f.changes() != 0 {
		t.Errorf("%d changes", f.changes())
	}

	s.inbox.holds = true
	status, h, raw := s.ask(t, as, "POST", "/v1/keys", strings.Replace(aKey, "$A", "bj-scjg", 1), "Idempotency-Key", "k")
	d := decode[sdk.DecidedDraft](t, raw).Draft
	if status != http.StatusAccepted || h.Get("Location") != "/v1/drafts/"+d.ID || !d.Mine {
		t.Fatalf("%d %v %s", status, h, raw)
	}
	for role, sees := range map[auth.Role]bool{auth.AuditAdmin: true, auth.SystemAdmin: false, auth.Approver: false, auth.Auditor: false} {
		if status, _, raw := s.ask(t, role, "GET", "/v1/drafts/"+d.ID, ""); (status == 200) != sees {
			t.Errorf("%s: %d %s", role, status, raw)
		}
	}
	s.refused(t, auth.AuditAdmin, "POST", "/v1/drafts/"+d.ID+"/approve", `{"content":"`+d.Content.String()+`"}`, model.CodeForbidden)
	s.refused(t, auth.AuditAdmin, "POST", "/v1/drafts/"+d.ID+"/key", "{}", model.CodeForbidden)
	if status, _, raw := s.ask(t, as, "POST", "/v1/drafts/"+d.ID+"/key", "{}"); status != 200 || decode[sdk.PeopleChanged](t, raw).Token != "zlk_x" {
		t.Errorf("%d %s", status, raw)
	}
	s.ask(t, as, "POST", "/v1/drafts/"+d.ID+"/withdraw", "{}")
	s.refused(t, as, "POST", "/v1/drafts/"+d.ID+"/resend", "{}", model.CodeBadValue)
}

// Nothing stands in the matrix that nobody can ask for: each action is an operation's, a route's, or the right of
// approving some change.
func TestEveryActionIsAskedFor(t *testing.T) {
	asked := map[string]bool{}
	for _, r := range httpapi.Routes() {
		asked[r.Action] = true
	}
	for typ := range model.Types {
		asked[string(typ)] = true
		asked[httpapi.ApprovalAction(typ)] = true
	}
	for _, a := range auth.Actions {
		if !asked[a.Name] {
			t.Errorf("no route and no operation has %s", a.Name)
		}
	}
}
