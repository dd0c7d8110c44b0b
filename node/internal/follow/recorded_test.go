package follow

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// recorded are the chains that fabblock's tests have of real Fabric networks: definitions of a contract, approvals
// by organisations, upgrades, conflicts, duplicates, changes of the configuration.
func recorded(t *testing.T, name string) (blocks []*common.Block) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "ledger", "fabblock", "testdata", name+".blocks.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewReader(z); ; {
		if _, err := in.Peek(1); err != nil {
			return blocks
		}
		b := &common.Block{}
		if err := protodelim.UnmarshalFrom(in, b); err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, b)
	}
}

// TestValidityOfFabric: what follows from a real chain is what its peers said of each transaction; and a peer that
// says otherwise of any that matters is found.
func TestValidityOfFabric(t *testing.T) {
	names, err := filepath.Glob(filepath.Join("..", "ledger", "fabblock", "testdata", "*.blocks.gz"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no recorded chains (%v)", err)
	}
	for _, path := range names {
		name, _, _ := bytes.Cut([]byte(filepath.Base(path)), []byte("."))
		t.Run(string(name), func(t *testing.T) {
			blocks := recorded(t, string(name))
			kept := keptState{versions: map[stateKey]fabblock.Version{}, ids: map[string]bool{}}
			r := &run{cfg: &Config{Chaincode: "kv", Records: kept}}
			channel, err := fabblock.ParseConfig(blocks[0])
			if err != nil {
				t.Fatal(err)
			}
			channel.Chaincode = "kv"
			var prev *common.BlockHeader
			count := map[string]int{}
			for _, b := range blocks {
				checked, err := channel.Check(prev, b)
				if err != nil {
					t.Fatal(err)
				}
				data := b.GetData().GetData()
				state := newOverlay(kept, checked.Number)
				for i := range checked.Txs {
					tx := &checked.Txs[i]
					if r.namespaces(checked.Number, tx) != nil {
						count["against our own rules"]++
						continue
					}
					count[flip(t, r, state, *tx, data)]++
					if err := r.judge(state, tx, data); err != nil {
						t.Errorf("block %d tx %d of %s, called %s: %v", checked.Number, i, tx.Chaincode, tx.Code, err)
					}
					if tx.Code == peer.TxValidationCode_VALID && tx.Chaincode == "kv" {
						for _, w := range tx.Writes {
							state.set(write{"", w.Key, present(w.Delete), uint64(i)})
						}
					}
				}
				for k, w := range state.writes {
					if w.value == nil {
						delete(kept.versions, k)
					} else {
						kept.versions[k] = fabblock.Version{Block: checked.Number, Tx: w.tx}
					}
				}
				for id := range state.ids {
					kept.ids[id] = true
				}
				if checked.Next != nil {
					channel = checked.Next
				}
				prev = b.GetHeader()
			}
			t.Logf("%d blocks: %v", len(blocks), count)
			if count["hidden found"] < 5 || count["unnoticed"] > 0 {
				t.Errorf("lies: %v", count)
			}
		})
	}
}

// flip says the opposite of what the peers said of a transaction, and reports whether that is found.
func flip(t *testing.T, r *run, state *overlay, tx fabblock.Tx, data [][]byte) string {
	t.Helper()
	again := *state // what it would note must not stay
	again.writes, again.ids = map[stateKey]write{}, map[string]bool{}
	for k, w := range state.writes {
		again.writes[k] = w
	}
	for id := range state.ids {
		again.ids[id] = true
	}
	was := tx.Code
	ours := tx.Chaincode == r.cfg.Chaincode || tx.Chaincode == lifecycle
	if was == peer.TxValidationCode_VALID {
		tx.Code = peer.TxValidationCode_MVCC_READ_CONFLICT
	} else {
		tx.Code = peer.TxValidationCode_VALID
	}
	err := r.judge(&again, &tx, data)
	var f *Finding
	if err != nil && !errors.As(err, &f) {
		t.Fatal(err)
	}
	switch {
	case f != nil && f.Code == HiddenTx:
		return "hidden found"
	case f != nil:
		return "false validity found"
	case !tx.Config && !ours:
		return "another contract's"
	case was == peer.TxValidationCode_VALID && len(tx.Writes) == 0:
		return "wrote nothing in the open"
	}
	t.Logf("unnoticed: block %d tx %d of %s, called %s", state.block, tx.Index, tx.Chaincode, was)
	return "unnoticed"
}
