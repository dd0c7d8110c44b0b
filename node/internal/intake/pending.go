package intake

import (
	"sync"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// pending remembers what accepted operations will change once they are committed, so that a second
// request sees their versions and numbers before the records do.
type pending struct {
	mu       sync.Mutex
	byOp     map[model.OpID]held   // guarded by mu
	versions map[string]uint64     // "<kind>/<record>" → the greatest version on its way; guarded by mu
	claims   map[string]model.OpID // number or identifier → who claims it; guarded by mu
}

type held struct {
	record  string
	version uint64
	claims  []string
	signed  Signature // Alg "" without one
}

func newPending() *pending {
	return &pending{byOp: map[model.OpID]held{}, versions: map[string]uint64{}, claims: map[string]model.OpID{}}
}

func recordKey(kind model.Kind, id model.RecordID) string { return string(kind) + "/" + string(id) }

// next is the version that a new operation on a record makes, given the version that the records have.
func (p *pending) next(kind model.Kind, id model.RecordID, recorded uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.versions[recordKey(kind, id)], recorded) + 1
}

func (p *pending) version(kind model.Kind, id model.RecordID, version uint64, op model.OpID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := recordKey(kind, id)
	p.versions[k] = max(p.versions[k], version)
	h := p.byOp[op]
	h.record, h.version = k, version
	p.byOp[op] = h
}

// claim reserves numbers for an operation; false if another has one of them.
func (p *pending) claim(keys []string, op model.OpID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range keys {
		if by, ok := p.claims[k]; ok && by != op {
			return false
		}
	}
	for _, k := range keys {
		p.claims[k] = op
	}
	h := p.byOp[op]
	h.claims = keys
	p.byOp[op] = h
	return true
}

// signed notes the key that verifies an operation's signature.
func (p *pending) signed(op model.OpID, s Signature) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.byOp[op]
	h.signed = s
	p.byOp[op] = h
}

// release forgets operations, and returns the signatures of those that have receipts.
func (p *pending) release(ids []model.OpID, receipts []model.Receipt) []Signature {
	p.mu.Lock()
	defer p.mu.Unlock()
	var signed []Signature
	for i, id := range ids {
		h, ok := p.byOp[id]
		if !ok {
			continue
		}
		if receipts != nil && h.signed.Alg != "" {
			h.signed.Position = receipts[i].Position
			signed = append(signed, h.signed)
		}
		delete(p.byOp, id)
		for _, k := range h.claims {
			delete(p.claims, k)
		}
		if p.versions[h.record] == h.version {
			delete(p.versions, h.record)
		}
	}
	return signed
}
