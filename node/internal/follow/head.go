package follow

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// head knows when this node last had all that the ledger had. A height asked for at some instant and
// later reached by the applied blocks proves that nothing was missing at that instant.
type head struct {
	mu        sync.Mutex
	height    uint64    // blocks applied
	heard     uint64    // the blocks that the source last said the ledger has
	confirmed time.Time // zero before the first
	asked     time.Time // when the height below was asked for; zero where none is open
	wanted    uint64
	moved     chan struct{} // closed when confirmed moves; nil while nobody waits
}

func (h *head) applied(height uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.height = height
	h.settle()
}

// answered notes the ledger's height as asked for at an instant. A source that has fewer blocks than were
// applied is itself behind and proves nothing. The last answer counts, not the largest: the source takes back
// a height that somebody claimed and could not deliver.
func (h *head) answered(asked time.Time, height uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard = height
	if height < h.height || height == 0 {
		return
	}
	// An older question that is still open stays: newer ones would put it off for ever under load. One that was
	// answered with more blocks than there are would stay open for ever.
	if h.asked.IsZero() || height < h.wanted || height == h.height {
		h.asked, h.wanted = asked, height
	}
	h.settle()
}

func (h *head) settle() {
	if !h.asked.IsZero() && h.height >= h.wanted {
		if h.asked.After(h.confirmed) {
			h.confirmed = h.asked
			if h.moved != nil {
				close(h.moved)
				h.moved = nil
			}
		}
		h.asked = time.Time{}
	}
}

// reached is nil when the head was confirmed after an instant, else closed at the next confirmation.
func (h *head) reached(since time.Time) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.confirmed.After(since) {
		return nil
	}
	if h.moved == nil {
		h.moved = make(chan struct{})
	}
	return h.moved
}

func (h *head) behind() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.height < h.heard
}

// missing is how many blocks the ledger is said to have from a number on.
func (h *head) missing(next uint64) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(h.heard, next) - next
}

func (h *head) age(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.confirmed.IsZero() {
		return math.MaxInt64
	}
	return max(now.Sub(h.confirmed), 0)
}

// AtHead returns once this node has applied all that the ledger held at some moment after since.
func (f *Follower) AtHead(ctx context.Context, since time.Time) error {
	for {
		moved := f.head.reached(since)
		if moved == nil {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// poll asks for the ledger's height until ctx ends.
func (f *Follower) poll(ctx context.Context) {
	tick := time.NewTicker(f.cfg.Poll)
	defer tick.Stop()
	for {
		asked := f.cfg.Clock()
		if height, err := f.height(ctx); err == nil {
			f.head.answered(asked, height)
			f.metrics.ledger(height)
			if f.Age() <= f.cfg.Clock().Sub(asked) {
				f.trouble.Store(nil) // nothing is missing here, whatever failed before
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

const heightTimeout = 5 * time.Second

func (f *Follower) height(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, heightTimeout)
	defer cancel()
	return f.cfg.Source.Height(ctx)
}

// backoff doubles a pause from 50 ms up to the most, with jitter.
type backoff struct {
	most, last time.Duration
}

func (b *backoff) reset() { b.last = 0 }

// wait reports false where ctx ended first.
func (b *backoff) wait(ctx context.Context) bool {
	b.last = min(max(2*b.last, 50*time.Millisecond), b.most)
	t := time.NewTimer(b.last/2 + rand.N(b.last/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
