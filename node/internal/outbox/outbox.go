// Package outbox is the durable queue between acceptance and the ledger: operations that the node has
// answered for and that do not stand in a block yet, over goleveldb.
//
// A request is accepted as a whole when Append returns, and is then on the disk. It leaves piece by piece:
// Done for operations that are committed, Refuse for those that the contract refused for good. Beside the
// requests the outbox keeps the idempotency keys under which they came, the refusals, and the signed
// envelopes that were or may have been sent for ordering.
//
// docs/spec/outbox.md has the format. Outbox is safe for concurrent use.
package outbox

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	ldberrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// ErrDamaged is a stored entry that cannot be read. Nothing is dropped: the operator decides.
var ErrDamaged = errors.New("outbox: damaged entry")

// MinFree is the disk's reserve, in bytes: below it nothing is accepted.
const MinFree = 64 << 20

// Config is what an outbox is opened with. Zero fields take the default in the comment.
type Config struct {
	MaxOperations int           // pending operations: 100,000
	MaxBytes      int           // pending operations, bytes: 128 MiB
	MinFree       uint64        // bytes of disk kept free: nothing more is accepted below: 64 MiB
	Keep          time.Duration // idempotency keys and refusals are remembered: 30 days
	MaxKept       int           // and at most so many of each, the oldest go first: 5,000,000

	Free   func(dir string) (uint64, error) // free bytes of the disk under dir; nil asks the system
	Clock  func() time.Time                 // nil: time.Now
	Logger *slog.Logger                     // nil: slog.Default
}

func (c *Config) defaults() {
	if c.MaxOperations <= 0 {
		c.MaxOperations = 100_000
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 128 << 20
	}
	if c.MinFree == 0 {
		c.MinFree = MinFree
	}
	if c.Keep <= 0 {
		c.Keep = 30 * 24 * time.Hour
	}
	if c.MaxKept <= 0 {
		c.MaxKept = 5_000_000
	}
	if c.Free == nil {
		c.Free = freeBytes
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Outbox is an open outbox.
type Outbox struct {
	dir     string
	cfg     Config
	metrics *metrics

	handle sync.RWMutex // held for writing while the database is opened anew
	db     *leveldb.DB  // guarded by handle

	writes  chan *write   // to the committer
	closing chan struct{} // closed by Close
	stopped chan struct{} // closed when the committer has ended
	once    sync.Once     // of Close

	mu       sync.Mutex
	pending  index                      // guarded by mu
	arriving map[[16]byte]chan struct{} // idempotency keys on their way to the disk; guarded by mu
	next     uint64                     // sequence number of the next request; guarded by mu
	leftover [][]byte                   // entries that Done could not delete; guarded by mu
	reserved reservation                // accepted by Append but not yet on the disk; guarded by mu

	quarantined int // set by Open

	state failure        // owned by the committer
	batch *leveldb.Batch // owned by the committer, kept for its memory
	open  opener
}

// reservation counts what is between Append and the disk, so that the limits hold.
type reservation struct{ operations, bytes int }

// Open opens the outbox in dir and makes a new one where there is none. It reads every pending operation.
func Open(dir string, cfg Config) (*Outbox, error) { return openWith(dir, cfg, openDB) }

func openWith(dir string, cfg Config, open opener) (*Outbox, error) {
	cfg.defaults()
	o := &Outbox{
		dir: dir, cfg: cfg, writes: make(chan *write, 1024), closing: make(chan struct{}),
		stopped: make(chan struct{}), arriving: map[[16]byte]chan struct{}{}, pending: newIndex(), open: open,
	}
	db, err := open(dir, false)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	o.db = db
	if err := o.quarantine(); err != nil {
		_ = db.Close()
		return nil, err
	}
	if err := o.load(); err != nil {
		_ = db.Close()
		return nil, err
	}
	o.metrics = newMetrics(o)
	if err := o.expire(); err != nil {
		_ = db.Close()
		return nil, err
	}
	go o.commitLoop()
	return o, nil
}

// opener opens the database in a folder.
type opener func(dir string, readOnly bool) (*leveldb.DB, error)

func openDB(dir string, readOnly bool) (*leveldb.DB, error) {
	db, err := leveldb.OpenFile(dir, options(readOnly))
	if ldberrors.IsCorrupted(err) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return db, err
}

func options(readOnly bool) *opt.Options {
	return &opt.Options{
		// Entries live for milliseconds: compressing them costs more than it saves.
		Compression: opt.NoCompression, WriteBuffer: 16 << 20, BlockCacheCapacity: 8 << 20,
		CompactionTableSize: 8 << 20, OpenFilesCacheCapacity: 64, Filter: filter.NewBloomFilter(10),
		// A torn tail of the journal is what a crash leaves, and nobody was answered for it. Anything
		// else that is unreadable is an error.
		ReadOnly: readOnly, Strict: opt.StrictManifest | opt.StrictBlockChecksum | opt.StrictReader,
	}
}

// load reads the requests into the index. A request whose operations have all been refused is what a crash
// between Refuse and Done leaves.
func (o *Outbox) load() error {
	gone := new(leveldb.Batch)
	err := o.eachRequest(func(seq uint64, ops []model.Operation, raw [][]byte) error {
		o.next = seq + 1
		kept := ops[:0]
		bytes := 0
		var refusals []model.OpID
		for i := range ops {
			refused, err := o.db.Has(refusalKey(ops[i].ID), nil)
			switch {
			case err != nil:
				return err
			case refused:
				refusals = append(refusals, ops[i].ID)
				continue
			}
			kept = append(kept, ops[i])
			bytes += len(raw[i])
		}
		if len(kept) == 0 {
			gone.Delete(requestKey(seq))
			return nil
		}
		o.pending.add(seq, kept, bytes).refused = refusals
		return nil
	})
	if err != nil {
		return err
	}
	return o.db.Write(gone, nil)
}

// Pending calls yield for every operation that waits, in the order of acceptance, until it returns an
// error. Operation times are those of acceptance; raw is the canonical form. Both are yield's to keep. yield
// must not call the outbox.
func (o *Outbox) Pending(yield func(op model.Operation, raw []byte) error) error {
	return o.eachRequest(func(_ uint64, ops []model.Operation, raw [][]byte) error {
		for i := range ops {
			o.mu.Lock()
			_, waits := o.pending.ops[ops[i].ID]
			o.mu.Unlock()
			if !waits {
				continue
			}
			if err := yield(ops[i], raw[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Outcome tells of an operation that waits or was refused; false for all others, committed ones included.
func (o *Outbox) Outcome(id model.OpID) (model.Outcome, bool, error) {
	o.mu.Lock()
	e, ok := o.pending.ops[id]
	o.mu.Unlock()
	if ok {
		return model.Outcome{Operation: id, Status: model.Pending, Kind: e.kind, Record: e.record, Version: e.version}, true, nil
	}
	b, err := o.get(refusalKey(id))
	if err != nil || b == nil {
		return model.Outcome{}, false, err
	}
	r, err := decodeRefusal(b)
	if err != nil {
		return model.Outcome{}, false, fmt.Errorf("%w: refusal of %s", ErrDamaged, id)
	}
	r.Operation = id
	return r, true, nil
}

// Depth is how many operations wait, how many bytes they have, and since when the oldest does (zero time
// when none does).
func (o *Outbox) Depth() (operations, bytes int, oldest time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending.ops), o.pending.bytes, o.pending.oldest()
}

// Close ends the committer after what it holds and closes the database. What waits stays.
func (o *Outbox) Close() error {
	err := errors.New("outbox: closed twice")
	o.once.Do(func() {
		close(o.closing)
		<-o.stopped
		o.handle.Lock()
		defer o.handle.Unlock()
		err = o.db.Close()
	})
	return err
}

// get returns nil for a key that is absent.
func (o *Outbox) get(key []byte) ([]byte, error) {
	o.handle.RLock()
	defer o.handle.RUnlock()
	b, err := o.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, nil
	}
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}
