package app

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
)

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
