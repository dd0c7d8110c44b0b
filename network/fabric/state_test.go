package fabric

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func newState(t testing.TB) *state {
	t.Helper()
	dir := t.TempDir()
	spec, err := Spec{Dir: dir, Bin: dir, Program: dir}.filled()
	if err != nil {
		t.Fatal(err)
	}
	return &state{Format: stateFormat, Spec: spec, Fabric: "2.5.0", Ports: map[string]int{}}
}

func TestStateIsKept(t *testing.T) {
	s := newState(t)
	n, err := assemble(s, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.save(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.Spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, p := range n.Processes() {
		q := again.Processes()[i]
		if p.Name != q.Name || p.pid != q.pid {
			t.Errorf("%s became %s", p.Name, q.Name)
		}
	}
	for i, p := range n.Peers() {
		if q := again.Peers()[i]; p.Address != q.Address || p.Operations != q.Operations || seen[p.Address] {
			t.Errorf("%s: %s became %s", p.Name, p.Address, q.Address)
		}
		seen[p.Address] = true
	}
	if len(n.Orderers()) != 3 || n.Peer("customs") == nil || n.Peer("nobody") != nil || n.Process("orderer-3") == nil {
		t.Error("parts are missing")
	}
	if info, err := os.Stat(filepath.Join(s.Spec.Dir, stateFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestOpenNothing(t *testing.T) {
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrNoNetwork) {
		t.Error(err)
	}
	if err := Purge(t.Context(), t.TempDir()); !errors.Is(err, ErrNoNetwork) {
		t.Error(err)
	}
}

func TestPurgeOfWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	p, err := sleeperProcess(dir, "peer-x", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || errors.Is(err, ErrNoNetwork) {
		t.Fatalf("opened: %v", err)
	}
	if err := Purge(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) || p.Alive() {
		t.Errorf("left: %v, alive %v", err, p.Alive())
	}
}

func TestPorts(t *testing.T) {
	base := 0
	for base == 0 || base > 65000 { // with room above it
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		base = l.Addr().(*net.TCPAddr).Port
	}
	p, err := choosePort("127.0.0.1", base, map[int]bool{base + 1: true})
	if err != nil || p < base+2 {
		t.Errorf("chose %d after %d, where %d is taken: %v", p, base, base+1, err)
	}
	p, err = choosePort("127.0.0.1", 0, nil)
	if err != nil || p < lowestPort || p >= highestPort {
		t.Errorf("chose %d, %v", p, err)
	}
	// Nothing is free: every port is taken.
	taken := map[int]bool{}
	for i := lowestPort; i < highestPort; i++ {
		taken[i] = true
	}
	if p, err := choosePort("127.0.0.1", 0, taken); err == nil {
		t.Errorf("chose %d where none is free", p)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); !errors.Is(err, errLocked) {
		t.Errorf("second lock: %v", err)
	}
	unlock()
	unlock, err = lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func FuzzState(f *testing.F) {
	raw, err := json.Marshal(newState(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"format":1,"ports":{"x":70000}}`))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1} {}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseState(raw)
		if err != nil {
			return
		}
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseState(out); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	})
}
