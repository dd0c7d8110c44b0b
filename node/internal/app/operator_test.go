package app_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/doctor"
)

// manager is a service manager's socket.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return l
}

// told waits until the manager hears of a state.
func told(t *testing.T, l *net.UnixConn, state string) string {
	t.Helper()
	_ = l.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 4096)
	for {
		n, err := l.Read(b)
		if err != nil {
			t.Fatalf("the manager never heard of %s: %v", state, err)
		}
		if slices.Contains(strings.Split(string(b[:n]), "\n"), state) {
			return string(b[:n])
		}
	}
}

// A service manager hears when the node serves, that it lives, and when it stops; the operator changes the log and
// takes profiles; nobody without the folder does.
func TestOperator(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	l := manager(t)
	t.Setenv("WATCHDOG_USEC", "300000")
	stop := w.serve("beijing")
	told(t, l, "READY=1")
	if s := told(t, l, "WATCHDOG=1"); !strings.Contains(s, "STATUS=serves") {
		t.Errorf("the manager heard %q", s)
	}

	cfg := w.config("beijing")
	admin := app.NewAdmin(cfg)
	ctx := t.Context()
	if level, err := admin.LogLevel(ctx, ""); level != "INFO" || err != nil {
		t.Errorf("level %q, %v", level, err)
	}
	if level, err := admin.LogLevel(ctx, "DEBUG"); level != "DEBUG" || err != nil {
		t.Errorf("level %q, %v", level, err)
	}
	if _, err := admin.LogLevel(ctx, "LOUD"); err == nil || !strings.Contains(err.Error(), "bad_value") {
		t.Errorf("an unknown level: %v", err)
	}
	if raw, err := admin.Get(ctx, "/log"); err != nil || !strings.Contains(string(raw), `"msg":"node serves"`) {
		t.Errorf("the log's last lines: %s, %v", raw, err)
	}
	if raw, err := admin.Get(ctx, "/debug/pprof/goroutine?debug=1"); err != nil || !strings.Contains(string(raw), "goroutine profile") {
		t.Errorf("no profile: %.100s, %v", raw, err)
	}
	s, err := admin.Status(ctx)
	if err != nil || s.Node != "beijing" || s.PID != os.Getpid() || s.Stepped > 1 || s.Stepped < -1 {
		t.Errorf("%+v, %v", s, err)
	}

	for _, path := range []string{"/status", "/log", "/loglevel", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
		for _, authorization := range []string{"", "Bearer ", "Bearer x", "Basic x"} {
			r, err := http.NewRequestWithContext(ctx, "GET", "http://"+cfg.Admin+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", authorization)
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with %q: %s", path, authorization, res.Status)
			}
		}
	}
	token := filepath.Join(w.node("beijing"), "admin-token")
	if info, err := os.Stat(token); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file: %v, %v", info.Mode(), err)
	}
	first, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	// A second process of the same folder does not start, and does not take the first one's token away.
	if err := app.Run(ctx, cfg, quietLog); err == nil {
		t.Error("two nodes run in one folder")
	}
	if now, err := os.ReadFile(token); err != nil || string(now) != string(first) {
		t.Errorf("the token changed under a running node: %v", err)
	}
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	told(t, l, "STOPPING=1")
	<-stopped
	stop = w.serve("beijing")
	defer stop()
	if now, err := os.ReadFile(token); err != nil || string(now) == string(first) {
		t.Errorf("a new run has the old token: %v", err)
	}
}

func codes(r *doctor.Report) (out []doctor.Code) {
	for _, f := range r.Findings {
		if !slices.Contains(out, f.Code) {
			out = append(out, f.Code)
		}
		if f.What.Zh == "" || f.What.En == "" || f.Cure.Zh == "" || f.Cure.En == "" {
			panic("a finding without its texts: " + f.Code)
		}
	}
	return out
}

// The doctor looks at a node that runs, one that does not, and one that cannot.
func TestExamine(t *testing.T) {
	w := newTown(t)
	stopLedger := w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("beijing")
	dir := w.node("beijing")
	expect := func(when string, want ...doctor.Code) *doctor.Report {
		t.Helper()
		var r *doctor.Report
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			r = app.Examine(t.Context(), dir)
			got := slices.DeleteFunc(codes(r), func(c doctor.Code) bool { return c == doctor.DiskNearlyFull }) // of the machine, not of the node
			if slices.Equal(got, want) {
				return r
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v, want %v: %+v", when, got, want, r.Findings)
			}
		}
	}
	w.until("the node is at the head", func() bool {
		s, err := app.NewAdmin(w.config("beijing")).Status(t.Context())
		return err == nil && s.Age >= 0 && s.Position > 0
	})
	expect("all is well")
	stopLedger()
	expect("the ledger is gone", doctor.LedgerUnreachable)
	stop()
	expect("both are gone", doctor.LedgerUnreachable, doctor.NodeDown)
	w.serveLedger(w.made.LedgerConfig)
	r := expect("the node is stopped", doctor.NodeDown)
	if r.Exit() != 1 || r.Running {
		t.Errorf("%+v", r)
	}

	other, err := net.Listen("tcp", w.config("beijing").Listen)
	if err != nil {
		t.Fatal(err)
	}
	expect("another has the port", doctor.PortTaken, doctor.NodeDown)
	other.Close()

	key := filepath.Join(dir, "identity.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	expect("the key is open to all", doctor.FileExposed, doctor.NodeDown)
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}

	// Roots of another authority: the gateway is there, but is not believed.
	roots := filepath.Join(dir, "gateway-1-ca.pem")
	right, err := os.ReadFile(roots)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := os.ReadFile(filepath.Join(dir, "authority", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]doctor.Code{string(wrong): doctor.LedgerTLS, "nothing": doctor.CertificateBad} {
		if err := os.WriteFile(roots, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := codes(app.Examine(t.Context(), dir)); !slices.Contains(got, want) {
			t.Errorf("roots %.20q: %v", content, got)
		}
	}
	if err := os.WriteFile(roots, right, 0o644); err != nil {
		t.Fatal(err)
	}

	// The archive lost blocks that the records have, or lies torn in the middle.
	segments, err := filepath.Glob(filepath.Join(dir, "archive", "*.blocks"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	raw, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(segments[0], int64(len(raw)-1)); err != nil {
		t.Fatal(err)
	}
	expect("a block is missing", doctor.StoreGap, doctor.NodeDown)
	raw[20] ^= 1
	if err := os.WriteFile(segments[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("the archive is damaged", doctor.StoreDamaged, doctor.NodeDown)
	raw[20] ^= 1
	if err := os.WriteFile(segments[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	expect("all is back", doctor.NodeDown)
	if now := snapshot(t, dir); now != before {
		t.Errorf("looking changed the folder:\n%s\n%s", before, now)
	}

	if err := os.Rename(filepath.Join(dir, "vault"), filepath.Join(dir, "lost")); err != nil {
		t.Fatal(err)
	}
	expect("the vault is lost", doctor.FileMissing, doctor.NodeDown)
	if err := os.Rename(filepath.Join(dir, "zhenglian.yaml"), filepath.Join(dir, "x.yaml")); err != nil {
		t.Fatal(err)
	}
	expect("no configuration", doctor.ConfigBad)
	if _, err := app.NewAdmin(&app.Config{Admin: freeAddress(t)}).Status(context.Background()); !errors.Is(err, app.ErrDown) {
		t.Errorf("nobody answers: %v", err)
	}
}

// snapshot lists a folder's files with their sizes and times.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		b.WriteString(path + " " + info.ModTime().String() + " " + info.Mode().String() + "\n")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
