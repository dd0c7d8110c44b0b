// Package follow is the node's eye on the ledger. It takes blocks as they come, believes nothing in them,
// and is the only way by which anything reaches the archive, the records and everybody who waits for an
// operation.
//
// Of every block it checks the hash chain and the orderers', creators' and endorsers' signatures; then it
// runs the contract again on its own mirror of the state and compares, byte for byte, what the contract
// would have written and answered with what the block says. A difference is a finding: the follower stops
// before the bad block, keeps the finding across restarts, and the node says so until an operator has
// cleared it. A ledger can therefore withhold and delay, but not make this node believe what its members
// did not sign or what the rules do not allow.
package follow

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Source is where blocks come from: one peer or several. Nothing that it says is believed.
type Source interface {
	// Blocks yields blocks in order from a number on and waits for more, until ctx ends or the source
	// fails; then it yields one error and stops. The follower asks again from where it stands. A ctx that was
	// cancelled with a cause other than context.Canceled says that the source kept silent about blocks which
	// there are: the next call should be served by another peer.
	Blocks(ctx context.Context, from uint64) iter.Seq2[*common.Block, error]
	// Height is how many blocks the ledger has now. It must not be answered from memory: the follower
	// takes it as proof that the source knows the ledger's head. It may be less than before, where a peer had
	// claimed blocks that it then could not give.
	Height(ctx context.Context) (uint64, error)
	// Refuse says that what Blocks gave last does not check: the peer that gave it is not to be used again by
	// this process. It reports whether another is left.
	Refuse(cause error) bool
}

// Executor decides calls as endorsers do. Execute is a pure function of state and call; an error means
// that nothing of the call may ever stand in a block.
type Executor interface {
	Execute(state model.StateReader, call model.Call) (*model.Execution, error)
}

// Archive keeps blocks as they came. Append passes over a block that is there already, and fails where it is
// marked otherwise; an append may be lost by a power cut, and the follower fetches the block again. Marked
// lists the marked blocks below a number, in order. Block is of a number below Height; File names the file
// that holds it.
type Archive interface {
	Append(number uint64, block []byte, mark bool) error
	Block(number uint64) ([]byte, error)
	Marked(below uint64) []uint64
	File(number uint64) string
	Height() uint64
}

// Mirror is what the records know, blocks that were given but not yet committed included: the contract's
// state (nil for an absent key), by which transaction a key was written last (namespace "": the contract's
// own), the first block that holds a transaction of an id and whether it is valid there, a record's latest
// leaf, and how far they have come. Hash is that of the last block's header.
type Mirror interface {
	Get(key string) ([]byte, error)
	Version(namespace, key string) (block, tx uint64, ok bool, err error)
	Known(txID string) (block uint64, valid, ok bool, err error)
	Last(kind model.Kind, id model.RecordID) (leaf model.Digest, position uint64, ok bool, err error)
	Cursor() (height uint64, hash model.Digest, position uint64, at model.Time)
}

// Sink takes verified blocks: the block with the ids of its valid and its other transactions, what the valid
// ones wrote, and the leaves. Of other namespaces than the contract's own ("") only the versions matter, and an empty value takes
// a key away. Nothing is to be seen by readers before Commit, which applies all or nothing; Reset forgets what
// was not committed. After an error the follower calls Reset and begins again from Cursor.
type Sink interface {
	Block(number uint64, hash model.Digest, at model.Time, valid, invalid []string) error
	Write(namespace, key string, value []byte, tx uint64) error
	Leaf(a *model.Applied, leaf *model.Leaf, r *model.Receipt, msp model.MSPID) error
	Commit() error
	Reset()
}

// Healer is a store that a power cut may leave without the bytes of operations that it applied. Gap is the
// first block of which it misses some; the follower then gives it, in order, the operations of every valid
// transaction from that block on, until there is no gap. Restore checks that they are the ones it misses.
type Healer interface {
	Gap() (block uint64, ok bool, err error)
	Restore(block uint64, tx string, ops [][]byte) error
}

// Records is one store that is all three. Used by the follower's goroutine alone.
type Records interface {
	Mirror
	Sink
	Healer
}

// Committed is a block that this node has applied, told after its content can be read.
type Committed struct {
	Number uint64
	Txs    []Tx
}

// Tx is a transaction of a committed block. Receipts are of its operations; a transaction that the ledger
// calls invalid has none.
type Tx struct {
	ID       string
	Code     peer.TxValidationCode
	Receipts []model.Receipt
}

// Config of a follower.
type Config struct {
	Source    Source
	Archive   Archive
	Records   Records
	Contract  Executor
	Chaincode string       // the contract's name on the channel; its writes are in the namespace of that name
	Genesis   model.Digest // hash of block 0's header, where the operator has pinned it; zero: the first seen is kept
	Finding   string       // file in which a finding outlives the process
	// Notify is told of committed blocks, in order, by the follower's goroutine; nil for nobody.
	Notify func([]Committed)

	Logger *slog.Logger
	Clock  func() time.Time

	Poll    time.Duration // between questions for the ledger's height: 1 s
	Backoff time.Duration // the longest pause before a failed source is asked again: 10 s
	Silence time.Duration // a source that gives none of the blocks that there are is left after: 4 s
}

func (c *Config) defaults() {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Poll <= 0 {
		c.Poll = time.Second
	}
	if c.Backoff <= 0 {
		c.Backoff = 10 * time.Second
	}
	if c.Silence <= 0 {
		c.Silence = 4 * time.Second
	}
}

// A group of blocks is committed at once: as many as are waiting, up to these.
const (
	groupBlocks = 16
	groupLeaves = 4000
	groupBytes  = 8 << 20
	readAhead   = 8 // blocks
)

// Follower follows one channel. Run does the work; everything else is safe for concurrent use.
type Follower struct {
	cfg     Config
	head    head
	metrics *metrics
	finding atomic.Pointer[Finding]
	trouble atomic.Pointer[error] // why it does not get on just now
}

// New makes a follower, and finds again a finding that an earlier run left.
func New(cfg Config) (*Follower, error) {
	cfg.defaults()
	f := &Follower{cfg: cfg}
	f.metrics = newMetrics(f)
	found, err := ReadFinding(cfg.Finding)
	if err != nil {
		return nil, err
	}
	f.finding.Store(found)
	height, _, position, _ := cfg.Records.Cursor()
	f.metrics.at(height, position)
	return f, nil
}

// Finding is why the follower has stopped for good, nil while it has not.
func (f *Follower) Finding() *Finding { return f.finding.Load() }

// Trouble is why the follower does not get on just now and tries again: the source is away, the disk is
// full. It is nil when all is well.
func (f *Follower) Trouble() error {
	if p := f.trouble.Load(); p != nil {
		return *p
	}
	return nil
}

// Age is the time since this node last knew that it had applied all that the ledger had; the longest
// duration there is before it ever knew.
func (f *Follower) Age() time.Duration { return f.head.age(f.cfg.Clock()) }

// Behind reports whether this node knows that the ledger has blocks which it has not applied. Records read
// after a false answer hold everything that the node had heard of.
func (f *Follower) Behind() bool { return f.head.behind() }

// Run follows until ctx ends or there is a finding, which it returns. It survives failures of the source,
// the archive and the records, and tries again. A finding about what the source gave ends it only when the
// source has nobody else to give it.
func (f *Follower) Run(ctx context.Context) error {
	if found := f.Finding(); found != nil {
		return found
	}
	ctx, cancel := context.WithCancel(ctx)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		f.poll(ctx)
	}()
	defer func() {
		cancel()
		<-polled
	}()
	pause := backoff{most: f.cfg.Backoff}
	for {
		before, _, _, _ := f.cfg.Records.Cursor()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var found *Finding
		if errors.As(err, &found) {
			if !found.given || !f.cfg.Source.Refuse(found) {
				return f.stop(found)
			}
			f.metrics.refusals.Inc()
			err = fmt.Errorf("%w: %w", errRefused, err)
			pause.reset()
		}
		f.trouble.Store(&err)
		f.metrics.failures.Inc()
		f.cfg.Records.Reset()
		if after, _, _, _ := f.cfg.Records.Cursor(); after > before {
			pause.reset()
		}
		f.cfg.Logger.Warn("following the ledger failed; trying again", "error", err)
		if !pause.wait(ctx) {
			return ctx.Err()
		}
	}
}

func (f *Follower) stop(found *Finding) error {
	found.Time = model.TimeOf(f.cfg.Clock())
	f.cfg.Logger.Error("the ledger does not check; following has stopped", "code", found.Code, "block", found.Block, "tx", found.Tx, "finding", found.En)
	if err := writeFinding(f.cfg.Finding, found); err != nil {
		f.cfg.Logger.Error("the finding could not be stored", "error", err)
	}
	f.finding.Store(found)
	return found
}

var (
	errEnded   = errors.New("the stream of blocks ended")
	errSilent  = errors.New("the source keeps silent about blocks that there are")
	errRefused = errors.New("what the source gave does not check; going on with another")
)

// follow applies what the archive holds beyond the records, and then what the source sends.
func (f *Follower) follow(ctx context.Context) error {
	r, err := newRun(&f.cfg)
	if err != nil {
		return err
	}
	for r.next < f.cfg.Archive.Height() {
		if err := r.takeArchived(); err != nil {
			return errors.Join(err, f.commit(r))
		}
		if r.full() {
			if err := f.commit(r); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := f.commit(r); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	blocks := readBlocks(ctx, f.cfg.Source, r.next)
	err = f.drain(r, blocks)
	if errors.Is(err, errSilent) {
		f.metrics.silences.Inc()
		cancel(errSilent)
	}
	cancel(context.Canceled)
	for range blocks { // until the source has ended: what it is told next is about this stream
	}
	return err
}

// arrival is a block or the error that ended the stream.
type arrival struct {
	block *common.Block
	raw   []byte
	err   error
}

// readBlocks reads ahead of the follower, so that receiving and verifying go on side by side.
func readBlocks(ctx context.Context, s Source, from uint64) <-chan arrival {
	out := make(chan arrival, readAhead)
	go func() {
		defer close(out)
		for b, err := range s.Blocks(ctx, from) {
			a := arrival{block: b, err: err}
			if err == nil {
				a.raw, a.err = proto.Marshal(b)
			}
			select {
			case out <- a:
			case <-ctx.Done():
				return
			}
			if a.err != nil {
				return
			}
		}
	}()
	return out
}

// drain takes blocks until the stream ends or keeps silent. It commits when no further block is waiting.
func (f *Follower) drain(r *run, blocks <-chan arrival) error {
	w := waiting{limit: f.cfg.Silence, missing: func() uint64 { return f.head.missing(r.next) }}
	for {
		a := w.receive(blocks)
		for more := true; more; {
			if a.err == nil {
				a.err = r.take(a.block, a.raw)
				var found *Finding
				if errors.As(a.err, &found) {
					found.given = true
				}
			}
			if a.err != nil {
				return errors.Join(a.err, f.commit(r))
			}
			if r.full() {
				break
			}
			select {
			case a, more = <-blocks:
				if !more {
					a, more = arrival{err: errEnded}, true
				}
			default:
				more = false
			}
		}
		if err := f.commit(r); err != nil {
			return err
		}
		f.trouble.Store(nil)
	}
}

// commit makes the run's group of blocks readable and tells those who wait.
func (f *Follower) commit(r *run) error {
	if len(r.group) == 0 || r.broken {
		if r.next == r.applied && !r.broken {
			f.head.applied(r.applied) // and none of its operations is missing
		}
		return nil
	}
	if err := f.cfg.Records.Commit(); err != nil {
		return err
	}
	group, leaves := r.taken()
	height, _, position, _ := f.cfg.Records.Cursor()
	f.metrics.committed(len(group), leaves, height, position)
	f.head.applied(height)
	if f.cfg.Notify != nil {
		f.cfg.Notify(group)
	}
	return nil
}
