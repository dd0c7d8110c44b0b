package follow_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/follow"
)

var errFault = errors.New("the store fails here")

// fault fails one step of the stores, counted over all of them: before it does anything, or after.
type fault struct {
	at, steps int // used by the follower's goroutine
	after     bool
	digest    model.Digest // of the records in the end
}

func (f *fault) step(do func() error) error {
	f.steps++
	if f.steps != f.at {
		return do()
	}
	if f.after {
		return errors.Join(do(), errFault)
	}
	return errFault
}

type faultyArchive struct {
	follow.Archive
	f *fault
}

func (a faultyArchive) Append(number uint64, block []byte, mark bool) error {
	return a.f.step(func() error { return a.Archive.Append(number, block, mark) })
}

type faultyRecords struct {
	follow.Records
	f *fault
}

func (r faultyRecords) Block(number uint64, hash model.Digest, at model.Time, valid, invalid []string) error {
	return r.f.step(func() error { return r.Records.Block(number, hash, at, valid, invalid) })
}

func (r faultyRecords) Write(namespace, key string, value []byte, tx uint64) error {
	return r.f.step(func() error { return r.Records.Write(namespace, key, value, tx) })
}

func (r faultyRecords) Leaf(a *model.Applied, leaf *model.Leaf, receipt *model.Receipt, msp model.MSPID) error {
	return r.f.step(func() error { return r.Records.Leaf(a, leaf, receipt, msp) })
}

func (r faultyRecords) Commit() error { return r.f.step(r.Records.Commit) }

// stores lets a node with the fault catch up and starts it anew without.
func (w *world) stores(t *testing.T, source follow.Source, f *fault) *fault {
	t.Helper()
	n := w.node(t, source)
	n.close()
	remove(t, filepath.Join(n.dir, "archive"))
	remove(t, filepath.Join(n.dir, "records"))
	n.faults = f
	n.open()
	n.caughtUp(w)
	n.close()
	n.faults = nil
	n.open()
	n.caughtUp(w)
	var err error
	if f.digest, _, err = n.records.Digest(); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestEveryStepFails breaks archive and records at steps all along the way, done and not done. The node tries
// again, and the records are the same in the end and after another start.
func TestEveryStepFails(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	w.apply(t, beijing, w.issues(20)...)
	ops := w.issues(2)
	w.conflict(t, beijing, ops[0], ops[1])
	w.apply(t, beijing, w.act(model.LicenceSuspend, 1, 2), w.act(model.LicenceSuspend, 2, 2))
	honest := w.node(t, beijing)
	honest.caughtUp(w)
	want, _, err := honest.records.Digest()
	if err != nil {
		t.Fatal(err)
	}
	counted := w.stores(t, beijing, &fault{})
	total := counted.steps
	if total < 50 {
		t.Fatalf("%d steps", total)
	}
	for at := 1; at <= total; at += max(1, total/7) {
		for _, after := range []bool{false, true} {
			f := &fault{at: at, after: after}
			w.stores(t, w.client(t, "BeijingMSP", "beijing", w.peer(t, nil), w.peer(t, nil)), f)
			if got := f.digest; got != want {
				t.Errorf("step %d (after: %v): other records", at, after)
			}
			if f.steps <= at {
				t.Errorf("step %d was not reached", at)
			}
		}
	}
}
