// Package submit brings accepted operations to the ledger, each exactly once: it gathers them into
// transactions, has them endorsed, stores and sends the signed envelopes, and learns from blocks what
// became of them.
//
// Why nothing is lost: an operation leaves the outbox only when the records hold its receipt or its refusal
// is on the disk. Why nothing is doubled: an operation says which version of its record it makes, so a
// second transaction with it is refused by the contract or fails validation; and before an operation is
// sent again the records are asked for its receipt. Why one bad operation holds up no other: whatever fails
// as a whole is halved until the bad one stands alone, and then it waits or is refused by itself.
package submit

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Ledger orders transactions. Calls may run concurrently; each ends by itself.
//
// Errors hold a *model.Error. From Propose: ledger_unavailable when nobody answered or the answer is of
// no use, otherwise the code with which the contract failed the whole proposal; nothing was ordered. From
// Submit: kind Unknown when the envelope is perhaps ordered, any other when this attempt was not.
type Ledger interface {
	// Propose has the contract execute a function and returns its answer with the signed envelope.
	Propose(ctx context.Context, function string, args [][]byte) (txID string, result, envelope []byte, err error)
	// Submit sends an envelope for ordering; sending one again is harmless.
	Submit(ctx context.Context, envelope []byte) error
	// Status waits until a transaction stands in a block and says with which code.
	Status(ctx context.Context, txID string) (code peer.TxValidationCode, block uint64, err error)
}

// Outbox holds accepted operations durably.
type Outbox interface {
	// Append returns when the request is on the disk, all or nothing. Operation times are the moment of
	// acceptance, raw the canonical forms. fresh is false when the key's request is accepted already.
	Append(ctx context.Context, key [16]byte, digest model.Digest, ops []model.Operation, raw [][]byte) (fresh bool, err error)
	// Pending lists what waits, in order of acceptance; both arguments are yield's to keep and change.
	Pending(yield func(op model.Operation, raw []byte) error) error
	// Done removes committed operations; this may be forgotten by a crash.
	Done(ids []model.OpID) error
	// Refuse marks operations as refused for good, on the disk when it returns.
	Refuse(outcomes []model.Outcome) error
	// Outcome tells of what waits or was refused.
	Outcome(id model.OpID) (model.Outcome, bool, error)
}

// Envelopes keeps what was or may have been sent for ordering.
type Envelopes interface {
	// StoreEnvelope returns when the envelope is on the disk.
	StoreEnvelope(txID string, envelope []byte, ids []model.OpID) error
	// DropEnvelope may be forgotten by a crash.
	DropEnvelope(txID string) error
	Envelopes(yield func(txID string, envelope []byte, ids []model.OpID) error) error
}

// Records is what this node has applied.
type Records interface {
	// Receipt finds a committed operation.
	Receipt(id model.OpID) (model.Receipt, bool, error)
	// Judge says what the contract would make of an operation on this node's own records: nil if it would
	// accept it, else a *model.Error. It has no effect.
	Judge(op model.Operation) error
	// AtHead returns once the node has applied all that the ledger held at some moment after since.
	AtHead(ctx context.Context, since time.Time) error
}

// Config bounds and times a Submitter. Zero fields take the default in the comment.
type Config struct {
	Operations int           // in one transaction: 1,000, the most there can be
	Bytes      int           // of operations in one transaction: 1 MiB
	InFlight   int           // transactions at a time: 4
	Gather     time.Duration // while transactions are in flight, operations wait for company this long: 25 ms
	Resubmit   time.Duration // an ordered transaction that no block shows is sent again after: 6 s
	Retry      time.Duration // first pause after a failure, doubled up to MaxRetry: 50 ms
	MaxRetry   time.Duration // 5 s

	// Settled is told which operations are committed or refused, after their waiters can see it. Receipts has a
	// place for each of those that a transaction committed that this node made: the ledger holds them as they
	// were accepted here. It is nil for the others. nil: nobody.
	Settled func(ids []model.OpID, receipts []model.Receipt)
	Tracer  Tracer           // nil: nobody follows anything
	Clock   func() time.Time // stamps operations; nil: time.Now
	Logger  *slog.Logger     // nil: slog.Default
}

func (c *Config) defaults() {
	for _, n := range []struct {
		v *int
		d int
	}{{&c.Operations, model.MaxOperations}, {&c.Bytes, 1 << 20}, {&c.InFlight, 4}} {
		if *n.v <= 0 {
			*n.v = n.d
		}
	}
	c.Operations = min(c.Operations, model.MaxOperations)
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.Gather, 25 * time.Millisecond}, {&c.Resubmit, 6 * time.Second},
		{&c.Retry, 50 * time.Millisecond}, {&c.MaxRetry, 5 * time.Second},
	} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.Settled == nil {
		c.Settled = func([]model.OpID, []model.Receipt) {}
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Submitter is the batcher. It is safe for concurrent use.
type Submitter struct {
	cfg       Config
	ledger    Ledger
	outbox    Outbox
	envelopes Envelopes
	records   Records
	metrics   *metrics

	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // buffered one: the dispatcher has something to look at

	mu       sync.Mutex
	items    map[model.OpID]*item // every operation that waits; guarded by mu
	onRecord map[record]*item     // the first of a record's, see item.sibling; guarded by mu
	queue    queue                // those that are in no flight; guarded by mu
	busy     map[string]struct{}  // state keys of flights; guarded by mu
	flights  map[string]*flight   // by transaction id, from before Submit; guarded by mu
	lanes    int                  // flights, from before Propose; guarded by mu
	health   health               // guarded by mu
	open     bool                 // recovery is over, new transactions may be made; guarded by mu
	held     map[string]struct{}  // owned by the dispatcher, kept for its memory
}

// New makes a submitter and takes up what the outbox holds. Nothing is sent before Start.
func New(cfg Config, ledger Ledger, outbox Outbox, envelopes Envelopes, records Records) (*Submitter, error) {
	cfg.defaults()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Submitter{
		cfg: cfg, ledger: ledger, outbox: outbox, envelopes: envelopes, records: records,
		ctx: ctx, stop: cancel, wake: make(chan struct{}, 1),
		items: map[model.OpID]*item{}, onRecord: map[record]*item{}, busy: map[string]struct{}{},
		flights: map[string]*flight{}, held: map[string]struct{}{},
	}
	s.metrics = newMetrics(s)
	s.health.reason = ReasonRecovering
	err := outbox.Pending(func(op model.Operation, raw []byte) error {
		s.enqueue([]*item{newItem(&op, raw)})
		return nil
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return s, nil
}

// Start begins: first the past is settled (recovery.go), then new transactions are made.
func (s *Submitter) Start() {
	s.running.Go(func() {
		if s.recover() {
			s.dispatch()
		}
	})
}

// Close stops and leaves what waits in the outbox. Transactions on their way may be committed meanwhile;
// the next start finds out. Waiters are released.
func (s *Submitter) Close() error {
	s.stop()
	s.running.Wait()
	return nil
}

// Accept makes operations durable and takes them on; see Outbox.Append for key, digest, fresh and errors.
// It sets the operations' times to the moment of acceptance; each proposal stamps its own.
func (s *Submitter) Accept(ctx context.Context, key [16]byte, digest model.Digest, accepted time.Time, ops []model.Operation) (fresh bool, err error) {
	if s.ctx.Err() != nil {
		return false, model.E(model.CodeShuttingDown)
	}
	raw := make([][]byte, len(ops))
	items := make([]*item, len(ops))
	at := model.TimeOf(accepted)
	for i := range ops {
		ops[i].Time = at
		raw[i] = ops[i].Encode()
		items[i] = newItem(&ops[i], raw[i])
	}
	fresh, err = s.outbox.Append(ctx, key, digest, ops, raw)
	if err != nil || !fresh {
		return false, err
	}
	if s.cfg.Tracer != nil {
		if request := s.cfg.Tracer.Traced(ctx); request != nil {
			for _, it := range items {
				it.request = request
			}
		}
	}
	s.enqueue(items)
	return true, nil
}

func (s *Submitter) enqueue(items []*item) {
	now := time.Now()
	s.mu.Lock()
	for _, it := range items {
		it.since = now
		s.items[it.id] = it
		s.addSibling(it)
		s.queue.push(it)
	}
	s.mu.Unlock()
	s.poke()
}

// poke has the dispatcher look again.
func (s *Submitter) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// pause waits, but not beyond Close; it reports whether the submitter goes on.
func (s *Submitter) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// codeOf is the model's code in an error.
func codeOf(err error) model.Code { return model.AsError(err).Code }
