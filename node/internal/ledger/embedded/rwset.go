package embedded

import (
	"maps"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// readWriteSet gathers what one run of the contract read and wrote in its namespace. A run is one goroutine.
type readWriteSet struct {
	namespace string
	reads     map[string]*fabblock.Version // nil version: the key was absent
	writes    map[string][]byte            // nil value: deleted
	ranges    []*rangeQuery
}

// rangeQuery is one range query of the run. Fabric keeps the first of two queries with the same bounds.
type rangeQuery struct {
	start, end string
	exhausted  bool
	seen       *rangeReads
}

func newReadWriteSet(namespace string) *readWriteSet {
	return &readWriteSet{namespace: namespace, reads: map[string]*fabblock.Version{}, writes: map[string][]byte{}}
}

func (s *readWriteSet) read(key string, v *fabblock.Version) { s.reads[key] = v }

// write sets a key; an empty value deletes it, as in Fabric.
func (s *readWriteSet) write(key string, value []byte) {
	if len(value) == 0 {
		value = nil
	}
	s.writes[key] = value
}

// encode gives the set in Fabric's canonical order: keys sorted, queries in the order made.
func (s *readWriteSet) encode() []byte {
	kv := &kvrwset.KVRWSet{}
	for _, key := range slices.Sorted(maps.Keys(s.reads)) {
		kv.Reads = append(kv.Reads, &kvrwset.KVRead{Key: key, Version: protoVersion(s.reads[key])})
	}
	type bounds struct {
		start, end string
		exhausted  bool
	}
	have := map[bounds]bool{}
	for _, q := range s.ranges {
		if b := (bounds{q.start, q.end, q.exhausted}); !have[b] {
			have[b] = true
			kv.RangeQueriesInfo = append(kv.RangeQueriesInfo, q.encode())
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.writes)) {
		value := s.writes[key]
		kv.Writes = append(kv.Writes, &kvrwset.KVWrite{Key: key, IsDelete: value == nil, Value: value})
	}
	set := &rwset.TxReadWriteSet{DataModel: rwset.TxReadWriteSet_KV}
	if len(kv.Reads)+len(kv.RangeQueriesInfo)+len(kv.Writes) > 0 {
		set.NsRwset = []*rwset.NsReadWriteSet{{Namespace: s.namespace, Rwset: marshal(kv)}}
	}
	return marshal(set)
}

func (q *rangeQuery) encode() *kvrwset.RangeQueryInfo {
	info := &kvrwset.RangeQueryInfo{StartKey: q.start, EndKey: q.end, ItrExhausted: q.exhausted}
	reads, summary := q.seen.finish()
	if summary != nil {
		info.ReadsInfo = &kvrwset.RangeQueryInfo_ReadsMerkleHashes{ReadsMerkleHashes: summary}
	} else {
		info.ReadsInfo = &kvrwset.RangeQueryInfo_RawReads{RawReads: &kvrwset.QueryReads{KvReads: reads}}
	}
	return info
}
