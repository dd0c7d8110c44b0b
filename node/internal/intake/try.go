package intake

import (
	"context"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Try checks drafts as Accept would at this moment, and accepts nothing: it returns the operations that they would be.
// What waits for a second person is tried first, so that who drafts hears of a mistake at once.
//
// A new record's serial is written off, which is harmless. No key is drawn: the body of a rotation that leaves that to
// the node is nil. Errors are Accept's.
func (in *Intake) Try(ctx context.Context, who Caller, drafts []model.Draft) (ops []model.Operation, index int, err error) {
	in.once.Do(in.begin)
	if in.Closed != nil {
		if err := in.Closed(); err != nil {
			return nil, -1, err
		}
	}
	if len(drafts) == 0 || len(drafts) > model.MaxOperations {
		return nil, -1, model.E(model.CodeTooMany)
	}
	drafts = append([]model.Draft(nil), drafts...) // completing writes into them
	w := work{in: in, who: who, dry: true, ops: make([]model.Operation, len(drafts)), agencies: map[model.AgencyID]*model.Agency{}, serials: map[serialKey]uint64{}}
	if i, err := w.number(drafts); err != nil {
		return nil, i, err
	}
	defer func() { in.pending.release(w.claimed, nil) }()
	if i, err := w.complete(ctx, "", drafts, make([]model.OpID, len(drafts))); err != nil {
		return nil, i, err
	}
	return w.ops, -1, nil
}

// Known finds a request that was accepted under a key: its operations' ids. Another body under the key is
// idempotency_mismatch.
func (in *Intake) Known(who Caller, key string, body model.Digest) (ids []model.OpID, ok bool, err error) {
	if key == "" {
		return nil, false, nil
	}
	digest, n, ok, err := in.Queue.Lookup(requestKey(who, key))
	if err != nil || !ok {
		return nil, false, err
	}
	if digest != body {
		return nil, false, model.E(model.CodeIdempotencyMismatch)
	}
	for i := range n {
		ids = append(ids, who.opID(key, i))
	}
	return ids, true, nil
}
