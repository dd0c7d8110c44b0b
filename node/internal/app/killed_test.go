package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/backup"
)

// Environment of the processes that these tests have killed: what to work on, and where to end ("": nowhere).
const (
	killedDir = "ZL_TEST_KILLED_DIR"
	killedAt  = "ZL_TEST_KILLED_AT"
)

// die ends this process at a place, as kill -9 does.
func die(where string) {
	if where == os.Getenv(killedAt) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// killed runs this test again as a process of its own that is killed at a place, or after a time.
func killed(t *testing.T, dir, at string, after time.Duration) (byItself bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir, killedAt+"="+at)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if after > 0 {
		defer time.AfterFunc(after, func() { _ = cmd.Process.Kill() }).Stop()
	}
	err := cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return false
	}
	if err != nil || at != "" {
		t.Fatalf("killed at %q: it ended by itself: %v\n%s", at, err, said.String())
	}
	return true
}

func restorePhrase(t *testing.T) backup.Key {
	t.Helper()
	k, err := backup.Passphrase("correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// runsFor serves a node until it has applied all of its ledger's blocks.
func runsFor(t *testing.T, cfg *Config) (blocks uint64) {
	t.Helper()
	n := newNode(cfg, quiet)
	if err := n.open(); err != nil {
		t.Fatal(errors.Join(err, n.close()))
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.serve(ctx) }()
	await(t, func() bool { return n.records.Position() > 0 && !n.restored.Load() })
	blocks = n.records.Height()
	stop()
	if err := errors.Join(<-ended, n.close()); err != nil {
		t.Fatal(err)
	}
	return blocks
}

// A restore that is killed anywhere leaves no folder of the node's name, or a whole one; what it leaves beside it is no
// node, and the next call begins anew and comes to its end.
func TestRestoreKilled(t *testing.T) {
	if dir := os.Getenv(killedDir); dir != "" {
		restoreAt = die
		if _, err := Restore(t.Context(), filepath.Join(dir, "backup"), restorePhrase(t), filepath.Join(dir, "restored"), RestoreOptions{Progress: func(uint64, uint64) {}}); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	f, err := Found(filepath.Join(dir, "old"), onePlan())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(f.Nodes[0].Dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.Admin = free(t), free(t)
	if err := rewrite(cfg.path(ConfigFile), cfg); err != nil {
		t.Fatal(err)
	}
	blocks := runsFor(t, cfg)
	began := time.Now()
	if _, err := Backup(t.Context(), cfg, filepath.Join(dir, "backup"), restorePhrase(t), nil, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "restored")
	work := to + ".restoring"
	// complete holds what a call has left in the node's folder to be all of it.
	complete := func(at, dir string) {
		t.Helper()
		c, err := LoadConfig(dir)
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if got := runsFor(t, c); got < blocks {
			t.Fatalf("%s: %d of %d blocks", at, got, blocks)
		}
	}
	afterwards := func(at string) {
		t.Helper()
		if _, err := os.Stat(to); err == nil {
			if _, err := Restore(t.Context(), filepath.Join(dir, "backup"), restorePhrase(t), to, RestoreOptions{Progress: func(uint64, uint64) {}}); err == nil {
				t.Fatalf("%s: a node was overwritten", at)
			}
			complete(at, to)
		} else {
			if _, err := os.Stat(filepath.Join(work, halfMark)); err == nil {
				if _, err := LoadConfig(work); !errors.Is(err, ErrHalfRestored) {
					t.Fatalf("%s: half a node is taken for one: %v", at, err)
				}
			}
			r, err := Restore(t.Context(), filepath.Join(dir, "backup"), restorePhrase(t), to, RestoreOptions{Progress: func(uint64, uint64) {}})
			if err != nil || r.Blocks != blocks || r.Proof != ProofEqual {
				t.Fatalf("%s: again: %+v, %v", at, r, err)
			}
			complete(at, to)
		}
		if _, err := os.Stat(work); err == nil {
			t.Errorf("%s: %s is left", at, work)
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []string{"begun", "file archive/0000000000000000.blocks", "unpacked", "rights ended", "records made", "ledger made", "whole", "unmarked", "named"} {
		killed(t, dir, at, 0)
		if _, err := os.Stat(to); (err == nil) != (at == "named") {
			t.Fatalf("%s: the folder has its name: %v", at, err)
		}
		afterwards(at)
	}
	// And wherever the moment falls.
	took := 2*time.Since(began)/3 + 200*time.Millisecond
	for i := range 3 {
		after := time.Duration(rand.Int64N(int64(took))) + time.Millisecond
		killed(t, dir, "", after)
		afterwards(fmt.Sprintf("kill %d after %s", i, after))
	}
}

// A restored node that notes that it has caught up and an operator who confirms lose nothing of one another.
func TestRestoredNotes(t *testing.T) {
	for range 50 {
		dir := t.TempDir()
		if err := new(restoredFrom).write(dir); err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		go func() { errs <- updateRestored(dir, func(m *restoredFrom) { m.CaughtUp = true }) }()
		go func() { errs <- ConfirmRestored(&Config{dir: dir}) }()
		if err := errors.Join(<-errs, <-errs); err != nil {
			t.Fatal(err)
		}
		if m, err := readRestored(dir); err != nil || !m.CaughtUp || m.Confirmed.IsZero() {
			t.Fatalf("%+v, %v", m, err)
		}
	}
}

// An upgrade that is killed at any of its places is called again and comes to its end; what it makes serves, and nothing
// that was there before is lost.
func TestUpgradeKilled(t *testing.T) {
	if dir := os.Getenv(killedDir); dir != "" {
		upgradeAt = die
		cfg, err := LoadConfig(dir)
		if err == nil {
			err = Upgrade(cfg, func(s UpgradeStep) { die(s.Store + " begun") })
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	places := []string{"formats prepared"}
	for _, s := range steps {
		places = append(places, s.store+" begun", s.store+" done", s.store+" noted")
	}
	for _, name := range []string{"people.json", inboxDir, AccessLogDir} {
		places = append(places, name+" prepared", name+" placed")
	}
	for _, at := range places {
		dir := older(t)
		// The older version had keys in use and a key file of its own; none of it changes.
		keys := folder(t, filepath.Join(dir, "keys"))
		tokens, err := os.ReadFile(filepath.Join(dir, "api-keys.json"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		killed(t, dir, at, 0)
		todo, err := UpgradePlan(dir)
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if len(todo) > 0 {
			if err := Run(t.Context(), cfg, quiet); !errors.Is(err, ErrOlder) {
				t.Fatalf("%s: half an upgrade serves: %v", at, err)
			}
		}
		if err := Upgrade(cfg, func(UpgradeStep) {}); err != nil {
			t.Fatalf("%s: again: %v", at, err)
		}
		if todo, err := UpgradePlan(dir); err != nil || len(todo) > 0 {
			t.Fatalf("%s: left to do: %v, %v", at, todo, err)
		}
		for _, left := range []string{upgradeDir, storesFile + ".new"} {
			if _, err := os.Stat(filepath.Join(dir, left)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: %s is left", at, left)
			}
		}
		if now, err := os.ReadFile(filepath.Join(dir, "api-keys.json")); err != nil || string(now) != string(tokens) {
			t.Errorf("%s: the API keys changed: %v", at, err)
		}
		if now := folder(t, filepath.Join(dir, "keys")); !maps.Equal(now, keys) {
			t.Errorf("%s: the signing keys changed", at)
		}
		runs := newNode(cfg, quiet)
		if err := errors.Join(runs.open(), runs.close()); err != nil {
			t.Errorf("%s: it does not serve: %v", at, err)
		}
	}
}
