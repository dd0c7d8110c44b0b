package submit_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/submit"
)

var seed = flag.Uint64("submit.seed", 0, "seed of the kill test, 0 for a random one")

var errKilled = errors.New("killed")

// mortal is an outbox whose process can be killed: from then on nothing reaches the disk, and what was not
// synced may be forgotten.
type mortal struct {
	*outbox.Outbox

	mu     sync.RWMutex
	dead   bool    // guarded by mu
	forget float64 // chance that an unsynced removal does not survive
	broken float64 // chance that a synced write fails
}

func (m *mortal) do(f func() error) error {
	m.mu.RLock()
	dead := m.dead
	m.mu.RUnlock()
	if dead {
		return errKilled
	}
	m.mu.RLock()
	if m.dead {
		m.mu.RUnlock()
		return errKilled
	}
	err := f()
	m.mu.RUnlock()
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.dead {
		return errKilled // perhaps it was done; nobody heard
	}
	return err
}

func (m *mortal) Append(ctx context.Context, key [16]byte, digest model.Digest, ops []model.Operation, raw [][]byte) (fresh bool, err error) {
	err = m.do(func() error {
		var err error
		fresh, err = m.Outbox.Append(ctx, key, digest, ops, raw)
		return err
	})
	return fresh, err
}

func (m *mortal) Done(ids []model.OpID) error {
	return m.do(func() error {
		if rand.Float64() < m.forget {
			return nil
		}
		return m.Outbox.Done(ids)
	})
}

func (m *mortal) Refuse(outcomes []model.Outcome) error {
	return m.do(func() error {
		if rand.Float64() < m.broken {
			return model.E(model.CodeStorageFull)
		}
		return m.Outbox.Refuse(outcomes)
	})
}

func (m *mortal) StoreEnvelope(txID string, envelope []byte, ids []model.OpID) error {
	return m.do(func() error {
		if rand.Float64() < m.broken {
			return model.E(model.CodeStorageFull)
		}
		return m.Outbox.StoreEnvelope(txID, envelope, ids)
	})
}

func (m *mortal) DropEnvelope(txID string) error {
	return m.do(func() error {
		if rand.Float64() < m.forget {
			return nil
		}
		return m.Outbox.DropEnvelope(txID)
	})
}

// life runs a submitter with writers until it is killed, and returns what was acknowledged, and what was
// refused as it should be.
func life(t *testing.T, w *world, dir string, serial *uint64, rng *rand.Rand) (acked, bad []model.OpID) {
	out, err := outbox.Open(dir, outbox.Config{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{Outbox: out, forget: 0.5, broken: 0.05}
	dead := new(bool)
	s, err := submit.New(quick(), client{w, dead}, m, m, w)
	if err != nil {
		t.Fatal(err)
	}
	w.set(func(w *world) { w.node = s })
	s.Start()

	end := time.Duration(rng.IntN(60)) * time.Millisecond
	var mu sync.Mutex // guards acked, bad, serial and rng
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				*serial++
				n := *serial
				size := rng.IntN(6) + 1
				spoiled := rng.IntN(12) == 0
				mu.Unlock()
				var ops []model.Operation
				for v := uint64(1); v <= uint64(size); v++ {
					ops = append(ops, operation(n, v, body{Pad: pad(64)}))
				}
				if spoiled {
					ops = append(ops, operation(n, uint64(size)+1, body{Refuse: "transition_not_allowed"}))
				}
				// Half in one request, half in requests of their own.
				chunks := [][]model.Operation{ops}
				if n%2 == 0 {
					chunks = nil
					for i := range ops {
						chunks = append(chunks, ops[i:i+1])
					}
				}
				for _, c := range chunks {
					if _, err := s.Accept(context.Background(), [16]byte{}, model.Digest{}, time.Now(), c); err != nil {
						break
					}
					mu.Lock()
					for _, op := range c {
						if spoiled && op.Version == uint64(size)+1 {
							bad = append(bad, op.ID)
						} else {
							acked = append(acked, op.ID)
						}
					}
					mu.Unlock()
				}
				time.Sleep(time.Duration(n%3) * 100 * time.Microsecond)
			}
		})
	}
	time.Sleep(end)
	w.set(func(w *world) { *dead = true })
	m.mu.Lock()
	m.dead = true
	m.mu.Unlock()
	close(stop)
	writers.Wait()
	w.set(func(w *world) { w.node = nil })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	return acked, bad
}

// Whatever fails and whenever the process dies: what was acknowledged is committed once, in the end.
func TestExactlyOnce(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	kills := 12
	if os.Getenv("ZL_SOAK") != "" {
		kills = 60
	}
	t.Logf("-submit.seed=%d, %d kills", *seed, kills)
	w := newWorld(t, *seed)
	w.run(t)
	rng := rand.New(rand.NewPCG(*seed, 2))
	dir := t.TempDir()
	var acked, bad []model.OpID
	var serial uint64
	for i := range kills {
		w.set(func(w *world) { w.faults, w.mvcc = 0.3, 0.2 })
		if i%4 == 3 { // the follower lags behind across the restart
			w.set(func(w *world) { w.stall = true })
		}
		a, b := life(t, w, dir, &serial, rng)
		acked, bad = append(acked, a...), append(bad, b...)
		w.set(func(w *world) { w.stall = false })
	}
	w.set(func(w *world) { w.faults, w.mvcc = 0, 0 })
	p := start(t, w, dir, quick())
	p.want(t, acked, model.Committed, "")
	p.want(t, bad, model.Rejected, model.CodeTransition)
	until(t, "the outbox is empty", func() bool { n, _, _ := p.out.Depth(); return n == 0 })
	until(t, "no envelope is left", func() bool {
		n := 0
		if err := p.out.Envelopes(func(string, []byte, []model.OpID) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
	for id := range w.receipts {
		if o, ok, err := p.out.Outcome(id); ok || err != nil {
			t.Errorf("committed, and in the outbox: %+v: %v", o, err)
		}
	}
	p.stop(t)

	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.doubled) > 0 {
		t.Errorf("%d operations were committed twice", len(w.doubled))
	}
	var sum uint64
	for _, v := range w.versions {
		sum += v
	}
	if sum != uint64(len(w.receipts)) {
		t.Errorf("records have %d versions, and %d operations were committed", sum, len(w.receipts))
	}
	valid := 0
	for _, b := range w.blocks {
		if b.code == 0 {
			valid++
		}
	}
	t.Log(strconv.Itoa(len(acked)) + " operations acknowledged, " + strconv.Itoa(len(w.receipts)) + " committed, " +
		strconv.Itoa(len(bad)) + " refused, in " + strconv.Itoa(valid) + " of " + strconv.Itoa(len(w.blocks)) + " transactions")
}
