package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

var errReadOnly = errors.New("embedded: opened for reading only")

// readOnlyFiles is goleveldb's view of a folder that must not change: unlike goleveldb's own read-only mode it
// creates no file at all.
type readOnlyFiles struct{ dir string }

type noLock struct{}

func (noLock) Unlock() {}

func (readOnlyFiles) Lock() (storage.Locker, error)                   { return noLock{}, nil }
func (readOnlyFiles) Log(string)                                      {}
func (readOnlyFiles) Close() error                                    { return nil }
func (readOnlyFiles) SetMeta(storage.FileDesc) error                  { return errReadOnly }
func (readOnlyFiles) Create(storage.FileDesc) (storage.Writer, error) { return nil, errReadOnly }
func (readOnlyFiles) Remove(storage.FileDesc) error                   { return errReadOnly }
func (readOnlyFiles) Rename(storage.FileDesc, storage.FileDesc) error {
	return errReadOnly
}

func (r readOnlyFiles) GetMeta() (storage.FileDesc, error) {
	b, err := os.ReadFile(filepath.Join(r.dir, "CURRENT"))
	if err != nil {
		return storage.FileDesc{}, err
	}
	fd, ok := parseFileName(strings.TrimSuffix(string(b), "\n"))
	if !ok || fd.Type != storage.TypeManifest {
		return storage.FileDesc{}, fmt.Errorf("CURRENT names no manifest: %q", b)
	}
	return fd, nil
}

func (r readOnlyFiles) List(types storage.FileType) ([]storage.FileDesc, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	var out []storage.FileDesc
	for _, e := range entries {
		if fd, ok := parseFileName(e.Name()); ok && fd.Type&types != 0 {
			out = append(out, fd)
		}
	}
	return out, nil
}

func (r readOnlyFiles) Open(fd storage.FileDesc) (storage.Reader, error) {
	return os.Open(filepath.Join(r.dir, fd.String()))
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
