package fabblock_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// recorded is a chain that a real Fabric made; testdata/record says how.
type recorded struct {
	blocks []*common.Block
	what   map[string]string // what was tried, by the digest of the envelope
}

func load(t testing.TB, name string) recorded {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name + ".blocks.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	var r recorded
	for in := bufio.NewReader(z); ; {
		if _, err := in.Peek(1); err != nil {
			break
		}
		b := &common.Block{}
		if err := protodelim.UnmarshalFrom(in, b); err != nil {
			t.Fatal(err)
		}
		r.blocks = append(r.blocks, b)
	}
	notes, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(notes, &r.what); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *recorded) tried(b *common.Block, tx int) string {
	return r.what[fmt.Sprintf("%x", sha256.Sum256(b.GetData().GetData()[tx]))]
}

// walk checks the chain and calls f with each block, and with the channel that it was checked against.
func (r *recorded) walk(t testing.TB, f func(c *fabblock.Channel, prev *common.BlockHeader, b *common.Block, checked *fabblock.Block)) *fabblock.Channel {
	t.Helper()
	c, err := fabblock.ParseConfig(r.blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	c.Chaincode = "kv"
	var prev *common.BlockHeader
	for _, b := range r.blocks {
		checked, err := c.Check(prev, b)
		if err != nil {
			t.Fatalf("%s: %v", r.tried(b, 0), err)
		}
		f(c, prev, b, checked)
		if checked.Next != nil {
			c = checked.Next
		}
		prev = b.GetHeader()
	}
	return c
}

var stateful = []peer.TxValidationCode{peer.TxValidationCode_MVCC_READ_CONFLICT, peer.TxValidationCode_DUPLICATE_TXID}

// TestRecorded holds every verdict against what a real peer said.
func TestRecorded(t *testing.T) {
	for name, want := range map[string]struct {
		blocks, tried int
		sequence      uint64
	}{"raft": {80, 70, 4}, "bft": {80, 65, 4}} {
		t.Run(name, func(t *testing.T) {
			r := load(t, name)
			if len(r.blocks) < want.blocks || len(r.what) < want.tried {
				t.Fatalf("%d blocks with %d notes", len(r.blocks), len(r.what))
			}
			codes := map[peer.TxValidationCode]int{}
			last := r.walk(t, func(c *fabblock.Channel, _ *common.BlockHeader, b *common.Block, checked *fabblock.Block) {
				for i, tx := range checked.Txs {
					codes[tx.Code]++
					switch {
					case tx.Verdict == tx.Code:
					case slices.Contains(stateful, tx.Code) && tx.Verdict == peer.TxValidationCode_VALID:
					case tx.Code == peer.TxValidationCode_INVALID_CHAINCODE && r.tried(b, i) == "a write to a namespace without a contract",
						tx.Code == peer.TxValidationCode_INVALID_CHAINCODE && tx.Chaincode == "undefined":
						// What other contracts do is not judged.
					default:
						t.Errorf("block %d, %s: verdict %s, Fabric says %s", b.GetHeader().GetNumber(), r.tried(b, i), tx.Verdict, tx.Code)
					}
				}
				again, err := c.Advance(b)
				if err != nil {
					t.Fatal(err)
				}
				if (again == c) != (checked.Next == nil) {
					t.Errorf("block %d: advance %v, next %v", b.GetHeader().GetNumber(), again != c, checked.Next != nil)
				}
				if n := checked.Next; n != nil && (n.Sequence != again.Sequence || (n.Definition() == nil) != (again.Definition() == nil) ||
					n.Definition() != nil && n.Definition().Sequence != again.Definition().Sequence || n.Chaincode != "kv" || again.Chaincode != "kv") {
					t.Errorf("block %d: advance to %+v, next %+v", b.GetHeader().GetNumber(), again, n)
				}
			})
			if last.Sequence != want.sequence || last.Definition() == nil || last.Definition().Sequence != 2 || last.Definition().Version != "2" {
				t.Errorf("in the end configuration %d, definition %+v", last.Sequence, last.Definition())
			}
			t.Logf("%d blocks: %v", len(r.blocks), codes)
		})
	}
}

// TestHiddenConfiguration has a peer call each configuration update invalid.
func TestHiddenConfiguration(t *testing.T) {
	r, n := load(t, "raft"), 0
	r.walk(t, func(c *fabblock.Channel, prev *common.BlockHeader, b *common.Block, checked *fabblock.Block) {
		if !checked.Txs[0].Config || checked.Number == 0 {
			return
		}
		n++
		lie := proto.Clone(b).(*common.Block)
		lie.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = []byte{byte(peer.TxValidationCode_INVALID_CONFIG_TRANSACTION)}
		refused(t, c, prev, lie, fabblock.HiddenChange)
	})
	if n == 0 {
		t.Error("no update")
	}
}

// TestFalseValidity has a peer call each invalid transaction valid.
func TestFalseValidity(t *testing.T) {
	r, n := load(t, "raft"), 0
	r.walk(t, func(c *fabblock.Channel, prev *common.BlockHeader, b *common.Block, checked *fabblock.Block) {
		for i, tx := range checked.Txs {
			if tx.Verdict == peer.TxValidationCode_VALID {
				continue
			}
			n++
			lie := proto.Clone(b).(*common.Block)
			lie.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER][i] = 0
			believed, err := c.Check(prev, lie)
			if err == nil && (believed.Txs[i].Code == peer.TxValidationCode_VALID || believed.Txs[i].Wrote("kv") || believed.Txs[i].Wrote("_lifecycle")) {
				t.Errorf("%s: called valid and believed", r.tried(b, i))
			}
		}
	})
	if n < 30 {
		t.Errorf("only %d invalid transactions", n)
	}
}

func refused(t testing.TB, c *fabblock.Channel, prev *common.BlockHeader, b *common.Block, want fabblock.Code) {
	t.Helper()
	_, err := c.Check(prev, b)
	var bad *fabblock.Error
	if !errors.As(err, &bad) || bad.Code != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
