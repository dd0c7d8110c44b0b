package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// IssuerConfig is an OpenID Connect issuer whose word this node takes for who somebody is.
type IssuerConfig struct {
	Issuer       string         // its address, as it stands in its tokens' iss: https, or http on this machine
	ClientID     string         // this node's name there
	ClientSecret string         // "" for a public client, which PKCE protects alone
	Audience     string         // that tokens in Authorization headers are for; "": ClientID
	RedirectURL  string         // …/auth/callback of this node as browsers reach it; "": no sign-in by browser
	Roots        *x509.CertPool // of its TLS certificate; nil: the system's
}

const (
	issuerDeadline = 5 * time.Second  // of each question to an issuer
	keysFresh      = 10 * time.Minute // after which an issuer's keys are asked for again
	keysUsable     = 24 * time.Hour   // for which they are used while it cannot be asked
	askAgain       = time.Second      // at least, between two questions for its keys
	backOffMost    = time.Minute      // between questions to an issuer that does not answer
	maxIssuerBody  = 1 << 20
	maxIssuerKeys  = 64
	clockSkew      = 60 * time.Second
	maxTried       = 4 // keys for a token that names none
)

// algorithms are those that a token may be signed with: no symmetric ones, since an issuer's public key is no secret.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// issuer keeps what is known of an issuer: its addresses and its keys. Safe for concurrent use.
type issuer struct {
	IssuerConfig
	client  *http.Client
	now     func() time.Time
	working chan struct{} // of Issuers

	known atomic.Pointer[issuerKeys] // nil until it has answered once

	mu       sync.Mutex
	flight   chan struct{} // under mu: closed when the question under way is answered; nil: none is
	next     time.Time     // under mu: not to be asked before
	failures int           // under mu: since it last answered
	trouble  error         // under mu: of the last question, nil if it was answered
}

// issuerKeys is what an issuer has said. Immutable.
type issuerKeys struct {
	provider *oidc.Provider
	keys     []jose.JSONWebKey
	at       time.Time
}

func newIssuer(c IssuerConfig) (*issuer, error) {
	if err := checkIssuer(c.Issuer); err != nil {
		return nil, fmt.Errorf("oidc: %q: %w", c.Issuer, err)
	}
	if c.ClientID == "" {
		return nil, fmt.Errorf("oidc: %s: client_id is missing", c.Issuer)
	}
	if c.RedirectURL != "" {
		u, err := url.Parse(c.RedirectURL)
		if err != nil || u.Path != CallbackPath || checkIssuer(c.RedirectURL) != nil {
			return nil, fmt.Errorf("oidc: %s: redirect_url: want https://…%s (plain http on this machine)", c.Issuer, CallbackPath)
		}
	}
	if c.Audience == "" {
		c.Audience = c.ClientID
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: issuerDeadline}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   issuerDeadline,
		ResponseHeaderTimeout: issuerDeadline,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       time.Minute,
	}
	return &issuer{IssuerConfig: c, now: time.Now, client: &http.Client{
		Transport: bounded{transport}, Timeout: issuerDeadline,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// bounded cuts answers that are too long, and asks nobody over a line that others can read.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !loopback(r.URL.Hostname()) {
		return nil, errors.New("the issuer names an address that is not https")
	}
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxIssuerBody), res.Body}
	}
	return res, err
}

// loopback reports whether a host is this machine itself.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// unreachable names the issuer: who asks has named it first, or chose it from this node's own page.
func (i *issuer) unreachable(cause error) error {
	return model.E(model.CodeIssuerUnreachable).With("%s", i.Issuer).Because(cause)
}

// get returns what is known of the issuer and asks it where nothing is, or where that is too old. While it does not
// answer, what it said in the last day goes on, and only the first who finds that out waits for it.
func (i *issuer) get(ctx context.Context) (*issuerKeys, error) {
	k := i.known.Load()
	if k == nil || i.now().Sub(k.at) >= keysUsable {
		return i.renew(ctx, k)
	}
	if i.now().Sub(k.at) < keysFresh {
		return k, nil
	}
	i.mu.Lock()
	quiet := i.trouble != nil
	i.mu.Unlock()
	if flight := i.ask(); flight != nil && !quiet {
		select {
		case <-flight:
		case <-ctx.Done():
		}
	}
	return i.known.Load(), nil
}

// renew asks the issuer, unless it has answered since was, or was asked a moment ago; then that counts.
func (i *issuer) renew(ctx context.Context, was *issuerKeys) (*issuerKeys, error) {
	if flight := i.ask(); flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, i.unreachable(ctx.Err())
		}
	}
	k := i.known.Load()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.trouble != nil && (k == nil || k == was) {
		return nil, i.unreachable(i.trouble)
	}
	return k, nil
}

// ask begins a question, or joins the one under way; nil where it is too early for another.
func (i *issuer) ask() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.flight != nil || i.now().Before(i.next) {
		return i.flight
	}
	flight := make(chan struct{})
	i.flight = flight
	go func() {
		k, err := i.fetch()
		i.mu.Lock()
		defer i.mu.Unlock()
		i.trouble, i.flight = err, nil
		if err != nil {
			i.next = i.now().Add(min(askAgain<<min(i.failures, 10), backOffMost))
			i.failures++
		} else {
			i.failures, i.next = 0, i.now().Add(askAgain)
			i.known.Store(k)
		}
		close(flight)
	}()
	return flight
}

// fetch reads the issuer's addresses and keys.
func (i *issuer) fetch() (*issuerKeys, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.Background(), i.client), issuerDeadline)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, i.Issuer)
	if err != nil {
		return nil, err
	}
	var at struct {
		Keys string `json:"jwks_uri"`
	}
	if err := provider.Claims(&at); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Keys, nil)
	if err != nil {
		return nil, err
	}
	res, err := i.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("its keys: status %d", res.StatusCode)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		return nil, fmt.Errorf("its keys: %w", err)
	}
	if len(set.Keys) > maxIssuerKeys {
		return nil, fmt.Errorf("its keys: more than %d", maxIssuerKeys)
	}
	k := &issuerKeys{provider: provider, at: i.now()}
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && forSigning(&key) { // kinds that are not known are for others
			k.keys = append(k.keys, key)
		}
	}
	return k, nil
}

// forSigning reports whether a key is a public one that tokens may be signed with.
func forSigning(k *jose.JSONWebKey) bool {
	if !k.Valid() || (k.Use != "" && k.Use != "sig") {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// find is the payload of a signed token, if one of these keys has signed it, of those that fit its header the first four;
// named says that the token names one.
func (k *issuerKeys) find(jws *jose.JSONWebSignature) (payload []byte, named bool) {
	header := jws.Signatures[0].Protected
	tried := 0
	for n := range k.keys {
		key := &k.keys[n]
		if header.KeyID != "" && header.KeyID != key.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		named = header.KeyID != ""
		if tried++; tried > maxTried {
			break // anybody can have us try
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, named
}

// find has issuerKeys.find verify, for so many tokens at a time that a processor is left for the rest: anybody can have
// signatures verified. Who waits for it longer than for an issuer is told to come again.
func (i *issuer) find(ctx context.Context, k *issuerKeys, jws *jose.JSONWebSignature) (payload []byte, named bool, err error) {
	late := time.NewTimer(issuerDeadline)
	defer late.Stop()
	select {
	case i.working <- struct{}{}:
		defer func() { <-i.working }()
	case <-late.C:
		return nil, false, model.E(model.CodeRateLimited)
	case <-ctx.Done():
		return nil, false, model.E(model.CodeShuttingDown).Because(ctx.Err())
	}
	payload, named = k.find(jws)
	return payload, named, nil
}

// signature verifies signatures for go-oidc, and keeps what went wrong, which go-oidc turns into text.
type signature struct {
	*issuer
	err error
}

// VerifySignature finds the issuer's key. An issuer that changes its keys signs with one that is not known yet: then it
// is asked, once a second at most, whatever comes in.
func (s *signature) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	s.err = errUnauthenticated
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, s.err
	}
	k, err := s.get(ctx)
	if err != nil {
		s.err = err
		return nil, err
	}
	payload, named, err := s.find(ctx, k, jws)
	if err == nil && payload == nil && !named {
		was := k
		if k, err = s.renew(ctx, k); err != nil {
			s.err = err
			return nil, err
		}
		if k != was {
			payload, _, err = s.find(ctx, k, jws)
		}
	}
	if err != nil {
		s.err = err
	}
	if payload == nil {
		return nil, s.err
	}
	s.err = nil
	return payload, nil
}

// claims are those of a token that go-oidc does not check, or not as strictly.
type claims struct {
	Subject   string   `json:"sub"`
	NotBefore *float64 `json:"nbf"`
	IssuedAt  *float64 `json:"iat"`
	Party     string   `json:"azp"`
	Nonce     string   `json:"nonce"`
}

// verify checks a token of this issuer: signature, issuer, audience, expiry and the other times, with a minute's
// patience for clocks.
func (i *issuer) verify(ctx context.Context, token, audience string) (claims, time.Time, error) {
	var c claims
	keys := &signature{issuer: i}
	supported := make([]string, len(algorithms))
	for n, a := range algorithms {
		supported[n] = string(a)
	}
	t, err := oidc.NewVerifier(i.Issuer, keys, &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: supported, Now: func() time.Time { return i.now().Add(-clockSkew) },
	}).Verify(ctx, token)
	if err != nil {
		if keys.err != nil {
			return c, time.Time{}, keys.err
		}
		return c, time.Time{}, errUnauthenticated
	}
	if err := t.Claims(&c); err != nil {
		return c, time.Time{}, errUnauthenticated
	}
	latest := float64(i.now().Add(clockSkew).Unix())
	for _, at := range []*float64{c.NotBefore, c.IssuedAt} {
		if at != nil && *at > latest {
			return c, time.Time{}, errUnauthenticated
		}
	}
	if c.Subject == "" || len(c.Subject) > maxSubject {
		return c, time.Time{}, errUnauthenticated
	}
	return c, t.Expiry, nil
}
