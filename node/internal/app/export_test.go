package app

import (
	"time"

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

// SetAnchorClock lets days pass for the access log's anchors, of nodes that start afterwards.
func SetAnchorClock(now func() time.Time) (restore func()) {
	anchorClock = now
	return func() { anchorClock = time.Now }
}
