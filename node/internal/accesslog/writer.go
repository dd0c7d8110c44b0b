package accesslog

import (
	"encoding/binary"
	"os"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// writer is what the log's one goroutine knows of the file that it writes.
type writer struct {
	file   *os.File // the last segment; nil after a failure, until it is opened again
	header header   // of the last segment
	end    int64    // where its last good frame ends
	chain  chain
	room   int64 // up to where the disk has set room aside
	month  int   // of the last segment's first entry, 0 before it has one
}

func (w *writer) close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// run takes batches as they come. One that somebody waits for is written and synced at once; the others within
// writeAfter, and synced within syncAfter.
func (l *Log) run() {
	defer close(l.stopped)
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	var due <-chan time.Time // when what was written is to be synced
	for {
		select {
		case <-l.wake:
			l.gather()
			if b := l.take(); b != nil {
				due = l.put(b, due)
			}
		case <-due:
			due = l.put(&batch{durable: true, done: make(chan struct{})}, due)
		case <-minute.C:
			l.counts()
			l.space()
		case <-l.closing:
			b := l.take()
			if b == nil {
				b = &batch{done: make(chan struct{})}
			}
			b.durable = true
			l.put(b, nil)
			return
		}
	}
}

// gather gives others a moment to join the batch, unless somebody waits for it.
func (l *Log) gather() {
	t := time.NewTimer(writeAfter)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.urgent:
	case <-l.closing:
	}
}

func (l *Log) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.batch
	l.batch = nil
	return b
}

// put writes a batch, for as long as it takes: entries of reads that were answered already must not be lost. While it
// fails the log is not Ready, so that nothing more is read; who waits for the batch hears of the failure at once.
//
// This is the commit point. Crash argument: frames are appended to the last file only, each with the hash over
// all before it, and nobody who waits is told before the file is synced. After a crash the file ends after some frame, or
// inside one; that end is cut at the next start, and nobody was told of it. After a failed write the file is cut back to
// the last frame that counts before anything is written again, so a frame stands in it once.
func (l *Log) put(b *batch, due <-chan time.Time) <-chan time.Time {
	told := false
	for {
		err := l.write(b)
		if err == nil {
			break
		}
		if !told {
			told = true
			l.failed.Store(true)
			l.metrics.failed.Set(1)
			l.options.Logger.Error("access log cannot be written; signed-in requests are refused", "cause", err)
			b.err = errUnavailable
			close(b.done)
		}
		select {
		case <-time.After(retryAfter):
		case <-l.closing:
			return nil
		}
	}
	grown := len(b.frames)
	l.mu.Lock()
	l.queued -= grown
	l.written = Head{Start: l.w.header.start, Count: l.written.Count + uint64(len(b.ends)), Hash: l.w.chain.head}
	l.segments[len(l.segments)-1].end = l.w.end
	if b.durable {
		l.synced = l.written
	}
	if cap(b.frames) <= 2*writeBytes {
		l.spare = b.frames[:0]
	}
	l.mu.Unlock()
	l.metrics.entries.Add(float64(len(b.ends)))
	l.metrics.bytes.Add(float64(grown))
	if told {
		l.failed.Store(false)
		l.metrics.failed.Set(0)
		l.options.Logger.Info("access log is written again")
	} else {
		close(b.done)
	}
	l.roll()
	l.space()
	switch {
	case b.durable:
		return nil
	case due != nil:
		return due
	}
	return time.After(syncAfter)
}

// write seals and appends a batch and syncs it where somebody waits. On an error the file is left to be cut back.
func (l *Log) write(b *batch) error {
	w := &l.w
	if w.file == nil {
		if err := w.reopen(l.dir); err != nil {
			return err
		}
	}
	next := chain{head: w.chain.head, scratch: w.chain.scratch}
	from := 0
	for _, end := range b.ends {
		frame := b.frames[from:end]
		next.seal(frame)
		if w.month == 0 {
			w.month = month(timeOf(frame[frameBytes:]))
		}
		from = end
	}
	start := time.Now()
	if len(b.frames) > 0 {
		if _, err := w.file.WriteAt(b.frames, w.end); err != nil {
			w.fail()
			return err
		}
	}
	if b.durable {
		if err := w.file.Sync(); err != nil {
			w.fail()
			return err
		}
		l.metrics.sync.Observe(time.Since(start).Seconds())
		l.metrics.group.Observe(float64(len(b.ends)))
	}
	w.chain, w.end = next, w.end+int64(len(b.frames))
	return nil
}

// fail lets the file go: after a failed sync nobody knows what the kernel still holds of it.
func (w *writer) fail() {
	_ = w.file.Close() // it has failed already
	w.file = nil
}

func (w *writer) reopen(dir string) error {
	f, err := os.OpenFile(segmentPath(dir, w.header.first), os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Truncate(w.end); err != nil {
		_ = f.Close()
		return err
	}
	w.file, w.room = f, 0
	return nil
}

// roll begins a new segment when the last one is large, or of a month gone by. It may fail: then the last one goes on.
func (l *Log) roll() {
	w := &l.w
	if w.file == nil || w.month == 0 || (w.end < l.options.SegmentBytes && month(l.options.Clock()) <= w.month) {
		return
	}
	if err := w.file.Sync(); err != nil {
		w.fail()
		return
	}
	h := header{first: l.written.Count + 1, start: w.header.start, before: w.chain.head}
	f, err := os.OpenFile(segmentPath(l.dir, h.first), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(h.encode())
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = syncDir(l.dir)
		}
		if err != nil {
			_ = f.Close()
			_ = os.Remove(segmentPath(l.dir, h.first)) // else the next start removes it
		}
	}
	if err != nil {
		l.options.Logger.Warn("access log could not begin a new file", "cause", err)
		return
	}
	old := w.file
	if err := old.Truncate(w.end); err != nil { // the room behind its end is given back
		l.options.Logger.Warn("access log: closing a file", "cause", err)
	}
	l.mu.Lock()
	l.segments = append(l.segments, liveSegment{h.first, int64(headerBytes)})
	l.synced = l.written
	l.mu.Unlock()
	w.file, w.header, w.end, w.month, w.room = f, h, int64(headerBytes), 0, 0
	if err := old.Close(); err != nil {
		l.options.Logger.Warn("access log: closing a file", "cause", err)
	}
}

// counts writes what was only counted since the last minute.
func (l *Log) counts() {
	for _, c := range []struct {
		n      uint64
		action string
		status int
	}{{l.refused.Swap(0), ActionSignInFailed, 401}, {l.limited.Swap(0), ActionRateLimited, 429}} {
		if c.n == 0 {
			continue
		}
		e := Entry{Time: model.TimeOf(l.options.Clock()), Action: c.action, Status: c.status, Count: c.n}
		if err := l.Append(&e); err != nil { // told next minute
			switch c.action {
			case ActionSignInFailed:
				l.refused.Add(c.n)
			default:
				l.limited.Add(c.n)
			}
		}
	}
}

// Actions of the node's own entries.
const (
	ActionSignInFailed = "sign-in.failed"
	ActionRateLimited  = "rate-limited"
	ActionCut          = "log.cut" // what a crash left at the end was removed; count is its bytes
)

// setAside keeps room for the log on the disk, so that a disk that others have filled does not stop reads at once.
func (l *Log) setAside() {
	w := &l.w
	if w.file == nil || l.options.Reserve <= 0 || w.room-w.end > l.options.Reserve/2 {
		return
	}
	if err := reserve(w.file, w.end, l.options.Reserve); err == nil {
		w.room = w.end + l.options.Reserve
	}
}

// lastRoom is how much room remains for what was answered before it was known that there is no more.
const lastRoom = 2 << 20

// space refuses requests before the disk is full and what was set aside is used up.
func (l *Log) space() {
	l.setAside()
	n, err := l.options.Free(l.dir)
	if err != nil {
		return // an unreadable figure is no reason to stop: the write will tell
	}
	low := n < l.options.MinFree && l.w.room-l.w.end < lastRoom
	if low != l.failed.Load() {
		l.failed.Store(low)
		if low {
			l.metrics.failed.Set(1)
			l.options.Logger.Error("access log: the disk is nearly full; signed-in requests are refused")
		} else {
			l.metrics.failed.Set(0)
		}
	}
}

// month counts months in Beijing, for the age of files.
func month(t time.Time) int {
	t = t.In(model.Shanghai)
	return t.Year()*12 + int(t.Month())
}

// timeOf reads an entry's time alone.
func timeOf(entry []byte) time.Time {
	_, n := binary.Uvarint(entry[1:])
	ms, _ := binary.Uvarint(entry[1+max(n, 0):])
	return time.UnixMilli(int64(ms))
}
