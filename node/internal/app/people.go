package app

import "github.com/zhenglian/zhenglian/chaincode/model"

// maxDepth bounds the walk up the registry's tree.
const maxDepth = 16

// below says whether an agency stands below another in the registry that this node has applied. Entries are in
// memory; what is not there stands below nobody.
func (n *Node) below(agency, above model.AgencyID) bool {
	for range maxDepth {
		a, err := n.records.Agency(agency)
		if err != nil || a == nil || a.Parent == "" {
			return false
		}
		if a.Parent == above {
			return true
		}
		agency = a.Parent
	}
	return false
}
