package app

import (
	"context"
	"errors"
	"os"

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
	var out Reindexed
	old, fresh, aside := cfg.path("records"), cfg.path("records.new"), cfg.path("records.old")
	for _, dir := range []string{fresh, aside} {
		if err := os.RemoveAll(dir); err != nil {
			return out, err
		}
	}
	if s, err := records.Open(old, records.Options{}); err == nil {
		if d, _, err := s.Digest(); err == nil {
			out.Before = d.String()
		}
		if err := s.Close(); err != nil {
			return out, err
		}
	} else if errors.Is(err, records.ErrInUse) {
		return out, err
	}
	a, err := openArchive(cfg)
	if err != nil {
		return out, err
	}
	defer a.Close()
	s, err := records.Open(fresh, records.Options{})
	if err != nil {
		return out, err
	}
	k, err := newContract(cfg.GenesisDigest, cfg.ImportFrom)
	if err != nil {
		return out, errors.Join(err, s.Close())
	}
	pin, err := blockPin(cfg.GenesisBlock)
	if err != nil {
		return out, errors.Join(err, s.Close())
	}
	err = follow.Reindex(ctx, follow.Config{Archive: a, Records: s.Writer(), Contract: k, Chaincode: cfg.Chaincode, Genesis: pin}, progress)
	if err != nil {
		return out, errors.Join(err, s.Close())
	}
	d, height, err := s.Digest()
	out.After, out.Height, out.Position = d.String(), height, s.Position()
	if err = errors.Join(err, s.Close()); err != nil {
		return out, err
	}
	if err := os.Rename(old, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, err
	}
	if err := os.Rename(fresh, old); err != nil {
		return out, err
	}
	return out, os.RemoveAll(aside)
}

// findingFile keeps what made the follower stop.
const findingFile = "finding.json"

// Finding is what made a node's follower stop, nil if nothing did.
func Finding(cfg *Config) (*follow.Finding, error) { return follow.ReadFinding(cfg.path(findingFile)) }

// ClearFinding lets a stopped node take the block that its finding is about once more.
func ClearFinding(cfg *Config) error { return follow.ClearFinding(cfg.path(findingFile)) }
