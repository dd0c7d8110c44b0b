package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-7*time.Minute).UTC().Format(http.TimeFormat))
		_, _ = w.Write([]byte("# HELP x\nx{a=\"b\",c=\"d\"} 4\nxy 5\nz 6\n"))
	}))
	defer server.Close()
	l := &looker{o: Options{}.filled()}
	a, err := l.get(t.Context(), strings.TrimPrefix(server.URL, "http://"), "/")
	if err != nil {
		t.Fatal(err)
	}
	if off := a.offset + 7*time.Minute; off.Abs() > a.slack+time.Second || a.slack < 500*time.Millisecond || a.slack > 5*time.Second {
		t.Errorf("offset %v ± %v", a.offset, a.slack)
	}
	if labels, v, ok := a.sample("x"); !ok || v != 4 || label(labels, "c") != "d" || label(labels, "e") != "" {
		t.Errorf("%q %v %v", labels, v, ok)
	}
	if _, v, ok := a.sample("z"); !ok || v != 6 {
		t.Errorf("%v %v", v, ok)
	}
	if _, _, ok := a.sample("y"); ok {
		t.Error("y is no metric")
	}
}

// A server that takes connections and says nothing costs the deadline and no more.
func TestSilence(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	l := &looker{o: Options{}.filled()}
	began := time.Now()
	if _, err := l.get(ctx, listener.Addr().String(), "/"); err == nil {
		t.Error("an answer from nobody")
	}
	if _, err := handshake(ctx, listener.Addr().String(), &tls.Config{RootCAs: x509.NewCertPool()}); err == nil {
		t.Error("a handshake with nobody")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestHandshake(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	good := x509.NewCertPool()
	good.AddCert(server.Certificate())
	address := server.Listener.Addr().String()
	later := func() time.Time { return server.Certificate().NotAfter.Add(time.Hour) }
	for _, test := range []struct {
		name   string
		config *tls.Config
		fails  string
	}{
		{"good", &tls.Config{RootCAs: good, ServerName: "example.com"}, ""},
		{"another authority", &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "example.com"}, "unknown authority"},
		{"another name", &tls.Config{RootCAs: good, ServerName: "peer.zhenglian.test"}, "peer.zhenglian.test"},
		{"expired", &tls.Config{RootCAs: good, ServerName: "example.com", Time: later}, "expired"},
	} {
		shown, err := handshake(t.Context(), address, test.config)
		if len(shown) != 1 {
			t.Errorf("%s: %d certificates", test.name, len(shown))
		}
		if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestLastLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for content, want := range map[string]string{
		"":                                  "",
		"one\n\x1b[34mtwo\x1b[0m three\n\n": "two three",
		strings.Repeat("x", 9000) + "\nend": "end",
		"a\n" + strings.Repeat("证", 200):    strings.Repeat("证", 100) + "…",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lastLine(path); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := lastLine(path + "x"); got != "" {
		t.Error(got)
	}
}
