package records

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// holds reports whether the database has applied everything up to a cursor: a write can fail after that,
// in making room for the next.
func (s *Store) holds(c cursor) bool {
	b, err := s.db.Get([]byte(spaceCursor), nil)
	if err != nil {
		return false
	}
	at, err := decodeCursor(b)
	return err == nil && at == c
}

// drain is how long reopen waits for a moment without readers.
const drain = 2 * time.Second

// reopen opens the database anew after a failed write, because goleveldb writes nothing more to a journal
// that has failed once. It does so only when the disk has room for what opening writes, so that readers
// keep what they have while it is full; where opening fails nevertheless, it is opened for reading. Readers wait meanwhile; one that holds on to its snapshot for
// longer than drain reads errors from it.
func (s *Store) reopen() error {
	if err := s.room(); err != nil {
		return err
	}
	end := time.Now().Add(drain)
	locked := s.reading.TryLock()
	for !locked && time.Now().Before(end) {
		time.Sleep(time.Millisecond)
		locked = s.reading.TryLock()
	}
	if locked {
		defer s.reading.Unlock()
	}
	_ = s.closeDB() // it has failed already
	at, err := s.openDB(false)
	if err != nil { // somebody else took the room meanwhile: what is there can still be read
		var unreadable error
		if at, unreadable = s.openDB(true); unreadable != nil {
			return errors.Join(err, unreadable)
		}
	}
	s.ops.end = int64(at.end)
	s.gap = at.position
	return errors.Join(err, s.publish(at, nil, nil))
}

// room probes the disk for what opening the database writes at most: the journal once more, as tables.
func (s *Store) room() error {
	need := int64(1 << 20)
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".log") {
			info, err := d.Info()
			if err != nil {
				return err
			}
			need += info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.dir, "probe-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // only its size mattered
	for block := make([]byte, 1<<20); need > 0 && err == nil; need -= int64(len(block)) {
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close())
}
