package inbox

import (
	"encoding/binary"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Request is a request that is to wait.
type Request struct {
	Drafter  Person
	Writers  []string     // principals who may be whom the drafter stands for: they decide nothing of it either
	Key      string       // Idempotency-Key, "" for none
	Digest   model.Digest // of route and body
	Rules    []Rule       // that are in force for it
	Drafts   []model.Draft
	Versions []uint64 // that the operations make, for those whose Draft leaves it open; 0 where the record is new
	Batch    *Terms   // instead of Drafts
	// Same is a digest of what is asked for: where a draft of the same waits already, whoever wrote it, this one is refused.
	// Zero: it is not looked at.
	Same model.Digest
}

// Known finds the draft that came under an idempotency key; nil where none did. Another digest than the draft's is
// idempotency_mismatch.
func (in *Inbox) Known(who *Person, key string, digest model.Digest) (*Held, error) {
	if key == "" {
		return nil, nil
	}
	raw, err := in.get(requestKey(RequestKey(who, key)))
	if err != nil || raw == nil {
		return nil, err
	}
	if len(raw) != 8 {
		return nil, damaged(nil)
	}
	in.handle.RLock()
	defer in.handle.RUnlock()
	h, err := in.read(binary.BigEndian.Uint64(raw))
	if err == nil && h != nil && h.Request != digest {
		return nil, model.E(model.CodeIdempotencyMismatch)
	}
	return h, err
}

// Hold makes a request wait and returns once that is on the disk. The same drafter, key and digest are the same draft.
//
// Errors are *model.Error. inbox_full, storage_full, idempotency_mismatch, already_drafted: nothing was stored. outcome_unknown: the disk
// failed in the middle; under the same key it can be learnt.
func (in *Inbox) Hold(r Request) (*Held, error) {
	if r.Key != "" {
		defer in.lockKey(RequestKey(&r.Drafter, r.Key))()
		if h, err := in.Known(&r.Drafter, r.Key, r.Digest); err != nil || h != nil {
			return h, err
		}
	}
	raw, err := encodeContent(r.Drafts, r.Versions, r.Batch)
	if err != nil {
		return nil, err
	}
	if in.cfg.Full() {
		return nil, model.E(model.CodeStorageFull)
	}
	now := in.cfg.Clock()
	h := &Held{
		State: Pending, Rules: r.Rules, Drafter: r.Drafter, Writers: r.Writers, Operations: len(r.Drafts), Types: map[model.Type]int{},
		Content: digestOf(raw), Created: model.TimeOf(now), Expires: model.TimeOf(now.Add(in.cfg.Expires)),
		Batch: r.Batch, Bytes: len(raw), Key: r.Key, Given: r.Key != "", Request: r.Digest, Same: r.Same,
	}
	seen := map[model.AgencyID]bool{}
	for i := range r.Drafts {
		h.Types[r.Drafts[i].Type]++
		if a := r.Drafts[i].Agency; !seen[a] {
			seen[a] = true
			h.Agencies = append(h.Agencies, a)
		}
	}
	if r.Batch != nil {
		h.Types[r.Batch.Type], h.Agencies = r.Batch.Rows, []model.AgencyID{r.Batch.Agency}
	}
	n, err := in.reserve(h)
	if err != nil {
		return nil, err
	}
	if h.Key == "" {
		h.Key = "draft-" + h.ID
	}
	b := new(leveldb.Batch)
	if err := put(b, h); err != nil {
		in.forget(n)
		return nil, err
	}
	b.Put(numberKey('c', n), raw)
	b.Put(stateKey(Pending, n), nil)
	b.Put(personKey(&h.Drafter, n), nil)
	if h.Given {
		b.Put(requestKey(RequestKey(&h.Drafter, h.Key)), binary.BigEndian.AppendUint64(nil, n))
	}
	if err := in.commit(b); err != nil {
		in.forget(n)
		return nil, err
	}
	in.keep(n, h)
	for _, r := range h.Rules {
		in.metrics.held.WithLabelValues(string(r)).Inc()
	}
	return h, nil
}

// reserve takes a number, and with it the id, and a place within the limits.
func (in *Inbox) reserve(h *Held) (uint64, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.waiting) >= in.cfg.MaxWaiting || in.bytes+h.Bytes > in.cfg.MaxBytes {
		return 0, model.E(model.CodeInboxFull)
	}
	own, bytes := 0, h.Bytes
	for _, w := range in.waiting {
		if !h.Same.IsZero() && w.same == h.Same {
			return 0, model.E(model.CodeAlreadyDrafted).With("draft %s", w.id)
		}
		if w.drafter == h.Drafter.Principal {
			own++
			bytes += w.bytes
		}
	}
	if own >= in.cfg.MaxEach || bytes > in.cfg.MaxBytes/4 {
		return 0, model.E(model.CodeInboxFull).With("%d drafts of yours wait already", own)
	}
	n := in.next
	in.next++
	h.ID = newID(n)
	in.waiting[n] = h.waiting()
	in.bytes += h.Bytes
	return n, nil
}

// keep makes sure that what is on the disk is counted: the database may have been opened anew since reserve.
func (in *Inbox) keep(n uint64, h *Held) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if _, ok := in.waiting[n]; !ok {
		in.waiting[n] = h.waiting()
		in.bytes += h.Bytes
	}
}

// forget takes a draft out of what is pending.
func (in *Inbox) forget(n uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if w, ok := in.waiting[n]; ok {
		in.bytes -= w.bytes
		delete(in.waiting, n)
	}
}
