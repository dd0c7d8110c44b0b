package app

import (
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
)

// GenesisBlockHash is what a node pins.
func GenesisBlockHash(l *embedded.Ledger) (d model.Digest, err error) {
	s, err := genesisBlockHash(l)
	if err == nil {
		err = d.UnmarshalText([]byte(s))
	}
	return d, err
}
