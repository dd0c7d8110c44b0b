package follow_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded/embeddedtest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// doctor writes an archive anew with one block changed and sealed again as well as whoever made it could.
func doctor(t *testing.T, dir string, at uint64, change func(*common.Block) error, mark bool) {
	t.Helper()
	old, err := archive.Open(filepath.Join(dir, "archive"), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := archive.Open(filepath.Join(dir, "made"), archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range old.Height() {
		raw, err := old.Block(n)
		if err != nil {
			t.Fatal(err)
		}
		if n == at && change != nil {
			var b common.Block
			if err := proto.Unmarshal(raw, &b); err != nil {
				t.Fatal(err)
			}
			if err := change(&b); err != nil {
				t.Fatal(err)
			}
			raw = marshal(t, &b)
		}
		if err := made.Append(n, raw, n == 0 != (n == at && mark)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(old.Close(), made.Close()); err != nil {
		t.Fatal(err)
	}
	remove(t, filepath.Join(dir, "archive"))
	if err := os.Rename(filepath.Join(dir, "made"), filepath.Join(dir, "archive")); err != nil {
		t.Fatal(err)
	}
}

// TestForeignArchive starts a node without records on the archive of another: all of it is verified from block
// 0 on, nothing of a doctored one gets into the records, the finding names the file, and no peer is blamed.
func TestForeignArchive(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	for range 3 {
		w.apply(t, beijing, w.issues(2)...)
	}
	genesis, err := w.Ledger.Genesis()
	if err != nil {
		t.Fatal(err)
	}
	reseal := func(b *common.Block) error { return embeddedtest.Reseal(b, nil, w.Config.Identity) }
	other := w.Issue(t, "TianjinMSP", "tianjin")
	const at = 3
	for _, tt := range []struct {
		name   string
		at     uint64
		change func(*common.Block) error
		mark   bool
		want   follow.Code
	}{
		{"honest", at, nil, false, ""},
		{"altered envelope", at, func(b *common.Block) error {
			b.Data.Data[0] = marshal(t, withoutLastArgument(t, envelope(t, b)))
			return reseal(b)
		}, false, follow.Code(fabblock.BadCreator)},
		{"altered write set", at, func(b *common.Block) error {
			env := envelope(t, b)
			signature := env.Signature
			if err := embeddedtest.Rewrite(env, w.Config.Identity, func(kv *kvrwset.KVRWSet) { kv.Writes[0].Value[0] ^= 1 }); err != nil {
				return err
			}
			env.Signature = signature
			b.Data.Data[0] = marshal(t, env)
			return reseal(b)
		}, false, follow.Code(fabblock.BadCreator)},
		{"signed by another", at, func(b *common.Block) error { return embeddedtest.Reseal(b, nil, other) }, false, follow.Code(fabblock.BadOrderer)},
		{"hidden transaction", at, func(b *common.Block) error {
			codesOf(b)[0] = byte(peer.TxValidationCode_MVCC_READ_CONFLICT)
			return reseal(b)
		}, false, follow.HiddenTx},
		{"another genesis", 0, func(b *common.Block) error { b.Header.PreviousHash = []byte{1}; return nil }, false, follow.OtherGenesis},
		{"a mark too many", at, nil, true, follow.WrongMark},
		{"a mark too few", 0, nil, true, follow.WrongMark},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := w.node(t, beijing)
			n.caughtUp(w)
			n.close()
			remove(t, filepath.Join(n.dir, "records"))
			doctor(t, n.dir, tt.at, tt.change, tt.mark)
			n.cfg.Genesis = model.Digest(fabblock.HeaderHash(genesis.GetHeader()))
			peers := w.client(t, "BeijingMSP", "beijing", w.peer(t, nil), w.peer(t, nil))
			n.cfg.Source = peers
			n.open()
			if tt.want == "" {
				n.caughtUp(w)
				return
			}
			f := n.finding()
			file := filepath.Join(n.dir, "archive", "0000000000000000.blocks")
			if f.Code != tt.want || f.Block != tt.at || !strings.Contains(f.En, file) || !strings.Contains(f.Zh, file) {
				t.Errorf("finding %+v, want %s", f, tt.want)
			}
			if n.records.Height() != tt.at || len(peers.Refused()) != 0 {
				t.Errorf("records at %d, refused %v", n.records.Height(), peers.Refused())
			}
			// What the finding says to do helps.
			n.close()
			remove(t, file)
			remove(t, filepath.Join(n.dir, "records"))
			if err := follow.ClearFinding(n.cfg.Finding); err != nil {
				t.Fatal(err)
			}
			n.open()
			n.caughtUp(w)
		})
	}
}

// TestSnapshotPeers: every peer was restored from a snapshot and has no early blocks. A new node cannot start
// from them and does not count as being at the head; with another member's archive it can.
func TestSnapshotPeers(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	for range 4 {
		w.apply(t, beijing, w.issues(1)...)
	}
	member := w.node(t, beijing)
	member.caughtUp(w)
	member.close()
	for range 2 {
		w.apply(t, beijing, w.issues(1)...)
	}
	peers := []*peerOf{w.peer(t, nil), w.peer(t, nil)}
	for _, p := range peers {
		p.from.Store(4)
	}
	n := w.node(t, w.client(t, "BeijingMSP", "beijing", peers[0], peers[1]))
	wait(t, "the trouble", func() bool { return n.f.Trouble() != nil && strings.Contains(n.f.Trouble().Error(), "snapshot") })
	if n.records.Height() != 0 || n.f.Age() < 1e12 {
		t.Errorf("height %d, age %v", n.records.Height(), n.f.Age())
	}
	n.close()
	remove(t, filepath.Join(n.dir, "archive"))
	copyDir(t, filepath.Join(member.dir, "archive"), filepath.Join(n.dir, "archive"))
	n.open()
	n.caughtUp(w)
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestRecall: the archive is lost and the records are there. What a peer gives for the archive is held against
// what the records keep, or the next rebuild would find the lie of a peer long gone.
func TestRecall(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	w.apply(t, beijing, w.issues(2)...)
	ops := w.issues(2)
	w.conflict(t, beijing, ops[0], ops[1])
	conflict := w.Ledger.Height() - 1
	w.apply(t, beijing, w.issues(2)...)
	for _, tt := range []struct {
		name string
		at   uint64
		code peer.TxValidationCode
		want follow.Code
	}{
		{"hidden", 2, peer.TxValidationCode_DUPLICATE_TXID, follow.HiddenTx},
		{"called valid", conflict, peer.TxValidationCode_VALID, follow.FalseValidity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := w.node(t, beijing)
			n.caughtUp(w)
			n.close()
			remove(t, filepath.Join(n.dir, "archive"))
			liar := w.peer(t, func(b *common.Block) error {
				if b.GetHeader().GetNumber() != tt.at {
					return nil
				}
				codesOf(b)[0] = byte(tt.code)
				return embeddedtest.Reseal(b, nil, w.Config.Identity)
			})
			c := w.client(t, "BeijingMSP", "beijing", liar, w.Conn)
			n.cfg.Source = c
			n.open()
			wait(t, "the archive", func() bool { return n.archive.Height() == w.Ledger.Height() })
			if r := c.Refused(); len(r) != 1 || follow.Code(r[0].Code) != tt.want || r[0].Block != tt.at {
				t.Errorf("refused %+v", r)
			}
		})
	}
}
