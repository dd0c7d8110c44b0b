package app

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

func TestTLSCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	ca, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, at time.Time) {
		t.Helper()
		cert, key, err := ca.IssueTLS(name, []string{"127.0.0.1"}, msp.Validity{})
		if err != nil {
			t.Fatal(err)
		}
		for file, b := range map[string][]byte{"tls.crt": cert, "tls.key": key} {
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(filepath.Join(dir, file), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("first", time.Now().Add(-time.Hour))
	p, err := newPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	serves := func() string {
		t.Helper()
		p.mu.Lock()
		p.looked = time.Time{} // long ago
		p.mu.Unlock()
		c, err := p.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Subject.CommonName
	}
	if got := serves(); got != "first" {
		t.Fatalf("serves %q", got)
	}
	write("second", time.Now().Add(-time.Minute))
	if got := serves(); got != "second" {
		t.Errorf("after renewal it serves %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serves(); got != "second" {
		t.Errorf("with a half-written file it serves %q", got)
	}
	write("third", time.Now().Add(-2*time.Hour)) // copied with the time that it had
	if got := serves(); got != "third" {
		t.Errorf("after the second renewal it serves %q", got)
	}
}
