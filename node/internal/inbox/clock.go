package inbox

import (
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// jump is how far clock and elapsed time may part between two looks before the clock is disbelieved.
const jump = 10 * time.Minute

// steadiness is what is known of the clock. Nothing expires by a clock that has just been set: one that was wrong by
// hours and is put right within the hour has then done nothing.
type steadiness struct {
	wall    time.Time     // at the last look
	elapsed time.Duration // at the last look
	from    time.Duration // since when the clock runs as time does
	jumped  time.Duration // by how much it was set last; zero: not since the start
	erased  time.Duration // when what is old was last looked for; zero: not yet
}

// eraseEvery is between looks for what is old.
const eraseEvery = time.Hour

func (s *steadiness) look(wall time.Time, elapsed time.Duration) (jumped bool) {
	// Round takes the reading of the machine's own count off, which no setting of the clock moves.
	by := wall.Round(0).Sub(s.wall.Round(0)) - (elapsed - s.elapsed)
	if jumped = by > jump || by < -jump; jumped {
		s.from, s.jumped = elapsed, by
	}
	s.wall, s.elapsed = wall, elapsed
	return jumped
}

func (s *steadiness) holds(elapsed, settle time.Duration) bool { return elapsed-s.from >= settle }

// Jumped is by how much the clock was set, while nothing expires because of it; else zero.
func (in *Inbox) Jumped() time.Duration {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.steady.holds(in.cfg.Elapsed(), in.cfg.Settle) {
		return 0
	}
	return in.steady.jumped
}

// look reads the clock and reports whether it can be believed.
func (in *Inbox) look() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.steady.look(in.cfg.Clock(), in.cfg.Elapsed()) {
		in.cfg.Logger.Warn("the clock was set; nothing expires until it has run steadily for a while",
			"by", in.steady.jumped.String(), "while", in.cfg.Settle.String())
	}
	return in.steady.holds(in.cfg.Elapsed(), in.cfg.Settle)
}

// Tick expires what has waited too long, erases the content of what was decided long ago, and forgets what was decided
// longer ago still.
func (in *Inbox) Tick() error {
	if !in.look() {
		return nil
	}
	now := in.cfg.Clock()
	in.mu.Lock()
	var due []uint64
	for n, w := range in.waiting {
		if !now.Before(w.expires) {
			due = append(due, n)
		}
	}
	in.mu.Unlock()
	for _, n := range due {
		in.handle.RLock()
		h, err := in.read(n)
		in.handle.RUnlock()
		if err != nil {
			return err
		}
		if h == nil {
			continue // not on the disk yet
		}
		if _, err := in.decide(h.ID, Expired, nil, "", nil); err != nil && model.AsError(err).Code != model.CodeAlreadyDecided {
			return err
		}
	}
	in.mu.Lock()
	elapsed := in.cfg.Elapsed()
	look := in.steady.erased == 0 || elapsed-in.steady.erased >= eraseEvery
	if look {
		in.steady.erased = elapsed
	}
	in.mu.Unlock()
	if !look {
		return nil
	}
	if err := in.erase(now); err != nil {
		return err
	}
	return in.closeBatches(now)
}

// erase passes over what was decided.
func (in *Inbox) erase(now time.Time) error {
	for _, state := range states[1:] {
		after := ""
		for {
			page, next, err := in.List(Query{State: state, After: after, Limit: 500})
			if err != nil {
				return err
			}
			for _, h := range page {
				if err := in.eraseOne(h, now); err != nil {
					return err
				}
			}
			if next == "" {
				break
			}
			after = next
		}
	}
	return nil
}

func (in *Inbox) eraseOne(h *Held, now time.Time) error {
	if h.onItsWay() || h.Decision == nil {
		return nil
	}
	age := now.Sub(h.Decision.At.Time())
	text := in.cfg.KeepText
	if h.State == Expired { // as long again as it has waited, so that never more is kept than twice what may wait
		text = min(text, h.Expires.Time().Sub(h.Created.Time()))
	}
	if (h.Erased || age < text) && age < in.cfg.Keep {
		return nil
	}
	n := h.number()
	defer in.lock(n)()
	b := new(leveldb.Batch)
	b.Delete(numberKey('c', n))
	if age < in.cfg.Keep {
		h.Erased = true
		if err := put(b, h); err != nil {
			return err
		}
		return in.commit(b)
	}
	b.Delete(numberKey('d', n))
	b.Delete(stateKey(h.State, n))
	b.Delete(personKey(&h.Drafter, n))
	if h.Given {
		b.Delete(requestKey(RequestKey(&h.Drafter, h.Key)))
	}
	return in.commit(b)
}

// closeBatches forgets batches that ended long ago, with what was counted for them.
func (in *Inbox) closeBatches(now time.Time) error {
	var old []Batch
	in.handle.RLock()
	err := in.eachBatch(func(_ uint64, t *Batch) {
		if now.Sub(t.Until.Time()) >= in.cfg.Keep {
			old = append(old, *t)
		}
	})
	in.handle.RUnlock()
	if err != nil {
		return err
	}
	for _, t := range old {
		n, _ := parseID(t.ID)
		if err := in.closeBatch(n, &t); err != nil {
			return err
		}
	}
	return nil
}

func (in *Inbox) closeBatch(n uint64, t *Batch) error {
	defer in.lock(n)()
	b := new(leveldb.Batch)
	b.Delete(numberKey('b', n))
	if t.Key != "" {
		b.Delete(requestKey(RequestKey(&t.Person, t.Key)))
	}
	for _, prefix := range []byte{'u', 'l'} {
		in.handle.RLock()
		it := in.db.NewIterator(util.BytesPrefix(numberKey(prefix, n)), nil)
		for it.Next() {
			b.Delete(append([]byte(nil), it.Key()...))
		}
		it.Release()
		err := it.Error()
		in.handle.RUnlock()
		if err != nil {
			return err
		}
	}
	if err := in.commit(b); err != nil {
		return err
	}
	in.closes(n)
	return nil
}
