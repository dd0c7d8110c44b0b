package verify_test

import (
	"context"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/verify"
)

// BenchmarkCached asks about licences that were asked for before, by identifier.
func BenchmarkCached(b *testing.B) {
	r, queries := many(b, 1000)
	for _, q := range queries {
		r.ask(q)
	}
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if v := r.service.Verify(ctx, queries[i%len(queries):][:1]); v[0].Verdict != model.Valid {
			b.Fatal(v[0].Reason)
		}
	}
}

// BenchmarkUncached reads every licence from the records and checks its signature.
func BenchmarkUncached(b *testing.B) {
	r, queries := many(b, 1000)
	cold := verify.New(verify.Config{
		Snapshot: func() verify.Snapshot { return r.store.Snapshot() },
		Check:    func(string, []byte, []byte, []byte) error { return nil },
		Age:      func() time.Duration { return 0 }, Behind: func() bool { return false }, Clock: func() time.Time { return noon }, CacheBytes: 1,
	})
	ctx := context.Background()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if v := cold.Verify(ctx, queries[i%len(queries):][:1]); v[0].Verdict != model.Valid {
			b.Fatal(v[0].Reason)
		}
	}
}

func many(b *testing.B, n int) (*rig, []model.Query) {
	r := newRig(b)
	queries := make([]model.Query, n)
	for i := range queries {
		queries[i].Identifier = r.issue(i+1, nil).Identifier
	}
	return r, queries
}
