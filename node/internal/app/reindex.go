package app

import (
	"context"
	"errors"
	"os"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

// Reindexed says what a rebuild made. Before is empty where the old records could not be read.
type Reindexed struct {
	Height   uint64 `json:"height"`   // blocks
	Position uint64 `json:"position"` // leaves
	Before   string `json:"before"`   // digest of the old records
	After    string `json:"after"`    // digest of the new
}

// Reindex rebuilds a stopped node's records from its archive, verifying every block again, and puts them in
// the old ones' place.
//
// Crash argument: the new records are complete and closed before the old ones are moved aside, and the
// move is two renames; whichever of them a crash prevents, the next Reindex or serve finds either the old
// or the new records, or none, which the follower fills from the archive's ledger again.
func Reindex(ctx context.Context, cfg *Config, progress func(done, total uint64)) (Reindexed, error) {
	out, _, err := reindex(ctx, cfg, 0, progress)
	return out, err
}

// reindex is Reindex; at is a height at which it stops for a moment to take the digest, 0 for none.
func reindex(ctx context.Context, cfg *Config, at uint64, progress func(done, total uint64)) (out Reindexed, then model.Digest, err error) {
	old, fresh, aside := cfg.path("records"), cfg.path("records.new"), cfg.path("records.old")
	for _, dir := range []string{fresh, aside} {
		if err := os.RemoveAll(dir); err != nil {
			return out, then, err
		}
	}
	if s, err := records.Open(old, records.Options{}); err == nil {
		if d, _, err := s.Digest(); err == nil {
			out.Before = d.String()
		}
		if err := s.Close(); err != nil {
			return out, then, err
		}
	} else if errors.Is(err, records.ErrInUse) {
		return out, then, err
	}
	a, err := openArchive(cfg)
	if err != nil {
		return out, then, err
	}
	defer a.Close()
	s, err := records.Open(fresh, records.Options{})
	if err != nil {
		return out, then, err
	}
	k, err := newContract(cfg.GenesisDigest, cfg.ImportFrom)
	if err != nil {
		return out, then, errors.Join(err, s.Close())
	}
	pin, err := blockPin(cfg.GenesisBlock)
	if err != nil {
		return out, then, errors.Join(err, s.Close())
	}
	from := follow.Config{Archive: a, Records: s.Writer(), Contract: k, Chaincode: cfg.Chaincode, Genesis: pin}
	if at > 0 && at < a.Height() {
		from.Archive = below{a, at}
		if err = follow.Reindex(ctx, from, progress); err == nil {
			then, _, err = s.Digest()
		}
		from.Archive = a
	}
	if err == nil {
		err = follow.Reindex(ctx, from, progress)
	}
	if err != nil {
		return out, then, errors.Join(err, s.Close())
	}
	d, height, err := s.Digest()
	if at == height {
		then = d
	}
	out.After, out.Height, out.Position = d.String(), height, s.Position()
	if err = errors.Join(err, s.Close()); err != nil {
		return out, then, err
	}
	if err := os.Rename(old, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, then, err
	}
	if err := os.Rename(fresh, old); err != nil {
		return out, then, err
	}
	return out, then, os.RemoveAll(aside)
}

// below is an archive up to a height.
type below struct {
	*archive.Archive
	height uint64
}

func (b below) Height() uint64 { return b.height }

// findingFile keeps what made the follower stop.
const findingFile = "finding.json"

// Finding is what made a node's follower stop, nil if nothing did.
func Finding(cfg *Config) (*follow.Finding, error) { return follow.ReadFinding(cfg.path(findingFile)) }

// ClearFinding lets a stopped node take the block that its finding is about once more.
func ClearFinding(cfg *Config) error { return follow.ClearFinding(cfg.path(findingFile)) }
