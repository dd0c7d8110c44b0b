// Package inbox keeps requests that wait for a second person: endings of licences, changes of the registry and of keys,
// and large batches go to the ledger only when somebody else than who drafted them has agreed.
//
// Reading order: rules.go (what waits), state.go (what can become of it), held.go (what is kept of a request), hold.go,
// decide.go, batch.go (requests that were approved as a whole beforehand), clock.go (expiry and erasure), store.go.
//
// Everything rests on the disk when a call returns: a node must not lose what waits here, nor who decided it. The
// package knows nothing of rights; who calls it has looked at them. One rule it holds to itself: nobody approves what he
// drafted. docs/spec/inbox.md has the format. Inbox is safe for concurrent use.
package inbox

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Config is what an inbox is opened with. Zero fields take the default in the comment.
type Config struct {
	Policy

	MaxWaiting int           // drafts that wait: 10,000
	MaxEach    int           // of them, one person's, and of open batches as many: 2,000, so that nobody's mistake keeps the others from drafting
	MaxBytes   int           // the content of drafts that wait: 512 MiB; one person's a quarter of that
	KeepText   time.Duration // a draft that was approved or rejected keeps its content so long: 30 days
	Keep       time.Duration // and is itself kept so long: 90 days
	Settle     time.Duration // the clock must have run steadily so long before anything expires: 1 hour
	Every      time.Duration // between looks at the clock: 30 s; negative: none but Tick's

	Full    func() bool          // whether the disk is too full to hold more; nil: never
	Clock   func() time.Time     // nil: time.Now
	Elapsed func() time.Duration // the machine's own count of time, which no clock's setting moves; nil: since Open
	Logger  *slog.Logger         // nil: slog.Default
}

func (c *Config) defaults() {
	c.Policy.defaults()
	if c.MaxWaiting <= 0 {
		c.MaxWaiting = 10_000
	}
	if c.MaxEach <= 0 {
		c.MaxEach = 2000
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 512 << 20
	}
	if c.KeepText <= 0 {
		c.KeepText = 30 * 24 * time.Hour
	}
	if c.Keep <= 0 {
		c.Keep = 90 * 24 * time.Hour
	}
	if c.Settle <= 0 {
		c.Settle = time.Hour
	}
	if c.Every == 0 {
		c.Every = 30 * time.Second
	}
	if c.Full == nil {
		c.Full = func() bool { return false }
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Elapsed == nil {
		begun := time.Now()
		c.Elapsed = func() time.Duration { return time.Since(begun) }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Inbox is an open inbox.
type Inbox struct {
	dir     string
	cfg     Config
	metrics *metrics

	handle sync.RWMutex // held for writing while the database is opened anew
	db     *database    // guarded by handle
	write  writer       // replaced by tests
	failed atomic.Bool
	tried  atomic.Int64 // of the last attempt to recover, in Elapsed

	numbers [64]sync.Mutex // one change at a time of a draft or batch, by its number
	keys    [64]sync.Mutex // one request at a time under an idempotency key

	mu      sync.Mutex
	waiting map[uint64]waiting // guarded by mu: what is pending
	unsent  map[uint64]string  // guarded by mu: ids of what is approved and has not reached intake
	open    map[uint64]opened  // guarded by mu: batches that are not used up
	bytes   int                // guarded by mu: of the content of what is pending
	next    uint64             // guarded by mu: number of the next draft or batch
	steady  steadiness         // guarded by mu

	closing chan struct{}
	stopped chan struct{}
	once    sync.Once // of Close
}

// waiting is what is kept in memory of a pending draft.
type waiting struct {
	created, expires time.Time
	id               string
	drafter          string // principal
	bytes            int
	same             model.Digest // as Held.Same
}

// opened is what is kept in memory of a batch that is not used up.
type opened struct {
	by    string // principal
	until time.Time
}

// Create makes an empty inbox in a folder that has none.
func Create(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("inbox: %s exists", dir)
	}
	db, err := openDB(dir, true)
	if err != nil {
		return err
	}
	return db.Close()
}

// Open opens the inbox of a folder. There must be one: what it held cannot be made anew.
func Open(dir string, cfg Config) (*Inbox, error) {
	cfg.defaults()
	if _, err := os.Stat(filepath.Join(dir, "CURRENT")); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	db, err := openDB(dir, false)
	if err != nil {
		return nil, err
	}
	in := &Inbox{
		dir: dir, cfg: cfg, db: db, write: writeSynced,
		closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := in.load(); err != nil {
		_ = db.Close()
		return nil, err
	}
	in.steady = steadiness{wall: cfg.Clock(), elapsed: cfg.Elapsed(), from: cfg.Elapsed()}
	in.metrics = newMetrics(in)
	go in.run()
	return in, nil
}

// Close closes the database. What waits stays.
func (in *Inbox) Close() (err error) {
	in.once.Do(func() {
		close(in.closing)
		<-in.stopped
		in.handle.Lock()
		defer in.handle.Unlock()
		err = in.db.Close()
	})
	return err
}

// run looks at the clock until Close.
func (in *Inbox) run() {
	defer close(in.stopped)
	if in.cfg.Every < 0 {
		<-in.closing
		return
	}
	tick := time.NewTicker(in.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-in.closing:
			return
		case <-tick.C:
			if err := in.Tick(); err != nil {
				in.cfg.Logger.Error("the inbox could not expire what is due", "cause", err)
			}
		}
	}
}

// Waiting is how many drafts are pending, and since when the oldest is (zero where none is).
func (in *Inbox) Waiting() (n int, oldest time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, w := range in.waiting {
		if oldest.IsZero() || w.created.Before(oldest) {
			oldest = w.created
		}
	}
	return len(in.waiting), oldest
}

// Policy is what waits here, and how long.
func (in *Inbox) Policy() *Policy { return &in.cfg.Policy }

func (in *Inbox) lock(number uint64) (unlock func()) {
	mu := &in.numbers[number%64]
	mu.Lock()
	return mu.Unlock
}

func (in *Inbox) lockKey(key [16]byte) (unlock func()) {
	mu := &in.keys[key[0]%64]
	mu.Lock()
	return mu.Unlock
}

func (in *Inbox) now() model.Time { return model.TimeOf(in.cfg.Clock()) }
