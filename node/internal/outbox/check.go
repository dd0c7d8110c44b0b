package outbox

import (
	"errors"
	"fmt"

	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Check reads everything and compares it with what the outbox believes. It returns nil, or every
// discrepancy that it found. Nothing may be written meanwhile.
func (o *Outbox) Check() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.handle.RLock()
	defer o.handle.RUnlock()
	var found []error
	note := func(format string, args ...any) { found = append(found, fmt.Errorf("outbox: "+format, args...)) }

	if o.reserved != (reservation{}) || len(o.arriving) != 0 {
		note("reserved %+v with %d keys on their way", o.reserved, len(o.arriving))
	}
	onDisk := map[model.OpID]bool{}
	requests, made, dated := 0, map[string]bool{}, map[string]bool{}
	it := o.db.NewIterator(&util.Range{}, nil)
	defer it.Release()
	for it.Next() {
		key, value := it.Key(), append([]byte(nil), it.Value()...)
		var err error
		switch key[0] {
		case requestPrefix:
			var ops []model.Operation
			ops, _, err = decodeRequest(value)
			requests++
			for i := range ops {
				if onDisk[ops[i].ID] {
					note("operation %s stands twice", ops[i].ID)
				}
				onDisk[ops[i].ID] = true
			}
		case idempotencyPrefix:
			_, err = decodeIdempotency(value)
			dated[string(key)] = true
		case refusalPrefix:
			_, err = decodeRefusal(value)
			dated[string(key)] = true
		case envelopePrefix:
			_, _, err = decodeEnvelope(value)
		case quarantinePrefix:
			if len(key) != 25 || len(value) < 1 || value[0] != format {
				err = ErrDamaged
			}
		case madePrefix:
			if len(key) < 10 {
				err = ErrDamaged
				break
			}
			made[string(key[9:])] = true
		default:
			err = ErrDamaged
		}
		if err != nil {
			note("key %x: %w", key, err)
		}
	}
	if err := it.Error(); err != nil {
		note("%w", err)
	}
	for key := range dated {
		if !made[key] {
			note("%x would never expire", key)
		}
	}
	for key := range made {
		if !dated[key] {
			note("%x is gone", key)
		}
	}
	for id := range o.pending.ops {
		if !onDisk[id] {
			note("pending operation %s is not on the disk", id)
		}
	}
	if n := o.pending.requests.Len(); n != requests {
		note("%d requests on the disk, %d known", requests, n)
	}
	bytes := 0
	for e := o.pending.requests.Front(); e != nil; e = e.Next() {
		bytes += e.Value.(*request).bytes
	}
	if bytes != o.pending.bytes {
		note("%d bytes counted as %d", bytes, o.pending.bytes)
	}
	return errors.Join(found...)
}
