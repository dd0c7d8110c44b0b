package submit

import (
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// recover settles the past before anything new is sent: it waits until the records reflect the ledger's
// head, removes what they hold receipts of, and takes up the envelopes that an earlier process stored. It
// reports whether the submitter goes on.
func (s *Submitter) recover() bool {
	start := time.Now()
	for n := 1; ; n++ {
		err := s.records.AtHead(s.ctx, start)
		if err == nil {
			break
		}
		s.note(ReasonRecovering, err)
		if !s.pause(s.backoff(n)) {
			return false
		}
	}
	s.mu.Lock()
	waiting := make([]*item, 0, s.queue.length)
	for it := s.queue.first; it != nil; it = it.next {
		waiting = append(waiting, it)
	}
	s.mu.Unlock()
	s.tell(s.committed(waiting))
	for n := 1; ; n++ {
		err := s.takeUp()
		if err == nil {
			break
		}
		s.note(ReasonOutbox, err)
		if !s.pause(s.backoff(n)) {
			return false
		}
	}
	s.mu.Lock()
	s.open = true
	s.health = health{}
	s.mu.Unlock()
	return s.ctx.Err() == nil
}

// takeUp makes flights of stored envelopes. One whose operations are all settled is dropped; one of which
// only some still wait was seen invalid, since a transaction commits wholly or not at all.
func (s *Submitter) takeUp() error {
	var stale []string
	var found []*flight
	err := s.envelopes.Envelopes(func(txID string, envelope []byte, ids []model.OpID) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		f := &flight{
			txID: txID, envelope: append([]byte(nil), envelope...), began: time.Now(),
			seen: make(chan struct{}), recovered: true,
		}
		for _, id := range ids {
			if it := s.items[id]; it != nil {
				f.items = append(f.items, it)
			}
		}
		if len(f.items) < len(ids) || len(ids) == 0 {
			stale = append(stale, txID)
			return nil
		}
		found = append(found, f)
		return nil
	})
	if err != nil {
		return err
	}
	for _, f := range found {
		s.mu.Lock()
		free := true
		for _, it := range f.items {
			free = free && it.queued
		}
		if !free { // two envelopes of one operation: the other goes first, receipts decide about this one
			s.mu.Unlock()
			stale = append(stale, f.txID)
			continue
		}
		f.keys = keysOf(f.items)
		s.take(f.items)
		s.flights[f.txID] = f
		s.mu.Unlock()
		s.running.Go(func() { s.carry(f) })
	}
	for _, txID := range stale {
		if err := s.envelopes.DropEnvelope(txID); err != nil {
			return err
		}
	}
	return nil
}

// backoff is the pause after the n-th failure in a row.
func (s *Submitter) backoff(n int) time.Duration {
	d := s.cfg.Retry
	for i := 1; i < n && d < s.cfg.MaxRetry; i++ {
		d *= 2
	}
	return jitter(min(d, s.cfg.MaxRetry))
}
