package embedded

import (
	"context"
	"sync"
)

// head is the newest end of the chain: the height, a signal that it has grown, and the newest blocks in memory. A
// reader takes blocks by number, from memory at the head and from the store behind it; a slow one holds nothing.
type head struct {
	store *store
	limit int // bytes of blocks kept

	mu     sync.Mutex
	count  uint64
	grown  chan struct{} // closed when count grows
	recent map[uint64][]byte
	oldest uint64 // lowest number in recent
	bytes  int
}

func newHead(s *store, limit int) *head {
	return &head{store: s, limit: limit, count: s.height, grown: make(chan struct{}), recent: map[uint64][]byte{}, oldest: s.height}
}

func (h *head) height() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count
}

// publish announces a stored block.
func (h *head) publish(b *sealedBlock) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw := b.stored[checksumSize:]
	h.recent[b.number] = raw
	h.bytes += len(raw)
	for h.bytes > h.limit && h.oldest < b.number {
		h.bytes -= len(h.recent[h.oldest])
		delete(h.recent, h.oldest)
		h.oldest++
	}
	h.count = b.number + 1
	close(h.grown)
	h.grown = make(chan struct{})
}

// block is the encoded block of that number, which must be below the height.
func (h *head) block(number uint64) ([]byte, error) {
	h.mu.Lock()
	raw := h.recent[number]
	h.mu.Unlock()
	if raw != nil {
		return raw, nil
	}
	return h.store.rawBlock(number)
}

// wait returns once the height exceeds number, or with the context's error.
func (h *head) wait(ctx context.Context, number uint64) error {
	for {
		h.mu.Lock()
		count, grown := h.count, h.grown
		h.mu.Unlock()
		if count > number {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
