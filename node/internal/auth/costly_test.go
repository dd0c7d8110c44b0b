package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http/httptest"
	"testing"

	"github.com/go-jose/go-jose/v4"

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
		if l.AddressWait("10.0.0.1:1") != 0 {
			t.Fatal("to ask counts")
		}
	}
	if l.Address("10.0.0.1:1") != 0 || l.AddressWait("10.0.0.1:2") != 0 || l.Address("10.0.0.1:3") != 0 {
		t.Error("an address that has tokens left waits")
	}
	if l.AddressWait("10.0.0.1:4") == 0 || l.AddressWait("10.0.0.2:4") != 0 {
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
