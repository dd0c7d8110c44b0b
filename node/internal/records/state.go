package records

import (
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// RegistryVersion is the version of the registry as the contract's state has it, 0 before the first.
func (s *Snapshot) RegistryVersion() (uint64, error) {
	b, err := s.get(stateKey(model.RegistryVersionKey))
	if err != nil || b == nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 64)
}
