package app

import (
	"math"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// While the ledger takes over another, this node's records are those of some moment in the past: a licence that was
// ended later stands in them as valid. So nothing is said to be valid, what is not there is not said to be absent,
// and nothing is accepted, whose number might be another's.

// importing reports whether the import is open, as far as this node has applied the ledger.
func (n *Node) importing() bool {
	if n.cfg.ImportFrom == "" || n.imported.Load() {
		return false
	}
	v, err := n.records.View(model.KindImport, model.ImportID)
	if err != nil || v == nil {
		return true
	}
	n.imported.Store(true) // for good
	return false
}

// age is that of what the node knows; as long as there is none while it imports.
func (n *Node) age() time.Duration {
	if n.importing() {
		return math.MaxInt64
	}
	return n.follower.Age()
}

// absent says of something that is not in the records what that means.
func (n *Node) absent() *model.Error {
	if n.importing() {
		return model.E(model.CodeImportOpen)
	}
	return model.E(model.CodeNotFound, "id")
}
