package submit

import (
	"context"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// waiter is one call of Wait, whatever the number of its operations. Guarded by the submitter's mutex.
type waiter struct {
	left int
	done chan struct{} // closed when left is 0
}

func (it *item) addWaiter(w *waiter) {
	w.left++
	if it.waiter == nil {
		it.waiter = w
	} else {
		it.waiters = append(it.waiters, w)
	}
}

func (it *item) dropWaiter(w *waiter) {
	if it.waiter == w {
		it.waiter = nil
	}
	for i, x := range it.waiters {
		if x == w {
			it.waiters = append(it.waiters[:i], it.waiters[i+1:]...)
			return
		}
	}
}

func (it *item) wakeWaiters() {
	for _, w := range append(it.waiters, it.waiter) {
		if w == nil {
			continue
		}
		if w.left--; w.left == 0 {
			close(w.done)
		}
	}
	it.waiter, it.waiters = nil, nil
}

// Wait returns the outcomes of operations, in order, once all are committed or refused. When ctx ends or
// the submitter closes first, it returns what is known then, with the reason; what is pending stays
// accepted. not_found: an id was never accepted, or so long ago that its refusal is forgotten.
func (s *Submitter) Wait(ctx context.Context, ids []model.OpID) ([]model.Outcome, error) {
	w := &waiter{done: make(chan struct{})}
	items := make([]*item, len(ids))
	s.mu.Lock()
	for i, id := range ids {
		if it := s.items[id]; it != nil {
			items[i] = it
			it.addWaiter(w)
		}
	}
	waiting := w.left > 0
	s.mu.Unlock()
	var late error
	if waiting {
		select {
		case <-w.done:
		case <-ctx.Done():
			late = context.Cause(ctx)
		case <-s.ctx.Done():
			late = model.E(model.CodeShuttingDown)
		}
	}
	out := make([]model.Outcome, len(ids))
	s.mu.Lock()
	for i, it := range items {
		if it == nil {
			continue
		}
		out[i] = it.outcome
		if !it.settled {
			it.dropWaiter(w)
		}
	}
	s.mu.Unlock()
	for i, id := range ids {
		if items[i] == nil {
			o, ok, err := s.elsewhere(id)
			switch {
			case err != nil:
				return nil, err
			case !ok:
				return nil, model.E(model.CodeNotFound)
			}
			out[i] = o
		}
		if err := s.complete(&out[i]); err != nil {
			return nil, err
		}
	}
	return out, late
}

// Outcome tells of one operation; false if it was never accepted, or so long ago that its refusal is
// forgotten.
func (s *Submitter) Outcome(id model.OpID) (model.Outcome, bool, error) {
	s.mu.Lock()
	it := s.items[id]
	var out model.Outcome
	if it != nil {
		out = it.outcome
	}
	s.mu.Unlock()
	if it != nil {
		return out, true, nil
	}
	return s.elsewhere(id)
}

// elsewhere finds the outcome of an operation that does not wait here.
func (s *Submitter) elsewhere(id model.OpID) (model.Outcome, bool, error) {
	r, ok, err := s.records.Receipt(id)
	if err != nil {
		return model.Outcome{}, false, err
	}
	if ok {
		return model.Outcome{
			Operation: id, Status: model.Committed, Kind: r.Kind, Record: r.Record, Version: r.Version, Receipt: &r,
		}, true, nil
	}
	return s.outbox.Outcome(id)
}

// complete adds the receipt that a committed outcome came without.
func (s *Submitter) complete(o *model.Outcome) error {
	if o.Status != model.Committed || o.Receipt != nil {
		return nil
	}
	r, ok, err := s.records.Receipt(o.Operation)
	if err != nil {
		return err
	}
	if ok {
		o.Receipt = &r
	}
	return nil
}
