package inbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// CloseBatches ends the open batches of an inbox that nobody has open, as of a moment, and says how many that were.
// fs.ErrNotExist: there is no inbox.
func CloseBatches(dir string, at time.Time) (closed int, err error) {
	if _, err := os.Stat(filepath.Join(dir, "CURRENT")); err != nil {
		return 0, fmt.Errorf("inbox: %w", err)
	}
	db, err := openDB(dir, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	b := new(leveldb.Batch)
	it := db.NewIterator(util.BytesPrefix([]byte{'b'}), nil)
	defer it.Release()
	for it.Next() {
		t := new(Batch)
		if err := json.Unmarshal(it.Value(), t); err != nil {
			return 0, damaged(err)
		}
		if n, ok := parseID(t.ID); !ok || n != binary.BigEndian.Uint64(it.Key()[1:]) {
			return 0, damaged(fmt.Errorf("batch %s", t.ID))
		}
		if !t.Open(at) {
			continue
		}
		t.Until = model.TimeOf(at)
		if err := putBatch(b, t); err != nil {
			return 0, err
		}
		closed++
	}
	if err := it.Error(); err != nil {
		return 0, err
	}
	return closed, db.Write(b, &opt.WriteOptions{Sync: true})
}

// Copy yields every entry as it is at one moment, while the inbox is used on. Key and value are yield's only until it
// returns.
func (in *Inbox) Copy(yield func(key, value []byte) error) error {
	in.handle.RLock()
	snap, err := in.db.GetSnapshot()
	in.handle.RUnlock()
	if err != nil {
		return err
	}
	defer snap.Release()
	it := snap.NewIterator(&util.Range{}, nil)
	defer it.Release()
	for it.Next() {
		if err := yield(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}
