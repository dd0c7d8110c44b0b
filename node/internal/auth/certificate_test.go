package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
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
