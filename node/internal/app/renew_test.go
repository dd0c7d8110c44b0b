package app

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// tlsPair writes tls.crt and tls.key of an authority's certificate that lasts until then, as of a time.
func tlsPair(t *testing.T, ca *msp.CA, dir, name string, until, at time.Time) {
	t.Helper()
	cert, key, err := ca.IssueTLS(name, []string{"127.0.0.1"}, msp.Validity{Until: until})
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

func TestTLSCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	ca, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]time.Time{}
	write := func(name string, at time.Time) {
		ends[name] = time.Now().Add(time.Duration(len(ends)+1) * 24 * time.Hour).Truncate(time.Second)
		tlsPair(t, ca, dir, name, ends[name], at)
	}
	write("first", time.Now().Add(-time.Hour))
	var log bytes.Buffer
	p, err := newPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serves := func(when, want, says string) {
		t.Helper()
		log.Reset()
		p.take()
		p.take()
		c, err := p.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if leaf.Subject.CommonName != want || !p.until().Equal(ends[want]) {
			t.Errorf("%s it serves %q until %s", when, leaf.Subject.CommonName, p.until())
		}
		if said := log.String(); strings.Count(said, "\n") != min(len(says), 1) || !strings.Contains(said, says) {
			t.Errorf("%s it says %q", when, said)
		}
	}
	serves("at first", "first", "")
	write("second", time.Now().Add(-time.Minute))
	serves("after renewal", "second", "TLS files were renewed")
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	serves("with a half-written file", "second", "level=WARN")
	serves("with that file still", "second", "")
	cert, _, err := ca.IssueTLS("stranger", []string{"127.0.0.1"}, msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), cert, 0o600); err != nil {
		t.Fatal(err)
	}
	serves("with a certificate of another key", "second", "level=WARN")
	write("third", time.Now().Add(-2*time.Hour)) // copied with the time that it had
	serves("after the second renewal", "third", "TLS files were renewed")
}

// The end of the API's certificate stands among the metrics, and a running node takes a renewed one up; without one
// there is none.
func TestTLSExpiryMetric(t *testing.T) {
	t.Parallel()
	ca, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	for _, withTLS := range []bool{false, true} {
		f, err := Found(t.TempDir(), onePlan())
		if err != nil {
			t.Fatal(err)
		}
		dir := f.Nodes[0].Dir
		cfg, err := LoadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		want := math.Inf(1)
		renew := func(life time.Duration) {
			until := time.Now().Add(life)
			tlsPair(t, ca, dir, "api", until, time.Now())
			want = float64(until.Unix())
		}
		if withTLS {
			renew(24 * time.Hour)
			cfg.TLSCert, cfg.TLSKey = "tls.crt", "tls.key"
		}
		n := newNode(cfg, quiet)
		if err := n.open(); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.serve(ctx) }()
		if got := tlsExpiry(t, n.metrics); got != want {
			t.Errorf("with TLS %v: %v, want %v", withTLS, got, want)
		}
		if withTLS {
			renew(48 * time.Hour)
			for end := time.Now().Add(4 * renewEvery); tlsExpiry(t, n.metrics) != want; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(end) {
					t.Error("the renewed certificate is not taken up")
					break
				}
			}
		}
		stop()
		if err := errors.Join(<-ended, n.close()); err != nil {
			t.Error(err)
		}
	}
}

func tlsExpiry(t *testing.T, metrics *prometheus.Registry) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families {
		if m.GetName() == "zhenglian_tls_expiry_timestamp_seconds" {
			return m.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no metric")
	return 0
}
