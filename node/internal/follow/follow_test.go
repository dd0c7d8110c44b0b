package follow_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/syndtr/goleveldb/leveldb"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/follow"
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

// TestStoresDiffer: after a power cut the archive or the records may be behind the other, by any number of
// blocks; either is brought up from the other or from the ledger.
func TestStoresDiffer(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	for range 5 {
		w.apply(t, beijing, w.issues(2)...)
	}
	w.apply(t, beijing, w.act(model.LicenceSuspend, 1, 2))
	tests := []struct {
		name string
		lose func(t *testing.T, dir string)
	}{
		{"no records", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "records")) }},
		{"no archive", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "archive")) }},
		{"torn archive", func(t *testing.T, dir string) {
			file := segment(t, dir)
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, info.Size()*2/3); err != nil {
				t.Fatal(err)
			}
		}},
		{"lost operations", func(t *testing.T, dir string) { lose(t, filepath.Join(dir, "records", "operations")) }},
		{"lost operations and archive", func(t *testing.T, dir string) {
			lose(t, filepath.Join(dir, "records", "operations"))
			remove(t, filepath.Join(dir, "archive"))
		}},
		{"neither", func(t *testing.T, dir string) {
			remove(t, filepath.Join(dir, "records"))
			remove(t, filepath.Join(dir, "archive"))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := w.node(t, beijing)
			n.caughtUp(w)
			want, _, err := n.records.Digest()
			if err != nil {
				t.Fatal(err)
			}
			n.close()
			tt.lose(t, n.dir)
			n.open()
			n.caughtUp(w)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := n.f.AtHead(ctx, time.Now()); err != nil {
				t.Fatal(err)
			}
			wait(t, "the archive", func() bool { return n.archive.Height() == w.Ledger.Height() })
			if got, _, err := n.records.Digest(); err != nil || got != want {
				t.Errorf("other records than before (%v)", err)
			}
		})
	}
}

// TestRecordsOnlyFromArchive: with the ledger away, records come from the archive alone.
func TestRecordsOnlyFromArchive(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	w.apply(t, beijing, w.issues(20)...)
	n := w.node(t, beijing)
	n.caughtUp(w)
	n.close()
	remove(t, filepath.Join(n.dir, "records"))
	n.cfg.Source = away{}
	n.open()
	n.caughtUp(w)
	wait(t, "the trouble", func() bool { return n.f.Trouble() != nil })
	if n.f.Age() < time.Hour {
		t.Errorf("age %v without ever having seen the head", n.f.Age())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if err := n.f.AtHead(ctx, time.Now()); err == nil {
		t.Error("at the head of a ledger that is away")
	}
}

// TestBehind: the node knows that it is behind from when it hears of a block until it has applied it, however
// lately it was at the head.
func TestBehind(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	slow := holding{beijing, w.Ledger.Height(), make(chan struct{})}
	n := w.node(t, slow)
	n.caughtUp(w)
	wait(t, "the head", func() bool { return n.f.Age() < time.Minute })
	if n.f.Behind() {
		t.Error("behind at the head")
	}
	w.apply(t, beijing, w.issues(1)...)
	wait(t, "word of the block", n.f.Behind)
	if n.f.Age() > time.Minute {
		t.Error("the head was not seen lately")
	}
	close(slow.release)
	n.caughtUp(w)
	wait(t, "the head again", func() bool { return !n.f.Behind() })
}

// holding keeps blocks from a number on until it is released.
type holding struct {
	follow.Source
	from    uint64
	release chan struct{}
}

func (s holding) Blocks(ctx context.Context, from uint64) iter.Seq2[*common.Block, error] {
	return func(yield func(*common.Block, error) bool) {
		for b, err := range s.Source.Blocks(ctx, from) {
			if b.GetHeader().GetNumber() >= s.from {
				select {
				case <-s.release:
				case <-ctx.Done():
				}
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

// TestNoEffect: refused operations, questions and failed transactions stand in blocks and leave no leaf.
func TestNoEffect(t *testing.T) {
	w := newWorld(t)
	beijing := w.client(t, "BeijingMSP", "beijing", w.Conn)
	hebei := w.client(t, "HebeiMSP", "hebei", w.Conn)
	ops := w.issues(1)
	w.apply(t, beijing, ops...)
	n := w.node(t, beijing)
	n.caughtUp(w)
	before := n.records.Position()
	refused := w.apply(t, hebei, contracttest.Op("he-scjg", model.LicenceCancel, model.KindLicence, "bj-scjg.1", 2, time.Now(), contracttest.Act("2026-06-01")))
	again := w.apply(t, beijing, ops...)
	question := w.call(t, beijing, model.FunctionGet, []byte(model.KindLicence), []byte("bj-scjg.1"))
	n.caughtUp(w)
	if n.records.Position() != before {
		t.Errorf("%d leaves from nothing", n.records.Position()-before)
	}
	for _, tx := range []string{refused, again, question} {
		wait(t, "the notice", func() bool { _, ok := n.told(tx); return ok })
		if x, _ := n.told(tx); len(x.Receipts) != 0 {
			t.Errorf("receipts of %s: %v", tx, x.Receipts)
		}
	}
}

// away is a ledger that cannot be reached.
type away struct{}

func (away) Refuse(error) bool { return false }

func (away) Height(context.Context) (uint64, error) { return 0, errors.New("away") }

func (away) Blocks(context.Context, uint64) iter.Seq2[*common.Block, error] {
	return func(yield func(*common.Block, error) bool) { yield(nil, errors.New("away")) }
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

// lose takes all operations away, and with the key "y" the note that they were on the disk.
func lose(t *testing.T, file string) {
	t.Helper()
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	db, err := leveldb.OpenFile(filepath.Dir(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Delete([]byte("y"), nil), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func segment(t *testing.T, dir string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "archive", "*.blocks"))
	if err != nil || len(all) != 1 {
		t.Fatalf("segments %v %v", all, err)
	}
	return all[0]
}
