package fabric

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeFabric is a folder of programs that say which Fabric they are, and of which an orderer does nothing but run.
func fakeFabric(t *testing.T, version string) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range Programs {
		does := "exec '" + exe + "' sleeper"
		if name == "peer" {
			does = "echo ' Version: v" + version + "'"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+does+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestAnotherFabric: `up` with other programs on a network that exists keeps their version and says who runs the ones from
// before.
func TestAnotherFabric(t *testing.T) {
	dir := t.TempDir()
	load := func(spec Spec) *Network {
		t.Helper()
		u := &up{}
		spec.Dir, spec.Attached = dir, true
		if err := u.load(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		return u.n
	}
	first := load(Spec{Bin: fakeFabric(t, "2.5.0")})
	if err := folders(dir); err != nil {
		t.Fatal(err)
	}
	for _, o := range first.orderers[:2] {
		if err := o.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = o.Kill() })
	}
	if said := load(Spec{}).former(KindOrderer); said != "" {
		t.Errorf("nothing was replaced, and yet: %s", said)
	}
	other := fakeFabric(t, "2.5.16")
	n := load(Spec{Bin: other})
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n.FabricVersion() != "2.5.16" || again.FabricVersion() != "2.5.16" || again.Spec().Bin != other {
		t.Errorf("Fabric %s, kept as %s in %s", n.FabricVersion(), again.FabricVersion(), again.Spec().Bin)
	}
	if said := n.former(KindOrderer, KindPeer); !strings.Contains(said, "orderer-1, orderer-2;") || !strings.Contains(said, "zl-network restart --dir "+dir+" orderer-1") {
		t.Errorf("up says %q", said)
	}
	if said := n.former(KindNode); said != "" {
		t.Errorf("of nodes it says %q", said)
	}
	if err := n.orderers[0].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.orderers[0].Former() || !n.orderers[1].Former() || n.orderers[2].Former() {
		t.Error("only orderer-2 runs the program from before")
	}
	// One of the same folder and name that was built anew is another; a touched one is the same.
	program := filepath.Join(other, "orderer")
	raw, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(program, time.Unix(0, 0), time.Unix(0, 0)); err != nil || n.orderers[0].Former() {
		t.Errorf("touched: taken for another, %v", err)
	}
	if err := os.WriteFile(program+".new", append(raw, "# later\n"...), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(program+".new", program); err != nil || !n.orderers[0].Former() {
		t.Errorf("built anew: taken for the same, %v", err)
	}
}

// TestAnotherNetwork: what cannot change is refused, and the message says what and how it stands.
func TestAnotherNetwork(t *testing.T) {
	dir, bin := t.TempDir(), fakeFabric(t, "3.1.5")
	if err := (&up{}).load(t.Context(), Spec{Dir: dir, Bin: bin, Orgs: 3}); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Spec){
		"it has --orgs 3, wanted is --orgs 4":                                                        func(s *Spec) { s.Orgs = 4 },
		"it has --consensus raft, wanted is --consensus bft":                                         func(s *Spec) { s.Consensus = BFT },
		"it has --base-port 0, wanted is --base-port 21000":                                          func(s *Spec) { s.BasePort = 21000 },
		"it has --bind 127.0.0.1, wanted is --bind 127.0.0.2":                                        func(s *Spec) { s.Bind = "127.0.0.2" },
		"it has bytes between snapshots 16777216, wanted is bytes between snapshots 1048576":         func(s *Spec) { s.Snapshot = 1 << 20 },
		"it has --orgs 3, --batch-messages 500, wanted is --orgs 4, --batch-messages 7: `zl-network": func(s *Spec) { s.Orgs, s.Batch.Messages = 4, 7 },
	} {
		spec := Spec{Dir: dir}
		change(&spec)
		var bad *SpecError
		if err := (&up{}).load(t.Context(), spec); !errors.As(err, &bad) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	if err := (&up{}).load(t.Context(), Spec{Dir: dir, Orgs: 3, Bind: "127.0.0.1"}); err != nil {
		t.Errorf("the same again: %v", err)
	}
	// One made before snapshots could be chosen has none written down.
	s, err := loadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s.Spec.Snapshot = 0; s.save() != nil {
		t.Fatal("not saved")
	}
	if err := (&up{}).load(t.Context(), Spec{Dir: dir}); err != nil {
		t.Errorf("one made before: %v", err)
	}
}
