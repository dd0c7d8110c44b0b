package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/syndtr/goleveldb/leveldb"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Append accepts a request: its operations, whose times are the moment of acceptance, with their canonical
// forms raw, and where key is not zero the idempotency record that key stands for. It returns once all of
// it is on the disk; concurrent calls share one sync.
//
// fresh is false, and nothing was written, when a request of the same key and digest is accepted already.
//
// Errors are *model.Error. A code of model.DecodeOperation, outbox_full, storage_full, shutting_down, idempotency_mismatch: nothing was
// written. outcome_unknown: the disk failed in the middle; the operations will not be sent unless the
// node is stopped before the disk recovers.
func (o *Outbox) Append(ctx context.Context, key [16]byte, digest model.Digest, ops []model.Operation, raw [][]byte) (fresh bool, err error) {
	if len(ops) == 0 || len(ops) > model.MaxOperations || len(ops) != len(raw) {
		return false, model.E(model.CodeTooMany)
	}
	bytes := 0
	for _, r := range raw {
		// What could not be read again would be stuck here: the ledger takes nothing else.
		if _, err := model.DecodeOperation(r); err != nil {
			return false, err
		}
		bytes += len(r)
	}
	if err := ctx.Err(); err != nil {
		return false, model.E(model.CodeShuttingDown).Because(err)
	}
	if key != ([16]byte{}) {
		known, release, err := o.claim(key, digest)
		if err != nil || known {
			return false, err
		}
		defer release()
	}
	seq, err := o.reserve(ops, bytes)
	if err != nil {
		return false, err
	}
	w := &write{done: make(chan error, 1), seq: seq, ops: ops, bytes: bytes}
	w.put(requestKey(seq), encodeRequest(raw))
	if key != ([16]byte{}) {
		i := idempotency{digest: digest, operations: len(ops), made: o.cfg.Clock()}
		w.put(idempotencyKey(key), i.encode())
		w.put(madeKey(i.made, idempotencyKey(key)), nil)
	}
	if err := o.send(w); err != nil {
		return false, err
	}
	return true, nil
}

// claim makes this call the only one for its key; known reports that the request is accepted already.
func (o *Outbox) claim(key [16]byte, digest model.Digest) (known bool, release func(), err error) {
	for {
		o.mu.Lock()
		other, busy := o.arriving[key]
		if !busy {
			mine := make(chan struct{})
			o.arriving[key] = mine
			release = func() {
				o.mu.Lock()
				delete(o.arriving, key)
				o.mu.Unlock()
				close(mine)
			}
		}
		o.mu.Unlock()
		if busy {
			<-other
			continue
		}
		before, _, ok, err := o.Lookup(key)
		switch {
		case errors.Is(err, leveldb.ErrClosed):
			err = model.E(model.CodeStorageFull).Because(err)
		case err != nil:
			err = model.E(model.CodeInternal).Because(err)
		case ok && before != digest:
			err = model.E(model.CodeIdempotencyMismatch)
		}
		if err != nil || ok {
			release()
			return ok, nil, err
		}
		return false, release, nil
	}
}

// Lookup finds the request that came under an idempotency key: its digest and how many operations it had.
func (o *Outbox) Lookup(key [16]byte) (digest model.Digest, operations int, ok bool, err error) {
	b, err := o.get(idempotencyKey(key))
	if err != nil || b == nil {
		return model.Digest{}, 0, false, err
	}
	i, err := decodeIdempotency(b)
	if err != nil {
		return model.Digest{}, 0, false, fmt.Errorf("%w: idempotency record", ErrDamaged)
	}
	return i.digest, i.operations, true, nil
}

// reserve takes a place within the limits and a sequence number.
func (o *Outbox) reserve(ops []model.Operation, bytes int) (uint64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending.ops)+o.reserved.operations+len(ops) > o.cfg.MaxOperations ||
		o.pending.bytes+o.reserved.bytes+bytes > o.cfg.MaxBytes {
		return 0, model.E(model.CodeOutboxFull)
	}
	for i := range ops {
		if _, twice := o.pending.ops[ops[i].ID]; twice {
			return 0, model.E(model.CodeIdempotencyMismatch).With("operation %s is accepted already", ops[i].ID)
		}
	}
	o.reserved.operations += len(ops)
	o.reserved.bytes += bytes
	seq := o.next
	o.next++
	return seq, nil
}

// settle ends a reservation; the operations are then pending or forgotten.
func (o *Outbox) settle(w *write, accepted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reserved.operations -= len(w.ops)
	o.reserved.bytes -= w.bytes
	if accepted {
		o.pending.add(w.seq, w.ops, w.bytes)
	}
}
