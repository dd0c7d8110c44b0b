package ledger_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
)

// follows does as a node's follower does: it asks for the height all the time, takes blocks, and leaves a stream that
// keeps silent about blocks that there are. It tells how far it has come.
func follows(t *testing.T, c *ledger.Client) (next func() uint64) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var mu sync.Mutex
	var at, heard uint64                               // guarded by mu
	var moved time.Time                                // guarded by mu
	var leave context.CancelCauseFunc = func(error) {} // guarded by mu
	running.Go(func() {
		for ctx.Err() == nil {
			h, err := c.Height(ctx)
			mu.Lock()
			if err == nil {
				heard = h
			}
			if heard <= at {
				moved = time.Now()
			} else if time.Since(moved) > time.Second {
				leave(errors.New("silent"))
				moved = time.Now()
			}
			mu.Unlock()
			time.Sleep(2 * time.Millisecond)
		}
	})
	running.Go(func() {
		for ctx.Err() == nil {
			one, cancel := context.WithCancelCause(ctx)
			mu.Lock()
			leave, moved = cancel, time.Now()
			from := at
			mu.Unlock()
			for b, err := range c.Blocks(one, from) {
				if err != nil {
					break
				}
				mu.Lock()
				if b.GetHeader().GetNumber() != at {
					t.Errorf("block %d, want %d", b.GetHeader().GetNumber(), at)
				}
				at++
				moved = time.Now()
				mu.Unlock()
			}
			cancel(nil)
			time.Sleep(2 * time.Millisecond)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return at
	}
}

// returning makes a client whose gateways rest for a moment only and are returned to after a given time. A slow machine
// makes none of them fail.
func returning(t *testing.T, after time.Duration, peers ...*fakePeer) *ledger.Client {
	t.Helper()
	return several(t, func(c *ledger.Config) {
		c.Rest, c.MaxRest, c.Return = time.Millisecond, 2*time.Millisecond, after
		c.HeightTimeout, c.EndorseTimeout = 2*time.Second, 10*time.Second
	}, peers...)
}

// answers has a peer answer calls while it is there, and counts those that it answered.
func answers(p *fakePeer) *atomic.Int64 {
	n := &atomic.Int64{}
	p.endorse = func() error {
		if _, _, _, _, away, _ := p.now(); away {
			return status.Error(codes.Unavailable, "away")
		}
		n.Add(1)
		return status.Error(codes.Aborted, "chaincode response 500, not_found")
	}
	return n
}

// ask makes a call, which some gateway must answer.
func ask(t *testing.T, c *ledger.Client) {
	t.Helper()
	_, _, _, err := c.Propose(deadline(t), "put", nil)
	var e *ledger.Error
	if !errors.As(err, &e) || e.Code != model.CodeNotFound {
		t.Errorf("%v", err)
	}
}

// answered waits until a question for a peer's height has been answered, or has failed, that was asked from now on. The
// next is asked after that only.
func answered(t *testing.T, p *fakePeer) {
	t.Helper()
	asked := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.asked
	}
	before := asked()
	eventually(t, "the peer to be asked", func() bool { return asked() >= before+2 })
}

// used names the gateways that the metric says are in use, for calls and for blocks.
func used(t *testing.T, c *ledger.Client) (calls, blocks string) {
	t.Helper()
	in := map[string]string{}
	metric(t, c, "zhenglian_gateway_in_use", func(labels map[string]string, value float64) {
		switch value {
		case 0:
		case 1:
			in[labels["use"]] += labels["gateway"]
		default:
			t.Errorf("%v of %v", value, labels)
		}
	})
	return in["calls"], in["blocks"]
}

// metric goes over the values of one of the client's metrics.
func metric(t *testing.T, c *ledger.Client, name string, see func(labels map[string]string, value float64)) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c.Collectors()...)
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			see(labels, m.GetGauge().GetValue()+m.GetCounter().GetValue())
		}
	}
}

// both reports whether calls and blocks are at the named gateway, after a call.
func both(t *testing.T, c *ledger.Client, name string) bool {
	t.Helper()
	ask(t, c)
	calls, blocks := used(t, c)
	return calls == name && blocks == name
}

// during holds that something stays so for a while.
func during(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if !ok() {
			t.Fatalf("not any more: %s", what)
		}
	}
}

// TestReturn: when the first peer is well again, calls and blocks go back to it, and not before it was well for the
// whole time.
func TestReturn(t *testing.T) {
	const wait = 400 * time.Millisecond
	for name, broken := range map[string]struct{ fail, mend func(*fakePeer) }{
		"away":  {func(p *fakePeer) { p.away = true }, func(p *fakePeer) { p.away = false }},
		"hangs": {func(p *fakePeer) { p.hangs = true }, func(p *fakePeer) { p.hangs = false }},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, c := newPeer(t, 5), newPeer(t, 5), newPeer(t, 5)
			atA, atB, atC := answers(a), answers(b), answers(c)
			client := returning(t, wait, a, b, c)
			next := follows(t, client)
			eventually(t, "the first to be used", func() bool { return both(t, client, "a") && next() == 5 })
			if atB.Load()+atC.Load() != 0 {
				t.Error("others were used beside the first")
			}

			a.set(func() { broken.fail(a) })
			for _, p := range []*fakePeer{b, c} {
				p.set(func() { p.has = 8 })
			}
			eventually(t, "the second to be used", func() bool { return both(t, client, "b") && next() == 8 })

			answered(t, a)
			mended := time.Now()
			a.set(func() { broken.mend(a); a.has = 8 })
			eventually(t, "the first to be used again", func() bool { return both(t, client, "a") })
			if d := time.Since(mended); d < wait {
				t.Errorf("it was used again after %v", d)
			}
			before := [3]int64{atA.Load(), atB.Load(), atC.Load()}
			a.set(func() { a.has = 11 })
			eventually(t, "blocks that the first alone has", func() bool { return next() == 11 })
			for range 5 {
				ask(t, client)
			}
			if after := [3]int64{atA.Load(), atB.Load(), atC.Load()}; after[0] != before[0]+5 || after[1] != before[1] || after[2] != before[2] {
				t.Errorf("calls went from %v to %v", before, after)
			}
			metric(t, client, "zhenglian_gateway_failures_total", func(labels map[string]string, value float64) {
				if labels["gateway"] != "a" && value != 0 {
					t.Errorf("%v failures of %v: that the first is returned to is none", value, labels)
				}
			})
		})
	}
}

// TestFlappingIsNotTaken: a peer that comes and goes is left alone until it stays.
func TestFlappingIsNotTaken(t *testing.T) {
	const wait = time.Second
	a, b := newPeer(t, 5), newPeer(t, 5)
	a.away = true
	atA := answers(a)
	answers(b)
	client := returning(t, wait, a, b)
	follows(t, client)
	eventually(t, "the second to be used", func() bool { return both(t, client, "b") })

	for began := time.Now(); time.Since(began) < 5*wait/2; {
		up, before := time.Now(), atA.Load()
		a.set(func() { a.away = false })
		answered(t, a)
		ask(t, client)
		calls, blocks := used(t, client)
		if d := time.Since(up); d < wait && (calls != "b" || blocks != "b" || atA.Load() != before) {
			t.Fatalf("there for %v, it is used already: calls at %q, blocks from %q, %d calls answered", d, calls, blocks, atA.Load())
		}
		a.set(func() { a.away = true })
		answered(t, a)
		eventually(t, "the second to be used", func() bool { return both(t, client, "b") })
	}
	a.set(func() { a.away = false })
	eventually(t, "the peer that stays to be used", func() bool { return both(t, client, "a") })
}

// TestOneCallTriesTheReturn: a peer that says its height and endorses nothing costs one call in a while, however many
// are made.
func TestOneCallTriesTheReturn(t *testing.T) {
	const wait = 300 * time.Millisecond
	a, b := newPeer(t, 5), newPeer(t, 5)
	var tried atomic.Int64
	a.endorse = func() error {
		tried.Add(1)
		time.Sleep(50 * time.Millisecond) // in which all others could follow
		return status.Error(codes.Unavailable, "away")
	}
	answers(b)
	client := returning(t, wait, a, b)
	follows(t, client)
	ask(t, client)
	began := time.Now()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for time.Since(began) < 5*wait {
				ask(t, client)
				time.Sleep(time.Millisecond)
			}
		})
	}
	callers.Wait()
	if n, most := tried.Load(), 1+int64(time.Since(began)/wait); n < 2 || n > most {
		t.Errorf("tried %d times, want 2 to %d", n, most)
	}
}

// TestLateAnswerDoesNotReturn: an answer to a call from before the failure says nothing of what came after it.
func TestLateAnswerDoesNotReturn(t *testing.T) {
	a, b := newPeer(t, 5), newPeer(t, 5)
	begun, answer := make(chan struct{}), make(chan struct{})
	var asked atomic.Int64
	a.endorse = func() error {
		switch asked.Add(1) {
		case 1: // the slow one
			close(begun)
			<-answer
			return status.Error(codes.Aborted, "chaincode response 500, not_found")
		case 2:
			return status.Error(codes.Unavailable, "away")
		}
		return status.Error(codes.Aborted, "chaincode response 500, not_found")
	}
	answers(b)
	client := returning(t, time.Minute, a, b)
	var slow sync.WaitGroup
	slow.Go(func() { ask(t, client) })
	<-begun
	ask(t, client)
	close(answer)
	slow.Wait()
	time.Sleep(5 * time.Millisecond) // its rest is over
	ask(t, client)
	if calls, _ := used(t, client); calls != "b" || asked.Load() != 2 {
		t.Errorf("calls begin at %q, the first was asked %d times", calls, asked.Load())
	}
}

// TestNoReturnToALiar: a peer that is refused, doubted or behind is not returned to, however long it says its height;
// once what it says is true, it is, unless it is refused.
func TestNoReturnToALiar(t *testing.T) {
	const wait = 100 * time.Millisecond
	for name, lie := range map[string]struct {
		lies, mends func(*fakePeer)
		calls       bool          // they left it, too
		asked       time.Duration // a question for a block may take; 0: long
	}{
		"says more than there is": {lies: func(p *fakePeer) { p.says = 1 << 40 }, mends: func(p *fakePeer) { p.says = 0 }},
		"withholds":               {lies: func(p *fakePeer) { p.has, p.says = 2, 10 }, mends: func(p *fakePeer) { p.has, p.says = 10, 0 }, asked: 100 * time.Millisecond},
		"is behind":               {lies: func(p *fakePeer) { p.has = 5 }, mends: func(p *fakePeer) { p.has = 10 }, calls: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPeer(t, 10), newPeer(t, 10)
			answers(a)
			answers(b)
			client := returning(t, wait, a, b)
			if lie.asked > 0 {
				client = several(t, func(c *ledger.Config) {
					c.Rest, c.MaxRest, c.Return, c.HeightTimeout = time.Millisecond, 2*time.Millisecond, wait, lie.asked
				}, a, b)
			}
			if lie.calls {
				a.away = true
				eventually(t, "it to be left", func() bool {
					_, _ = client.Height(deadline(t))
					ask(t, client)
					calls, _ := used(t, client)
					return calls == "b"
				})
			}
			a.set(func() { a.away = false; lie.lies(a) })
			next := follows(t, client)
			stays := func() bool {
				ask(t, client)
				calls, blocks := used(t, client)
				return blocks == "b" && (calls == "b" || !lie.calls)
			}
			eventually(t, "the second to deliver", func() bool { return next() == 10 && stays() })
			during(t, 10*wait, "the second is used", stays)
			a.set(func() { lie.mends(a) })
			eventually(t, "the first to be used", func() bool { return both(t, client, "a") })
		})
	}
	t.Run("is refused", func(t *testing.T) {
		a, b := newPeer(t, 10), newPeer(t, 10)
		atA := answers(a)
		answers(b)
		client := returning(t, wait, a, b)
		if _, err := take(t, client, 0, 10); err != nil {
			t.Fatal(err)
		}
		if !client.Refuse(fault{}) {
			t.Fatal("nobody left of two")
		}
		next := follows(t, client)
		eventually(t, "the second to deliver", func() bool { return next() == 10 && both(t, client, "b") })
		during(t, 5*wait, "the second is used", func() bool { return both(t, client, "b") })
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.opened != 1 || atA.Load() != 0 {
			t.Errorf("%d streams and %d calls", a.opened, atA.Load())
		}
	})
}

// TestNoReturnBehindOwnBlocks: a peer that has fewer blocks than were taken already is behind, though nobody who is believed
// says that there are more.
func TestNoReturnBehindOwnBlocks(t *testing.T) {
	const wait = 50 * time.Millisecond
	a, b := newPeer(t, 10), newPeer(t, 10)
	answers(a)
	answers(b)
	a.away, b.says = true, 12
	client := returning(t, wait, a, b)
	eventually(t, "the height", func() bool { return height(t, client) == 12 })
	eventually(t, "the blocks", func() bool { next, err := take(t, client, 0, 10); return err == nil && next == 10 })
	silence(t, client, 10, 10)
	if s := client.States()[1]; s.Word != "doubted" {
		t.Fatalf("%s", s)
	}
	ask(t, client)
	a.set(func() { a.away, a.has = false, 5 })
	during(t, 10*wait, "the second is used", func() bool {
		_, _ = client.Height(deadline(t))
		ask(t, client)
		calls, _ := used(t, client)
		return calls == "b"
	})
	a.set(func() { a.has = 10 })
	eventually(t, "the first to be used", func() bool {
		_, _ = client.Height(deadline(t))
		ask(t, client)
		calls, _ := used(t, client)
		return calls == "a"
	})
}
