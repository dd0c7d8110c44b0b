package accesslog

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Errors of Open, for errors.Is.
var (
	ErrInUse   = errors.New("accesslog: the folder is in use by another process")
	ErrDamaged = errors.New("accesslog: damaged")
)

// Options of a log; the zero value is good.
type Options struct {
	SegmentBytes int64                            // a segment is closed beyond this: 64 MiB
	MinFree      uint64                           // bytes that stay free on the disk: 64 MiB
	Reserve      int64                            // bytes set aside behind the open file's end, for when the disk is full: 16 MiB; below 0: none
	Free         func(dir string) (uint64, error) // free bytes of a folder's disk; by default the system's
	Clock        func() time.Time                 // time.Now
	Logger       *slog.Logger                     // slog.Default
}

const (
	writeAfter = 25 * time.Millisecond // an entry of a read is given to the kernel so long after it, at the latest twice that
	syncAfter  = time.Second           // and is on the disk so long after, at the latest
	writeBytes = 256 << 10             // a batch of so many bytes is written at once
	queueBytes = 8 << 20               // entries not yet written: beyond this, requests are refused
	retryAfter = time.Second           // between attempts to write again after a failure
)

// Head is the state of a log's chain.
type Head struct {
	Start model.Digest
	Count uint64       // entries
	Hash  model.Digest // after the last of them
}

// Log is an open access log. Safe for concurrent use.
//
// Entries are numbered and encoded in Append, under mu; one goroutine chains, writes and syncs them, group by group.
type Log struct {
	dir     string
	options Options
	lock    *os.File
	metrics *metrics
	failed  atomic.Bool // nothing can be written now
	refused atomic.Uint64
	limited atomic.Uint64

	mu       sync.Mutex
	batch    *batch // collects; guarded by mu
	next     uint64 // number of the next entry; guarded by mu
	closed   bool   // guarded by mu
	queued   int    // bytes in batches not yet written; guarded by mu
	written  Head   // guarded by mu
	synced   Head   // guarded by mu
	segments []liveSegment
	spare    []byte // a batch's buffer for use again; guarded by mu

	wake    chan struct{} // there is a batch
	urgent  chan struct{} // it is to be written now
	closing chan struct{}
	stopped chan struct{}

	w   writer // used by its goroutine alone
	cut int64  // bytes of the end that load removed
}

// liveSegment is a segment of an open log, guarded by the log's mu. end is how much of it was written.
type liveSegment struct {
	first uint64
	end   int64
}

// batch is a group of entries on their way to the disk.
type batch struct {
	frames  []byte
	ends    []int // where each frame ends
	durable bool  // somebody waits for it
	done    chan struct{}
	err     error // set before done is closed
}

// Create makes an empty log in a folder that does not exist yet.
func Create(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var start model.Digest
	_, _ = rand.Read(start[:]) // never fails since Go 1.24
	f, err := os.OpenFile(segmentPath(dir, 1), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(header{first: 1, start: start, before: start}.encode())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
}

// Open opens a log. What a crash cut off at the end of the last file is removed, and the logger is told; a file that is
// damaged before its end is ErrDamaged: what went on behind could be proved by nobody. `zhenglian audit access --verify`
// says more, and Begin makes a new log.
func Open(dir string, o Options) (*Log, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.MinFree == 0 {
		o.MinFree = 64 << 20
	}
	if o.Reserve == 0 {
		o.Reserve = 16 << 20
	}
	if o.Free == nil {
		o.Free = freeBytes
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{
		dir: dir, options: o, lock: lock, metrics: newMetrics(),
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := l.load(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	l.setAside()
	go l.run()
	if l.cut > 0 { // the log itself says so, for as long as it is kept
		e := Entry{Time: model.TimeOf(o.Clock()), Action: ActionCut, Count: uint64(l.cut)}
		if err := l.Append(&e); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

func lockDir(dir string) (*os.File, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	return lock, nil
}

// load finds the end of the log. The last file is read whole; of the others the headers must continue one another.
func (l *Log) load() error {
	files, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	// A segment whose header a crash cut off holds nothing: the one before is the last.
	for len(files) > 1 && files[len(files)-1].size <= int64(headerBytes) {
		last := files[len(files)-1]
		if s, err := openSegment(last.path, last.size); err == nil {
			if err := s.close(); err != nil {
				return err
			}
			break
		}
		l.options.Logger.Warn("access log: a file that a crash left without content is removed", "file", last.path)
		if err := os.Remove(last.path); err != nil {
			return err
		}
		files = files[:len(files)-1]
	}
	if len(files) == 0 {
		return fmt.Errorf("%w: no file of entries in %s", ErrDamaged, l.dir)
	}
	for i, f := range files {
		s, err := openSegment(f.path, f.size)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrDamaged, f.path, err)
		}
		if err := s.close(); err != nil {
			return err
		}
		if s.header.first != f.first || (i > 0 && s.header.start != l.w.header.start) {
			return fmt.Errorf("%w: %s does not belong to this log", ErrDamaged, f.path)
		}
		l.w.header = s.header
		l.segments = append(l.segments, liveSegment{f.first, f.size})
	}
	last := files[len(files)-1]
	s, err := openSegment(last.path, last.size)
	if err != nil {
		return err
	}
	defer s.close()
	for {
		entry, _, err := s.step()
		if err == io.EOF {
			break
		}
		if err == nil {
			if l.w.month == 0 {
				l.w.month = month(timeOf(entry))
			}
			continue
		}
		behind, cause := goodFrameBehind(last.path, s.at, s.next)
		if cause != nil {
			return cause
		}
		if behind || errors.Is(err, errChain) {
			return fmt.Errorf("%w: %s, entry %d, byte %d: %w", ErrDamaged, last.path, s.next, s.at, err)
		}
		l.options.Logger.Warn("access log: the end that a crash cut off is removed", "file", last.path, "bytes", last.size-s.at, "last_entry", s.next-1)
		l.cut = last.size - s.at
		if err := os.Truncate(last.path, s.at); err != nil {
			return err
		}
		break
	}
	if l.w.file, err = os.OpenFile(last.path, os.O_WRONLY, 0o600); err != nil {
		return err
	}
	if err := l.w.file.Sync(); err != nil { // what an earlier run wrote and did not sync counts from now on
		return err
	}
	l.w.end, l.w.chain.head = s.at, s.chain.head
	l.segments[len(l.segments)-1].end = s.at
	l.next = s.next
	l.written = Head{Start: l.w.header.start, Count: s.next - 1, Hash: s.chain.head}
	l.synced = l.written
	return nil
}

// errUnavailable is why a request is refused while its entry cannot be written.
var errUnavailable = model.E(model.CodeAccessLogUnavailable)

// Ready is nil while entries can be written; otherwise access_log_unavailable. It costs one look in memory.
func (l *Log) Ready() error {
	if l.failed.Load() {
		return errUnavailable
	}
	return nil
}

// Append adds an entry, giving it its number. It is answered at once; the entry is given to the kernel within 50 ms and is on
// the disk within a second. It keeps nothing of e. The error is access_log_unavailable: what the entry is about must not
// be answered.
func (l *Log) Append(e *Entry) error {
	_, err := l.append(e, false)
	return err
}

// Begin adds an entry like Append and has it written and synced now; wait returns once it is on the disk, or with
// access_log_unavailable. Concurrent callers share a sync.
func (l *Log) Begin(e *Entry) (wait func(context.Context) error, err error) {
	b, err := l.append(e, true)
	if err != nil {
		return nil, err
	}
	return b.wait, nil
}

func (b *batch) wait(ctx context.Context) error {
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return errUnavailable
	}
}

func (l *Log) append(e *Entry, durable bool) (*batch, error) {
	l.mu.Lock()
	if l.closed || l.queued > queueBytes || l.failed.Load() {
		l.mu.Unlock()
		return nil, errUnavailable
	}
	b := l.batch
	first := b == nil
	if first {
		b = &batch{frames: l.spare[:0], done: make(chan struct{})}
		l.batch, l.spare = b, nil
	}
	e.Sequence = l.next
	from := len(b.frames)
	b.frames = encode(append(b.frames, blank[:]...), e)
	if len(b.frames)-from-frameBytes > MaxEntry {
		b.frames = b.frames[:from]
		l.mu.Unlock()
		return nil, model.E(model.CodeInternal).With("an access log entry of more than %d bytes", MaxEntry)
	}
	l.next++
	b.ends = append(b.ends, len(b.frames))
	l.queued += len(b.frames) - from
	b.durable = b.durable || durable
	now := durable || len(b.frames) > writeBytes
	l.mu.Unlock()
	if first {
		signal(l.wake)
	}
	if now {
		signal(l.urgent)
	}
	return b, nil
}

var blank [frameBytes]byte

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// SignInFailed counts a failed sign-in. Once a minute an entry of the node's own says how many there were, and nothing
// else about them: what was tried might be a key mistyped by one letter.
func (l *Log) SignInFailed() { l.refused.Add(1) }

// RateLimited counts a request that was turned away for being one too many; they are told like failed sign-ins.
func (l *Log) RateLimited() { l.limited.Add(1) }

// Sync returns once all entries so far are on the disk, with the chain's head then.
func (l *Log) Sync(ctx context.Context) (Head, error) {
	l.mu.Lock()
	if l.closed || l.failed.Load() {
		l.mu.Unlock()
		return Head{}, errUnavailable
	}
	b := l.batch
	first := b == nil
	if first {
		b = &batch{done: make(chan struct{})}
		l.batch = b
	}
	b.durable = true
	l.mu.Unlock()
	if first {
		signal(l.wake)
	}
	signal(l.urgent)
	if err := b.wait(ctx); err != nil {
		return Head{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced, nil
}

// Close writes and syncs what is left and lets the folder go.
func (l *Log) Close() error {
	l.counts()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.closing)
	<-l.stopped
	return errors.Join(l.w.close(), l.lock.Close())
}

// Piece is a file of the log and how much of it counts.
type Piece struct {
	Path string
	Size int64
}

// Cut syncs the log and lists what it consists of at that moment, for a backup. Closed files do not change any more, and
// of the open one a piece is the beginning.
func (l *Log) Cut(ctx context.Context) ([]Piece, error) {
	if _, err := l.Sync(ctx); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Piece, len(l.segments))
	for i, s := range l.segments {
		out[i] = Piece{segmentPath(l.dir, s.first), s.end}
	}
	return out, nil
}
