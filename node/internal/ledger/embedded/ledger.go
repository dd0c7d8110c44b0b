// Package embedded is a permissioned ledger in one process that speaks Hyperledger Fabric's own protocol.
//
// It serves gateway.Gateway and protos.Deliver, stores real Fabric blocks and keeps Fabric's rules, so that the
// official Gateway clients work with it unchanged and a deployment can move to a Fabric network by configuration
// alone. What it does not have is several orderers and several endorsers: one organisation, the ledger's, endorses
// and orders. It can withhold or reorder, but it cannot forge, because every transaction is signed by its creator
// and every reader runs the rules again.
//
// A folder holds one ledger: two goleveldb databases, blocks and state, and nothing else. Create writes the genesis
// block; Open serves it; Fsck checks it. docs/spec/embedded-ledger.md describes the formats.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/grpc"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// Errors of this package, for errors.Is.
var (
	ErrInUse      = errors.New("embedded: the ledger's folder is in use by another process")
	ErrNotCreated = errors.New("embedded: the folder holds no ledger")
	ErrExists     = errors.New("embedded: the folder already holds a ledger")
	ErrCorrupt    = errors.New("embedded: the ledger is damaged; run the ledger check to see where")
	ErrStopped    = errors.New("embedded: the ledger no longer accepts transactions")
	ErrFrozen     = errors.New("embedded: the ledger is frozen and takes no more transactions: its members move to another ledger")
	ErrMismatch   = errors.New("embedded: the configuration does not fit the ledger")
)

// Config is what a ledger is made from and served with.
type Config struct {
	Channel   string         // channel name; Open refuses a ledger of another one
	Chaincode string         // the one contract's name, which is also its state's namespace
	Members   []msp.Config   // organisations that may write and read; for Create
	Ledger    msp.Config     // the organisation that endorses and orders; for Create
	Identity  *msp.Identity  // the ledger organisation's identity; for Open
	Contract  shim.Chaincode // run for every proposal; for Open
	Frozen    bool           // blocks are served and nothing is ordered; for Open

	Clock  func() time.Time // judges certificates' validity; nil: time.Now
	Logger *slog.Logger     // nil: slog.Default
	Limits Limits
}

// Limits bound what the ledger takes on. Zero fields take the default in the comment.
type Limits struct {
	Execution      time.Duration // one run of the contract: 30 s
	Executions     int           // runs at a time: 64
	MessageBytes   int           // one request: 16 MiB
	BlockBytes     int           // a block is cut before its transactions exceed this: 2 MiB; a larger one gets its own
	BlockTxs       int           // transactions in a block: 500
	QueuedBytes    int           // submitted and not yet in a block: 64 MiB
	QueuedTxs      int           // submitted and not yet in a block: 4,096
	Waiting        int           // CommitStatus calls waiting at a time: 16,384
	Streams        int           // Deliver and ChaincodeEvents calls at a time: 256
	StateCache     int           // bytes of the state database's block cache: 32 MiB
	StateBuffer    int           // bytes of the state database's write buffer: 16 MiB
	RecentBytes    int           // newest blocks kept in memory for readers at the head: 16 MiB
	QueryResults   int           // results of one range query: 100,000, as Fabric's totalQueryLimit
	ShutdownPeriod time.Duration // calls may finish this long after Close: 5 s
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.Execution, 30*time.Second)
	orDefault(&l.Executions, 64)
	orDefault(&l.MessageBytes, 16<<20)
	orDefault(&l.BlockBytes, 2<<20)
	orDefault(&l.BlockTxs, 500)
	orDefault(&l.QueuedBytes, 64<<20)
	orDefault(&l.QueuedTxs, 4096)
	orDefault(&l.Waiting, 16384)
	orDefault(&l.Streams, 256)
	orDefault(&l.StateCache, 32<<20)
	orDefault(&l.StateBuffer, 16<<20)
	orDefault(&l.RecentBytes, 16<<20)
	orDefault(&l.QueryResults, 100_000)
	orDefault(&l.ShutdownPeriod, 5*time.Second)
	return l
}

// A Ledger is an open ledger. It is safe for concurrent use.
type Ledger struct {
	cfg     Config
	channel *fabblock.Channel
	store   *store
	queue   *queue
	head    *head
	waiting *waiters
	metrics *metrics
	running chan struct{} // holds one token for each run of the contract

	streams atomic.Int64
	failed  atomic.Pointer[error] // set once: why the ledger stopped accepting

	stop      context.CancelFunc // ends the committer and every stream
	stopping  context.Context
	committer sync.WaitGroup

	mu      sync.Mutex
	servers []*grpc.Server     // guarded by mu
	conns   []*grpc.ClientConn // guarded by mu
	closed  bool               // guarded by mu
}

// Create writes a new ledger with its genesis block into dir. It refuses a folder that already holds one.
func Create(dir string, cfg Config) error {
	genesis, err := newGenesis(cfg)
	if err != nil {
		return err
	}
	return createStore(dir, genesis, cfg.Limits.withDefaults())
}

// Open opens the ledger in dir, which Create has made, applies to the state what a crash left unapplied, and starts
// accepting transactions.
//
// Errors: ErrNotCreated, ErrInUse, ErrCorrupt, ErrMismatch.
func Open(dir string, cfg Config) (*Ledger, error) {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Identity == nil || cfg.Contract == nil || cfg.Chaincode == "" {
		return nil, fmt.Errorf("%w: identity, contract and its name are needed", ErrMismatch)
	}
	st, err := openStore(dir, cfg.Limits)
	if err != nil {
		return nil, err
	}
	l, err := newLedger(st, cfg)
	if err != nil {
		_ = st.close()
		return nil, err
	}
	l.committer.Go(l.commitLoop)
	return l, nil
}

func newLedger(st *store, cfg Config) (*Ledger, error) {
	genesis, err := st.block(0)
	if err != nil {
		return nil, err
	}
	channel, err := fabblock.ParseConfig(genesis)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if channel.ID != cfg.Channel {
		return nil, fmt.Errorf("%w: the folder holds channel %q, not %q", ErrMismatch, channel.ID, cfg.Channel)
	}
	channel.Chaincode = cfg.Chaincode
	if _, err := channel.Orderers.Identify(cfg.Identity.Serialized()); err != nil {
		return nil, fmt.Errorf("%w: the ledger's own identity: %w", ErrMismatch, err)
	}
	if err := st.recover(cfg.Chaincode); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Ledger{
		cfg: cfg, channel: channel, store: st,
		queue:    newQueue(cfg.Limits),
		waiting:  newWaiters(cfg.Limits.Waiting),
		running:  make(chan struct{}, cfg.Limits.Executions),
		stopping: ctx, stop: cancel,
	}
	if cfg.Frozen {
		l.failed.Store(&ErrFrozen)
	}
	l.head = newHead(st, cfg.Limits.RecentBytes)
	l.metrics = newMetrics(l)
	return l, nil
}

// Height is the number of committed blocks.
func (l *Ledger) Height() uint64 { return l.head.height() }

// Genesis is the genesis block, from which readers take the members and whose hash they pin.
func (l *Ledger) Genesis() (*common.Block, error) { return l.store.block(0) }

// Err is nil while the ledger accepts transactions, and afterwards says why it stopped: ErrStopped with the cause.
// Reads go on in either case.
func (l *Ledger) Err() error {
	if p := l.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// fail stops accepting transactions for good; only opening the folder anew can tell what reached the disk.
func (l *Ledger) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrStopped, cause)
	if l.failed.CompareAndSwap(nil, &err) {
		l.cfg.Logger.Error("ledger stopped accepting transactions", "cause", cause)
	}
	return l.Err()
}

// track registers a server for Close; it reports false if the ledger is closed already.
func (l *Ledger) track(s *grpc.Server) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.servers = append(l.servers, s)
	}
	return !l.closed
}

// Close stops serving, commits what was accepted, and closes the databases. It waits for running calls until ctx or
// the shutdown period ends, then cuts them off.
func (l *Ledger) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	servers, conns := l.servers, l.conns
	l.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, l.cfg.Limits.ShutdownPeriod)
	defer cancel()
	l.stop() // ends streams and waiting CommitStatus calls; the committer empties the queue
	l.queue.close()
	l.committer.Wait()
	for _, s := range servers {
		shutdown(ctx, s)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	// A run of the contract that ignores its deadline still holds a snapshot; the databases close under it and its
	// reads fail.
	return l.store.close()
}

func shutdown(ctx context.Context, s *grpc.Server) {
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.Stop()
		<-done
	}
}

// address is where an error detail says that it arose.
func (l *Ledger) address() string { return "embedded/" + l.channel.ID }
