package auth

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cedar "github.com/cedar-policy/cedar-go"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func standard(t testing.TB) *Policies {
	t.Helper()
	p, err := OpenPolicies("")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The whole matrix, written out once more, by hand: a change of the policies must be meant. For each action the roles
// that may do it on what is their own agency's, what belongs to one below it, and what is another's.
func TestRightsMatrix(t *testing.T) {
	const (
		letters = "DAVUSXTPCO" // drafter approver verifier auditor system security audit-admin party customs owner
		all     = letters
	)
	acts := [3]string{"DA", "DA", ""}
	approver := [3]string{"A", "A", ""}
	reads := func(s string) [3]string { return [3]string{s, s, s} }
	tree := func(s string) [3]string { return [3]string{s, s, ""} }
	nobody := [3]string{}
	want := map[string][3]string{
		ReadSelf: reads(all), ReadRegistry: reads(all), ReadOperation: reads(all),
		ReadRecord: reads("DAVUTCO"), ReadEvents: reads("DAUT"), Verify: reads("DAVUPC"),
		Search: reads("DAUO"), SearchExport: reads("DAUO"),
		ReadDraft: tree("DAUSXT"), ApproveLicence: approver, ApproveRegistry: approver, ApproveKey: tree("ASX"),
		ReadPeople: tree("XT"), ReadAccess: tree("UT"), ChangePeople: tree("X"),
		string(model.Genesis): nobody, string(model.ImportClosed): nobody, string(model.AnchorAccess): nobody,
		string(model.Propose): acts, string(model.Approve): acts, string(model.CloseProposal): approver,
		string(model.Admit): acts, string(model.Change): acts, string(model.Remove): acts,
		string(model.HostParty): acts, string(model.ReleaseParty): acts,
		string(model.Delegate): acts, string(model.EndDelegation): acts,
		string(model.SetEndpoint): tree("S"), string(model.RotateKey): tree("X"),
		string(model.LicenceIssue): acts, string(model.LicenceAmend): acts, string(model.LicenceSuspend): acts,
		string(model.LicenceResume): acts, string(model.LicenceDormant): acts, string(model.LicenceRenew): acts,
		string(model.LicenceTransfer): acts, string(model.LicenceRescind): acts, string(model.LicenceWithdraw): acts,
		string(model.LicenceRevoke): acts, string(model.LicenceCancel): acts, string(model.LicenceVoidLost): acts,
	}
	for _, a := range Actions {
		if _, ok := want[a.Name]; !ok {
			t.Errorf("the matrix says nothing of %s", a.Name)
		}
		if a.Zh == "" || a.En == "" {
			t.Errorf("%s has no name for people", a.Name)
		}
	}
	for action := range want {
		if !slices.ContainsFunc(Actions, func(a Action) bool { return a.Name == action }) {
			t.Errorf("%s is in the matrix and no action", action)
		}
	}
	for _, unknown := range []string{"", "licence", "read", "basic", "keys.issue", "licence.issue "} {
		want[unknown] = nobody
	}
	d := store(t)
	owners := [...]model.AgencyID{Own: "bj-scjg", BelowOwn: "bj-dc-scjg", Other: "tj-scjg"}
	for i, r := range Roles {
		token, _ := issue(t, d, Grant{Agency: "bj-scjg", Roles: []Role{r}})
		p, err := d.SignInKey("Bearer " + token)
		if err != nil {
			t.Fatal(err)
		}
		for action, who := range want {
			for relation, owner := range owners {
				expected := strings.Contains(who[relation], letters[i:i+1])
				got := p.Decide(action, owner)
				if got.Allowed != expected || got.Policy == "" || (got.Policy == DefaultDeny) == expected {
					t.Errorf("%s × %q × %s: %+v, want %v", r, action, Relation(relation), got, expected)
				}
				if owner == "bj-scjg" && (p.May(action) != expected || p.Decide(action, "") != got) {
					t.Errorf("%s × %q: May and Decide differ", r, action)
				}
			}
		}
		// Above one's own agency is another's.
		if p.Decide(string(model.LicenceIssue), "bj-gov").Allowed {
			t.Errorf("%s acts for the agency above its own", r)
		}
	}
}

// Roles that nobody may hold together are refused when a user or key is made; where somebody has edited the files, the
// policies deny everything.
func TestAdministratorsApart(t *testing.T) {
	p := standard(t)
	for _, a := range administrators {
		for _, b := range Roles {
			if a == b {
				continue
			}
			if checkApart([]Role{a, b}) == nil || checkApart([]Role{b, a}) == nil {
				t.Errorf("%s and %s may be one person", a, b)
			}
			for _, action := range Actions {
				for relation := range relationNames {
					if d := p.Decide([]Role{a, b}, action.Name, Relation(relation)); d.Allowed {
						t.Errorf("%s with %s: %s by %s", a, b, action.Name, d.Policy)
					}
				}
			}
		}
	}
	if d := p.Decide([]Role{SystemAdmin, SecurityAdmin}, ReadSelf, Own); d.Policy != "administrators-apart" {
		t.Errorf("%+v", d)
	}
	if d := p.Decide([]Role{Drafter, SecurityAdmin}, ReadSelf, Own); d.Policy != "administrators-do-no-business" {
		t.Errorf("%+v", d)
	}
	if err := checkApart([]Role{Drafter, Approver, Verifier}); err != nil {
		t.Error(err)
	}
}

func TestLocalPolicies(t *testing.T) {
	for _, tt := range []struct{ name, text, refused string }{
		{"a role may do less here", `@id("counter-revokes-nothing") forbid (principal in Role::"drafter", action == Action::"licence.penalty-revoke", resource);`, ""},
		{"with a condition", `@id("x") forbid (principal, action in [Action::"licence", Action::"registry"], resource in Agency::"tree") unless { principal in Role::"approver" || !(action == Action::"licence.issue") };`, ""},
		{"permits", `@id("x") permit (principal in Role::"verifier", action == Action::"licence.issue", resource);`, "only forbid"},
		{"no id", `forbid (principal, action, resource);`, "@id"},
		{"an id with spaces", `@id("a b") forbid (principal, action, resource);`, "@id"},
		{"twice", `@id("x") forbid (principal, action, resource); @id("x") forbid (principal, action, resource);`, "twice"},
		{"unknown role", `@id("x") forbid (principal in Role::"draftr", action, resource);`, `Role::"draftr" does not exist`},
		{"unknown action", `@id("x") forbid (principal, action == Action::"licence.isue", resource);`, "does not exist"},
		{"a person", `@id("x") forbid (principal == Person::"usr-1", action, resource);`, "does not exist"},
		{"an agency", `@id("x") forbid (principal, action, resource == Agency::"tj-scjg");`, "does not exist"},
		{"an attribute", `@id("x") forbid (principal, action, resource) when { principal.age < 18 };`, "not offered"},
		{"has", `@id("x") forbid (principal, action, resource) when { principal has age };`, "not offered"},
		{"the context", `@id("x") forbid (principal, action, resource) when { context == principal };`, "no context"},
		{"an extension", `@id("x") forbid (principal, action, resource) when { ip("10.0.0.1").isLoopback() };`, "not offered"},
		{"a type", `@id("x") forbid (principal is Person, action, resource);`, "not offered"},
		{"no Cedar", `@id("x") forbid (`, "local.cedar"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "local.cedar"), []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := OpenPolicies(dir)
			if (err == nil) != (tt.refused == "") || (err != nil && !strings.Contains(err.Error(), tt.refused)) {
				t.Errorf("%v, want %q", err, tt.refused)
			}
		})
	}
	dir := t.TempDir()
	text := `@id("counter-revokes-nothing") forbid (principal in Role::"drafter", action == Action::"licence.penalty-revoke", resource);`
	if err := os.WriteFile(filepath.Join(dir, "local.cedar"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := OpenPolicies(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := p.Decide([]Role{Drafter, Approver}, "licence.penalty-revoke", Own); d != (Decision{false, "node:counter-revokes-nothing"}) {
		t.Errorf("%+v", d)
	}
	if d := p.Decide([]Role{Approver}, "licence.penalty-revoke", Own); d != (Decision{true, "approver-writes-licences"}) {
		t.Errorf("%+v", d)
	}
}

// Every action and relation that the built-in policies speak of exists, and no group is named like an action.
func TestPolicyNames(t *testing.T) {
	for id, policy := range standard(t).set.All() {
		if err := checkPolicy(policy); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if policy.Effect() == cedar.Forbid && strings.HasPrefix(string(id), localPrefix) {
			t.Errorf("%s is named like a node's own", id)
		}
	}
	seen := map[string]bool{}
	for _, a := range Actions {
		if seen[a.Name] {
			t.Errorf("%s stands twice", a.Name)
		}
		seen[a.Name] = true
	}
	for _, a := range Actions {
		for _, g := range a.Groups {
			if seen[g] {
				t.Errorf("%s is an action and a group", g)
			}
		}
	}
}

// What a decision costs on the way of a request: a look-up.
func BenchmarkDecide(b *testing.B) {
	d := store(b)
	token, _ := issue(b, d, Grant{Agency: "bj-scjg", Roles: []Role{Verifier}})
	p, err := d.SignInKey("Bearer " + token)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !p.Decide(Verify, "").Allowed || p.Decide(string(model.LicenceIssue), "tj-scjg").Allowed {
			b.Fatal("wrong")
		}
	}
}

// What it would cost to ask Cedar each time.
func BenchmarkEvaluate(b *testing.B) {
	p := standard(b)
	b.ReportAllocs()
	for b.Loop() {
		p.evaluate([]Role{Verifier}, false)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(Actions)*len(relationNames)), "ns/decision")
}
