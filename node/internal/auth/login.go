package auth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// CallbackPath is where an issuer sends a browser back to.
const CallbackPath = "/auth/callback"

const (
	loginLife   = 10 * time.Minute // to sign in at the issuer
	maxLogin    = 4 << 10          // of the cookie that keeps a login under way
	sessionName = "zhenglian"
	loginName   = "zhenglian-login"
)

// Login signs browsers in by an issuer's authorization code with PKCE, and keeps their sessions. Safe for concurrent use.
type Login struct {
	people   *Directory
	issuers  *Issuers
	sessions sessions
	secure   bool // browsers reach this node over https only
	hosts    []string
	seal     cipher.AEAD // of logins under way, which the browser keeps, so that strangers fill no memory here
}

// NewLogin returns nil where no issuer has a redirect URL.
func NewLogin(people *Directory, issuers *Issuers) *Login {
	l := &Login{people: people, issuers: issuers, secure: true, sessions: sessions{now: time.Now, by: map[[32]byte]*session{}}}
	for _, i := range issuers.list {
		u, err := url.Parse(i.RedirectURL)
		if err != nil || i.RedirectURL == "" {
			continue
		}
		l.hosts = append(l.hosts, u.Host)
		l.secure = l.secure && u.Scheme == "https"
	}
	if len(l.hosts) == 0 {
		return nil
	}
	var key [32]byte
	_, _ = rand.Read(key[:])
	block, _ := aes.NewCipher(key[:]) // 32 bytes always make a key
	l.seal, _ = cipher.NewGCM(block)
	return l
}

// underWay is a login that the browser has taken to the issuer. It is sealed in a cookie.
type underWay struct {
	Issuer   string    `json:"issuer"`
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Next     string    `json:"next"`
	Until    time.Time `json:"until"`
}

func (l *Login) config(i *issuer, k *issuerKeys) *oauth2.Config {
	return &oauth2.Config{
		ClientID: i.ClientID, ClientSecret: i.ClientSecret, RedirectURL: i.RedirectURL, Endpoint: k.provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID},
	}
}

// Begin sends a browser to the issuer: ?issuer= chooses one, the first by default, and ?next= is the path on this node to
// come back to.
func (l *Login) Begin(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	var i *issuer
	for _, known := range l.issuers.list {
		if known.RedirectURL != "" && (i == nil || known.Issuer == q.Get("issuer")) {
			i = known
		}
	}
	if chosen := q.Get("issuer"); chosen != "" && chosen != i.Issuer {
		return model.E(model.CodeNotFound, "issuer")
	}
	k, err := i.get(r.Context())
	if err != nil {
		return err
	}
	u := underWay{
		Issuer: i.Issuer, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: localPath(q.Get("next")),
		Until: l.sessions.now().Add(loginLife),
	}
	plain, err := json.Marshal(u)
	if err != nil {
		return err
	}
	nonce := make([]byte, l.seal.NonceSize())
	_, _ = rand.Read(nonce)
	sealed := base64.RawURLEncoding.EncodeToString(l.seal.Seal(nonce, nonce, plain, []byte(loginName)))
	if len(sealed) > maxLogin {
		return model.E(model.CodeTooLong, "next")
	}
	// Lax: the browser comes back from another site.
	l.setCookie(w, loginName, sealed, loginLife, http.SameSiteLaxMode)
	http.Redirect(w, r, l.config(i, k).AuthCodeURL(u.State, oidc.Nonce(u.Nonce), oauth2.S256ChallengeOption(u.Verifier)), http.StatusFound)
	return nil
}

// localPath is a path on this node, never an address elsewhere.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || len(next) > 1024 || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

// Finish takes a browser that comes back from the issuer, begins its session and returns the path to go on to. Its errors
// are unauthenticated, whatever does not fit, and issuer_unreachable.
func (l *Login) Finish(w http.ResponseWriter, r *http.Request) (next string, err error) {
	u, err := l.unseal(r)
	l.setCookie(w, loginName, "", -1, http.SameSiteLaxMode) // once, whatever comes of it
	if err != nil {
		return "", err
	}
	q := r.URL.Query()
	if subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(u.State)) != 1 || q.Get("code") == "" {
		return "", errUnauthenticated
	}
	i := l.issuers.find(u.Issuer)
	if i == nil {
		return "", errUnauthenticated
	}
	subject, err := l.exchange(r.Context(), i, u, q)
	if err != nil {
		return "", err
	}
	if _, err := l.people.bySubject(subject); err != nil {
		return "", err
	}
	if old, err := r.Cookie(l.cookieName(sessionName)); err == nil {
		l.sessions.end(old.Value)
	}
	l.setCookie(w, sessionName, l.sessions.begin(subject), sessionLife, http.SameSiteStrictMode)
	return u.Next, nil
}

func (l *Login) unseal(r *http.Request) (u underWay, err error) {
	c, err := r.Cookie(l.cookieName(loginName))
	if err != nil || len(c.Value) > maxLogin {
		return u, errUnauthenticated
	}
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(raw) < l.seal.NonceSize() {
		return u, errUnauthenticated
	}
	n := l.seal.NonceSize()
	plain, err := l.seal.Open(nil, raw[:n], raw[n:], []byte(loginName))
	if err != nil || json.Unmarshal(plain, &u) != nil || l.sessions.now().After(u.Until) {
		return u, errUnauthenticated
	}
	return u, nil
}

// exchange has the issuer say whose the code of a callback is.
func (l *Login) exchange(ctx context.Context, i *issuer, u underWay, q url.Values) (Subject, error) {
	k, err := i.get(ctx)
	if err != nil {
		return Subject{}, err
	}
	if !k.names(i.Issuer, q["iss"]) {
		return Subject{}, errUnauthenticated
	}
	asking, cancel := context.WithTimeout(oidc.ClientContext(ctx, i.client), issuerDeadline)
	defer cancel()
	t, err := l.config(i, k).Exchange(asking, q.Get("code"), oauth2.VerifierOption(u.Verifier))
	if err != nil {
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < 500 {
			return Subject{}, errUnauthenticated
		}
		return Subject{}, i.unreachable(err)
	}
	raw, ok := t.Extra("id_token").(string)
	if !ok || len(raw) > 4*maxToken {
		return Subject{}, errUnauthenticated
	}
	c, _, err := i.verify(ctx, raw, i.ClientID)
	if err != nil {
		return Subject{}, err
	}
	if subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(u.Nonce)) != 1 || (c.Party != "" && c.Party != i.ClientID) {
		return Subject{}, errUnauthenticated
	}
	return Subject{i.Issuer, c.Subject}, nil
}

// names reports whether a callback is this issuer's own answer (RFC 9207), so that no issuer has another's codes brought to
// it. An issuer that says that its answers name it must be named.
func (k *issuerKeys) names(issuer string, iss []string) bool {
	if len(iss) > 0 {
		return len(iss) == 1 && iss[0] == issuer
	}
	var says struct {
		Always bool `json:"authorization_response_iss_parameter_supported"`
	}
	return k.provider.Claims(&says) == nil && !says.Always
}

// End ends the session of a browser.
func (l *Login) End(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(l.cookieName(sessionName)); err == nil {
		l.sessions.end(c.Value)
	}
	l.setCookie(w, sessionName, "", -1, http.SameSiteStrictMode)
}

// signIn finds the principal of a browser's session. What a page of another site has the browser send does not count:
// SameSite keeps the cookie from it, and where a browser does not know that, the request that writes is refused.
func (l *Login) signIn(r *http.Request) (*Principal, error) {
	c, err := r.Cookie(l.cookieName(sessionName))
	if err != nil {
		return nil, errUnauthenticated
	}
	// A stream of events asks all the time; that does not keep alive a session of which nobody makes use.
	subject, ok := l.sessions.find(c.Value, r.Header.Get("Accept") != "text/event-stream")
	if !ok {
		return nil, errUnauthenticated
	}
	p, err := l.people.bySubject(subject)
	if err == nil && !l.sameOrigin(r) {
		return nil, model.E(model.CodeCrossOrigin)
	}
	return p, err
}

// sameOrigin believes the browser: Sec-Fetch-Site, which no page can set, or else Origin. Who reads may come without
// either; who writes must say.
func (l *Login) sameOrigin(r *http.Request) bool {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return true
	case "none": // typed, or from a bookmark
		return reads
	case "":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return reads
	}
	u, err := url.Parse(origin)
	return err == nil && slices.Contains(l.hosts, u.Host) && (u.Scheme == "https" || !l.secure)
}

// cookieName has browsers keep a cookie to this host and to https (the prefix __Host-), wherever https is.
func (l *Login) cookieName(name string) string {
	if l.secure {
		return "__Host-" + name
	}
	return name
}

func (l *Login) setCookie(w http.ResponseWriter, name, value string, life time.Duration, site http.SameSite) {
	c := &http.Cookie{Name: l.cookieName(name), Value: value, Path: "/", HttpOnly: true, Secure: l.secure, SameSite: site, MaxAge: int(life / time.Second)}
	if life < 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
