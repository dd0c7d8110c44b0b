package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
)

// clientCertificate is a certificate of a key, good between two moments from now.
func clientCertificate(t testing.TB, key *ecdsa.PrivateKey, from, until time.Duration, use x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "back office"},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until), ExtKeyUsage: []x509.ExtKeyUsage{use},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A pinned key signs in over TLS; an expired certificate of it, one for servers, or an unknown key does not, and hears
// nothing more than who brings none.
func TestClientCertificates(t *testing.T) {
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	pinned, stranger := key(), key()
	spki, err := x509.MarshalPKIXPublicKey(pinned.Public())
	if err != nil {
		t.Fatal(err)
	}
	d := store(t)
	made, err := d.Apply(Change{Action: AddUser, User: &UserSpec{Name: "政务平台", Agency: "bj-scjg", Roles: []Role{Verifier}, Pins: []model.Digest{sha256.Sum256(spki)}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &SignIn{People: d}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.Find(r)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, err.Error())
			return
		}
		_, _ = io.WriteString(w, p.ID())
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	ask := func(certs ...tls.Certificate) string {
		t.Helper()
		transport := server.Client().Transport.(*http.Transport).Clone()
		defer transport.CloseIdleConnections()
		transport.TLSClientConfig.Certificates = certs
		res, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	nobody := ask()
	client := x509.ExtKeyUsageClientAuth
	for _, tt := range []struct {
		name string
		cert tls.Certificate
		good bool
	}{
		{"good", clientCertificate(t, pinned, -time.Hour, time.Hour, client), true},
		{"renewed with the same key", clientCertificate(t, pinned, -time.Minute, 24*time.Hour, client), true},
		{"for anything", clientCertificate(t, pinned, -time.Hour, time.Hour, x509.ExtKeyUsageAny), true},
		{"expired", clientCertificate(t, pinned, -2*time.Hour, -time.Hour, client), false},
		{"not yet", clientCertificate(t, pinned, time.Hour, 2*time.Hour, client), false},
		{"for servers", clientCertificate(t, pinned, -time.Hour, time.Hour, x509.ExtKeyUsageServerAuth), false},
		{"unknown", clientCertificate(t, stranger, -time.Hour, time.Hour, client), false},
	} {
		got := ask(tt.cert)
		if (got == made.User.ID) != tt.good || (!tt.good && got != nobody) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
	if _, err := d.Apply(Change{Action: DisableUser, ID: made.User.ID}); err != nil {
		t.Fatal(err)
	}
	if got := ask(clientCertificate(t, pinned, -time.Hour, time.Hour, client)); got != nobody {
		t.Errorf("disabled: %q", got)
	}
}

// A page of another site has a browser send its user's certificate along; that does not count. Programs say nothing of
// sites and go on.
func TestCertificatesOfBrowsers(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	d := store(t)
	made, err := d.Apply(Change{Action: AddUser, User: &UserSpec{Name: "王芳", Agency: "bj-scjg", Roles: []Role{Approver}, Pins: []model.Digest{sha256.Sum256(spki)}}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(clientCertificate(t, k, -time.Hour, time.Hour, x509.ExtKeyUsageClientAuth).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	s := &SignIn{People: d}
	for _, tt := range []struct {
		method, site, origin string
		in                   bool
	}{
		{"POST", "", "", true}, // a program
		{"GET", "", "", true},
		{"POST", "same-origin", "https://node.example.gov.cn", true},
		{"POST", "", "https://node.example.gov.cn", true},
		{"GET", "none", "", true},
		{"POST", "none", "", false},
		{"POST", "cross-site", "https://evil.example", false},
		{"POST", "same-site", "https://other.example.gov.cn", false},
		{"GET", "cross-site", "", false},
		{"POST", "", "https://evil.example", false},
		{"POST", "", "http://node.example.gov.cn", false},
		{"POST", "", "null", false},
	} {
		r := httptest.NewRequest(tt.method, "https://node.example.gov.cn/v1/drafts/1-aaaaaaaa/approve", nil)
		r.TLS.PeerCertificates = []*x509.Certificate{c}
		for name, v := range map[string]string{"Sec-Fetch-Site": tt.site, "Origin": tt.origin} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		p, err := s.Find(r)
		if tt.in && (err != nil || p.ID() != made.User.ID) || !tt.in && !errors.Is(err, model.E(model.CodeCrossOrigin)) {
			t.Errorf("%+v: %v, %v", tt, p, err)
		}
	}
}

// Who has signed in as another acts neither as that one nor as the certificate's holder.
func TestCertificateAndSessionOfAnother(t *testing.T) {
	at := authtest.New(t)
	s, user := trusting(t, at, "https://node.example.gov.cn/auth/callback")
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.People.Apply(Change{Action: AddUser, User: &UserSpec{Name: "李强", Agency: "bj-scjg", Roles: []Role{Approver}, Pins: []model.Digest{sha256.Sum256(spki)}}}); err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(clientCertificate(t, k, -time.Hour, time.Hour, x509.ExtKeyUsageClientAuth).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "https://node.example.gov.cn/v1/whoami", nil)
	r.AddCookie(&http.Cookie{Name: s.Login.cookieName(sessionName), Value: s.Login.sessions.begin(Subject{at.URL, "wangfang"})})
	if p, err := s.Find(r); err != nil || p.ID() != user.ID {
		t.Fatal(p, err)
	}
	r.TLS.PeerCertificates = []*x509.Certificate{c}
	if p, err := s.Find(r); !errors.Is(err, model.E(model.CodeUnauthenticated)) {
		t.Errorf("signed in as %v, %v", p, err)
	}
}
