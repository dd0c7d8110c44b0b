package follow_test

import (
	"context"
	"iter"
	"os"
	"sync/atomic"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded/embeddedtest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// liar passes blocks on, changed from a number on.
type liar struct {
	follow.Source
	change func(*common.Block) (drop bool)
}

func (l liar) Blocks(ctx context.Context, from uint64) iter.Seq2[*common.Block, error] {
	return func(yield func(*common.Block, error) bool) {
		for b, err := range l.Source.Blocks(ctx, from) {
			if b != nil && l.change(b) {
				continue
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// TestForgedBlock: whatever a ledger or somebody in between changes in a block without the key of whoever
// signed it, the follower stops before that block and keeps what it had.
func TestForgedBlock(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	w.apply(t, beijing, w.issues(3)...)
	w.apply(t, beijing, w.issues(3)...)
	const bad = 2
	only := func(fn func(*common.Block)) func(*common.Block) bool {
		return func(b *common.Block) bool {
			if b.GetHeader().GetNumber() == bad {
				fn(b)
			}
			return false
		}
	}
	reseal := func(b *common.Block, previous []byte) {
		if err := embeddedtest.Reseal(b, previous, w.Config.Identity); err != nil {
			t.Error(err)
		}
	}
	tests := []struct {
		name   string
		change func(*common.Block) bool
		want   follow.Code
	}{
		{"flipped byte", only(func(b *common.Block) { b.Data.Data[0][200] ^= 1 }), follow.Code(fabblock.BadDataHash)},
		{"flipped byte under a new seal", only(func(b *common.Block) {
			env := envelope(t, b)
			env.Payload[len(env.Payload)/2] ^= 1
			b.Data.Data[0] = marshal(t, env)
			reseal(b, nil)
		}), ""},
		{"dropped operation", only(func(b *common.Block) {
			b.Data.Data[0] = marshal(t, withoutLastArgument(t, envelope(t, b)))
			reseal(b, nil)
		}), follow.Code(fabblock.BadCreator)},
		{"operations in another order", only(func(b *common.Block) {
			b.Data.Data[0] = marshal(t, swappedArguments(t, envelope(t, b)))
			reseal(b, nil)
		}), follow.Code(fabblock.BadCreator)},
		{"left out", func(b *common.Block) bool { return b.GetHeader().GetNumber() == bad }, follow.Code(fabblock.BadNumber)},
		{"another predecessor", only(func(b *common.Block) { reseal(b, make([]byte, 32)) }), follow.Code(fabblock.BadPrevious)},
		{"unsigned", only(func(b *common.Block) {
			b.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES] = nil
		}), follow.Code(fabblock.BadOrderer)},
		{"hidden by a validation code", only(func(b *common.Block) {
			b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER][0] = byte(peer.TxValidationCode_MVCC_READ_CONFLICT)
		}), follow.Code(fabblock.BadCodes)},
		{"the same transaction twice", only(func(b *common.Block) {
			b.Data.Data = append(b.Data.Data, b.Data.Data[0])
			filter := common.BlockMetadataIndex_TRANSACTIONS_FILTER
			b.Metadata.Metadata[filter] = append(b.Metadata.Metadata[filter], 0)
			reseal(b, nil)
		}), follow.FalseValidity},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := w.node(t, liar{beijing, tt.change})
			f := n.finding()
			if tt.want != "" && f.Code != tt.want {
				t.Errorf("finding %v, want %s", f, tt.want)
			}
			if n.records.Height() != bad || n.archive.Height() != bad || n.records.Position() == 0 {
				t.Errorf("records at %d, archive at %d, want %d", n.records.Height(), n.archive.Height(), bad)
			}
			// The finding outlives the process, and clearing it lets an honest source go on.
			n.close()
			n.cfg.Source = beijing
			n.open()
			if f := n.f.Finding(); f == nil || n.records.Height() != bad {
				t.Fatalf("after a restart: %v at height %d", f, n.records.Height())
			}
			n.close()
			if err := follow.ClearFinding(n.cfg.Finding); err != nil {
				t.Fatal(err)
			}
			n.open()
			n.caughtUp(w)
		})
	}
}

// TestLyingEndorser: the ledger's organisation endorses other writes than the contract makes, and the
// creator, who looks at its own arguments only, signs them. All signatures are good; running the contract
// again finds it.
func TestLyingEndorser(t *testing.T) {
	rewrite := func(change func(*kvrwset.KVRWSet)) func(*world) embeddedtest.Lies {
		return func(w *world) embeddedtest.Lies {
			return embeddedtest.Lies{Endorsed: func(env *common.Envelope) error {
				return embeddedtest.Rewrite(env, w.Config.Identity, change)
			}}
		}
	}
	tests := []struct {
		name string
		lies func(*world) embeddedtest.Lies
	}{
		{"wrong header in the write set", rewrite(func(kv *kvrwset.KVRWSet) {
			for _, x := range kv.Writes {
				x.Value[len(x.Value)-1] ^= 1
			}
		})},
		{"dropped write", rewrite(func(kv *kvrwset.KVRWSet) { kv.Writes = kv.Writes[:len(kv.Writes)-1] })},
		{"another key", rewrite(func(kv *kvrwset.KVRWSet) { kv.Writes[0].Key += "0" })},
		{"additional write", rewrite(func(kv *kvrwset.KVRWSet) {
			kv.Writes = append(kv.Writes, &kvrwset.KVWrite{Key: "zz", Value: []byte{1}})
		})},
		{"deletion", rewrite(func(kv *kvrwset.KVRWSet) {
			kv.Writes = append(kv.Writes, &kvrwset.KVWrite{Key: "c", IsDelete: true})
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			honest := w.client(t, "BeijingMSP", "beijing", w.Conn)
			w.apply(t, honest, w.issues(2)...)
			n := w.node(t, honest)
			n.caughtUp(w)
			before := n.records.Height()
			misled := w.client(t, "BeijingMSP", "beijing", embeddedtest.Proxy(t, w.Conn, tt.lies(w)))
			w.apply(t, misled, w.issues(2)...)
			if f := n.finding(); f.Code != follow.OtherWrites || f.Block != before || f.Zh == "" {
				t.Errorf("finding %+v", f)
			}
			if n.records.Height() != before {
				t.Error("the bad block was applied")
			}
			if b, err := os.ReadFile(n.cfg.Finding); err != nil || len(b) == 0 {
				t.Errorf("stored finding: %q %v", b, err)
			}
		})
	}
}

// TestOtherLedger: a node that has followed one ledger finds at once that it is given another.
func TestOtherLedger(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	a, b := w.client(t, "BeijingMSP", "beijing", w.Conn), other.client(t, "BeijingMSP", "beijing", other.Conn)
	w.apply(t, a, w.issues(1)...)
	for range 3 {
		other.apply(t, b, other.issues(1)...)
	}
	n := w.node(t, a)
	n.caughtUp(w)
	n.close()
	n.cfg.Source = b
	n.open()
	if f := n.finding(); f.Code != follow.Code(fabblock.BadPrevious) {
		t.Errorf("finding %v", f)
	}

	fresh := w.node(t, a)
	fresh.caughtUp(w)
	pinned := other.node(t, b)
	pinned.close()
	pinned.cfg.Source = a // pinned to another's block 0
	genesis, err := other.Ledger.Genesis()
	if err != nil {
		t.Fatal(err)
	}
	pinned.dir = t.TempDir()
	pinned.cfg.Finding = pinned.dir + "/finding.json"
	pinned.cfg.Genesis = model.Digest(fabblock.HeaderHash(genesis.GetHeader()))
	pinned.open()
	if f := pinned.finding(); f.Code != follow.OtherGenesis || pinned.archive.Height() != 0 {
		t.Errorf("finding %v", f)
	}
}

// TestSourceFails: the stream breaks again and again, and blocks come twice; nothing is lost or doubled.
func TestSourceFails(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	for range 12 {
		w.apply(t, beijing, w.issues(2)...)
	}
	var calls atomic.Int64
	n := w.node(t, breaking{beijing, &calls})
	n.caughtUp(w)
	if calls.Load() < 3 {
		t.Errorf("asked %d times", calls.Load())
	}
	wait(t, "the trouble to pass", func() bool { return n.f.Trouble() == nil })
}

// breaking ends each stream after three blocks.
type breaking struct {
	*ledger.Client
	calls *atomic.Int64
}

func (s breaking) Blocks(ctx context.Context, from uint64) iter.Seq2[*common.Block, error] {
	s.calls.Add(1)
	return func(yield func(*common.Block, error) bool) {
		n := 0
		for b, err := range s.Client.Blocks(ctx, from) {
			if !yield(b, err) || err != nil {
				return
			}
			if n++; n == 3 {
				yield(nil, context.DeadlineExceeded)
				return
			}
		}
	}
}

func envelope(t *testing.T, b *common.Block) *common.Envelope {
	t.Helper()
	var env common.Envelope
	if err := proto.Unmarshal(b.Data.Data[0], &env); err != nil {
		t.Fatal(err)
	}
	return &env
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
