package app

import (
	"context"
	"os"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
)

// keyFile is the store of API keys in a node's folder.
const keyFile = "api-keys.json"

// refreshKeys takes up what `zhenglian keys` changes while the node runs.
func (n *Node) refreshKeys(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := n.keys.Refresh(); err != nil {
				n.log.Error("the API keys cannot be read; those known before stay in force", "error", err)
			}
		}
	}
}

// Keys opens a node's API keys to issue, list and revoke them. The node may be running: it takes up changes
// within seconds. Pseudonyms are derived when the node signs a caller in, so the secret, which a running
// node's vault holds, is not needed for any of that.
func Keys(cfg *Config) (*auth.Keys, error) {
	if _, err := os.Stat(cfg.path(keyFile)); err != nil {
		return nil, err
	}
	unused := model.NewSalt()
	return auth.OpenKeys(cfg.path(keyFile), unused[:], nil)
}
