package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

// Watch is told how a migration's command gets on; nil fields tell nobody.
type Watch struct {
	Progress func(what string, done, total uint64)
	Trouble  func(error) // why something is tried again
}

func (w Watch) of(what string) func(done, total uint64) {
	if w.Progress == nil {
		return nil
	}
	return func(done, total uint64) { w.Progress(what, done, total) }
}

func (w Watch) trouble(err error) {
	if w.Trouble != nil {
		w.Trouble(err)
	}
}

// compared shows records as a migration compares them.
type compared struct{ *records.Snapshot }

// Leaves lists leaves.
func (l compared) Leaves(from uint64, limit int) ([]migrate.Leaf, error) {
	entries, err := l.Entries(from, limit)
	out := make([]migrate.Leaf, len(entries))
	for i := range entries {
		e := &entries[i]
		out[i] = migrate.Leaf{
			Position: e.Receipt.Position, Hash: e.Receipt.Leaf, Operation: e.Receipt.Operation, Type: e.Operation.Type, Kind: e.Receipt.Kind,
			ID: e.Receipt.Record, Digest: e.Receipt.Digest, Record: e.Record, Msp: e.Msp, Late: e.Receipt.Late,
		}
	}
	return out, err
}

// caller is the new ledger as a migration calls it.
type caller struct{ *ledger.Client }

// Call has a call committed.
func (c caller) Call(ctx context.Context, function string, args [][]byte) error {
	tx, _, envelope, err := c.Propose(ctx, function, args)
	if err != nil {
		return err
	}
	if err := c.Submit(ctx, envelope); err != nil {
		var e *ledger.Error
		if !errors.As(err, &e) || e.Kind != ledger.PerhapsOrdered {
			return err
		}
	}
	switch code, _, err := c.Status(ctx, tx); {
	case err != nil:
		return err
	case code == peer.TxValidationCode_MVCC_READ_CONFLICT: // another organisation's call was quicker
		return model.E(model.CodeImportOrder).With("%s", code)
	case code != peer.TxValidationCode_VALID:
		return model.E(model.CodeLedgerUnavailable).With("the ledger calls the transaction invalid: %s", code)
	}
	return nil
}

// blocks are the old ledger's, as this node kept them.
type blocks struct{ *archive.Archive }

func (b blocks) Blocks(from uint64) iter.Seq2[[]byte, error] { return b.Iterate(from) }

func (b blocks) Hash(number uint64) (d model.Digest, err error) {
	raw, err := b.Block(number)
	if err != nil {
		return d, err
	}
	var block common.Block
	if err := proto.Unmarshal(raw, &block); err != nil {
		return d, err
	}
	return model.Digest(headerHash(&block)), nil
}

// moving is a stopped node between two ledgers.
type moving struct {
	*Node
	w Watch
}

// openMoving opens a switched node's way to the new ledger.
func openMoving(cfg *Config, w Watch) (*moving, error) {
	if _, err := os.Stat(cfg.path(migrate.Before)); err != nil || cfg.ImportFrom == "" {
		return nil, &migrate.Fault{
			Code: migrate.CodeNotSwitched, En: "this node has not been switched to another ledger: run `zhenglian migrate switch` first",
			Zh: "本节点没有切换过账本；请先执行 zhenglian migrate switch", Reason: err,
		}
	}
	m := &moving{&Node{cfg: cfg, log: quiet, started: time.Now(), metrics: prometheus.NewRegistry()}, w}
	if err := m.openClient(); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *moving) call() migrate.Ledger { return caller{m.client} }

// ImportPilot gives the new ledger what it has not yet got of the old one. The node may run meanwhile.
func ImportPilot(ctx context.Context, cfg *Config, o migrate.Options) (state *migrate.State, err error) {
	m, err := openMoving(cfg, Watch{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	a, err := archive.Open(cfg.path(filepath.Join(migrate.Before, archiveDir)), archive.Options{})
	if err != nil {
		if errors.Is(err, archive.ErrDamaged) {
			err = damaged(err)
		}
		return nil, err
	}
	m.opened(a.Close)
	genesis, err := readGenesis(cfg.path(cfg.Genesis), cfg.GenesisDigest)
	if err != nil {
		return nil, err
	}
	return migrate.Import(ctx, m.call(), blocks{a}, genesis, o)
}

// ImportState asks the new ledger how far the import is; nil where none was begun.
func ImportState(ctx context.Context, cfg *Config) (state *migrate.State, err error) {
	m, err := openMoving(cfg, Watch{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	return migrate.ReadState(ctx, m.call())
}

// Compared is what a comparison found, and how far closing is.
type Compared struct {
	migrate.Comparison
	Approvals []model.MSPID `json:"approvals"` // of closing, so far
	Needed    int           `json:"needed"`
	Closed    bool          `json:"closed"`
}

// CompareMigration brings a switched, stopped node up to the new ledger's head and compares what it has made of
// it with what it had of the old one. The error is a *migrate.Fault where the import is not at its end.
func CompareMigration(ctx context.Context, cfg *Config, w Watch) (c *Compared, err error) {
	m, err := openMoving(cfg, w)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	return m.compare(ctx)
}

func (m *moving) compare(ctx context.Context) (*Compared, error) {
	if m.records == nil {
		if err := m.openRecords(); err != nil {
			return nil, err
		}
	}
	if err := m.catchUp(ctx); err != nil {
		return nil, err
	}
	old, err := records.Open(m.path(filepath.Join(migrate.Before, recordsDir)), records.Options{})
	if err != nil {
		return nil, err
	}
	defer old.Close()
	was, is := old.Snapshot(), m.records.Snapshot()
	defer was.Release()
	defer is.Release()
	out := &Compared{}
	if err := out.standing(is, was.Position()); err != nil {
		return nil, err
	}
	out.Comparison, err = migrate.Compare(ctx, compared{was}, compared{is}, m.w.of("compare"))
	return out, err
}

// standing reads how far import and closing are.
func (c *Compared) standing(is *records.Snapshot, want uint64) error {
	unfinished := func(has uint64) error {
		return &migrate.Fault{
			Code: migrate.CodeUnfinished, En: fmt.Sprintf("the new ledger has %d of the %d operations: `zhenglian migrate import` goes on", has, want),
			Zh: fmt.Sprintf("新账本已有 %d 个操作，共 %d 个；请继续 zhenglian migrate import", has, want),
		}
	}
	raw, err := is.Get(model.StateKey(model.KindImport, model.ImportID))
	if err != nil {
		return err
	}
	if raw == nil {
		return unfinished(is.Position())
	}
	state, err := migrate.DecodeState(raw)
	if err != nil {
		return err
	}
	c.Approvals, c.Closed = state.Approvals, state.Closed
	if !state.Closed && state.Position < want {
		return unfinished(state.Position)
	}
	return c.need(is)
}

// need reads how many organisations close an import.
func (c *Compared) need(is *records.Snapshot) error {
	members, err := is.List(model.KindOrganisation, "", 10_000)
	if err != nil {
		return err
	}
	n := 0
	for i := range members {
		if members[i].State == model.Active {
			n++
		}
	}
	v, err := is.View(model.KindPolicy, model.PolicyID)
	if err != nil || v == nil {
		return errors.Join(err, errors.New("the ledger has no policy"))
	}
	e, err := model.DecodeEntry(model.KindPolicy, model.PolicyID, v.Public)
	if err != nil {
		return err
	}
	if p, ok := e.(*model.Policy); ok {
		c.Needed = p.Needed(n)
	}
	return nil
}

// openRecords opens what the node has made of the new ledger.
func (m *moving) openRecords() (err error) {
	if m.records, m.archive, err = openRecords(m.cfg, nil); err != nil {
		return fmt.Errorf("%w (stop the node first)", err)
	}
	m.opened(m.records.Close)
	m.opened(m.archive.Close)
	if m.contract, err = newContract(m.cfg.GenesisDigest, m.cfg.ImportFrom); err != nil {
		return err
	}
	pin, err := blockPin(m.cfg.GenesisBlock)
	if err != nil {
		return err
	}
	m.follower, err = follow.New(follow.Config{
		Source: m.client, Archive: m.archive, Records: m.records.Writer(), Contract: m.contract, Chaincode: m.cfg.Chaincode,
		Genesis: pin, Finding: m.path(findingFile), Logger: quiet,
	})
	return err
}

// catchingUp is how long following may fail without a step forward.
const catchingUp = time.Minute

// catchUp follows the new ledger to its head.
func (m *moving) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	ended, arrived := make(chan error, 1), make(chan error, 1)
	began := time.Now()
	go func() { ended <- m.follower.Run(ctx) }()
	go func() { arrived <- m.follower.AtHead(ctx, began) }()
	progress := m.w.of("follow")
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	height, moved := m.records.Height(), time.Now()
	for {
		select {
		case err := <-arrived:
			cancel()
			<-ended
			return err
		case err := <-ended:
			cancel()
			<-arrived
			return err
		case <-tick.C:
		}
		if h := m.records.Height(); h > height {
			height, moved = h, time.Now()
		}
		if progress != nil {
			progress(height, max(height, m.highest()))
		}
		trouble := m.follower.Trouble()
		if trouble == nil {
			continue
		}
		m.w.trouble(trouble)
		if time.Since(moved) > catchingUp {
			cancel()
			<-ended
			<-arrived
			return fmt.Errorf("the new ledger does not answer: %w", trouble)
		}
	}
}

// highest is the largest height that a gateway claims.
func (m *moving) highest() (height uint64) {
	for _, s := range m.client.States() {
		height = max(height, s.Height)
	}
	return height
}

// errDiffers is why nothing is approved.
func errDiffers(c *Compared) error {
	return &migrate.Fault{
		Code: migrate.CodeDifferent, En: fmt.Sprintf("the records of both ledgers differ in %d places; the first: %s. Nothing was approved", len(c.Differences), c.Differences[0].En),
		Zh: fmt.Sprintf("两个账本的记录有 %d 处不一致，第一处：%s。未作批准", len(c.Differences), c.Differences[0].Zh),
	}
}

// CloseImport compares and, where nothing differs, approves in the organisation's name that the import be closed.
// At the k-th organisation it is. Done says that this call, or an earlier one, approved.
func CloseImport(ctx context.Context, cfg *Config, w Watch) (c *Compared, err error) {
	m, err := openMoving(cfg, w)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	for attempt := 1; ; attempt++ {
		if c, err = m.compare(ctx); err != nil {
			return c, err
		}
		if len(c.Differences) > 0 {
			return c, errDiffers(c)
		}
		if c.Closed || slices.Contains(c.Approvals, cfg.Msp) {
			return c, nil
		}
		err = m.call().Call(ctx, model.FunctionCloseImport, [][]byte{strconv.AppendUint(nil, c.Position, 10), []byte(c.Chain.String())})
		if err == nil {
			continue // and see what has become of it
		}
		switch e := model.AsError(err); {
		case e.Code == model.CodeAlreadyApproved, e.Code == model.CodeImportClosed:
		case attempt == 10, e.Kind() == model.Refused, e.Kind() == model.Invalid, e.Kind() == model.Denied:
			return c, err
		default:
			w.trouble(err)
		}
		select {
		case <-ctx.Done():
			return c, ctx.Err()
		case <-time.After(time.Duration(attempt) * 200 * time.Millisecond):
		}
	}
}
