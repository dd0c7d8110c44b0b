package auth

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

var secret = bytes.Repeat([]byte{7}, 32)

func store(t testing.TB) *Keys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := CreateKeys(path); err != nil {
		t.Fatal(err)
	}
	k, err := OpenKeys(path, secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func issue(t testing.TB, k *Keys, g Grant) (string, Entry) {
	t.Helper()
	token, e, err := k.Issue(g)
	if err != nil {
		t.Fatal(err)
	}
	return token, e
}

func TestKeyLivesAndEnds(t *testing.T) {
	k := store(t)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	k.now = func() time.Time { return now }
	token, e := issue(t, k, Grant{Name: "窗口系统", Agency: "bj-scjg", Roles: []Role{Drafter}, Expires: now.Add(time.Hour)})
	if len(token) != tokenLength || !strings.HasPrefix(token, KeyPrefix) {
		t.Fatalf("token has %d characters", len(token))
	}

	p, err := k.SignIn("Bearer " + token)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID() != e.ID || p.Agency() != "bj-scjg" || !slices.Equal(p.Roles(), []Role{Drafter}) {
		t.Errorf("principal %+v", p)
	}
	if p.Person() != Pseudonym(secret, e.ID) || len(p.Person()) != 32 {
		t.Errorf("pseudonym %q", p.Person())
	}

	again, err := OpenKeys(k.path, secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.now = k.now
	if _, err := again.SignIn("bearer " + token); err != nil {
		t.Errorf("after opening again: %v", err)
	}

	now = now.Add(time.Hour)
	if _, err := k.SignIn("Bearer " + token); !errors.Is(err, model.E(model.CodeUnauthenticated)) {
		t.Errorf("expired key: %v", err)
	}
	now = now.Add(-time.Minute)
	if err := k.Revoke(e.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := k.SignIn("Bearer " + token); !errors.Is(err, model.E(model.CodeUnauthenticated)) {
		t.Errorf("revoked key: %v", err)
	}
	if _, err := again.SignIn("Bearer " + token); err != nil {
		t.Errorf("the other process has not looked yet: %v", err)
	}
	if err := again.Refresh(); err != nil {
		t.Fatal(err)
	}
	if _, err := again.SignIn("Bearer " + token); err == nil {
		t.Error("the other process does not see the revocation")
	}
	if err := k.Revoke("key-nobody"); !errors.Is(err, model.E(model.CodeNotFound)) {
		t.Errorf("revoking nobody: %v", err)
	}
}

// Every failed sign-in looks the same.
func TestSignInRefuses(t *testing.T) {
	k := store(t)
	token, _ := issue(t, k, Grant{Agency: "bj-scjg", Roles: []Role{Verifier}})
	flipped := []byte(token)
	flipped[10] ^= 1
	for _, h := range []string{
		"", "Bearer", "Bearer ", token, "Basic " + token, "Bearer  " + token, "Bearer " + token + " ",
		"Bearer " + token[:len(token)-1], "Bearer " + string(flipped), "Bearer " + strings.Repeat("A", tokenLength),
		"Bearer " + strings.ToUpper(token),
	} {
		p, err := k.SignIn(h)
		if p != nil || err != error(errUnauthenticated) {
			t.Errorf("%q: %v, %v", h, p, err)
		}
	}
}

func TestTokenIsNowhere(t *testing.T) {
	k := store(t)
	token, _ := issue(t, k, Grant{Agency: "bj-scjg", Roles: Roles})
	raw, err := os.ReadFile(k.path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte(token[len(KeyPrefix):])) {
		t.Error("the key itself stands in the file")
	}
	info, err := os.Stat(k.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(k.path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeys(k.path, secret, nil); err == nil {
		t.Error("a file that others can read is accepted")
	}
}

func TestStoreIsNeverMadeSilently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if _, err := OpenKeys(path, secret, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening nothing: %v", err)
	}
	if err := CreateKeys(path); err != nil {
		t.Fatal(err)
	}
	if err := CreateKeys(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("creating twice: %v", err)
	}
	if _, err := OpenKeys(path, secret[:16], nil); err == nil {
		t.Error("a short secret is accepted")
	}
}

// Two processes that issue at once lose neither key.
func TestTwoWriters(t *testing.T) {
	a := store(t)
	b, err := OpenKeys(a.path, secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	for _, k := range []*Keys{a, b} {
		go func() {
			for range 20 {
				if _, _, err := k.Issue(Grant{Agency: "bj-scjg", Roles: []Role{Drafter}}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	c, err := OpenKeys(a.path, secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.List()); n != 40 {
		t.Errorf("%d keys of 40", n)
	}
}

func TestIssueRefuses(t *testing.T) {
	k := store(t)
	for _, g := range []Grant{
		{Agency: "bj-scjg"},
		{Agency: "bj-scjg", Roles: []Role{"root"}},
		{Roles: []Role{Drafter}},
		{Agency: "*", Roles: []Role{Drafter}},
		{Agency: "bj-scjg", Roles: []Role{Drafter}, Name: strings.Repeat("x", 300)},
	} {
		if _, _, err := k.Issue(g); err == nil {
			t.Errorf("%+v is accepted", g)
		}
	}
	if n := len(k.List()); n != 0 {
		t.Errorf("%d keys", n)
	}
}

// The whole matrix, written out once more: a change of the table must be meant.
func TestRightsMatrix(t *testing.T) {
	const (
		all     = "DAVUSXT" // drafter approver verifier auditor system security audit-admin
		acts    = "DA"
		decides = "A"
	)
	want := map[string]string{
		ReadRecord: "DAVUT", ReadRegistry: all, ReadOperation: all, ReadEvents: "DAUT", Verify: "DAVU",
		string(model.Genesis): "", string(model.ImportClosed): "", string(model.AnchorAccess): "",
		string(model.Propose): acts, string(model.Approve): acts, string(model.CloseProposal): decides,
		string(model.Admit): acts, string(model.Change): acts, string(model.Remove): acts,
		string(model.HostParty): acts, string(model.ReleaseParty): acts,
		string(model.Delegate): acts, string(model.EndDelegation): acts,
		ReadDraft: "DAUSXT", ApproveLicence: decides, ApproveRegistry: decides, ApproveKey: "ASX",
		string(model.SetEndpoint): "S", string(model.RotateKey): "X",
		string(model.LicenceIssue): acts, string(model.LicenceAmend): acts, string(model.LicenceSuspend): acts,
		string(model.LicenceResume): acts, string(model.LicenceDormant): acts, string(model.LicenceRenew): acts,
		string(model.LicenceTransfer): acts, string(model.LicenceRescind): acts, string(model.LicenceWithdraw): acts,
		string(model.LicenceRevoke): acts, string(model.LicenceCancel): acts, string(model.LicenceVoidLost): acts,
		"": "", "licence": "", "keys.issue": "",
	}
	for typ := range model.Types {
		if _, ok := want[string(typ)]; !ok {
			t.Errorf("the matrix says nothing of %s", typ)
		}
	}
	k := store(t)
	for i, r := range Roles {
		token, _ := issue(t, k, Grant{Agency: "bj-scjg", Roles: []Role{r}})
		p, err := k.SignIn("Bearer " + token)
		if err != nil {
			t.Fatal(err)
		}
		for action, who := range want {
			expected := strings.Contains(who, all[i:i+1])
			if p.May(action) != expected || r.May(action) != expected {
				t.Errorf("%s × %q: %v, want %v", r, action, p.May(action), expected)
			}
		}
	}
	for _, r := range Roles {
		for _, a := range table[r] {
			if _, ok := want[a]; !ok {
				t.Errorf("%s may %q, which the matrix does not know", r, a)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	l := NewLimits(Rates{PrincipalPerSecond: 0.001, PrincipalBurst: 3, AddressPerSecond: 0.001, AddressBurst: 2, Remembered: 4})
	for i := range 3 {
		if w := l.Principal("a"); w != 0 {
			t.Errorf("request %d waits %v", i, w)
		}
	}
	if w := l.Principal("a"); w < 900*time.Second || w > 1001*time.Second {
		t.Errorf("the fourth waits %v", w)
	}
	if w := l.Principal("b"); w != 0 {
		t.Errorf("another principal waits %v", w)
	}
	for _, addr := range []string{"[2001:db8::1]:5", "[2001:db8::ffff]:6"} {
		if w := l.Address(addr); w != 0 {
			t.Errorf("%s waits %v", addr, w)
		}
	}
	if l.Address("[2001:db8::7]:7") == 0 {
		t.Error("a third address of one IPv6 network passes")
	}
	if l.Address("10.0.0.1:1") != 0 || l.Address("10.0.0.2:1") != 0 {
		t.Error("IPv4 addresses share a bucket")
	}
	for _, key := range strings.Split("c d e f g h i j k l m n", " ") {
		l.Principal(key)
	}
	if n := len(l.principals.young) + len(l.principals.old); n > 8 {
		t.Errorf("%d principals remembered", n)
	}
}

func FuzzDecodeKeys(f *testing.F) {
	k := store(f)
	issue(f, k, Grant{Name: "a", Agency: "bj-scjg", Roles: []Role{Drafter}})
	issue(f, k, Grant{Name: "b", Agency: "bj-scjg", Roles: Roles, Expires: time.Unix(2e9, 0)})
	raw, err := os.ReadFile(k.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"version":1,"keys":[]}`))
	f.Add([]byte(`{"version":2,"keys":null}`))
	f.Add([]byte(`{"version":1,"keys":[{"id":"x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := decodeKeys(b)
		if err != nil {
			return
		}
		if _, err := k.compile(entries); err != nil {
			t.Errorf("decoded but not usable: %v", err)
		}
	})
}

func BenchmarkSignIn(b *testing.B) {
	k := store(b)
	token, _ := issue(b, k, Grant{Agency: "bj-scjg", Roles: []Role{Verifier}})
	l := NewLimits(Rates{PrincipalPerSecond: 1e12, PrincipalBurst: 1e9})
	h := "Bearer " + token
	b.ReportAllocs()
	for b.Loop() {
		p, err := k.SignIn(h)
		if err != nil || !p.May(Verify) || l.Principal(p.ID()) != 0 {
			b.Fatal(err)
		}
	}
}
