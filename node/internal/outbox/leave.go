package outbox

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Done removes operations that are committed. It is not synced: after a crash they may be pending again,
// and their receipts say that they are not. What a failing disk keeps goes with the next call.
func (o *Outbox) Done(ids []model.OpID) error {
	o.mu.Lock()
	gone := o.leftover
	o.leftover = nil
	for _, id := range ids {
		if r := o.pending.remove(id); r != nil {
			gone = append(gone, requestKey(r.seq))
		}
	}
	o.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	batch := new(leveldb.Batch)
	for _, key := range gone {
		batch.Delete(key)
	}
	o.handle.RLock()
	err := o.db.Write(batch, nil)
	o.handle.RUnlock()
	if err != nil {
		o.mu.Lock()
		o.leftover = append(o.leftover, gone...)
		o.mu.Unlock()
	}
	return err
}

// Refuse marks operations as refused for good: each outcome names the operation and its problem. It returns
// once that is on the disk, so that nobody who heard of a refusal sees the operation committed later.
// Operations that do not wait are passed over.
func (o *Outbox) Refuse(outcomes []model.Outcome) error {
	w := &write{done: make(chan error, 1)}
	now := o.cfg.Clock()
	var ids []model.OpID
	for _, out := range outcomes {
		o.mu.Lock()
		e, ok := o.pending.ops[out.Operation]
		o.mu.Unlock()
		if !ok {
			continue
		}
		out.Kind, out.Record, out.Version = e.kind, e.record, e.version
		value, err := encodeRefusal(out)
		if err != nil {
			return err
		}
		w.put(refusalKey(out.Operation), value)
		w.put(madeKey(now, refusalKey(out.Operation)), nil)
		ids = append(ids, out.Operation)
	}
	if len(ids) == 0 {
		return nil
	}
	if err := o.send(w); err != nil {
		return err
	}
	o.metrics.refused.Add(float64(len(ids)))
	o.mu.Lock()
	for _, id := range ids {
		if e, ok := o.pending.ops[id]; ok {
			e.request.refused = append(e.request.refused, id)
		}
	}
	o.mu.Unlock()
	return o.Done(ids)
}

// StoreEnvelope keeps a signed envelope with the operations it carries. It returns once it is on the disk:
// only then may the envelope be sent, because after a crash the node must know what it may have sent.
func (o *Outbox) StoreEnvelope(txID string, envelope []byte, ids []model.OpID) error {
	key, err := envelopeKey(txID)
	if err != nil {
		return err
	}
	value := encodeEnvelope(envelope, ids)
	w := &write{done: make(chan error, 1), bytes: len(value)}
	w.put(key, value)
	return o.send(w)
}

// DropEnvelope forgets an envelope whose fate is known. It is not synced: one that comes back after a crash
// is looked up in the records, or sent again, which is harmless.
func (o *Outbox) DropEnvelope(txID string) error {
	key, err := envelopeKey(txID)
	if err != nil {
		return err
	}
	o.handle.RLock()
	defer o.handle.RUnlock()
	return o.db.Delete(key, nil)
}

// Envelopes calls yield for every envelope that is kept, until it returns an error.
func (o *Outbox) Envelopes(yield func(txID string, envelope []byte, ids []model.OpID) error) error {
	return o.each(envelopePrefix, func(key, value []byte) error {
		envelope, ids, err := decodeEnvelope(value)
		if err != nil || len(key) != 33 {
			return fmt.Errorf("%w: envelope %x", ErrDamaged, key)
		}
		return yield(fmt.Sprintf("%x", key[1:]), envelope, ids)
	})
}

func (o *Outbox) neededRefusals() map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	needed := map[string]bool{}
	for e := o.pending.requests.Front(); e != nil; e = e.Next() {
		for _, id := range e.Value.(*request).refused {
			needed[string(refusalKey(id))] = true
		}
	}
	return needed
}

// eachRequest decodes every request in order.
func (o *Outbox) eachRequest(yield func(seq uint64, ops []model.Operation, raw [][]byte) error) error {
	return o.each(requestPrefix, func(key, value []byte) error {
		if len(key) != 9 {
			return fmt.Errorf("%w: key %x", ErrDamaged, key)
		}
		seq := binary.BigEndian.Uint64(key[1:])
		// The iterator's memory is its own.
		ops, raw, err := decodeRequest(append([]byte(nil), value...))
		if err != nil {
			return fmt.Errorf("%w: request %d: %w", ErrDamaged, seq, err)
		}
		return yield(seq, ops, raw)
	})
}

// each walks the keys of one prefix on a snapshot.
func (o *Outbox) each(prefix byte, yield func(key, value []byte) error) error {
	o.handle.RLock()
	defer o.handle.RUnlock()
	it := o.db.NewIterator(util.BytesPrefix([]byte{prefix}), nil)
	defer it.Release()
	for it.Next() {
		if err := yield(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

// expire forgets idempotency keys and refusals that are too old or too many. A refusal stays as long as its
// request's entry does, or the operation would be pending again after a restart.
func (o *Outbox) expire() error {
	needed := o.neededRefusals()
	counts := map[byte]int{}
	err := o.each(madePrefix, func(key, _ []byte) error {
		if len(key) > 9 {
			counts[key[9]]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	before := o.cfg.Clock().Add(-o.cfg.Keep)
	var stale [][]byte
	err = o.each(madePrefix, func(key, _ []byte) error {
		if len(key) <= 9 {
			stale = append(stale, append([]byte(nil), key...))
			return nil
		}
		kind := key[9]
		if needed[string(key[9:])] {
			return nil
		}
		made := time.UnixMilli(int64(binary.BigEndian.Uint64(key[1:])))
		if made.Before(before) || counts[kind] > o.cfg.MaxKept {
			counts[kind]--
			stale = append(stale, append([]byte(nil), key...))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for len(stale) > 0 {
		n := min(len(stale), 10_000)
		batch := new(leveldb.Batch)
		for _, key := range stale[:n] {
			batch.Delete(key)
			if len(key) > 9 {
				batch.Delete(key[9:])
			}
		}
		o.handle.RLock()
		err := o.db.Write(batch, nil)
		o.handle.RUnlock()
		if err != nil {
			return err
		}
		stale = stale[n:]
	}
	return nil
}
