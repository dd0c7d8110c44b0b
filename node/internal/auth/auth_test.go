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

func store(t testing.TB) *Directory {
	t.Helper()
	dir := t.TempDir()
	if err := CreateDirectory(dir); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir)
}

func reopen(t testing.TB, dir string) *Directory {
	t.Helper()
	policies, err := OpenPolicies("")
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDirectory(dir, secret, policies, fakeRegistry{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// fakeRegistry has the tree bj-gov > bj-scjg > bj-dc-scjg and one hosted party.
type fakeRegistry struct{}

const hosted = "91110000600037341L"

func (fakeRegistry) Below(agency, above model.AgencyID) bool {
	return (above == "bj-gov" && (agency == "bj-scjg" || agency == "bj-dc-scjg")) || (above == "bj-scjg" && agency == "bj-dc-scjg")
}
func (fakeRegistry) Hosts(party model.USCC) bool { return party == hosted }

func issue(t testing.TB, k *Directory, g Grant) (string, Entry) {
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
	token, e := issue(t, k, Grant{Name: "窗口系统", Agency: "bj-scjg", Roles: []Role{Drafter}, Expires: model.TimeOf(now.Add(time.Hour))})
	if len(token) != tokenLength || !strings.HasPrefix(token, KeyPrefix) {
		t.Fatalf("token has %d characters", len(token))
	}

	p, err := k.SignInKey("Bearer " + token)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID() != e.ID || p.Agency() != "bj-scjg" || !slices.Equal(p.Roles(), []Role{Drafter}) {
		t.Errorf("principal %+v", p)
	}
	if p.Person() != Pseudonym(secret, e.ID) || len(p.Person()) != 32 {
		t.Errorf("pseudonym %q", p.Person())
	}

	again := reopen(t, k.dir)
	again.now = k.now
	if _, err := again.SignInKey("bearer " + token); err != nil {
		t.Errorf("after opening again: %v", err)
	}

	now = now.Add(time.Hour)
	if _, err := k.SignInKey("Bearer " + token); !errors.Is(err, model.E(model.CodeUnauthenticated)) {
		t.Errorf("expired key: %v", err)
	}
	now = now.Add(-time.Minute)
	if err := k.Revoke(e.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := k.SignInKey("Bearer " + token); !errors.Is(err, model.E(model.CodeUnauthenticated)) {
		t.Errorf("revoked key: %v", err)
	}
	if _, err := again.SignInKey("Bearer " + token); err != nil {
		t.Errorf("the other process has not looked yet: %v", err)
	}
	if err := again.Refresh(); err != nil {
		t.Fatal(err)
	}
	if _, err := again.SignInKey("Bearer " + token); err == nil {
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
		p, err := k.SignInKey(h)
		if p != nil || err != error(errUnauthenticated) {
			t.Errorf("%q: %v, %v", h, p, err)
		}
	}
}

func TestTokenIsNowhere(t *testing.T) {
	k := store(t)
	token, _ := issue(t, k, Grant{Agency: "bj-scjg", Roles: []Role{Drafter, Approver}})
	raw, err := os.ReadFile(k.path(KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(raw, []byte(token[len(KeyPrefix):])) {
		t.Error("the key itself stands in the file")
	}
	info, err := os.Stat(k.path(KeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(k.path(KeyFile), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDirectory(k.dir, secret, k.policies, nil); err == nil {
		t.Error("a file that others can read is accepted")
	}
}

func TestStoreIsNeverMadeSilently(t *testing.T) {
	dir := t.TempDir()
	policies, err := OpenPolicies("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDirectory(dir, secret, policies, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening nothing: %v", err)
	}
	if err := CreateDirectory(dir); err != nil {
		t.Fatal(err)
	}
	if err := CreateDirectory(dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("creating twice: %v", err)
	}
	if _, err := OpenDirectory(dir, secret[:16], policies, nil); err == nil {
		t.Error("a short secret is accepted")
	}
	if err := os.Remove(filepath.Join(dir, PeopleFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDirectory(dir, secret, policies, nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "backup") {
		t.Errorf("without people: %v", err)
	}
}

// Two processes that issue at once lose neither key.
func TestTwoWriters(t *testing.T) {
	a := store(t)
	b := reopen(t, a.dir)
	done := make(chan error, 2)
	for _, k := range []*Directory{a, b} {
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
	c := reopen(t, a.dir)
	if n := len(c.Keys()); n != 40 {
		t.Errorf("%d keys of 40", n)
	}
}

func TestIssueRefuses(t *testing.T) {
	k := store(t)
	for _, g := range []Grant{
		{Agency: "bj-scjg"},
		{Agency: "bj-scjg", Roles: []Role{"root"}},
		{Roles: []Role{Drafter}},
		{Agency: "bj-scjg", Roles: []Role{SystemAdmin, AuditAdmin}},
		{Agency: "bj-scjg", Roles: []Role{Drafter, Drafter}},
		{User: "usr-nobody"},
		{Agency: "bj-scjg", Roles: []Role{Drafter}, Name: "a\u202eb"},
		{Agency: "*", Roles: []Role{Drafter}},
		{Agency: "bj-scjg", Roles: []Role{Drafter}, Name: strings.Repeat("x", 300)},
	} {
		if _, _, err := k.Issue(g); err == nil {
			t.Errorf("%+v is accepted", g)
		}
	}
	if n := len(k.Keys()); n != 0 {
		t.Errorf("%d keys", n)
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
		if w := l.Open(from(addr), "/"); w != 0 {
			t.Errorf("%s waits %v", addr, w)
		}
	}
	if l.Open(from("[2001:db8::7]:7"), "/") == 0 {
		t.Error("a third address of one IPv6 network passes")
	}
	if l.Open(from("[2001:db8::7]:7"), "/auth/login") != 0 || l.Failed(from("[2001:db8::7]:7")) != 0 {
		t.Error("another route, or failed sign-ins, share its bucket")
	}
	if l.Open(from("10.0.0.1:1"), "/") != 0 || l.Open(from("10.0.0.2:1"), "/") != 0 {
		t.Error("IPv4 addresses share a bucket")
	}
	for _, key := range strings.Split("c d e f g h i j k l m n", " ") {
		l.Principal(key)
	}
	if n := len(l.principals.young) + len(l.principals.old); n > 8 {
		t.Errorf("%d principals remembered", n)
	}
}

// At the rate that a node has by itself a key that never rests does not fill a disk in days.
func TestRateByItself(t *testing.T) {
	l := NewLimits(Rates{})
	const entry, day = 250, 24 * 60 * 60 // bytes of the access log, seconds
	if perDay := float64(l.principals.limit) * entry * day; perDay > 50e9 {
		t.Errorf("%.0f bytes of access log a day", perDay)
	}
}

func FuzzDecodeKeys(f *testing.F) {
	k := store(f)
	issue(f, k, Grant{Name: "a", Agency: "bj-scjg", Roles: []Role{Drafter}})
	issue(f, k, Grant{Name: "b", Agency: "bj-scjg", Roles: []Role{Verifier, Auditor}, Expires: model.TimeOf(time.Unix(2e9, 0))})
	raw, err := os.ReadFile(k.path(KeyFile))
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
		if _, err := k.compile(contents{keys: entries}); err != nil {
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
		p, err := k.SignInKey(h)
		if err != nil || !p.May(Verify) || l.Principal(p.ID()) != 0 {
			b.Fatal(err)
		}
	}
}
