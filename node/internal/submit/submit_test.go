package submit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"go.uber.org/goleak"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/submit"
)

func TestMain(m *testing.M) {
	// goleveldb's pool drain notices within a second that its database is closed.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

var (
	_ submit.Outbox    = (*outbox.Outbox)(nil)
	_ submit.Envelopes = (*outbox.Outbox)(nil)
)

// process is one life of a node on a world.
type process struct {
	*submit.Submitter
	w    *world
	out  *outbox.Outbox
	dead *bool
}

func quick() submit.Config {
	return submit.Config{
		Gather: time.Millisecond, Resubmit: 20 * time.Millisecond, Retry: time.Millisecond, MaxRetry: 10 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	}
}

func start(t testing.TB, w *world, dir string, cfg submit.Config) *process {
	t.Helper()
	out, err := outbox.Open(dir, outbox.Config{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{w: w, out: out, dead: new(bool)}
	if p.Submitter, err = submit.New(cfg, client{w, p.dead}, out, out, w); err != nil {
		t.Fatal(err)
	}
	w.set(func(w *world) { w.node = p.Submitter })
	p.Start()
	return p
}

// stop ends the process and checks the outbox.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.w.set(func(w *world) { w.node = nil })
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.out.Check(); err != nil {
		t.Error(err)
	}
	if err := p.out.Close(); err != nil {
		t.Error(err)
	}
}

func one(t testing.TB) (*world, *process) {
	t.Helper()
	w := newWorld(t, 1)
	w.run(t)
	p := start(t, w, t.TempDir(), quick())
	t.Cleanup(func() { p.stop(t) })
	return w, p
}

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (p *process) accept(t testing.TB, ops ...model.Operation) []model.OpID {
	t.Helper()
	fresh, err := p.Accept(deadline(t), [16]byte{}, model.Digest{}, time.Now(), ops)
	if err != nil || !fresh {
		t.Fatalf("accepted %v: %v", fresh, err)
	}
	return idsOf(ops)
}

func (p *process) want(t testing.TB, ids []model.OpID, status model.Progress, code model.Code) {
	t.Helper()
	out, err := p.Wait(deadline(t), ids)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range out {
		if o.Operation != ids[i] || o.Status != status {
			t.Errorf("operation %d: %+v, want %s", i, o, status)
			continue
		}
		switch {
		case status == model.Committed && (o.Receipt == nil || o.Receipt.Operation != ids[i]):
			t.Errorf("operation %d has receipt %+v", i, o.Receipt)
		case status == model.Rejected && (o.Problem == nil || o.Problem.Code != code):
			t.Errorf("operation %d has problem %+v, want %s", i, o.Problem, code)
		}
		again, ok, err := p.Outcome(ids[i])
		if err != nil || !ok || again.Status != status || again.Version != o.Version || again.Record != o.Record {
			t.Errorf("outcome %+v %v: %v", again, ok, err)
		}
	}
}

func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func (p *process) well() bool {
	reason, _ := p.Degraded()
	return reason == ""
}

func TestCommitted(t *testing.T) {
	w, p := one(t)
	var settled []model.OpID
	ids := p.accept(t, operation(1, 1, body{}), operation(2, 1, body{}), operation(1, 2, body{}))
	p.want(t, ids, model.Committed, "")
	until(t, "the outbox is empty", func() bool { n, _, _ := p.out.Depth(); return n == 0 })
	if len(w.doubled) != 0 || settled != nil {
		t.Errorf("doubled %v", w.doubled)
	}
	if _, ok, err := p.Outcome(model.NewOpID()); ok || err != nil {
		t.Errorf("an unknown operation has an outcome: %v", err)
	}
	if _, err := p.Wait(deadline(t), []model.OpID{model.NewOpID()}); !errors.Is(err, model.E(model.CodeNotFound)) {
		t.Errorf("waited for an unknown operation: %v", err)
	}
}

func TestRefusalIsFinalAndAlone(t *testing.T) {
	_, p := one(t)
	bad := operation(2, 1, body{Refuse: "transition_not_allowed"})
	wrong := operation(3, 7, body{})
	ids := p.accept(t, operation(1, 1, body{}), bad, wrong, operation(4, 1, body{}))
	p.want(t, []model.OpID{ids[0], ids[3]}, model.Committed, "")
	p.want(t, ids[1:2], model.Rejected, model.CodeTransition)
	p.want(t, ids[2:3], model.Rejected, model.CodeVersionConflict)
}

func TestRefusalThatFollowsFromARefusal(t *testing.T) {
	_, p := one(t)
	ids := p.accept(t, operation(1, 1, body{Refuse: "transition_not_allowed"}), operation(1, 2, body{}), operation(1, 3, body{}))
	p.want(t, ids[:1], model.Rejected, model.CodeTransition)
	p.want(t, ids[1:], model.Rejected, model.CodeVersionConflict)
}

func TestPoisonIsIsolated(t *testing.T) {
	w, p := one(t)
	w.set(func(w *world) { w.down = true })
	var good, bad []model.OpID
	for i := uint64(1); i <= 200; i++ {
		op := operation(i*16, 1, body{})
		if i%67 == 0 {
			op = operation(i*16, 1, body{Poison: "personal_identifier"})
			bad = append(bad, op.ID)
		} else {
			good = append(good, op.ID)
		}
		p.accept(t, op)
	}
	w.set(func(w *world) { w.down = false })
	p.want(t, good, model.Committed, "")
	p.want(t, bad, model.Rejected, model.CodePersonalIdentifier)
}

func TestLaggingEndorserDecidesNothing(t *testing.T) {
	w, p := one(t)
	op := operation(1, 1, body{})
	key := model.Touches(&op)[0]
	w.set(func(w *world) { w.lag[key] = true })
	ids := p.accept(t, op, operation(16, 1, body{}))
	p.want(t, ids[1:], model.Committed, "")
	until(t, "the disagreement is seen", func() bool { r, _ := p.Degraded(); return r == submit.ReasonDisagree })
	if o, _, _ := p.Outcome(ids[0]); o.Status != model.Pending {
		t.Fatalf("outcome %+v", o)
	}
	w.set(func(w *world) { clear(w.lag) })
	p.want(t, ids, model.Committed, "")
}

// A later operation on a record is not judged while an earlier one waits.
func TestLaggingEndorserAndSuccessors(t *testing.T) {
	w, p := one(t)
	first := operation(1, 1, body{})
	w.set(func(w *world) { w.lag[model.Touches(&first)[0]] = true })
	ids := p.accept(t, first, operation(1, 2, body{}), operation(1, 3, body{}))
	until(t, "the disagreement is seen", func() bool { r, _ := p.Degraded(); return r == submit.ReasonDisagree })
	w.set(func(w *world) { clear(w.lag) })
	p.want(t, ids, model.Committed, "")
}

// An envelope that was given up and ordered after all settles its operations.
func TestOrderedAfterItWasGivenUp(t *testing.T) {
	for _, unseen := range []bool{false, true} {
		w, p := one(t)
		until(t, "recovered", p.well)
		var given []byte
		w.set(func(w *world) {
			w.hold = func(e []byte) bool {
				if given == nil {
					given = e
				}
				return bytes.Equal(given, e)
			}
			w.beforePropose = func() {
				if given != nil && len(w.blocks) == 0 {
					w.order(given)
					w.stall = unseen // the follower knows of it, or not yet
				}
			}
		})
		ids := p.accept(t, operation(1, 1, body{}), operation(1, 2, body{}))
		if unseen {
			until(t, "the disagreement is seen", func() bool { r, _ := p.Degraded(); return r == submit.ReasonDisagree })
			w.set(func(w *world) { w.stall = false })
		}
		p.want(t, ids, model.Committed, "")
		w.mu.Lock()
		if len(w.doubled) != 0 || len(w.receipts) != 2 {
			t.Errorf("doubled %v", w.doubled)
		}
		w.mu.Unlock()
	}
}

// A block that is applied while a refusal is judged is not overlooked.
func TestAppliedDuringJudgement(t *testing.T) {
	w := newWorld(t, 1) // nobody follows but the judgement
	w.beforeJudge = func() {
		for w.follow() {
		}
	}
	var given []byte
	w.hold = func(e []byte) bool {
		if given == nil {
			given = e
		}
		return bytes.Equal(given, e)
	}
	w.beforePropose = func() {
		if given != nil && len(w.blocks) == 0 {
			w.order(given)
		}
	}
	p := start(t, w, t.TempDir(), quick())
	defer p.stop(t)
	p.want(t, p.accept(t, operation(1, 1, body{})), model.Committed, "")
}

func TestConflictsAreRepeated(t *testing.T) {
	w, p := one(t)
	w.set(func(w *world) { w.mvcc = 0.6 })
	var all []model.OpID
	for i := uint64(1); i <= 40; i++ {
		all = append(all, p.accept(t, operation(i, 1, body{}), operation(i, 2, body{}))...)
	}
	p.want(t, all, model.Committed, "")
	if w.clashes == 0 || len(w.doubled) != 0 {
		t.Errorf("%d conflicts, doubled %v", w.clashes, w.doubled)
	}
}

func TestOutageIsWaitedOut(t *testing.T) {
	w, p := one(t)
	until(t, "recovered", p.well)
	w.set(func(w *world) { w.down = true })
	ids := p.accept(t, operation(1, 1, body{}))
	until(t, "degraded", func() bool { r, c := p.Degraded(); return r == submit.ReasonLedger && c == model.CodeLedgerUnavailable })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	out, err := p.Wait(ctx, ids)
	if !errors.Is(err, context.DeadlineExceeded) || out[0].Status != model.Pending {
		t.Fatalf("%+v %v", out, err)
	}
	w.set(func(w *world) { w.down = false })
	p.want(t, ids, model.Committed, "")
	until(t, "well again", p.well)
}

// What gathers while a transaction is in flight goes in one, within the limits.
func TestGathering(t *testing.T) {
	w := newWorld(t, 1)
	w.run(t)
	cfg := quick()
	cfg.Operations, cfg.InFlight, cfg.Gather = 10, 1, time.Hour
	p := start(t, w, t.TempDir(), cfg)
	defer p.stop(t)
	until(t, "recovered", p.well)
	w.set(func(w *world) { w.stall = true })
	ids := p.accept(t, operation(1, 1, body{}))
	until(t, "the first is ordered", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.blocks) == 1 })
	for i := uint64(1); i <= 25; i++ {
		ids = append(ids, p.accept(t, operation(i*16, 1, body{}))...)
	}
	w.set(func(w *world) { w.stall = false })
	p.want(t, ids, model.Committed, "")
	if w.most != 10 || len(w.blocks) != 4 {
		t.Errorf("up to %d operations in %d transactions", w.most, len(w.blocks))
	}
}

// A page is never in two transactions in flight, and operations on other pages overtake.
func TestBusyPageWaits(t *testing.T) {
	w := newWorld(t, 1)
	w.run(t)
	p := start(t, w, t.TempDir(), quick())
	defer p.stop(t)
	until(t, "recovered", p.well)
	w.set(func(w *world) { w.stall = true })
	first := p.accept(t, operation(1, 1, body{}))
	until(t, "the first is ordered", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.blocks) == 1 })
	second := p.accept(t, operation(2, 1, body{}), operation(1, 2, body{}))
	third := p.accept(t, operation(16, 1, body{}))
	until(t, "the third overtakes", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.blocks) == 2 })
	w.mu.Lock()
	if got := w.blocks[1].ops; len(got) != 1 || got[0].ID != third[0] {
		t.Errorf("second transaction has %d operations", len(got))
	}
	w.mu.Unlock()
	w.set(func(w *world) { w.stall = false })
	p.want(t, append(append(first, second...), third...), model.Committed, "")
	if w.clashes != 0 {
		t.Errorf("%d conflicts", w.clashes)
	}
}

func TestIdempotencyKey(t *testing.T) {
	_, p := one(t)
	key := [16]byte{1}
	ops := []model.Operation{operation(1, 1, body{})}
	for i, want := range []bool{true, false} {
		if fresh, err := p.Accept(deadline(t), key, model.Digest{2}, time.Now(), ops); err != nil || fresh != want {
			t.Fatalf("call %d: %v %v", i, fresh, err)
		}
	}
	if _, err := p.Accept(deadline(t), key, model.Digest{3}, time.Now(), ops); !errors.Is(err, model.E(model.CodeIdempotencyMismatch)) {
		t.Fatal(err)
	}
	p.want(t, idsOf(ops), model.Committed, "")
}

// An envelope of an earlier life that stands invalid in an old block holds nothing up.
func TestOldInvalidEnvelope(t *testing.T) {
	w := newWorld(t, 1)
	w.run(t)
	dir := t.TempDir()
	p := start(t, w, dir, quick())
	until(t, "recovered", p.well)
	w.set(func(w *world) { w.stall, w.mvcc = true, 1 })
	ids := p.accept(t, operation(1, 1, body{}))
	until(t, "ordered", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.blocks) == 1 })
	p.stop(t)
	w.set(func(w *world) { w.stall, w.mvcc = false, 0 })
	until(t, "followed", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.applied == 1 })
	if w.blocks[0].code != peer.TxValidationCode_MVCC_READ_CONFLICT {
		t.Fatalf("code %v", w.blocks[0].code)
	}
	p = start(t, w, dir, quick())
	defer p.stop(t)
	p.want(t, ids, model.Committed, "")
}

func TestClosing(t *testing.T) {
	w := newWorld(t, 1)
	w.run(t)
	dir := t.TempDir()
	p := start(t, w, dir, quick())
	until(t, "recovered", p.well)
	w.set(func(w *world) { w.down = true })
	ids := p.accept(t, operation(1, 1, body{}), operation(2, 1, body{}))
	waited := make(chan error, 1)
	go func() {
		_, err := p.Wait(context.Background(), ids)
		waited <- err
	}()
	p.stop(t)
	if err := <-waited; !errors.Is(err, model.E(model.CodeShuttingDown)) {
		t.Error(err)
	}
	if _, err := p.Accept(context.Background(), [16]byte{}, model.Digest{}, time.Now(), nil); !errors.Is(err, model.E(model.CodeShuttingDown)) {
		t.Error(err)
	}
	w.set(func(w *world) { w.down = false })
	p = start(t, w, dir, quick())
	defer p.stop(t)
	p.want(t, ids, model.Committed, "")
}
