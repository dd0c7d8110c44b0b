package submit

import (
	"time"
)

// scanned is how many waiting items the dispatcher passes over in one look before it gives up finding
// others that may overtake them.
const scanned = 4096

// dispatch makes transactions until Close. It is the only goroutine that begins new ones.
func (s *Submitter) dispatch() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for s.ctx.Err() == nil {
		s.mu.Lock()
		batch, again := s.choose()
		if batch != nil {
			s.take(batch)
		}
		s.mu.Unlock()
		if batch != nil {
			s.running.Go(func() { s.fly(batch) })
			continue
		}
		timer.Reset(again)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
		}
	}
}

const idle = time.Minute // nothing to do until something happens

// choose decides under mu whether a transaction is to be made now, and of what. Without one it says when
// to look again at the latest.
//
// Nothing in flight: everything that waits goes at once. Otherwise operations gather, because a fuller
// transaction costs hardly more, until they fill one or have waited long enough.
func (s *Submitter) choose() ([]*item, time.Duration) {
	now := time.Now()
	if s.queue.length == 0 || s.lanes >= s.cfg.InFlight {
		return nil, idle
	}
	if wait := s.health.until.Sub(now); wait > 0 {
		return nil, wait
	}
	batch, full, next := s.pick(now)
	if len(batch) == 0 {
		return nil, next
	}
	if s.lanes > 0 && !full {
		if wait := batch[0].since.Add(s.cfg.Gather).Sub(now); wait > 0 {
			return nil, min(wait, next)
		}
	}
	return batch, 0
}

// pick selects operations in order of acceptance. One whose state keys are in flight, or that is parked,
// waits; others may overtake it unless they touch one of its keys, so operations on one record keep their
// order. full reports that no more would fit; next is when a parked one is due.
func (s *Submitter) pick(now time.Time) (batch []*item, full bool, next time.Duration) {
	clear(s.held)
	next = idle
	most, bytes, passed := s.cfg.Operations, 0, 0
	for it := s.queue.first; it != nil; it = it.next {
		wait := it.after.Sub(now)
		if wait > 0 {
			next = min(next, wait)
		}
		if wait > 0 || s.blocked(it) {
			for _, k := range it.keys {
				s.held[k] = struct{}{}
			}
			if passed++; passed > scanned {
				break
			}
			continue
		}
		if it.limit > 0 {
			most = min(most, it.limit)
		}
		if len(batch) >= most || (len(batch) > 0 && bytes+len(it.raw) > s.cfg.Bytes) {
			return batch, true, next
		}
		batch = append(batch, it)
		bytes += len(it.raw)
	}
	return batch, len(batch) >= most || bytes >= s.cfg.Bytes, next
}

func (s *Submitter) blocked(it *item) bool {
	for _, k := range it.keys {
		if _, ok := s.busy[k]; ok {
			return true
		}
		if _, ok := s.held[k]; ok {
			return true
		}
	}
	return false
}

// take moves items from the queue into a flight; mu is held.
func (s *Submitter) take(batch []*item) {
	for _, it := range batch {
		s.queue.remove(it)
		for _, k := range it.keys {
			s.busy[k] = struct{}{}
		}
	}
	s.lanes++
	if s.health.failures > 0 { // single transactions probe a ledger that failed
		s.health.until = time.Now().Add(s.backoff(s.health.failures))
	}
}

// land frees a flight's lane and keys; mu is held. Items that were not settled are back in the queue.
func (s *Submitter) land(keys [][]string) {
	for _, of := range keys {
		for _, k := range of {
			delete(s.busy, k)
		}
	}
	s.lanes--
	s.poke()
}

// back returns items to the queue; mu is held.
func (s *Submitter) back(items []*item) {
	now := time.Now()
	for _, it := range items {
		if !it.settled && !it.queued {
			it.since = now
			s.queue.put(it)
		}
	}
}
