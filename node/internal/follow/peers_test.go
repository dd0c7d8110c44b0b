package follow_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded/embeddedtest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// TestMain checks that nothing goes on after the tests, but for a goroutine of goleveldb's that ends up to 30
// seconds after its database is closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// peerOf is a peer of the ledger: a way to it that may lie about blocks and heights, hang and be away.
type peerOf struct {
	*grpc.ClientConn
	claim atomic.Uint64 // the height that it says; 0: the true one
	hung  atomic.Bool   // new streams and calls get no answer, open ones nothing more
	away  atomic.Bool
	upTo  atomic.Uint64 // blocks from here on are not delivered; 0: all are
	from  atomic.Uint64 // blocks before are not delivered, as after a snapshot
}

func (w *world) peer(t testing.TB, lie func(*common.Block) error) *peerOf {
	t.Helper()
	p := &peerOf{}
	p.ClientConn = embeddedtest.Proxy(t, w.Conn, embeddedtest.Lies{Delivered: func(b *common.Block) (bool, error) {
		if lie != nil {
			return false, lie(b)
		}
		return false, nil
	}})
	return p
}

func (p *peerOf) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	if p.away.Load() {
		return status.Error(codes.Unavailable, "away")
	}
	if p.hung.Load() {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	return p.ClientConn.Invoke(ctx, method, in, out, opts...)
}

func (p *peerOf) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if p.away.Load() {
		return nil, status.Error(codes.Unavailable, "away")
	}
	s, err := p.ClientConn.NewStream(ctx, d, method, opts...)
	return &peerStream{s, p}, err
}

type peerStream struct {
	grpc.ClientStream
	p *peerOf
}

func (s *peerStream) silent() error {
	<-s.Context().Done()
	return status.FromContextError(s.Context().Err()).Err()
}

func (s *peerStream) RecvMsg(m any) error {
	if s.p.hung.Load() {
		return s.silent()
	}
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	if s.p.hung.Load() {
		return s.silent()
	}
	if s.p.away.Load() {
		return status.Error(codes.Unavailable, "away")
	}
	r, ok := m.(*peer.DeliverResponse)
	if !ok {
		return nil
	}
	if f, ok := r.GetType().(*peer.DeliverResponse_FilteredBlock); ok {
		if claim := s.p.claim.Load(); claim > 0 {
			f.FilteredBlock.Number = claim - 1
		}
	}
	if b := r.GetBlock(); b != nil {
		n := b.GetHeader().GetNumber()
		if n < s.p.from.Load() {
			r.Type = &peer.DeliverResponse_Status{Status: common.Status_NOT_FOUND}
		}
		if to := s.p.upTo.Load(); to > 0 && n >= to {
			return s.silent()
		}
	}
	return nil
}

// codesOf are the validation codes of a block.
func codesOf(b *common.Block) []byte {
	return b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
}

// conflict has two transactions endorsed at one height and committed in one order: the second reads what the
// first writes. It returns their ids.
func (w *world) conflict(t testing.TB, c *ledger.Client, a, b model.Operation) (valid, invalid string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var ids [2]string
	var envelopes [2][]byte
	for i, op := range []model.Operation{a, b} {
		var err error
		if ids[i], _, envelopes[i], err = c.Propose(ctx, model.FunctionApply, [][]byte{op.Encode()}); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []peer.TxValidationCode{peer.TxValidationCode_VALID, peer.TxValidationCode_MVCC_READ_CONFLICT} {
		if err := c.Submit(ctx, envelopes[i]); err != nil {
			t.Fatal(err)
		}
		if code, _, err := c.Status(ctx, ids[i]); err != nil || code != want {
			t.Fatalf("transaction %d: %v, want %v (%v)", i, code, want, err)
		}
	}
	return ids[0], ids[1]
}

// TestLyingPeer: each lie about a block, told by the first or the second of two peers. The node refuses that
// peer, says why, and follows the other as if nothing had been; told by all, it stops.
func TestLyingPeer(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	w.apply(t, beijing, w.issues(3)...)
	valid := w.Ledger.Height()
	w.apply(t, beijing, w.issues(3)...)
	ops := w.issues(2) // on one page
	w.conflict(t, beijing, ops[0], ops[1])
	conflict := w.Ledger.Height() - 1
	w.apply(t, beijing, w.issues(1)...)

	reseal := func(b *common.Block, previous []byte) error {
		return embeddedtest.Reseal(b, previous, w.Config.Identity)
	}
	lies := []struct {
		name string
		at   uint64
		want follow.Code
		lie  func(b *common.Block) error
	}{
		{"flipped byte", valid, follow.Code(fabblock.BadDataHash), func(b *common.Block) error { b.Data.Data[0][200] ^= 1; return nil }},
		{"another block", valid, follow.Code(fabblock.BadPrevious), func(b *common.Block) error { return reseal(b, make([]byte, 32)) }},
		{"altered envelope", valid, follow.Code(fabblock.BadCreator), func(b *common.Block) error {
			b.Data.Data[0] = marshal(t, withoutLastArgument(t, envelope(t, b)))
			return reseal(b, nil)
		}},
		{"altered write set", valid, follow.Code(fabblock.BadCreator), func(b *common.Block) error {
			env := envelope(t, b)
			signature := env.Signature
			if err := embeddedtest.Rewrite(env, w.Config.Identity, func(kv *kvrwset.KVRWSet) { kv.Writes[0].Value[0] ^= 1 }); err != nil {
				return err
			}
			env.Signature = signature
			b.Data.Data[0] = marshal(t, env)
			return reseal(b, nil)
		}},
		{"unsigned", valid, follow.Code(fabblock.BadOrderer), func(b *common.Block) error {
			b.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES] = nil
			return nil
		}},
		{"a block out of turn", valid, follow.Code(fabblock.BadNumber), func(b *common.Block) error { b.Header.Number++; return nil }},
		// From here on with the ledger's own signature over the codes, as on Fabric, where none covers them.
		{"hidden transaction", valid, follow.HiddenTx, func(b *common.Block) error {
			codesOf(b)[0] = byte(peer.TxValidationCode_MVCC_READ_CONFLICT)
			return reseal(b, nil)
		}},
		{"hidden as a duplicate", valid, follow.HiddenTx, func(b *common.Block) error {
			codesOf(b)[0] = byte(peer.TxValidationCode_DUPLICATE_TXID)
			return reseal(b, nil)
		}},
		{"hidden by a false policy", valid, follow.HiddenTx, func(b *common.Block) error {
			codesOf(b)[0] = byte(peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE)
			return reseal(b, nil)
		}},
		{"a conflict called valid", conflict, follow.FalseValidity, func(b *common.Block) error {
			codesOf(b)[0] = byte(peer.TxValidationCode_VALID)
			return reseal(b, nil)
		}},
	}
	for _, tt := range lies {
		lie := func(b *common.Block) error {
			if b.GetHeader().GetNumber() == tt.at {
				return tt.lie(b)
			}
			return nil
		}
		for at := range 2 {
			t.Run(fmt.Sprintf("%s/%d", tt.name, at), func(t *testing.T) {
				conns := []grpc.ClientConnInterface{w.peer(t, nil), w.peer(t, nil)}
				conns[at] = w.peer(t, lie)
				c := w.client(t, "BeijingMSP", "beijing", conns...)
				if at == 1 { // the liar is second: it gets its turn when the first is gone
					first := conns[0].(*peerOf)
					first.upTo.Store(tt.at)
					n := w.node(t, c)
					wait(t, "the liar to be found", func() bool { return len(c.Refused()) == 1 })
					first.upTo.Store(0)
					n.caughtUp(w)
				} else {
					w.node(t, c).caughtUp(w)
				}
				r := c.Refused()
				if len(r) != 1 || r[0].Gateway != fmt.Sprint(at) || follow.Code(r[0].Code) != tt.want || r[0].Zh == "" || r[0].En == "" {
					t.Fatalf("refused: %+v, want %s", r, tt.want)
				}
				if r[0].Block != tt.at && tt.want != follow.Code(fabblock.BadNumber) {
					t.Errorf("block %d, want %d", r[0].Block, tt.at)
				}
			})
		}
		t.Run(tt.name+"/all", func(t *testing.T) {
			c := w.client(t, "BeijingMSP", "beijing", w.peer(t, lie), w.peer(t, lie))
			n := w.node(t, c)
			if f := n.finding(); f.Code != tt.want || len(c.Refused()) != 2 || n.records.Height() != tt.at {
				t.Errorf("finding %v at height %d, refused %+v", f, n.records.Height(), c.Refused())
			}
			// The finding outlives the process, and with it cleared an honest peer is followed on.
			n.close()
			n.cfg.Source = beijing
			if err := follow.ClearFinding(n.cfg.Finding); err != nil {
				t.Fatal(err)
			}
			n.open()
			n.caughtUp(w)
		})
	}
}

// TestPeersFail: peers hang, lag, go away, lack old blocks or claim blocks that there are not. The node goes on
// at another, is at the head in the end, and nobody is refused.
func TestPeersFail(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	w.apply(t, beijing, w.issues(3)...)
	for name, fail := range map[string]func(p *peerOf, height uint64){
		"hangs":                        func(p *peerOf, _ uint64) { p.hung.Store(true) },
		"goes away":                    func(p *peerOf, _ uint64) { p.away.Store(true) },
		"delivers nothing more":        func(p *peerOf, h uint64) { p.upTo.Store(h) },
		"lags":                         func(p *peerOf, h uint64) { p.upTo.Store(h); p.claim.Store(h) },
		"claims what there is not":     func(p *peerOf, _ uint64) { p.claim.Store(1 << 50) },
		"comes back from a snapshot":   func(p *peerOf, h uint64) { p.from.Store(h + 2) },
		"claims, and delivers no more": func(p *peerOf, h uint64) { p.claim.Store(1 << 50); p.upTo.Store(h) },
	} {
		for at := range 2 {
			t.Run(fmt.Sprintf("%s/%d", name, at), func(t *testing.T) {
				t.Parallel()
				peers := []*peerOf{w.peer(t, nil), w.peer(t, nil)}
				c := w.client(t, "BeijingMSP", "beijing", peers[0], peers[1])
				n := w.node(t, c)
				wait(t, "the first blocks", func() bool { return n.records.Height() >= 2 })
				fail(peers[at], n.records.Height())
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				w.ahead(t, beijing, 3)
				for range 2 {
					if err := n.f.AtHead(ctx, time.Now()); err != nil {
						t.Fatalf("not at the head: %v; %v", err, c.States())
					}
				}
				wait(t, "to know that nothing is missing", func() bool { return !n.f.Behind() })
				if r := c.Refused(); len(r) != 0 {
					t.Errorf("refused %v", r)
				}
			})
		}
	}
}

// ahead makes blocks; tests that run beside one another share the ledger.
func (w *world) ahead(t testing.TB, c *ledger.Client, n int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		w.apply(t, c, w.issues(1)...)
	}
}

// TestFailoverUnderLoad: peers come and go at every moment while blocks are made; every node has the same
// records in the end.
func TestFailoverUnderLoad(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	peers := []*peerOf{w.peer(t, nil), w.peer(t, nil), w.peer(t, nil)}
	n := w.node(t, w.client(t, "BeijingMSP", "beijing", peers[0], peers[1], peers[2]))
	for i := range 30 {
		w.apply(t, beijing, w.issues(2)...)
		p := peers[i%3]
		switch i / 3 % 3 {
		case 0:
			p.away.Store(true)
		case 1:
			p.hung.Store(true)
		}
		q := peers[(i+1)%3]
		q.away.Store(false)
		q.hung.Store(false)
		if i%7 == 6 { // and the node is restarted in the middle of it
			n.close()
			n.open()
		}
	}
	for _, p := range peers {
		p.away.Store(false)
		p.hung.Store(false)
	}
	n.caughtUp(w)
	other := w.node(t, beijing)
	other.caughtUp(w)
	a, _, err := n.records.Digest()
	b, _, err2 := other.records.Digest()
	if err := errors.Join(err, err2); err != nil || a != b {
		t.Errorf("other records than those of a node with one peer (%v)", err)
	}
}

// TestSilentTrickle: a peer that gives a block now and then while the ledger moves on is left, too.
func TestSilentTrickle(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	slow, good := w.peer(t, nil), w.peer(t, nil)
	slow.upTo.Store(1)
	good.away.Store(true)
	n := w.node(t, w.client(t, "BeijingMSP", "beijing", slow, good))
	wait(t, "the first block", func() bool { return n.records.Height() == 1 })
	good.away.Store(false)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(2); ; i++ {
			if n.records.Height() == w.Ledger.Height() && i > 10 {
				return
			}
			slow.upTo.Store(i / 3) // one block for three of the ledger's
			w.ahead(t, beijing, 1)
			time.Sleep(20 * time.Millisecond) // a rate, not a wait
			if i > 200 {
				return
			}
		}
	}()
	<-done
	n.caughtUp(w)
}

// TestFindingTexts: what an operator reads of a refusal names the block.
func TestFindingTexts(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	w.apply(t, beijing, w.issues(1)...)
	hide := func(b *common.Block) error {
		if b.GetHeader().GetNumber() != 2 {
			return nil
		}
		codesOf(b)[0] = byte(peer.TxValidationCode_MVCC_READ_CONFLICT)
		return embeddedtest.Reseal(b, nil, w.Config.Identity)
	}
	c := w.client(t, "BeijingMSP", "beijing", w.peer(t, hide), w.Conn)
	w.node(t, c).caughtUp(w)
	r := c.Refused()
	if len(r) != 1 || !strings.Contains(r[0].En, "block 2") || !strings.Contains(r[0].Zh, "2") || r[0].Tx != 0 {
		t.Fatalf("%+v", r)
	}
	state := c.States()[0].String()
	if !strings.Contains(state, "refused") || !strings.Contains(state, string(follow.HiddenTx)) {
		t.Errorf("state %s", state)
	}
}
