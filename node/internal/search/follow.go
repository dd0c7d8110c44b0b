package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// following is one file that follows the log. apply is run by one goroutine, read and examine by one each.
type following struct {
	x        *Index
	d        *file
	w        *writer
	next     uint64 // leaves applied
	leaf     []byte // hash of the last of them
	complete bool
}

var (
	errOtherLog = errors.New("search: the file follows another log")
	errUnsound  = errors.New("search: the file is not sound")
)

// same waits until the log is as long as the file says, and looks whether it is the log that the file follows. After a
// power cut the records can be some blocks behind the index, and after a reindex far: they come to the same leaves.
func (f *following) same(ctx context.Context) error {
	if f.next == 0 {
		return nil
	}
	for {
		position, more := f.x.source.Grown()
		if position >= f.next {
			break
		}
		if err := f.wait(ctx, more, nil); err != nil {
			return err
		}
	}
	leaves, err := f.x.source.Leaves(f.next-1, 1)
	if err != nil {
		return err
	}
	if len(leaves) != 1 || !bytes.Equal(leaves[0].Hash[:], f.leaf) {
		return errOtherLog
	}
	return nil
}

// wait waits for more, or a tick; what is found to be wrong with the file meanwhile ends it.
func (f *following) wait(ctx context.Context, more <-chan struct{}, tick <-chan time.Time) error {
	if tick == nil {
		t := time.NewTimer(look)
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-more:
		return nil
	case <-tick:
		if !f.d.present() {
			f.x.damage(f.d, errLost)
			return errLost
		}
		return nil
	case err := <-f.x.broken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// batchRead is a part of the log, or why it could not be read.
type batchRead struct {
	leaves []Leaf
	err    error
}

// read reads the log, one batch ahead of apply.
func (f *following) read(ctx context.Context, from uint64, out chan<- batchRead) {
	for {
		_, more := f.x.source.Grown() // before reading, so that nothing falls between the two
		began := time.Now()
		leaves, err := f.x.source.Leaves(from, batch)
		if len(leaves) > 0 || err != nil {
			select {
			case out <- batchRead{leaves, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			from += uint64(len(leaves))
		}
		if len(leaves) == batch {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
		if rest := gather - time.Since(began); rest > 0 {
			select {
			case <-time.After(rest):
			case <-ctx.Done():
				return
			}
		}
	}
}

// apply applies what read reads.
//
// Crash argument: rows, terms, the cursor and whether the file is complete are one transaction of SQLite, whose journal
// holds it whole or not at all. A file that is not complete is not asked, and goes on where it stopped.
func (f *following) apply(ctx context.Context, read <-chan batchRead) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	began, from := time.Now(), f.next
	for {
		if position, _ := f.x.source.Grown(); !f.complete && f.next >= position {
			if err := f.w.apply(ctx, nil, true); err != nil {
				return f.found(err)
			}
			f.complete = true
			f.applied()
			if f.next > from {
				f.x.log.Info("the search index is complete", "leaves", f.next, "seconds", time.Since(began).Seconds())
			}
		}
		select {
		case b := <-read:
			if err := f.one(ctx, b); err != nil {
				return err
			}
		case g := <-f.x.forget:
			if err := f.forgotten(g); err != nil {
				return err
			}
		case <-tick.C:
			if !f.d.present() {
				return f.found(errLost)
			}
		case err := <-f.x.broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *following) one(ctx context.Context, b batchRead) error {
	if b.err != nil {
		return fmt.Errorf("the log: %w", b.err)
	}
	if b.leaves[0].Position != f.next {
		return fmt.Errorf("the log gave leaf %d for %d", b.leaves[0].Position, f.next)
	}
	start := time.Now()
	if err := f.w.apply(ctx, b.leaves, false); err != nil {
		return f.found(err)
	}
	f.x.metrics.batches.Observe(time.Since(start).Seconds())
	f.next += uint64(len(b.leaves))
	f.applied()
	return nil
}

// found takes a file that turned out to be of no use away from the readers at once.
func (f *following) found(err error) error {
	if damaged(err) {
		f.x.damage(f.d, err)
	}
	return err
}

// applied shows how far the file is.
func (f *following) applied() {
	f.x.mu.Lock()
	defer f.x.mu.Unlock()
	f.x.next, f.x.stuck = f.next, nil
	if f.x.file == f.d {
		f.x.made = f.complete
	}
}

// examine looks through a file that was there at the start, while it is asked already: of a million licences it takes
// seconds. It does not look at what the rows say; each has a checksum of its own.
func (f *following) examine(ctx context.Context) {
	start := time.Now()
	var says string
	err := f.d.readers.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&says)
	switch {
	case ctx.Err() != nil:
	case err != nil && damaged(err):
		f.x.damage(f.d, err)
	case err != nil:
		f.x.log.Warn("the search index could not be examined", "error", err)
	case says != "ok":
		f.x.damage(f.d, fmt.Errorf("%w: %s", errUnsound, says))
	default:
		f.x.log.Debug("the search index is sound", "seconds", time.Since(start).Seconds())
	}
}
