package follow_test

import (
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestFollow takes operations from the ledger into the records, across a restart.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	n := w.node(t, beijing)
	tx := w.apply(t, beijing, w.issues(100)...)
	w.apply(t, beijing, w.act(model.LicenceSuspend, 1, 2), w.act(model.LicenceResume, 1, 3))
	n.caughtUp(w)

	v, err := n.records.View(model.KindLicence, "bj-scjg.1")
	if err != nil || v == nil || v.Version != 3 || v.State != model.InForce {
		t.Fatalf("%+v %v", v, err)
	}
	told, ok := n.told(tx)
	if !ok || len(told.Receipts) != 100 {
		t.Fatalf("told of %d receipts", len(told.Receipts))
	}
	r, ok, err := n.records.Receipt(told.Receipts[7].Operation)
	if err != nil || !ok || r != told.Receipts[7] {
		t.Fatalf("%+v, told %+v (%v)", r, told.Receipts[7], err)
	}
	wait(t, "the head", func() bool { return n.f.Age() < 1e9 })

	n.close()
	w.apply(t, beijing, w.act(model.LicenceCancel, 1, 4))
	n.open()
	n.caughtUp(w)
	h, err := n.records.History(model.KindLicence, "bj-scjg.1", 0, 10)
	if err != nil || len(h) != 4 || h[0].Type != model.LicenceCancel || h[3].Type != model.LicenceIssue {
		t.Fatalf("%+v %v", h, err)
	}
}
