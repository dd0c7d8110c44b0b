package httpapi_test

import (
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

// keyOf adds a user with a key, and names the key as a role of the site's.
func (s *site) keyOf(t *testing.T, as auth.Role, spec auth.UserSpec) {
	t.Helper()
	made, err := s.people.Apply(auth.Change{Action: auth.AddUser, User: &spec})
	if err != nil {
		t.Fatal(err)
	}
	if s.keys[as], _, err = s.people.Issue(auth.Grant{Name: "k", User: made.User.ID}); err != nil {
		t.Fatal(err)
	}
}

// What a hosted party's people do is entered under the agency that hosts them, for its auditors and those above; the
// node's own entries are for who audits an agency at the top of the node.
func TestWhoAuditsAParty(t *testing.T) {
	s, l := logged(t)
	s.keyOf(t, "broker", auth.UserSpec{Name: "货代", Party: hostedParty, Roles: []auth.Role{auth.TradeParty}})
	s.keyOf(t, "district auditor", auth.UserSpec{Name: "区审计", Agency: "bj-scjg-cy", Roles: []auth.Role{auth.Auditor}})
	s.keyOf(t, "other auditor", auth.UserSpec{Name: "他方审计", Agency: "tj-scjg", Roles: []auth.Role{auth.Auditor}})
	before := l.len()
	s.ask(t, "broker", "POST", "/v1/verify", `{"record":"bj-scjg.1"}`)
	got := l.since(before)
	if len(got) != 1 || got[0].Agency != "bj-scjg-cy" || got[0].Party != hostedParty || got[0].Name != "货代" {
		t.Fatalf("%+v", got)
	}
	l.set(func() {
		l.entries = []sdk.AccessEntry{{Action: "own"}, {Agency: "bj-scjg", Action: "own"}, {Agency: "bj-scjg-cy", Action: "own"}, {Agency: "tj-scjg", Action: "own"}}
	})
	for who, sees := range map[auth.Role]map[model.AgencyID]bool{
		auth.Auditor:       {"": true, "bj-scjg": true, "bj-scjg-cy": true, "tj-scjg": false},
		"district auditor": {"": false, "bj-scjg": false, "bj-scjg-cy": true, "tj-scjg": false},
		"other auditor":    {"": false, "bj-scjg": false, "bj-scjg-cy": false, "tj-scjg": true},
	} {
		status, _, raw := s.ask(t, who, "GET", "/v1/access", "")
		if status != 200 {
			t.Fatalf("%s: %d %s", who, status, raw)
		}
		got := map[model.AgencyID]bool{}
		for _, e := range decode[sdk.AccessPage](t, raw).Entries {
			if e.Action == "own" {
				got[e.Agency] = true
			}
		}
		for agency, want := range sees {
			if got[agency] != want {
				t.Errorf("%s sees entries of %q: %v", who, agency, !want)
			}
		}
	}
}
