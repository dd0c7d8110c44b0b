package records

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// oplog is the file in which the operations of all leaves stand one after another, in the order of their
// positions. The database's log entries say where; a sorted database would write these bytes again at
// each of its compactions, which is most of what they would cost.
//
// Written by the writer's goroutine, read by anyone.
type oplog struct {
	file *os.File
	end  int64 // behind the last committed operation; used by the writer's goroutine

	synced  atomic.Int64 // everything before this is on the disk
	syncing sync.WaitGroup
	busy    atomic.Bool
	last    time.Time // of the last sync; used by the writer's goroutine
}

const oplogName = "operations"

// What is not yet known to be on the disk is bounded by these, and so is what opening reads again.
const (
	syncBytes = 8 << 20
	syncEvery = 2 * time.Second
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openOplog(dir string) (*oplog, error) {
	f, err := os.OpenFile(filepath.Join(dir, oplogName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &oplog{file: f, last: time.Now()}, nil
}

// read reads an operation and checks it.
func (l *oplog) read(at place) ([]byte, error) {
	b := make([]byte, at.length)
	if _, err := l.file.ReadAt(b, int64(at.offset)); err != nil {
		if errors.Is(err, fs.ErrClosed) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: operation at byte %d: %w", ErrDamaged, at.offset, err)
	}
	if crc32.Checksum(b, castagnoli) != at.sum {
		return nil, fmt.Errorf("%w: operation at byte %d", ErrDamaged, at.offset)
	}
	return b, nil
}

// write puts bytes behind the last committed operation. They count once the database's cursor does.
func (l *oplog) write(b []byte) error {
	_, err := l.file.WriteAt(b, l.end)
	return err
}

// grow notes that bytes were committed, and begins to sync when it is time.
func (l *oplog) grow(n int) {
	l.end += int64(n)
	if l.end-l.synced.Load() < syncBytes && time.Since(l.last) < syncEvery || !l.busy.CompareAndSwap(false, true) {
		return
	}
	l.last = time.Now()
	end := l.end
	l.syncing.Go(func() {
		defer l.busy.Store(false)
		if l.file.Sync() == nil {
			l.synced.Store(end)
		}
	})
}

// close waits until everything is on the disk.
func (l *oplog) close() error {
	l.syncing.Wait()
	err := l.file.Sync()
	if err == nil {
		l.synced.Store(l.end)
	}
	return err
}
