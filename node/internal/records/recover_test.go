package records

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

var errFull = errors.New("no space left on device")

// fullDisk is a storage whose files take no more bytes while full is set.
type fullDisk struct {
	storage.Storage
	full *atomic.Bool
}

func (d fullDisk) Create(fd storage.FileDesc) (storage.Writer, error) {
	if d.full.Load() {
		return nil, errFull
	}
	w, err := d.Storage.Create(fd)
	return fullFile{w, d.full}, err
}

type fullFile struct {
	storage.Writer
	full *atomic.Bool
}

// Write writes half, as a disk may.
func (f fullFile) Write(b []byte) (int, error) {
	if f.full.Load() {
		n, err := f.Writer.Write(b[:len(b)/2])
		return n, errors.Join(err, errFull)
	}
	return f.Writer.Write(b)
}

// TestFullDisk fills the disk before every single block: reads go on, nothing is half applied, and when
// there is room again the same blocks go in.
func TestFullDisk(t *testing.T) {
	c := newChain(t)
	for i := 1; i <= 10; i++ {
		c.submit(c.licence(i, nil), c.act(model.LicenceSuspend, i, 2))
	}
	want := newStore(t, Options{})
	c.catchUp(want, 1)
	digest, _, err := want.Digest()
	if err != nil {
		t.Fatal(err)
	}

	var full atomic.Bool
	dir := t.TempDir()
	files := func(dir string) (storage.Storage, error) {
		s, err := storage.OpenFile(dir, false)
		return fullDisk{s, &full}, err
	}
	s, err := openWith(dir, Options{BufferBytes: 8 << 10}, files)
	if err != nil {
		t.Fatal(err)
	}
	for n := range c.blocks {
		full.Store(true)
		for range 2 {
			if err := c.blocks[n].give(s.Writer(), uint64(n)); err != nil {
				t.Fatal(err)
			}
			if err := s.Writer().Commit(); err == nil {
				t.Fatalf("block %d was committed to a full disk", n)
			}
			if v, err := s.View(model.KindPolicy, model.PolicyID); err != nil || (v == nil) != (n == 0) {
				t.Fatalf("reading while the disk is full: %v %v", v, err)
			}
			if s.Height() != uint64(n) {
				t.Fatalf("height %d after a failure at %d", s.Height(), n)
			}
			s.Writer().failed = false // the probe would find room: only the database's files are full
			s.Writer().Reset()
		}
		full.Store(false)
		s.Writer().failed = true
		s.Writer().Reset()
		if err := c.blocks[n].give(s.Writer(), uint64(n)); err != nil {
			t.Fatal(err)
		}
		if err := s.Writer().Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, Options{})
	if got, height, err := s.Digest(); err != nil || got != digest || height != uint64(len(c.blocks)) {
		t.Errorf("after the failures: height %d, another content (%v)", height, err)
	}
}

// TestRoomTaken: the probe finds room, and by the time that the database is opened anew it is gone. Reads go
// on, and so does everything once there is room.
func TestRoomTaken(t *testing.T) {
	c := newChain(t)
	for i := 1; i <= 3; i++ {
		c.submit(c.licence(i, nil))
	}
	var full atomic.Bool
	dir := t.TempDir()
	s, err := openWith(dir, Options{}, func(dir string) (storage.Storage, error) {
		s, err := storage.OpenFile(dir, false)
		return fullDisk{s, &full}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range c.blocks {
		full.Store(n > 0)
		for range 3 {
			if err := c.blocks[n].give(s.Writer(), uint64(n)); err != nil {
				t.Fatal(err)
			}
			if err := s.Writer().Commit(); err == nil {
				break
			}
			s.Writer().Reset() // opens for reading alone
			if v, err := s.View(model.KindPolicy, model.PolicyID); err != nil || v == nil {
				t.Fatalf("reading while the disk is full: %v %v", v, err)
			}
			if s.Height() != uint64(n) {
				t.Fatalf("height %d after a failure at %d", s.Height(), n)
			}
		}
		if n == 0 {
			continue
		}
		full.Store(false)
		s.Writer().Reset()
		if err := c.blocks[n].give(s.Writer(), uint64(n)); err != nil {
			t.Fatal(err)
		}
		if err := s.Writer().Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if s.Height() != uint64(len(c.blocks)) {
		t.Errorf("height %d of %d", s.Height(), len(c.blocks))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
