package records

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Peek reads how far a stopped node's records have come, and changes nothing there. A folder that is not there has
// come nowhere. ErrInUse: a node has it open; ErrFormat: another build wrote it.
func Peek(dir string) (height, position uint64, at model.Time, err error) {
	if _, err := os.Stat(filepath.Join(dir, "CURRENT")); errors.Is(err, fs.ErrNotExist) {
		return 0, 0, at, nil
	}
	files, err := storage.OpenFile(dir, true)
	if errors.Is(err, storage.ErrLocked) || errors.Is(err, syscall.EAGAIN) {
		return 0, 0, at, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	if err != nil {
		return 0, 0, at, err
	}
	defer files.Close()
	db, err := leveldb.Open(files, &opt.Options{ReadOnly: true})
	if err != nil {
		return 0, 0, at, err
	}
	defer db.Close()
	f, err := absent(db.Get([]byte(spaceFormat), nil))
	if err != nil {
		return 0, 0, at, err
	}
	if f != nil && (len(f) != 1 || f[0] != formatVersion) {
		return 0, 0, at, ErrFormat
	}
	b, err := absent(db.Get([]byte(spaceCursor), nil))
	if err != nil {
		return 0, 0, at, err
	}
	c, err := decodeCursor(b)
	return c.height, c.position, c.at, err
}
