package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func TestMain(m *testing.M) {
	if dir := childDir(); dir != "" {
		appendForEver(dir)
		return
	}
	// goleveldb's pool drain notices within a second that its database is closed.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

// clock is a settable clock.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time { return time.Unix(0, c.ns.Load()) }

func (c *clock) set(t time.Time) { c.ns.Store(t.UnixNano()) }

func open(t testing.TB, dir string, change func(*Config)) *Outbox {
	t.Helper()
	cfg := Config{MinFree: 1, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	o, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func closeChecked(t testing.TB, o *Outbox) {
	t.Helper()
	if err := o.Check(); err != nil {
		t.Error(err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

var accepted = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)

func operation(serial uint64, pad int) model.Operation {
	return model.Operation{
		Agency: "bj-scjg", Body: []byte(`{"pad":"` + strings.Repeat("x", pad) + `"}`), ID: model.NewOpID(),
		Kind: model.KindLicence, Record: model.NewRecordID("bj-scjg", serial), Type: model.LicenceIssue, Version: 1,
		Time: model.TimeOf(accepted),
	}
}

func operations(n int) []model.Operation {
	out := make([]model.Operation, n)
	for i := range out {
		out[i] = operation(uint64(i+1), 100)
	}
	return out
}

func put(o *Outbox, key [16]byte, digest model.Digest, ops []model.Operation) (bool, error) {
	raw := make([][]byte, len(ops))
	for i := range ops {
		raw[i] = ops[i].Encode()
	}
	return o.Append(context.Background(), key, digest, ops, raw)
}

func mustPut(t testing.TB, o *Outbox, ops []model.Operation) {
	t.Helper()
	if fresh, err := put(o, [16]byte{}, model.Digest{}, ops); err != nil || !fresh {
		t.Fatalf("append: %v %v", fresh, err)
	}
}

func ids(ops []model.Operation) []model.OpID {
	out := make([]model.OpID, len(ops))
	for i := range ops {
		out[i] = ops[i].ID
	}
	return out
}

func pending(t testing.TB, o *Outbox) []model.OpID {
	t.Helper()
	var out []model.OpID
	err := o.Pending(func(op model.Operation, raw []byte) error {
		if string(op.Encode()) != string(raw) {
			return fmt.Errorf("operation %s does not encode to its raw form", op.ID)
		}
		if !op.Time.Time().Equal(accepted) {
			return fmt.Errorf("accepted at %v", op.Time)
		}
		out = append(out, op.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t testing.TB, got, want []model.OpID) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func problem(code model.Code) *model.Problem { return model.E(code).Problem() }

func TestLife(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	first, second := operations(3), operations(2)
	mustPut(t, o, first)
	mustPut(t, o, second)
	same(t, pending(t, o), append(ids(first), ids(second)...))
	if n, bytes, oldest := o.Depth(); n != 5 || bytes < 500 || !oldest.Equal(accepted) {
		t.Errorf("depth %d %d %v", n, bytes, oldest)
	}
	if err := o.Done(ids(first[:2])); err != nil {
		t.Fatal(err)
	}
	refusal := model.Outcome{Operation: second[0].ID, Problem: problem(model.CodeTransition)}
	if err := o.Refuse([]model.Outcome{refusal}); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		out, ok, err := o.Outcome(second[0].ID)
		if err != nil || !ok || out.Status != model.Rejected || out.Problem.Code != model.CodeTransition || out.Record != "bj-scjg.1" || out.Version != 1 {
			t.Fatalf("%+v %v %v", out, ok, err)
		}
		if out, ok, err := o.Outcome(second[1].ID); err != nil || !ok || out.Status != model.Pending || out.Record != "bj-scjg.2" {
			t.Fatalf("%+v %v %v", out, ok, err)
		}
		if _, ok, err := o.Outcome(model.NewOpID()); ok || err != nil {
			t.Fatalf("unknown: %v %v", ok, err)
		}
	}
	check()
	same(t, pending(t, o), []model.OpID{first[2].ID, second[1].ID})
	closeChecked(t, o)

	// A request's operations that are done come back with it until the last has left; a refused one does not.
	o = open(t, dir, nil)
	check()
	same(t, pending(t, o), append(ids(first), second[1].ID))
	if err := o.Done(append(ids(first), second[1].ID)); err != nil {
		t.Fatal(err)
	}
	if n, bytes, oldest := o.Depth(); n != 0 || bytes != 0 || !oldest.IsZero() {
		t.Errorf("depth %d %d %v", n, bytes, oldest)
	}
	closeChecked(t, o)
	o = open(t, dir, nil)
	same(t, pending(t, o), nil)
	closeChecked(t, o)
}

func TestIdempotencyKeys(t *testing.T) {
	dir := t.TempDir()
	var c clock
	c.set(accepted)
	o := open(t, dir, func(cfg *Config) { cfg.Clock = c.now })
	key, digest := [16]byte{1}, model.Digest{1}
	ops := operations(2)
	var fresh atomic.Int32
	var wg sync.WaitGroup
	for range 8 { // at once
		wg.Go(func() {
			ok, err := put(o, key, digest, ops)
			if err != nil {
				t.Error(err)
			}
			if ok {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 1 {
		t.Errorf("accepted %d times", fresh.Load())
	}
	same(t, pending(t, o), ids(ops))
	if _, err := put(o, key, model.Digest{2}, operations(1)); !errors.Is(err, model.E(model.CodeIdempotencyMismatch)) {
		t.Error(err)
	}
	if err := o.Done(ids(ops)); err != nil {
		t.Fatal(err)
	}
	closeChecked(t, o)

	o = open(t, dir, func(cfg *Config) { cfg.Clock = c.now })
	if d, n, ok, err := o.Lookup(key); err != nil || !ok || d != digest || n != 2 {
		t.Errorf("%v %d %v %v", d, n, ok, err)
	}
	closeChecked(t, o)

	c.set(accepted.Add(31 * 24 * time.Hour))
	o = open(t, dir, func(cfg *Config) { cfg.Clock = c.now })
	if _, _, ok, err := o.Lookup(key); err != nil || ok {
		t.Errorf("after its time: %v %v", ok, err)
	}
	closeChecked(t, o)
}

func TestKeptEntriesAreBounded(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	waiting := operations(2)
	mustPut(t, o, waiting)
	if err := o.Refuse([]model.Outcome{{Operation: waiting[0].ID, Problem: problem(model.CodeNotOwner)}}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		ops := operations(1)
		if _, err := put(o, [16]byte{1, byte(i)}, model.Digest{}, ops); err != nil {
			t.Fatal(err)
		}
		if err := o.Refuse([]model.Outcome{{Operation: ops[0].ID, Problem: problem(model.CodeNotOwner)}}); err != nil {
			t.Fatal(err)
		}
	}
	closeChecked(t, o)
	o = open(t, dir, func(cfg *Config) { cfg.MaxKept = 5 })
	kept := map[byte]int{}
	for _, prefix := range []byte{idempotencyPrefix, refusalPrefix} {
		if err := o.each(prefix, func(_, _ []byte) error { kept[prefix]++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	// The refusal whose request still waits is beyond the bound, or its operation would be sent again.
	if kept[idempotencyPrefix] != 5 || kept[refusalPrefix] < 5 || kept[refusalPrefix] > 6 {
		t.Errorf("kept %v", kept)
	}
	same(t, pending(t, o), []model.OpID{waiting[1].ID})
	closeChecked(t, o)
}

func TestLimits(t *testing.T) {
	o := open(t, t.TempDir(), func(cfg *Config) { cfg.MaxOperations, cfg.MaxBytes = 3, 2000 })
	defer closeChecked(t, o)
	ops := operations(3)
	mustPut(t, o, ops)
	if _, err := put(o, [16]byte{9}, model.Digest{}, operations(1)); !errors.Is(err, model.E(model.CodeOutboxFull)) {
		t.Errorf("a fourth operation: %v", err)
	}
	if _, _, ok, err := o.Lookup([16]byte{9}); ok || err != nil {
		t.Errorf("its key was kept: %v %v", ok, err)
	}
	if err := o.Done(ids(ops)); err != nil {
		t.Fatal(err)
	}
	if _, err := put(o, [16]byte{}, model.Digest{}, []model.Operation{operation(1, 2000)}); !errors.Is(err, model.E(model.CodeOutboxFull)) {
		t.Errorf("too many bytes: %v", err)
	}
	if _, err := put(o, [16]byte{}, model.Digest{}, []model.Operation{operation(1, model.MaxOperation)}); !errors.Is(err, model.E(model.CodeTooLarge)) {
		t.Errorf("too large: %v", err)
	}
	if _, err := put(o, [16]byte{}, model.Digest{}, nil); !errors.Is(err, model.E(model.CodeTooMany)) {
		t.Errorf("nothing: %v", err)
	}
	mustPut(t, o, ops[:1])
	if _, err := put(o, [16]byte{}, model.Digest{}, ops[:1]); !errors.Is(err, model.E(model.CodeIdempotencyMismatch)) {
		t.Errorf("the same operation: %v", err)
	}
}

func TestEnvelopes(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	ops := operations(3)
	mustPut(t, o, ops)
	want := map[string]string{}
	for i := range 3 {
		txID := strings.Repeat(fmt.Sprint(i+1), 64)
		want[txID] = strings.Repeat("envelope", 1000*i)
		if err := o.StoreEnvelope(txID, []byte(want[txID]), ids(ops)); err != nil {
			t.Fatal(err)
		}
	}
	gone := strings.Repeat("2", 64)
	if err := o.DropEnvelope(gone); err != nil {
		t.Fatal(err)
	}
	delete(want, gone)
	closeChecked(t, o)
	o = open(t, dir, nil)
	defer closeChecked(t, o)
	err := o.Envelopes(func(txID string, envelope []byte, of []model.OpID) error {
		if want[txID] != string(envelope) {
			t.Errorf("envelope of %s has %d bytes", txID, len(envelope))
		}
		delete(want, txID)
		same(t, of, ids(ops))
		return nil
	})
	if err != nil || len(want) != 0 {
		t.Errorf("left %d: %v", len(want), err)
	}
	if err := o.StoreEnvelope("not an id", nil, nil); err == nil {
		t.Error("stored under nonsense")
	}
}

func TestFullDisk(t *testing.T) {
	var free atomic.Uint64
	free.Store(1 << 30)
	o := open(t, t.TempDir(), func(cfg *Config) {
		cfg.MinFree = 1 << 20
		cfg.Free = func(string) (uint64, error) { return free.Load(), nil }
	})
	defer closeChecked(t, o)
	ops := operations(2)
	mustPut(t, o, ops)
	free.Store(1<<20 - 1)
	if _, err := put(o, [16]byte{5}, model.Digest{}, operations(1)); !errors.Is(err, model.E(model.CodeStorageFull)) {
		t.Errorf("%v", err)
	}
	// What empties the outbox, and every read, goes on.
	if err := o.StoreEnvelope(strings.Repeat("a", 64), []byte("e"), ids(ops)); err != nil {
		t.Error(err)
	}
	if err := o.Refuse([]model.Outcome{{Operation: ops[0].ID, Problem: problem(model.CodeTransition)}}); err != nil {
		t.Error(err)
	}
	same(t, pending(t, o), ids(ops[1:]))
	free.Store(1 << 30)
	if fresh, err := put(o, [16]byte{5}, model.Digest{}, operations(1)); err != nil || !fresh {
		t.Errorf("with space again: %v %v", fresh, err)
	}
}

func TestClosedOutboxAcceptsNothing(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	if _, err := Open(dir, Config{}); err == nil {
		t.Fatal("opened twice")
	}
	var mu sync.Mutex
	var acked []model.OpID
	var wg sync.WaitGroup
	begun := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			for {
				ops := operations(2)
				fresh, err := put(o, [16]byte{}, model.Digest{}, ops)
				if err != nil {
					if !errors.Is(err, model.E(model.CodeShuttingDown)) || fresh {
						t.Errorf("%v %v", fresh, err)
					}
					return
				}
				mu.Lock()
				acked = append(acked, ids(ops)...)
				mu.Unlock()
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	<-begun
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := o.Close(); err == nil {
		t.Error("closed twice")
	}
	o = open(t, dir, nil)
	defer closeChecked(t, o)
	stored := map[model.OpID]bool{}
	for _, id := range pending(t, o) {
		stored[id] = true
	}
	for _, id := range acked {
		if !stored[id] {
			t.Fatalf("operation %s was acknowledged and is gone", id)
		}
	}
	if len(stored) != len(acked) {
		t.Errorf("%d stored, %d acknowledged", len(stored), len(acked))
	}
}

func TestDamageIsNamed(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	ops := operations(2)
	mustPut(t, o, ops)
	if err := o.db.Put(requestKey(7), []byte("nonsense"), nil); err != nil {
		t.Fatal(err)
	}
	if err := o.Check(); !errors.Is(err, ErrDamaged) {
		t.Errorf("check: %v", err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Config{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("open: %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("operations=%d", n), func(b *testing.B) {
			o := open(b, b.TempDir(), func(cfg *Config) { cfg.MaxOperations, cfg.MaxBytes = 1<<30, 1<<40 })
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					ops := make([]model.Operation, n)
					for i := range ops {
						ops[i] = operation(uint64(i+1), 700)
					}
					if _, err := put(o, model.NewOpID(), model.Digest{}, ops); err != nil {
						b.Error(err)
					}
					if err := o.Done(ids(ops)); err != nil {
						b.Error(err)
					}
				}
			})
			b.StopTimer()
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "operations/s")
			closeChecked(b, o)
		})
	}
}
