package fabric

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSpecDefaults(t *testing.T) {
	for orgs, policy := range map[int]int{0: 3, 3: 2, 4: 3} {
		s, err := Spec{Dir: "x", Orgs: orgs}.filled()
		if err != nil {
			t.Fatal(err)
		}
		if s.Policy != policy || s.Consensus != Raft || s.Version != "1" || s.Tick != 250*time.Millisecond ||
			s.Batch != (Batch{200 * time.Millisecond, 500, 2 << 20, 32 << 20}) || s.Bind != "127.0.0.1" || !filepath.IsAbs(s.Dir) {
			t.Errorf("%d organisations: %+v", orgs, s)
		}
	}
}

func TestSpecRefused(t *testing.T) {
	tests := []struct {
		field string
		spec  Spec
	}{
		{"dir", Spec{}},
		{"orgs", Spec{Dir: "x", Orgs: 2}},
		{"orgs", Spec{Dir: "x", Orgs: 5}},
		{"consensus", Spec{Dir: "x", Consensus: "solo"}},
		{"policy", Spec{Dir: "x", Orgs: 3, Policy: 4}},
		{"policy", Spec{Dir: "x", Policy: -1}},
		{"version", Spec{Dir: "x", Version: "../1"}},
		{"version", Spec{Dir: "x", Version: strings.Repeat("1", 33)}},
		{"tick", Spec{Dir: "x", Tick: time.Millisecond}},
		{"batch.timeout", Spec{Dir: "x", Batch: Batch{Timeout: time.Hour}}},
		{"batch.messages", Spec{Dir: "x", Batch: Batch{Messages: -1}}},
		{"batch.preferred", Spec{Dir: "x", Batch: Batch{Preferred: 64 << 20}}},
		{"batch.absolute", Spec{Dir: "x", Batch: Batch{Absolute: 64 << 20}}},
		{"bind", Spec{Dir: "x", Bind: "0.0.0.0"}},
		{"bind", Spec{Dir: "x", Bind: "localhost"}},
		{"base_port", Spec{Dir: "x", BasePort: 80}},
	}
	for _, tt := range tests {
		var bad *SpecError
		if _, err := tt.spec.filled(); !errors.As(err, &bad) || bad.Field != tt.field {
			t.Errorf("%+v: %v, want %s refused", tt.spec, err, tt.field)
		}
	}
}

func TestProgramsMissing(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"peer", "orderer", "configtxgen"} {
		if err := os.WriteFile(filepath.Join(bin, name), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "cryptogen"), nil, 0o600); err != nil { // not to be run
		t.Fatal(err)
	}
	err := Spec{Bin: bin, Program: filepath.Join(bin, "zhenglian")}.programs()
	if err == nil || !strings.Contains(err.Error(), "cryptogen") || !strings.Contains(err.Error(), "make build") || strings.Contains(err.Error(), "orderer") {
		t.Errorf("missing programs: %v", err)
	}
}

func TestVersion(t *testing.T) {
	v, err := parseVersion("peer:\n Version: v2.5.12\n Commit SHA: ab\n")
	if err != nil || v != (fabricVersion{2, 5, 12}) {
		t.Fatalf("%v, %v", v, err)
	}
	for _, out := range []string{"", "peer:\n Version: latest\n", "Version: 2.5"} {
		if _, err := parseVersion(out); err == nil {
			t.Errorf("%q was read", out)
		}
	}
	for _, tt := range []struct {
		v    fabricVersion
		c    Consensus
		fine bool
	}{
		{fabricVersion{2, 3, 3}, Raft, false}, {fabricVersion{2, 4, 0}, Raft, true}, {fabricVersion{2, 5, 12}, BFT, false},
		{fabricVersion{3, 0, 0}, BFT, true}, {fabricVersion{3, 1, 5}, Raft, true},
	} {
		if err := tt.v.check(Spec{Consensus: tt.c}); (err == nil) != tt.fine {
			t.Errorf("%v with %s: %v", tt.c, tt.v, err)
		}
	}
}
