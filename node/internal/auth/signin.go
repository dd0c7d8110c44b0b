package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// SignIn is every way to sign in. Safe for concurrent use.
type SignIn struct {
	People  *Directory
	Issuers *Issuers // nil: no tokens
	Login   *Login   // nil: no browsers
}

// Costly reports whether Find would verify a signature, or ask an issuer, for a request: it brings a token that was not
// found good lately.
func (s *SignIn) Costly(r *http.Request) bool {
	h := r.Header.Get("Authorization")
	if s.Issuers == nil || len(h) <= len(bearer) || !strings.EqualFold(h[:len(bearer)], bearer) || strings.HasPrefix(h[len(bearer):], KeyPrefix) {
		return false
	}
	_, ok := s.Issuers.seen(sha256.Sum256([]byte(h[len(bearer):])))
	return !ok
}

// Find finds the principal of a request: of its Authorization header if it has one, else of its client certificate,
// else of its session cookie; a certificate and the session of somebody else are refused. Its errors
// are unauthenticated, cross_origin and those of Issuers.Token.
func (s *SignIn) Find(r *http.Request) (*Principal, error) {
	if given := r.Header["Authorization"]; len(given) > 0 {
		h := given[0]
		switch {
		case len(given) > 1 || len(h) <= len(bearer) || !strings.EqualFold(h[:len(bearer)], bearer):
			return nil, errUnauthenticated
		case strings.HasPrefix(h[len(bearer):], KeyPrefix) || s.Issuers == nil:
			return s.People.SignInKey(h)
		}
		subject, err := s.Issuers.Token(r.Context(), h[len(bearer):])
		if err != nil {
			return nil, err
		}
		return s.People.bySubject(subject)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if p, err := s.People.SignInCertificate(r.TLS.PeerCertificates[0]); err == nil {
			// A browser sends a certificate, like a cookie, with whatever a page of another site has it send.
			if crossSite(r) {
				return nil, model.E(model.CodeCrossOrigin)
			}
			// Who has signed in as somebody else does not act as the certificate's holder without being told.
			if s.Login != nil {
				if other, err := s.Login.signIn(r); err == nil && other.ID() != p.ID() {
					return nil, errUnauthenticated
				}
			}
			return p, nil
		}
	}
	if s.Login != nil {
		return s.Login.signIn(r)
	}
	return nil, errUnauthenticated
}

// crossSite reports whether a browser says that it sends the request for a page of another site. Programs say nothing
// of that, and go on.
func crossSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return false
	case "none": // typed, or from a bookmark
		return r.Method != http.MethodGet && r.Method != http.MethodHead
	case "":
	default:
		return true
	}
	origin := r.Header["Origin"]
	if len(origin) == 0 {
		return false
	}
	u, err := url.Parse(origin[0])
	return err != nil || len(origin) > 1 || u.Scheme != "https" || u.Host != r.Host // certificates come over TLS alone
}

// SignInCertificate finds the principal of a client certificate. The connection has proved that the client holds the
// key; which authority issued the certificate does not matter, since its key is pinned. A certificate keeps to its dates
// and uses; whatever is wrong, the error is unauthenticated.
func (d *Directory) SignInCertificate(c *x509.Certificate) (*Principal, error) {
	if now := d.now(); now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return nil, errUnauthenticated
	}
	if len(c.ExtKeyUsage) > 0 && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return nil, errUnauthenticated
	}
	return d.admit(d.current.Load().byPin[model.Digest(sha256.Sum256(c.RawSubjectPublicKeyInfo))])
}

// bySubject finds the principal of an issuer's subject.
func (d *Directory) bySubject(s Subject) (*Principal, error) {
	return d.admit(d.current.Load().bySubject[s])
}
