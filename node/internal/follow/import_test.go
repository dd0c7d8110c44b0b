package follow_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/contract/origin"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded/embeddedtest"
)

// TestImportedLedger takes a real embedded ledger over, block by block as its own node keeps them, conflicts
// included, into another ledger: a follower of that one comes to the same leaves at the same positions.
func TestImportedLedger(t *testing.T) {
	old := newWorld(t)
	was := old.node(t, old.client(t, "BeijingMSP", "beijing", old.Conn))
	writer := old.client(t, "BeijingMSP", "beijing", old.Conn)
	old.apply(t, writer, old.issues(40)...)
	var wait sync.WaitGroup
	for i := range 4 { // the same act four times on one state: only one can be valid
		c := old.client(t, "BeijingMSP", "beijing", old.Conn)
		op := old.act(model.LicenceSuspend, 1, 2)
		wait.Go(func() {
			tx, _, envelope, err := c.Propose(t.Context(), model.FunctionApply, [][]byte{op.Encode()})
			if err != nil {
				return // another was quicker
			}
			if err := c.Submit(t.Context(), envelope); err != nil {
				t.Error(i, err)
				return
			}
			if _, _, err := c.Status(t.Context(), tx); err != nil {
				t.Error(i, err)
			}
		})
	}
	wait.Wait()
	old.apply(t, writer, append(old.issues(3), old.act(model.LicenceCancel, 2, 2))...)
	was.caughtUp(old)

	var blocks [][]byte
	for b, err := range was.archive.Iterate(0) {
		if err != nil {
			t.Fatal(err)
		}
		blocks = append(blocks, slices.Clone(b))
	}
	zero, err := origin.Open(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	doc, err := model.Canonical(old.genesis)
	if err != nil {
		t.Fatal(err)
	}
	c := *old.contract
	c.ImportFrom = zero.Hash
	now := &world{
		World:   embeddedtest.Start(t, "jjj", chaincode, &c, "BeijingMSP", "TianjinMSP", "HebeiMSP", "CustomsMSP"),
		genesis: old.genesis, contract: &c, serial: old.serial,
	}
	tianjin := now.client(t, "TianjinMSP", "tianjin", now.Conn)
	now.call(t, tianjin, model.FunctionInit, doc, blocks[0])
	is := now.node(t, now.client(t, "HebeiMSP", "hebei", now.Conn))
	for rest := blocks[1:]; len(rest) > 0; {
		n := min(2, len(rest))
		now.call(t, tianjin, model.FunctionImport, rest[:n]...)
		rest = rest[n:]
	}
	is.caughtUp(now)
	position := was.records.Position()
	if is.records.Position() != position {
		t.Fatalf("%d leaves, were %d", is.records.Position(), position)
	}
	want, err := was.records.Entries(0, int(position))
	if err != nil {
		t.Fatal(err)
	}
	got, err := is.records.Entries(0, int(position))
	if err != nil {
		t.Fatal(err)
	}
	var chain model.Digest
	if uint64(len(want)) != position || uint64(len(got)) != position {
		t.Fatalf("%d and %d of %d entries", len(want), len(got), position)
	}
	for i := range want {
		w, g := &want[i], &got[i]
		if w.Receipt.Leaf != g.Receipt.Leaf || w.Receipt.Position != g.Receipt.Position || w.Receipt.Operation != g.Receipt.Operation || (w.Msp != g.Msp && w.Operation.Type != model.Genesis) {
			t.Fatalf("leaf %d differs: %+v, was %+v", i, g.Receipt, w.Receipt)
		}
		chain = model.Chain(chain, w.Receipt.Digest, w.Record)
	}
	for _, o := range []struct {
		msp, node string
	}{{"BeijingMSP", "beijing"}, {"HebeiMSP", "hebei"}, {"CustomsMSP", "customs"}} {
		now.call(t, now.client(t, o.msp, o.node, now.Conn), model.FunctionCloseImport, fmt.Append(nil, position), []byte(chain.String()))
	}
	now.apply(t, now.client(t, "BeijingMSP", "beijing", now.Conn), now.issues(2)...)
	is.caughtUp(now)
	if n := is.records.Position(); n != position+3 {
		t.Errorf("%d leaves, want the pilot's %d, the closing and two more", n, position)
	}
	closed, err := is.records.View(model.KindImport, model.ImportID)
	if err != nil || closed == nil || closed.State != model.Imported {
		t.Errorf("%+v %v", closed, err)
	}
}
