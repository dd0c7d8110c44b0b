package inbox

import (
	"time"
	"unicode/utf8"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// MaxReason bounds a reason, in bytes.
const MaxReason = 1000

// Approve lets a draft go, once: of two who decide at once one does, and the other hears already_decided, with the draft
// as it was decided. content is the digest of what the approver has seen. Once Approve returns, the decision is on the
// disk, and the draft is among Unsent until Sent says what intake made of it.
//
// Crash argument. The decision is synced before anything goes to intake. A crash before it leaves the draft pending, and
// its approver without an answer. A crash after it, before intake's answer is stored by Sent, leaves it among Unsent: the
// next run of the node sends it again, under the key that stands in the draft since it was held. Intake and the outbox
// know a request by drafter and key, so what was accepted before the crash is found there and not accepted twice;
// what was not is accepted now. Operation ids follow from the key as well, so whoever waits finds the same ones.
func (in *Inbox) Approve(id string, by Person, content model.Digest) (*Held, error) {
	return in.decide(id, Approved, &by, "", func(h *Held) error {
		if h.Content != content {
			return model.E(model.CodeDraftChanged, "content")
		}
		return nil
	})
}

// Reject ends a draft, with a reason for who drafted it.
func (in *Inbox) Reject(id string, by Person, reason string) (*Held, error) {
	if reason == "" {
		return nil, model.E(model.CodeMissingField, "reason")
	}
	if len(reason) > MaxReason || !utf8.ValidString(reason) {
		return nil, model.E(model.CodeTooLong, "reason")
	}
	return in.decide(id, Rejected, &by, reason, nil)
}

// Withdraw takes one's own draft back.
func (in *Inbox) Withdraw(id string, by Person) (*Held, error) {
	return in.decide(id, Withdrawn, &by, "", nil)
}

// Recall takes one's own draft back that was approved and accepted, where what it grants has not come to be: the caller has
// seen to it that it never will.
func (in *Inbox) Recall(id string, by Person) (*Held, error) {
	n, ok := parseID(id)
	if !ok {
		return nil, model.E(model.CodeNotFound, "id")
	}
	defer in.lock(n)()
	h, err := in.Get(id)
	switch {
	case err != nil:
		return nil, err
	case by.Principal != h.Drafter.Principal:
		return h, model.E(model.CodeForbidden)
	case h.State != Approved || !h.Sent:
		return h, model.E(model.CodeAlreadyDecided).With("%s", h.State)
	}
	was := *h
	was.Sent = false
	return in.move(&was, Withdrawn, &by, "")
}

// decide takes a pending draft to a final state. With already_decided it returns the draft as well.
func (in *Inbox) decide(id string, to State, by *Person, reason string, check func(*Held) error) (*Held, error) {
	n, ok := parseID(id)
	if !ok {
		return nil, model.E(model.CodeNotFound, "id")
	}
	defer in.lock(n)()
	h, err := in.Get(id)
	if err != nil {
		return nil, err
	}
	if by != nil && h.State == Pending && in.due(h.Expires.Time()) { // the clock was about to say so
		if h, err = in.move(h, Expired, nil, ""); err != nil {
			return nil, err
		}
	}
	if err := h.step(to, by); err != nil {
		return h, err
	}
	if check != nil {
		if err := check(h); err != nil {
			return h, err
		}
	}
	return in.move(h, to, by, reason)
}

// move writes a final state. The caller holds the draft's lock and has asked step.
func (in *Inbox) move(was *Held, to State, by *Person, reason string) (*Held, error) {
	h, n := *was, was.number()
	h.State, h.Decision = to, &Decision{At: in.now(), Reason: reason}
	if by != nil {
		h.Decision.By = *by
	}
	h.Same = model.Digest{} // without a nonce, it would outlast the content and say what that was
	b := new(leveldb.Batch)
	if h.Batch != nil && to == Approved {
		open := *h.Batch
		open.Until = model.TimeOf(in.cfg.Clock().Add(in.cfg.Expires))
		h.Batch = &open
		if err := putBatch(b, &Batch{ID: h.ID, Person: h.Drafter, Terms: open}); err != nil {
			return nil, err
		}
		ends, err := in.Operations(was, false)
		if err != nil {
			return nil, err
		}
		for i := range ends {
			b.Put(listKey(n, ends[i].Record), nil)
		}
	}
	// What somebody takes back he need not read here again, and what waits no longer is counted against nobody: kept, it
	// would fill the disk.
	if to == Withdrawn {
		h.Erased = true
		b.Delete(numberKey('c', n))
	}
	if err := put(b, &h); err != nil {
		return nil, err
	}
	b.Delete(stateKey(was.State, n))
	b.Put(stateKey(to, n), nil)
	if err := in.commit(b); err != nil {
		return nil, err
	}
	in.forget(n)
	if h.Batch != nil && to == Approved {
		in.opens(n, &Batch{Person: h.Drafter, Terms: *h.Batch})
	}
	if h.onItsWay() {
		in.mu.Lock()
		in.unsent[n] = h.ID
		in.mu.Unlock()
	}
	in.metrics.decided.WithLabelValues(string(to)).Inc()
	return &h, nil
}

// Sent notes what intake made of an approved draft: accepted, or refused for good with a problem. What stands
// already stays.
func (in *Inbox) Sent(id string, problem *model.Problem) (*Held, error) {
	n, ok := parseID(id)
	if !ok {
		return nil, model.E(model.CodeNotFound, "id")
	}
	defer in.lock(n)()
	h, err := in.Get(id)
	if err != nil || !h.onItsWay() {
		return h, err
	}
	h.Sent, h.Problem = problem == nil, problem
	b := new(leveldb.Batch)
	if err := put(b, h); err != nil {
		return nil, err
	}
	if err := in.commit(b); err != nil {
		return nil, err
	}
	in.mu.Lock()
	delete(in.unsent, n)
	in.mu.Unlock()
	return h, nil
}

// Unsent lists the approved drafts of which intake has not spoken yet.
func (in *Inbox) Unsent() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	out := make([]string, 0, len(in.unsent))
	for _, id := range in.unsent {
		out = append(out, id)
	}
	return out
}

// due reports whether a moment has passed, by a clock that can be believed.
func (in *Inbox) due(at time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.steady.holds(in.cfg.Elapsed(), in.cfg.Settle) && !in.cfg.Clock().Before(at)
}
