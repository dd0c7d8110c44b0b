package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/intake"
	"github.com/zhenglian/zhenglian/node/internal/verify"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// verifier gives the API verdicts. The records exist before it and tell it of changes from the start, so
// it is made in two steps.
type verifier struct {
	service atomic.Pointer[verify.Service]
}

func (v *verifier) open(n *Node) {
	v.service.Store(verify.New(verify.Config{
		Snapshot: func() verify.Snapshot { return n.records.Snapshot() },
		Check: func(alg string, public, message, signature []byte) error {
			return envelope.Verify(envelope.Alg(alg), public, message, signature)
		},
		Age:    func() time.Duration { return n.age() },
		Behind: func() bool { return n.follower.Behind() },
	}))
}

func (v *verifier) changed(licences []model.RecordID) {
	if s := v.service.Load(); s != nil {
		s.Changed(licences)
	}
}

// vouch passes on the signatures that this node made itself.
func (v *verifier) vouch(signed []intake.Signature) {
	for _, s := range signed {
		v.service.Load().Vouch(s.Position, s.Alg, s.Public)
	}
}

// Verify gives verdicts.
func (v *verifier) Verify(ctx context.Context, queries []model.Query) []model.Verdict {
	return v.service.Load().Verify(ctx, queries)
}
