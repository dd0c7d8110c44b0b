package app

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
)

// folder is all that stands in one, by name.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		files[path] = string(raw)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

// Joining checks everything first, so that a mistake leaves the folder as it was and the command is called again.
func TestJoinIsRepeatable(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "node")
	ca, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	identity, err := ca.Issue("beijing", msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	member, _, err := Prepare(at, onePlan().Nodes[0], identity)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	genesis := filepath.Join(dir, GenesisFile)
	digest, err := Genesis(genesis, "jjj", time.Now(), []Member{*member}, nil)
	if err != nil {
		t.Fatal(err)
	}
	roots, none := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "none.pem")
	if err := os.WriteFile(none, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	hash := model.DigestOf(nil).String()
	right := func() (string, Network) {
		return digest, Network{Channel: "jjj", Chaincode: "zhenglian", GenesisBlock: hash, Ledger: LedgerConfig{
			Gateways: []Gateway{{Address: "peer0:7051", TLSRoots: roots}, {Address: "peer1:7051", TLSRoots: roots}},
		}}
	}
	before := folder(t, at)
	for name, mistake := range map[string]func(digest *string, n *Network){
		"digest":              func(d *string, _ *Network) { *d = hash },
		"channel":             func(_ *string, n *Network) { n.Channel = "other" },
		"block":               func(_ *string, n *Network) { n.GenesisBlock = "12" },
		"import_from":         func(_ *string, n *Network) { n.ImportFrom = "12" },
		"no gateway":          func(_ *string, n *Network) { n.Ledger.Gateways = nil },
		"address":             func(_ *string, n *Network) { n.Ledger.Gateways[1].Address = "peer1" },
		"path":                func(_ *string, n *Network) { n.Ledger.Gateways[1].TLSRoots = roots + "x" },
		"file without a root": func(_ *string, n *Network) { n.Ledger.Gateways[1].TLSRoots = none },
	} {
		d, n := right()
		mistake(&d, &n)
		if err := Join(at, genesis, d, n); err == nil {
			t.Fatalf("%s: joined", name)
		}
		if !maps.Equal(folder(t, at), before) {
			t.Fatalf("%s: the folder is another", name)
		}
	}
	d, n := right()
	if err := Join(at, genesis, d, n); err != nil {
		t.Fatal(err)
	}
	joined := folder(t, at)
	if _, err := LoadConfig(at); err != nil {
		t.Error(err)
	}
	if err := Join(at, genesis, d, n); err == nil || !strings.Contains(err.Error(), "joined already") {
		t.Errorf("joined twice: %v", err)
	}

	// A call that was cut off before its end, after each of its files.
	plan := filepath.Join(at, planFile)
	written := []string{"gateway-1-ca.pem", "gateway-2-ca.pem", GenesisFile, ConfigFile}
	for i := range written {
		if err := os.WriteFile(plan, []byte(before[plan]), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range written[i:] {
			if err := os.Remove(filepath.Join(at, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := Join(at, genesis, d, n); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(folder(t, at), joined) {
			t.Errorf("after %v the folder is another", written[:i])
		}
	}

	// What is there with another content stays.
	if err := os.WriteFile(plan, []byte(before[plan]), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{written[0], ConfigFile} {
		if err := os.Remove(filepath.Join(at, name)); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(at, written[1])
	if err := os.WriteFile(kept, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	strange := folder(t, at)
	if err := Join(at, genesis, d, n); err == nil || !strings.Contains(err.Error(), kept) {
		t.Errorf("over another file: %v", err)
	}
	if !maps.Equal(folder(t, at), strange) {
		t.Error("something was written beside another file")
	}
}

// A node that cannot be switched says why, in both languages.
func TestNotSwitchable(t *testing.T) {
	f, err := Found(t.TempDir(), onePlan())
	if err != nil {
		t.Fatal(err)
	}
	dir := f.Nodes[0].Dir
	to := Network{Channel: "jjj", GenesisBlock: model.DigestOf(nil).String(), Ledger: LedgerConfig{Gateways: []Gateway{{Address: "peer0:7051", TLSRoots: "x"}}}}
	refused := func(to Network, code, zh string) {
		t.Helper()
		_, err := SwitchLedger(dir, to, IdentityFiles{})
		var fault *migrate.Fault
		if !errors.As(err, &fault) || fault.Code != code || !strings.Contains(fault.Zh, zh) {
			t.Errorf("%v, want %s %s", err, code, zh)
		}
	}
	wrong := to
	wrong.GenesisBlock = "12"
	refused(wrong, migrate.CodeConfig, "64 位")
	refused(to, migrate.CodeDamaged, "归档有 0 个") // it has not run yet
	finding := filepath.Join(dir, findingFile)
	if err := os.WriteFile(finding, []byte(`{"code":"x","block":1,"tx":-1,"en":"x","zh":"x","time":"2026-01-05T01:00:00.000Z"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(to, migrate.CodeDamaged, "zhenglian finding --dir")

	cfg, err := LoadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	var fault *migrate.Fault
	if _, err := ImportState(t.Context(), cfg); !errors.As(err, &fault) || fault.Code != migrate.CodeNotSwitched || !strings.Contains(fault.Zh, "zhenglian migrate switch") {
		t.Errorf("not switched: %v", err)
	}
}

// The hash that members compare is the one that a node pins.
func TestBlockHash(t *testing.T) {
	f, err := Found(t.TempDir(), onePlan())
	if err != nil {
		t.Fatal(err)
	}
	node, err := LoadConfig(f.Nodes[0].Dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadLedger(f.LedgerConfig)
	if err != nil {
		t.Fatal(err)
	}
	l, err := OpenLedger(cfg, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(context.Background())
	b, err := l.Genesis()
	if err != nil {
		t.Fatal(err)
	}
	write := func() string {
		raw, err := proto.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "jjj.block")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got, err := BlockHash(write()); err != nil || got != node.GenesisBlock {
		t.Errorf("%s, want %s: %v", got, node.GenesisBlock, err)
	}
	b.Header.DataHash[0] ^= 1
	if got, err := BlockHash(write()); err == nil {
		t.Errorf("a block whose content is not its header's has hash %s", got)
	}
	b.Header.DataHash[0] ^= 1
	b.Header.Number = 1
	if got, err := BlockHash(write()); err == nil {
		t.Errorf("block 1 has hash %s", got)
	}
}
