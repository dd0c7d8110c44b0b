package search

import (
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Leaf is one entry of the log.
type Leaf struct {
	Position  uint64
	Previous  uint64 // position of the record's leaf before, plus one; 0 for the first
	State     model.State
	Hash      model.Digest
	Block     uint64
	Operation model.Operation
}

// Log is what the index follows. Safe for concurrent use.
type Log interface {
	// Grown is the number of leaves there are and a channel that is closed once there are more.
	Grown() (position uint64, more <-chan struct{})
	// Leaves lists leaves in order from a position on, at most limit, and fewer only at the end.
	Leaves(from uint64, limit int) ([]Leaf, error)
}

// Vault tells what this node knows of a confidential holder. Safe for concurrent use.
type Vault interface {
	// Holder is the code and name that the operation committed to; ok is false where they are not kept here.
	Holder(id model.OpID) (code, name string, ok bool, err error)
}
