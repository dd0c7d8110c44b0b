package embedded

import (
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// committed is the state that a block is validated against: all blocks before it.
type committed interface {
	// version is a key's version, nil if the key is absent.
	version(namespace, key string) (*fabblock.Version, error)
	// keys calls fn for each key of the range in order until fn returns false. Bounds are those of view.scan.
	keys(namespace, start, end string, includeEnd bool, fn func(key string, v fabblock.Version) bool) error
	// known reports whether an earlier block holds a transaction of that id.
	known(txID string) (bool, error)
}

// validator decides, transaction by transaction, what becomes of one block. The rules and their order are Fabric's:
// a duplicate id, then every version read, then every range read, against the committed state and the writes of the
// valid transactions that stand earlier in the block.
type validator struct {
	base    committed
	number  uint64
	ids     map[string]bool
	updates map[string]map[string]update // namespace, key
}

// update is a write of an earlier transaction of the same block.
type update struct {
	version fabblock.Version
	deleted bool
}

func newValidator(base committed, number uint64) *validator {
	return &validator{base: base, number: number, ids: map[string]bool{}, updates: map[string]map[string]update{}}
}

// judge decides the next transaction, whose place in the block is index, and takes its writes into account.
func (v *validator) judge(index int, tx *fabblock.Tx) (peer.TxValidationCode, error) {
	known, err := v.base.known(tx.ID)
	if err != nil {
		return 0, err
	}
	if known || v.ids[tx.ID] {
		return peer.TxValidationCode_DUPLICATE_TXID, nil
	}
	v.ids[tx.ID] = true
	for _, r := range tx.Reads {
		if same, err := v.sameVersion(r); err != nil {
			return 0, err
		} else if !same {
			return peer.TxValidationCode_MVCC_READ_CONFLICT, nil
		}
	}
	for _, r := range tx.Ranges {
		if same, err := v.sameRange(r.Namespace, r.Info); err != nil {
			return 0, err
		} else if !same {
			return peer.TxValidationCode_PHANTOM_READ_CONFLICT, nil
		}
	}
	version := fabblock.Version{Block: v.number, Tx: uint64(index)}
	for _, w := range tx.Writes {
		keys := v.updates[w.Namespace]
		if keys == nil {
			keys = map[string]update{}
			v.updates[w.Namespace] = keys
		}
		keys[w.Key] = update{version, w.Delete}
	}
	return peer.TxValidationCode_VALID, nil
}

func (v *validator) sameVersion(r fabblock.Read) (bool, error) {
	if _, written := v.updates[r.Namespace][r.Key]; written {
		return false, nil
	}
	now, err := v.base.version(r.Namespace, r.Key)
	if err != nil || (now == nil) != (r.Version == nil) {
		return false, err
	}
	return now == nil || *now == *r.Version, nil
}

// sameRange runs a range query again. A query that its caller did not read to the end covers the keys up to and
// including the last one seen.
func (v *validator) sameRange(namespace string, info *kvrwset.RangeQueryInfo) (bool, error) {
	degree := maxDegree
	if m := info.GetReadsMerkleHashes(); m != nil {
		if degree = int(m.GetMaxDegree()); degree < 2 {
			return false, nil
		}
	}
	includeEnd := !info.GetItrExhausted()
	start, end := info.GetStartKey(), info.GetEndKey()
	inRange := func(key string) bool {
		return key >= start && (end == "" || key < end || includeEnd && key == end)
	}
	var added []string // keys of earlier transactions of this block, in order
	for key := range v.updates[namespace] {
		if inRange(key) {
			added = append(added, key)
		}
	}
	slices.Sort(added)
	again := newRangeReads(degree)
	emit := func(key string) {
		if u := v.updates[namespace][key]; !u.deleted {
			again.add(key, u.version)
		}
	}
	err := v.base.keys(namespace, start, end, includeEnd, func(key string, version fabblock.Version) bool {
		for len(added) > 0 && added[0] < key {
			emit(added[0])
			added = added[1:]
		}
		if len(added) > 0 && added[0] == key {
			emit(key)
			added = added[1:]
			return true
		}
		again.add(key, version)
		return true
	})
	if err != nil {
		return false, err
	}
	for _, key := range added {
		emit(key)
	}
	return sameReads(info, again), nil
}

// version, keys and known make the store the committed state of its own committer.

func (s *store) version(namespace, key string) (*fabblock.Version, error) {
	_, v, err := view{s.state}.get(namespace, key)
	return v, err
}

func (s *store) keys(namespace, start, end string, includeEnd bool, fn func(string, fabblock.Version) bool) error {
	sc := view{s.state}.scan(namespace, start, end, includeEnd)
	defer sc.close()
	for {
		key, _, version, ok, err := sc.next()
		if err != nil || !ok || !fn(key, version) {
			return err
		}
	}
}

func (s *store) known(txID string) (bool, error) {
	_, _, ok, err := s.transaction(txID)
	return ok, err
}
