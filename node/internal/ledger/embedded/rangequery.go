package embedded

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// maxDegree is how many results a range query records as they are before it hashes them into a tree, as in Fabric.
const maxDegree = 50

// rangeReads accumulates what a range query saw: the reads themselves while there are few, and the top level of a
// hash tree over them once there are more than its degree. Endorsing and validating build it alike and compare.
type rangeReads struct {
	degree  int
	pending []*kvrwset.KVRead
	levels  [][][]byte // levels[0] are hashes over groups of reads; nil until the first group is full
}

func newRangeReads(degree int) *rangeReads { return &rangeReads{degree: degree} }

func (r *rangeReads) add(key string, v fabblock.Version) {
	r.pending = append(r.pending, &kvrwset.KVRead{Key: key, Version: protoVersion(&v)})
	if len(r.pending) > r.degree {
		r.hashPending()
	}
}

func (r *rangeReads) hashPending() {
	h := hashOf(marshal(&kvrwset.QueryReads{KvReads: r.pending}))
	r.pending = nil
	for level := 0; ; level++ {
		if level == len(r.levels) {
			r.levels = append(r.levels, nil)
		}
		r.levels[level] = append(r.levels[level], h)
		if len(r.levels[level]) <= r.degree {
			return
		}
		h = hashOf(r.levels[level]...)
		r.levels[level] = nil
	}
}

// finish returns either the reads or the summary of the tree.
func (r *rangeReads) finish() ([]*kvrwset.KVRead, *kvrwset.QueryReadsMerkleSummary) {
	if r.levels == nil {
		return r.pending, nil
	}
	if len(r.pending) > 0 {
		r.hashPending()
	}
	top := len(r.levels) - 1
	for level := range top {
		switch hashes := r.levels[level]; len(hashes) {
		case 0:
			continue
		case 1:
			r.levels[level+1] = append(r.levels[level+1], hashes[0])
		default:
			r.levels[level+1] = append(r.levels[level+1], hashOf(hashes...))
		}
		r.levels[level] = nil
	}
	if len(r.levels[top]) > r.degree {
		r.levels = append(r.levels, [][]byte{hashOf(r.levels[top]...)})
		top++
	}
	return nil, &kvrwset.QueryReadsMerkleSummary{
		MaxDegree: uint32(r.degree), MaxLevel: uint32(top + 1), MaxLevelHashes: r.levels[top],
	}
}

func hashOf(parts ...[]byte) []byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func protoVersion(v *fabblock.Version) *kvrwset.Version {
	if v == nil {
		return nil
	}
	return &kvrwset.Version{BlockNum: v.Block, TxNum: v.Tx}
}

// sameReads reports whether a query run again saw what info says the first one saw.
func sameReads(info *kvrwset.RangeQueryInfo, again *rangeReads) bool {
	reads, summary := again.finish()
	if want := info.GetReadsMerkleHashes(); want != nil {
		return summary != nil && want.GetMaxDegree() == summary.GetMaxDegree() && want.GetMaxLevel() == summary.GetMaxLevel() &&
			slices.EqualFunc(want.GetMaxLevelHashes(), summary.GetMaxLevelHashes(), bytes.Equal)
	}
	if summary != nil {
		return false
	}
	return slices.EqualFunc(info.GetRawReads().GetKvReads(), reads, func(a, b *kvrwset.KVRead) bool {
		return a.GetKey() == b.GetKey() && a.GetVersion().GetBlockNum() == b.GetVersion().GetBlockNum() &&
			a.GetVersion().GetTxNum() == b.GetVersion().GetTxNum()
	})
}
