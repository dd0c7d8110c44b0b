package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
)

// trusting is a directory with one user of the issuer, and all ways to sign in.
func trusting(t testing.TB, at *authtest.Issuer, redirect string) (*SignIn, *User) {
	t.Helper()
	d := store(t)
	issuers, err := NewIssuers([]IssuerConfig{{Issuer: at.URL, ClientID: authtest.ClientID, ClientSecret: authtest.Secret, RedirectURL: redirect}})
	if err != nil {
		t.Fatal(err)
	}
	made, err := d.Apply(Change{Action: AddUser, User: &UserSpec{Name: "王芳", Agency: "bj-scjg", Roles: []Role{Drafter}, Subjects: []Subject{{at.URL, "wangfang"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &SignIn{People: d, Issuers: issuers, Login: NewLogin(d, issuers)}, made.User
}

func (s *SignIn) with(header string) (*Principal, error) {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", header)
	return s.Find(r)
}

func TestTokens(t *testing.T) {
	at := authtest.New(t)
	s, user := trusting(t, at, "")
	now := time.Now()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(at.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	good := at.Token("wangfang", nil)
	parts := strings.Split(good, ".")
	for _, tt := range []struct {
		name, token string
		good        bool
	}{
		{"good", good, true},
		{"good again, from memory", good, true},
		{"several audiences", at.Token("wangfang", map[string]any{"aud": []string{"other", authtest.ClientID}}), true},
		{"expired within a clock's error", at.Token("wangfang", map[string]any{"exp": now.Add(-30 * time.Second).Unix()}), true},
		{"not before, within a clock's error", at.Token("wangfang", map[string]any{"nbf": now.Add(30 * time.Second).Unix()}), true},
		{"access token", authtest.Sign(at.Claims("wangfang", nil), jose.ES256, at.Key(), "at+jwt"), true},

		{"wrong audience", at.Token("wangfang", map[string]any{"aud": "another-node"}), false},
		{"no audience", at.Token("wangfang", map[string]any{"aud": nil}), false},
		{"expired", at.Token("wangfang", map[string]any{"exp": now.Add(-2 * time.Minute).Unix()}), false},
		{"without expiry", at.Token("wangfang", map[string]any{"exp": nil}), false},
		{"not yet", at.Token("wangfang", map[string]any{"nbf": now.Add(2 * time.Minute).Unix()}), false},
		{"issued in the future", at.Token("wangfang", map[string]any{"iat": now.Add(2 * time.Minute).Unix()}), false},
		{"another issuer", at.Token("wangfang", map[string]any{"iss": "https://elsewhere.example"}), false},
		{"another issuer's name, ours in front", at.Token("wangfang", map[string]any{"iss": at.URL + "/"}), false},
		{"unknown user", at.Token("lisi", nil), false},
		{"no user", at.Token("wangfang", map[string]any{"sub": nil}), false},
		{"another key under the issuer's key id", authtest.Sign(at.Claims("wangfang", nil), jose.ES256, jose.JSONWebKey{Key: ec, KeyID: at.KeyID()}, "JWT"), false},
		{"another key under another id", authtest.Sign(at.Claims("wangfang", nil), jose.ES256, jose.JSONWebKey{Key: ec, KeyID: "x"}, "JWT"), false},
		{"another key without an id", authtest.Sign(at.Claims("wangfang", nil), jose.ES256, ec, "JWT"), false},
		{"HS256 with the public key", authtest.Sign(at.Claims("wangfang", nil), jose.HS256, jose.JSONWebKey{Key: public, KeyID: at.KeyID()}, "JWT"), false},
		{"HS256 with the public key, DER", authtest.Sign(at.Claims("wangfang", nil), jose.HS256, jose.JSONWebKey{Key: der, KeyID: at.KeyID()}, "JWT"), false},
		{"alg none", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + ".", false},
		{"alg none with a signature", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + "." + parts[2], false},
		{"no signature", parts[0] + "." + parts[1] + ".", false},
		{"other claims under the signature", parts[0] + "." + strings.Split(at.Token("wangfang", map[string]any{"x": 1}), ".")[1] + "." + parts[2], false},
		{"a token for logging out", authtest.Sign(at.Claims("wangfang", nil), jose.ES256, at.Key(), "logout+jwt"), false},
		{"JSON serialization", `eyJ{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, false},
		{"long", good + strings.Repeat("A", maxToken), false},
		{"cut", good[:len(good)-3], false},
		{"prefix only", "eyJ", false},
	} {
		p, err := s.with("Bearer " + tt.token)
		if tt.good {
			if err != nil || p.ID() != user.ID || p.Person() != Pseudonym(secret, user.ID) || p.Name() != "王芳" {
				t.Errorf("%s: %v, %v", tt.name, p, err)
			}
		} else if p != nil || err != error(errUnauthenticated) {
			t.Errorf("%s: %v, %v", tt.name, p, err)
		}
	}
}

// One person is one principal, however he signs in, and every way ends with him.
func TestUserEverywhere(t *testing.T) {
	at := authtest.New(t)
	s, user := trusting(t, at, "")
	key, _ := issue(t, s.People, Grant{Name: "窗口三", User: user.ID})
	token := at.Token("wangfang", nil)
	for _, h := range []string{"Bearer " + key, "Bearer " + token} {
		p, err := s.with(h)
		if err != nil || p.ID() != user.ID || !p.May("licence.issue") || p.May("registry.close") {
			t.Fatalf("%v, %v", p, err)
		}
	}
	change := func(c Change) {
		t.Helper()
		if _, err := s.People.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	spec := user.Spec()
	spec.Roles, spec.Agency = []Role{Verifier}, "bj-dc-scjg"
	change(Change{Action: ChangeUser, ID: user.ID, User: &spec})
	for _, h := range []string{"Bearer " + key, "Bearer " + token} {
		p, err := s.with(h)
		if err != nil || p.May("licence.issue") || !p.May(Verify) || p.Agency() != "bj-dc-scjg" {
			t.Errorf("after the change: %v, %v", p, err)
		}
	}
	change(Change{Action: DisableUser, ID: user.ID})
	for _, h := range []string{"Bearer " + key, "Bearer " + token} {
		if _, err := s.with(h); err != error(errUnauthenticated) {
			t.Errorf("a disabled user: %v", err)
		}
	}
	change(Change{Action: EnableUser, ID: user.ID})
	if _, err := s.with("Bearer " + key); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	spec.Subjects = nil
	change(Change{Action: ChangeUser, ID: user.ID, User: &spec})
	if _, err := s.with("Bearer " + token); err != error(errUnauthenticated) {
		t.Errorf("a subject that is nobody's any more: %v", err)
	}
}

// People of a party come in while this node hosts it.
func TestParty(t *testing.T) {
	d := store(t)
	add := func(party model.USCC) string {
		made, err := d.Apply(Change{Action: AddUser, User: &UserSpec{Name: "货代", Party: party, Roles: []Role{TradeParty}}})
		if err != nil {
			t.Fatal(err)
		}
		token, _ := issue(t, d, Grant{Name: "k", User: made.User.ID})
		return token
	}
	p, err := d.SignInKey("Bearer " + add(hosted))
	if err != nil || p.Party() != hosted || p.Agency() != "" || !p.May(Verify) {
		t.Errorf("%v, %v", p, err)
	}
	if p.Decide(Verify, "bj-scjg").Policy != "trade-party-verifies" || p.Decide(string(model.LicenceIssue), "").Allowed {
		t.Error("wrong rights")
	}
	if _, err := d.SignInKey("Bearer " + add("91110000802100433B")); err != error(errUnauthenticated) {
		t.Errorf("a party that is hosted elsewhere: %v", err)
	}
}

// The issuer signs with another key: its new tokens are good at once, those of the key that it withdrew end within minutes.
func TestKeyRotated(t *testing.T) {
	at := authtest.New(t)
	s, _ := trusting(t, at, "")
	clock := &offset{}
	s.Issuers.now = clock.now
	s.Issuers.list[0].now = clock.now
	old := at.Token("wangfang", nil)
	if _, err := s.with("Bearer " + old); err != nil {
		t.Fatal(err)
	}
	at.Rotate()
	clock.by(2 * time.Second) // keys are asked for once a second at most
	if _, err := s.with("Bearer " + at.Token("wangfang", nil)); err != nil {
		t.Errorf("signed with the new key: %v", err)
	}
	clock.by(tokenKept)
	if _, err := s.with("Bearer " + old); err != error(errUnauthenticated) {
		t.Errorf("signed with a key that the issuer has withdrawn: %v", err)
	}
	// Also where nobody has come with a new one since.
	old = at.Token("wangfang", map[string]any{"exp": clock.now().Add(time.Hour).Unix()})
	if _, err := s.with("Bearer " + old); err != nil {
		t.Fatal(err)
	}
	at.Rotate()
	clock.by(keysFresh + time.Second)
	if _, err := s.with("Bearer " + old); err != error(errUnauthenticated) {
		t.Errorf("signed with a key that the issuer has withdrawn a while ago: %v", err)
	}
}

func TestIssuerDownThenUp(t *testing.T) {
	at := authtest.New(t)
	s, user := trusting(t, at, "")
	clock := &offset{}
	s.Issuers.now = clock.now
	s.Issuers.list[0].now = clock.now
	key, _ := issue(t, s.People, Grant{Name: "k", User: user.ID})
	at.Down(true)
	token := at.Token("wangfang", nil)
	for range 3 {
		_, err := s.with("Bearer " + token)
		var e *model.Error
		if !errors.As(err, &e) || e.Code != model.CodeIssuerUnreachable || e.Detail != at.URL {
			t.Fatalf("an issuer that is down: %v", err)
		}
	}
	if len(s.Issuers.Trouble()) != 1 {
		t.Error("no trouble is told of")
	}
	if _, err := s.with("Bearer " + key); err != nil {
		t.Errorf("a key while the issuer is down: %v", err)
	}
	if _, err := s.with("Bearer eyJhbGciOiJub25lIn0.e30."); err != error(errUnauthenticated) {
		t.Errorf("nonsense while the issuer is down: %v", err)
	}
	at.Down(false)
	clock.by(askAgain)
	if _, err := s.with("Bearer " + token); err != nil {
		t.Errorf("the issuer is up again: %v", err)
	}
	if len(s.Issuers.Trouble()) != 0 {
		t.Error("the trouble stays")
	}
	// What it said before goes on while it is down again: for a day.
	at.Down(true)
	clock.by(keysFresh + time.Minute)
	if _, err := s.with("Bearer " + at.Token("wangfang", map[string]any{"exp": clock.now().Add(time.Hour).Unix()})); err != nil {
		t.Errorf("keys of ten minutes ago: %v", err)
	}
	clock.by(keysUsable)
	if _, err := s.with("Bearer " + at.Token("wangfang", map[string]any{"exp": clock.now().Add(time.Hour).Unix()})); !errors.Is(err, model.E(model.CodeIssuerUnreachable)) {
		t.Errorf("keys of yesterday: %v", err)
	}
}

// Whoever sends invented tokens has this node ask the issuer once a second, not once a token.
func TestIssuerIsNotFlooded(t *testing.T) {
	at := authtest.New(t)
	s, _ := trusting(t, at, "")
	clock := &offset{stopped: time.Now()}
	s.Issuers.list[0].now = clock.now
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		token := authtest.Sign(at.Claims("wangfang", nil), jose.ES256, jose.JSONWebKey{Key: ec, KeyID: rand.Text()}, "JWT")
		if _, err := s.with("Bearer " + token); err != error(errUnauthenticated) {
			t.Fatal(err)
		}
	}
	if n := at.Asked(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	at.Down(true)
	clock.by(2 * askAgain)
	for range 50 {
		token := authtest.Sign(at.Claims("wangfang", nil), jose.ES256, jose.JSONWebKey{Key: ec, KeyID: rand.Text()}, "JWT")
		if _, err := s.with("Bearer " + token); !errors.Is(err, model.E(model.CodeIssuerUnreachable)) {
			t.Fatal(err)
		}
	}
	s.Issuers.list[0].mu.Lock()
	defer s.Issuers.list[0].mu.Unlock()
	if n := s.Issuers.list[0].failures; n != 1 {
		t.Errorf("it was tried %d times while it was down", n)
	}
}

// A caller that goes away does not wait for an issuer that hangs.
func TestCallerGoesAway(t *testing.T) {
	at := authtest.New(t)
	s, _ := trusting(t, at, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Issuers.Token(ctx, at.Token("wangfang", nil)); !errors.Is(err, model.E(model.CodeIssuerUnreachable)) {
		t.Error(err)
	}
}

func TestTokensAreBounded(t *testing.T) {
	s := &Issuers{now: time.Now, young: map[[32]byte]verified{}}
	for n := range 3 * tokensKept {
		s.keep([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}, verified{until: time.Now().Add(time.Hour)})
	}
	if n := len(s.young) + len(s.old); n > 2*tokensKept {
		t.Errorf("%d tokens are kept", n)
	}
}

func TestIssuerConfig(t *testing.T) {
	for _, c := range []IssuerConfig{
		{Issuer: "http://id.example.gov.cn", ClientID: "x"},
		{Issuer: "https://id.example.gov.cn?x=1", ClientID: "x"},
		{Issuer: "https://id.example.gov.cn"},
		{Issuer: "ftp://127.0.0.1", ClientID: "x"},
		{Issuer: "https://id.example.gov.cn", ClientID: "x", RedirectURL: "http://node.example.gov.cn/auth/callback"},
		{Issuer: "https://id.example.gov.cn", ClientID: "x", RedirectURL: "https://node.example.gov.cn/elsewhere"},
	} {
		if _, err := NewIssuers([]IssuerConfig{c}); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	good := IssuerConfig{Issuer: "https://id.example.gov.cn", ClientID: "x", RedirectURL: "https://node.example.gov.cn/auth/callback"}
	if _, err := NewIssuers([]IssuerConfig{good, good}); err == nil {
		t.Error("an issuer twice is accepted")
	}
}

// offset is a clock that a test puts forward.
type offset struct {
	stopped time.Time // zero: it runs
	d       atomic.Int64
}

func (o *offset) now() time.Time {
	if !o.stopped.IsZero() {
		return o.stopped.Add(time.Duration(o.d.Load()))
	}
	return time.Now().Add(time.Duration(o.d.Load()))
}
func (o *offset) by(d time.Duration) { o.d.Add(int64(d)) }

func FuzzToken(f *testing.F) {
	at := authtest.New(f)
	s, _ := trusting(f, at, "")
	good := at.Token("wangfang", nil)
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, token string) {
		if p, err := s.with("Bearer " + token); err == nil && p.Name() != "王芳" {
			t.Errorf("%q signs %s in", token, p.Name())
		}
	})
}

// What signing in costs with a token that was seen before.
func BenchmarkSignInToken(b *testing.B) {
	at := authtest.New(b)
	s, _ := trusting(b, at, "")
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+at.Token("wangfang", nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Find(r); err != nil {
			b.Fatal(err)
		}
	}
}
