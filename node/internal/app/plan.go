package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

// Pilot is what is to be moved. Every organisation comes to the same one.
type Pilot struct {
	Of            string       `json:"of"` // node or ledger: what was looked at
	Channel       string       `json:"channel"`
	GenesisDigest string       `json:"genesis_digest"`
	ImportFrom    string       `json:"import_from"` // hash of block 0, for every zl-chaincode
	Blocks        uint64       `json:"blocks"`
	LastBlock     model.Digest `json:"last_block"` // hash of its header
	migrate.End
	Waiting int  `json:"waiting"` // operations in the node's outbox
	Sent    int  `json:"sent"`    // its transactions on their way
	Frozen  bool `json:"frozen"`  // the ledger takes no more
}

// planDir is where a plan works; it goes at the end.
const planDir = "plan.tmp"

// PlanMigration checks all of a stopped pilot, a node's or a ledger's folder, and says what it is. Every block is
// verified and executed again.
func PlanMigration(ctx context.Context, dir string, w Watch) (*Pilot, error) {
	if _, err := os.Stat(filepath.Join(dir, LedgerFile)); err == nil {
		return planLedger(ctx, dir, w)
	}
	cfg, err := LoadConfig(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s has neither %s nor %s: give a node's folder or the one with the ledger's configuration", dir, ConfigFile, LedgerFile)
	}
	if err != nil {
		return nil, err
	}
	p := &Pilot{Of: "node"}
	// What a switch has set aside has none: it stayed with the node.
	if _, err := os.Stat(cfg.path(outboxDir)); err == nil {
		if p.Waiting, p.Sent, err = inOutbox(cfg); err != nil {
			return nil, err
		}
	}
	s, a, err := openRecords(cfg, nil)
	if errors.Is(err, archive.ErrDamaged) {
		err = damaged(err)
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer a.Close()
	if err := p.read(ctx, cfg, a, w); err != nil {
		return nil, err
	}
	if s.Height() != p.Blocks || s.Position() != p.Position {
		return nil, uneven(s.Height(), p.Blocks)
	}
	end, err := endOf(ctx, s, nil)
	if err == nil && end != p.End {
		err = errors.New("the records are not what the archive's blocks make: run `zhenglian reindex` first")
	}
	return p, err
}

func planLedger(ctx context.Context, dir string, w Watch) (*Pilot, error) {
	c, err := LoadLedger(dir)
	if err != nil {
		return nil, err
	}
	r, err := embedded.Fsck(ctx, c.path(c.Dir), w.of("fsck"))
	if err != nil {
		return nil, err
	}
	if len(r.Findings) > 0 {
		f := r.Findings[0]
		return nil, damaged(fmt.Errorf("%s (%d findings; `zhenglian ledger fsck` lists them)", f.En, len(r.Findings)))
	}
	// What a ledger's own process lets run against its blocks is a node's archive of them.
	at := filepath.Join(dir, planDir)
	if err := os.RemoveAll(at); err != nil {
		return nil, err
	}
	defer os.RemoveAll(at)
	a, err := archive.Open(filepath.Join(at, archiveDir), archive.Options{})
	if err != nil {
		return nil, err
	}
	defer a.Close()
	n := uint64(0)
	for block, err := range embedded.Blocks(c.path(c.Dir)) {
		if err == nil {
			err = a.Append(n, block, n == 0)
		}
		if err != nil {
			return nil, err
		}
		n++
	}
	p := &Pilot{Of: "ledger", Frozen: c.Frozen}
	return p, p.read(ctx, &Config{Channel: c.Channel, Chaincode: c.Chaincode, GenesisDigest: c.GenesisDigest, ImportFrom: c.ImportFrom, dir: at}, a, w)
}

func damaged(err error) error {
	return &migrate.Fault{
		Code: migrate.CodeDamaged, En: "the pilot does not check and must not be moved: use another member's copy or a backup", Zh: "原账本未通过检查，不能迁移；请使用其他成员的副本或备份", Reason: err,
	}
}

// read executes an archive again from its first block.
func (p *Pilot) read(ctx context.Context, cfg *Config, a *archive.Archive, w Watch) error {
	source, err := pilotOf(cfg, a)
	if err != nil {
		return err
	}
	p.Channel, p.GenesisDigest, p.ImportFrom, p.Blocks = cfg.Channel, cfg.GenesisDigest, source.String(), a.Height()
	at := filepath.Join(cfg.path(planDir), recordsDir)
	if err := os.RemoveAll(at); err != nil {
		return err
	}
	if err := mkdir(at); err != nil {
		return err
	}
	defer os.RemoveAll(cfg.path(planDir))
	s, err := records.Open(at, records.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	k, err := newContract(cfg.GenesisDigest, "")
	if err != nil {
		return err
	}
	err = follow.Reindex(ctx, follow.Config{Archive: a, Records: s.Writer(), Contract: k, Chaincode: cfg.Chaincode, Genesis: source}, w.of("verify"))
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return damaged(err)
	}
	p.LastBlock = s.BlockHash()
	p.End, err = endOf(ctx, s, nil)
	return err
}

func endOf(ctx context.Context, s *records.Store, progress func(done, total uint64)) (migrate.End, error) {
	snap := s.Snapshot()
	defer snap.Release()
	return migrate.EndOf(ctx, compared{snap}, snap.Position(), progress)
}

// FreezeLedger has a ledger serve its blocks and take no more, from its next start on, or undoes that.
func FreezeLedger(dir string, frozen bool) error {
	c, err := LoadLedger(dir)
	if err != nil {
		return err
	}
	c.Frozen = frozen
	raw, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, LedgerFile)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := writeNew(path+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
