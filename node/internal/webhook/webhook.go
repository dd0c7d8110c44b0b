// Package webhook tells other systems what happened: each operation on the ledger that a subscription asks for is sent
// to its URL, in order, signed, until it is received or given up.
//
// Delivery is at least once: the subscription's place is written after the receiver has said 2xx, so after a crash the
// last event may come again, under the same webhook-id. Signatures are those of Standard Webhooks 1.0
// (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md); docs/spec/webhooks.md is ours.
//
// Reading order: store.go (subscriptions and their files), sign.go, guard.go (which addresses are spoken to),
// deliver.go (the loops).
package webhook

import (
	"context"
	"time"

	"github.com/zhenglian/zhenglian/sdk"
)

// Log is what is told. Safe for concurrent use.
type Log interface {
	// Entries lists entries whose position is greater than after (−1: from the first), at most limit.
	Entries(ctx context.Context, after int64, limit int) ([]sdk.Event, error)
	// Head is the position of the newest entry (−1: none) and a channel that is closed once there is a newer one.
	Head() (position int64, grown <-chan struct{})
}

// Message is the body of a delivery.
type Message struct {
	Type      string    `json:"type"`      // the operation's
	Timestamp string    `json:"timestamp"` // of the operation, RFC 3339
	Data      sdk.Event `json:"data"`
}

// Limits.
const (
	maxSubscriptions = 64
	maxDead          = 10_000           // letters of one subscription; with so many it stops
	deadline         = 10 * time.Second // of one attempt
	maxAnswer        = 64 << 10         // bytes read of a receiver's answer
	inFlight         = 8                // attempts at once, of all subscriptions
)
