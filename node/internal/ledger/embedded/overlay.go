package embedded

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

// overlay is goleveldb's view of a folder that must not change: what goleveldb writes when it opens a database goes
// to a scratch folder, and what it removes is only hidden. goleveldb's own read-only mode would not do: it creates a
// lock file, and it fails on two live journals, which a crash leaves now and then.
type overlay struct {
	base    string
	scratch storage.Storage

	mu      sync.Mutex
	hidden  map[storage.FileDesc]bool // guarded by mu: removed from view
	written map[storage.FileDesc]bool // guarded by mu: in scratch
	meta    *storage.FileDesc         // guarded by mu: the entry point, once written
}

// openOverlay opens the database in dir without changing dir. Close the database, then call release.
func openOverlay(dir string) (db *leveldb.DB, release func(), err error) {
	tmp, err := os.MkdirTemp("", "ledger-check-*")
	if err != nil {
		return nil, nil, err
	}
	scratch, err := storage.OpenFile(tmp, false)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(tmp))
	}
	release = func() {
		_ = scratch.Close()
		_ = os.RemoveAll(tmp)
	}
	o := stateOptions(Limits{}.withDefaults())
	o.ErrorIfMissing = true
	// The tables are read where they are: nothing is to be compacted into the scratch folder.
	o.DisableSeeksCompaction = true
	o.CompactionL0Trigger, o.WriteL0SlowdownTrigger, o.WriteL0PauseTrigger = math.MaxInt32, math.MaxInt32, math.MaxInt32
	o.CompactionTotalSize = math.MaxInt64 >> 16
	o.CompactionTotalSizeMultiplier = 1
	db, err = leveldb.Open(&overlay{base: dir, scratch: scratch, hidden: map[storage.FileDesc]bool{}, written: map[storage.FileDesc]bool{}}, o)
	if err != nil {
		release()
		return nil, nil, err
	}
	return db, release, nil
}

type noLock struct{}

func (noLock) Unlock() {}

func (*overlay) Lock() (storage.Locker, error) { return noLock{}, nil }
func (*overlay) Log(string)                    {}
func (*overlay) Close() error                  { return nil }

func (v *overlay) SetMeta(fd storage.FileDesc) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.meta = &fd
	return nil
}

func (v *overlay) GetMeta() (storage.FileDesc, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.meta != nil {
		return *v.meta, nil
	}
	b, err := os.ReadFile(filepath.Join(v.base, "CURRENT"))
	if err != nil {
		return storage.FileDesc{}, err
	}
	fd, ok := parseFileName(strings.TrimSuffix(string(b), "\n"))
	if !ok || fd.Type != storage.TypeManifest {
		return storage.FileDesc{}, fmt.Errorf("CURRENT names no manifest: %q", b)
	}
	return fd, nil
}

func (v *overlay) List(types storage.FileType) ([]storage.FileDesc, error) {
	base, err := listFiles(v.base)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []storage.FileDesc
	for fd := range v.written {
		base = append(base, fd)
	}
	for _, fd := range base {
		if fd.Type&types != 0 && !v.hidden[fd] && !slices.Contains(out, fd) {
			out = append(out, fd)
		}
	}
	return out, nil
}

func (v *overlay) Open(fd storage.FileDesc) (storage.Reader, error) {
	v.mu.Lock()
	hidden, written := v.hidden[fd], v.written[fd]
	v.mu.Unlock()
	switch {
	case hidden:
		return nil, os.ErrNotExist
	case written:
		return v.scratch.Open(fd)
	}
	return os.Open(filepath.Join(v.base, fd.String()))
}

func (v *overlay) Create(fd storage.FileDesc) (storage.Writer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.hidden, fd)
	v.written[fd] = true
	return v.scratch.Create(fd)
}

func (v *overlay) Remove(fd storage.FileDesc) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hidden[fd] = true
	if v.written[fd] {
		delete(v.written, fd)
		return v.scratch.Remove(fd)
	}
	return nil
}

// Rename is for repairing a database, which is not done here.
func (*overlay) Rename(storage.FileDesc, storage.FileDesc) error {
	return errors.New("embedded: a database under check is not repaired")
}

// listFiles names goleveldb's files in a folder.
func listFiles(dir string) ([]storage.FileDesc, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []storage.FileDesc
	for _, e := range entries {
		if fd, ok := parseFileName(e.Name()); ok {
			out = append(out, fd)
		}
	}
	return out, nil
}

// lockShared keeps a serving process away from a database while it is read. A copy without goleveldb's lock file is
// served by nobody and needs no lock.
func lockShared(dir string) (release func(), err error) {
	f, err := os.Open(filepath.Join(dir, "LOCK"))
	if errors.Is(err, os.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
		}
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
