package embedded

import (
	"errors"
	"fmt"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// ldbReader is what a goleveldb database and a snapshot of one have in common.
type ldbReader interface {
	Get(key []byte, ro *opt.ReadOptions) ([]byte, error)
	NewIterator(slice *util.Range, ro *opt.ReadOptions) iterator.Iterator
}

// A view reads the state as it was after one block: the database itself for the committer, which alone changes it,
// or a snapshot for a run of the contract.
type view struct{ db ldbReader }

// get is a key's value and version; the version is nil if the key is absent.
func (v view) get(namespace, key string) ([]byte, *fabblock.Version, error) {
	raw, err := v.db.Get(appendDataKey(nil, namespace, key), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	version, value, err := cutVersion(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: state: key %q", ErrCorrupt, key)
	}
	return value, &version, nil
}

// scan iterates over start ≤ key < end, or ≤ end if includeEnd is set. An empty start is the first key and an empty
// end lies after the last.
func (v view) scan(namespace, start, end string, includeEnd bool) *scanner {
	r := &util.Range{Start: appendDataKey(nil, namespace, start)}
	if end == "" {
		r.Limit = append(append([]byte{dataPrefix}, namespace...), 1) // the byte after the namespace's terminator
	} else {
		r.Limit = appendDataKey(nil, namespace, end)
		if includeEnd {
			r.Limit = append(r.Limit, 0) // the key that follows end immediately
		}
	}
	return &scanner{it: v.db.NewIterator(r, nil), skip: len(namespace) + 2}
}

// scanner walks over a range of keys. Close it.
type scanner struct {
	it   iterator.Iterator
	skip int // bytes of a database key before the key proper
}

// next moves to the next entry; ok is false at the end. The value shares the iterator's memory until the next call.
func (s *scanner) next() (key string, value []byte, version fabblock.Version, ok bool, err error) {
	if !s.it.Next() {
		return "", nil, version, false, s.it.Error()
	}
	key = string(s.it.Key()[s.skip:])
	version, value, err = cutVersion(s.it.Value())
	if err != nil {
		return "", nil, version, false, fmt.Errorf("%w: state: key %q", ErrCorrupt, key)
	}
	return key, value, version, true, nil
}

func (s *scanner) close() { s.it.Release() }
