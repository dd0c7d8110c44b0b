package follow

import "time"

// waiting waits for blocks and notices a source that keeps silent about blocks which there are: for a whole
// limit there were some, no fewer of them at its end than at its beginning, and half of it or more was spent
// waiting. So a source is not blamed while this node itself is the slower one, and one that feeds a block now
// and then while the ledger moves on does not pass for a good one.
type waiting struct {
	limit   time.Duration
	missing func() uint64 // blocks that there are and that have not come

	since time.Time // when the limit began; zero where nothing is missing
	first uint64    // missing then
	idle  time.Duration
}

// receive waits for the next arrival. A closed channel is errEnded, a source that keeps silent errSilent.
func (w *waiting) receive(blocks <-chan arrival) arrival {
	tick := time.NewTimer(w.limit / 4)
	defer tick.Stop()
	began := time.Now()
	for {
		select {
		case a, more := <-blocks:
			if !more {
				return arrival{err: errEnded}
			}
			w.idle += time.Since(began)
			return a
		case now := <-tick.C:
			w.idle += now.Sub(began)
			began = now
			if w.silent(now) {
				return arrival{err: errSilent}
			}
			tick.Reset(w.limit / 4)
		}
	}
}

// silent judges at an instant at which the source is waited for.
func (w *waiting) silent(now time.Time) bool {
	missing := w.missing()
	switch {
	case missing == 0:
		w.since, w.idle = time.Time{}, 0
		return false
	case w.since.IsZero():
		w.since, w.first, w.idle = now, missing, 0
		return false
	case now.Sub(w.since) < w.limit:
		return false
	}
	silent := missing >= w.first && 2*w.idle >= now.Sub(w.since)
	w.since, w.first, w.idle = now, missing, 0
	return silent
}
