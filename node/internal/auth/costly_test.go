package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/synctest"

	"github.com/go-jose/go-jose/v4"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
)

// Only what is verified anew is costly, and to ask how long to wait costs nothing.
func TestCostlySignIns(t *testing.T) {
	at := authtest.New(t)
	s, _ := trusting(t, at, "")
	costly := func(header string) bool {
		r := httptest.NewRequest("GET", "/", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		return s.Costly(r)
	}
	good := "Bearer " + at.Token("wangfang", nil)
	if !costly(good) {
		t.Error("a token that nobody has looked at yet")
	}
	if _, err := s.with(good); err != nil {
		t.Fatal(err)
	}
	if costly(good) || !costly(good+"A") || costly("") || costly("Bearer "+KeyPrefix+"x") {
		t.Error("a token that was found good, another, nothing, a key")
	}
	l := NewLimits(Rates{AddressPerSecond: 0.001, AddressBurst: 2})
	for range 5 {
		if l.FailedWait(from("10.0.0.1:1")) != 0 {
			t.Fatal("to ask counts")
		}
	}
	if l.Failed(from("10.0.0.1:1")) != 0 || l.FailedWait(from("10.0.0.1:2")) != 0 || l.Failed(from("10.0.0.1:3")) != 0 {
		t.Error("an address that has tokens left waits")
	}
	if l.FailedWait(from("10.0.0.1:4")) == 0 || l.FailedWait(from("10.0.0.2:4")) != 0 {
		t.Error("an address that has none left goes on, or another waits")
	}
}

// A token that names no key is tried against a few, however many an issuer has.
func TestFewKeysAreTried(t *testing.T) {
	k := issuerKeys{}
	var private []*ecdsa.PrivateKey
	for range 2 * maxTried {
		p, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		private = append(private, p)
		k.keys = append(k.keys, jose.JSONWebKey{Key: p.Public(), Algorithm: "ES256", Use: "sig"})
	}
	for n, p := range private {
		jws, err := jose.ParseSignedCompact(authtest.Sign(map[string]any{"sub": "x"}, jose.ES256, p, "JWT"), algorithms)
		if err != nil {
			t.Fatal(err)
		}
		if payload, _ := k.find(jws); (payload != nil) != (n < maxTried) {
			t.Errorf("the key %d: %s", n, payload)
		}
	}
}

// However many tokens come, some processors verify none: the next waits its turn, and keys wait for nobody.
func TestVerifyingIsBounded(t *testing.T) {
	at := authtest.New(t)
	s, _ := trusting(t, at, "")
	key, _ := issue(t, s.People, Grant{Agency: "bj-scjg", Roles: []Role{Verifier}})
	if _, err := s.with("Bearer " + at.Token("wangfang", nil)); err != nil { // the issuer's keys are known
		t.Fatal(err)
	}
	working := s.Issuers.working
	if most := max(1, runtime.GOMAXPROCS(0)-1); cap(working) != most {
		t.Fatalf("%d at a time of %d", cap(working), most)
	}
	for range cap(working) {
		working <- struct{}{}
	}
	token := at.Token("wangfang", map[string]any{"jti": "another"})
	ctx, giveUp := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Issuers.Token(ctx, token)
		done <- err
	}()
	if _, err := s.with("Bearer " + key); err != nil {
		t.Errorf("a key: %v", err)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	giveUp()
	if err := <-done; !errors.Is(err, model.E(model.CodeShuttingDown)) {
		t.Errorf("who gave up: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{working: make(chan struct{}, 1)}
		i.working <- struct{}{}
		if _, _, err := i.find(context.Background(), &issuerKeys{}, nil); !errors.Is(err, model.E(model.CodeRateLimited)) {
			t.Errorf("who waits too long: %v", err)
		}
	})
	for range cap(working) {
		<-working
	}
	if _, err := s.with("Bearer " + token); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}
