package search

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Config is everything that an index needs.
type Config struct {
	Path   string // of the file, whose folder exists
	Log    Log
	Vault  Vault
	Secret []byte // of the node, for cursors; at least 16 bytes
	Logger *slog.Logger
}

// Index is the search index. Run keeps it; everything else is safe for concurrent use.
type Index struct {
	path    string
	source  Log
	vault   Vault
	secret  []byte
	log     *slog.Logger
	metrics *metrics

	mu     sync.Mutex
	file   *file  // guarded by mu; nil while there is none to ask
	next   uint64 // guarded by mu; leaves applied
	made   bool   // guarded by mu; the file is complete: it came to the log's end
	why    string // guarded by mu; why the file before was set aside, "" where none was
	stuck  error  // guarded by mu; why nothing goes on at the moment
	broken chan error
	forget chan forgetting
}

// New makes an index. Nothing is opened before Run.
func New(c Config) *Index {
	x := &Index{path: c.Path, source: c.Log, vault: c.Vault, secret: c.Secret, log: c.Logger, broken: make(chan error, 1), forget: make(chan forgetting)}
	if x.log == nil {
		x.log = slog.Default()
	}
	x.metrics = newMetrics(x)
	return x
}

// Bounds of a batch and of its pace. Leaves that come one by one are gathered for a moment: a transaction costs more
// than a leaf.
const (
	batch  = 4000
	gather = 50 * time.Millisecond
	look   = time.Second // between looks at whether the file is still there
)

// Run follows the log until ctx ends. It returns only then: whatever happens to the file, it is made anew.
func (x *Index) Run(ctx context.Context) {
	pause := time.Second
	for ctx.Err() == nil {
		began := time.Now()
		err := x.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if damaged(err) {
			x.aside(err)
			if time.Since(began) > time.Minute {
				pause = time.Second
			}
		} else {
			x.log.Error("the search index does not go on; it is tried again", "error", err)
		}
		x.mu.Lock()
		x.stuck = err
		x.mu.Unlock()
		if damaged(err) && pause == time.Second {
			pause *= 2 // the first time at once
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, 30*time.Second)
	}
}

// aside puts the file out of the way, so that the next follow makes a new one.
func (x *Index) aside(why error) {
	name, err := setAside(x.path)
	x.metrics.rebuilds.Inc()
	x.mu.Lock()
	x.why, x.made, x.next = brief(why), false, 0
	x.mu.Unlock()
	x.log.Warn("the search index is of no use and is made anew from the log; searches are refused meanwhile, all else goes on",
		"cause", why, "kept", name, "error", err)
}

func brief(err error) string {
	s := err.Error()
	if len(s) > 200 {
		s = s[:200]
	}
	return s
}

// follow opens the file and applies the log to it until something fails.
func (x *Index) follow(ctx context.Context) (err error) {
	d, err := openFile(ctx, x.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.shut(d)) }()
	w, err := newWriter(ctx, d.writer, x.vault)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	f := &following{x: x, d: d, w: w}
	var next int64
	if err := w.conn.QueryRowContext(ctx, "SELECT next, leaf, complete FROM state").Scan(&next, &f.leaf, &f.complete); err != nil {
		return err
	}
	f.next = uint64(next)
	select { // what was said of the file before
	case <-x.broken:
	default:
	}
	x.mu.Lock()
	x.file, x.next, x.made = d, f.next, f.complete
	x.mu.Unlock()
	if f.complete {
		running.Go(func() { f.examine(ctx) })
	}
	if err := f.same(ctx); err != nil {
		return err
	}
	read := make(chan batchRead)
	running.Go(func() { f.read(ctx, f.next, read) })
	return f.apply(ctx, read)
}

// shut takes a file away from the readers and closes it. Who is reading reads on.
func (x *Index) shut(d *file) error {
	x.mu.Lock()
	if x.file == d {
		x.file = nil
	}
	x.mu.Unlock()
	return d.close()
}

// damage says that a file turned out to be of no use. From now on it is not asked, and Run sets it aside.
func (x *Index) damage(d *file, err error) {
	x.mu.Lock()
	was := x.file == d
	if was {
		x.file, x.made = nil, false
	}
	x.mu.Unlock()
	if !was {
		return
	}
	select {
	case x.broken <- err:
	default:
	}
}

// serving is the file to ask.
func (x *Index) serving() (*file, error) {
	x.mu.Lock()
	d := x.file
	ok := d != nil && x.made
	x.mu.Unlock()
	if !ok {
		return nil, x.rebuildingError()
	}
	return d, nil
}

func (x *Index) rebuildingError() error {
	return model.E(model.CodeSearchRebuilding).With("%d %%", x.Status().Percent)
}

// Status is how the index stands.
type Status struct {
	Next       uint64 // leaves applied
	Of         uint64 // leaves there are
	Rebuilding bool   // searches are refused
	Percent    int    // of the rebuild
	Why        string // why the file before was set aside; "" where none was since the start
	Stuck      error  // why nothing goes on at the moment
	Full       bool   // because the disk has no room
}

// Status tells how the index stands. It does not block.
func (x *Index) Status() Status {
	of, _ := x.source.Grown()
	x.mu.Lock()
	defer x.mu.Unlock()
	s := Status{Next: x.next, Of: max(of, x.next), Rebuilding: x.file == nil || !x.made, Percent: 100, Why: x.why, Stuck: x.stuck, Full: full(x.stuck)}
	if s.Of > 0 {
		s.Percent = int(s.Next * 100 / s.Of)
	}
	return s
}
