package contract

import (
	"sync"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Decoded remembers operations that were decoded and checked, by the digest of their bytes. Decoding is a
// pure function of those bytes, so whoever shares it decides alike with it and without; it saves the work
// where an endorser and a follower, which see every operation one after the other, run in one process.
//
// It is safe for concurrent use. What it returns is shared and read only.
type Decoded struct {
	mu    sync.Mutex
	known map[model.Digest]decoded // guarded by mu
	order []model.Digest           // a ring of the keys, oldest at next; guarded by mu
	next  int
}

type decoded struct {
	op   model.Operation
	body any
}

// NewDecoded remembers up to n operations, at some 3 KB each; of 64 KB at most in canonical form.
func NewDecoded(n int) *Decoded {
	return &Decoded{known: make(map[model.Digest]decoded, n), order: make([]model.Digest, n)}
}

func (d *Decoded) find(key model.Digest) (decoded, bool) {
	if d == nil {
		return decoded{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.known[key]
	return v, ok
}

func (d *Decoded) keep(key model.Digest, v decoded) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.known[key]; ok {
		return
	}
	delete(d.known, d.order[d.next])
	d.order[d.next] = key
	d.next = (d.next + 1) % len(d.order)
	d.known[key] = v
}
