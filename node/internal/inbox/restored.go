package inbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Ended counts what a restore has ended in an inbox.
type Ended struct {
	Drafts  int // that waited, or were approved and neither sent nor refused
	Batches int // that were open
}

// Restored ends, in the inbox of a backup that nobody has open, what may have been taken back since: a draft that waits
// there may have been rejected, a key that was granted drawn and revoked, a batch used up. What waits expires now, and may be
// sent again; of what was approved and has not reached intake only what stands on the ledger already counts
// (Held.Restored); a batch that is open at the backup's moment ends there.
//
// fs.ErrNotExist: there is no inbox. All is written at once, or nothing.
func Restored(dir string, backup, now time.Time) (out Ended, err error) {
	if _, err := os.Stat(filepath.Join(dir, "CURRENT")); err != nil {
		return out, fmt.Errorf("inbox: %w", err)
	}
	db, err := openDB(dir, false)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	b := new(leveldb.Batch)
	if out.Batches, err = closeOpen(db, b, backup); err != nil {
		return out, err
	}
	if out.Drafts, err = endDrafts(db, b, model.TimeOf(now)); err != nil {
		return out, err
	}
	return out, db.Write(b, &opt.WriteOptions{Sync: true})
}

func closeOpen(db *database, b *leveldb.Batch, at time.Time) (closed int, err error) {
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
	return closed, it.Error()
}

func endDrafts(db *database, b *leveldb.Batch, now model.Time) (ended int, err error) {
	it := db.NewIterator(util.BytesPrefix([]byte{'d'}), nil)
	defer it.Release()
	for it.Next() {
		h := new(Held)
		if err := json.Unmarshal(it.Value(), h); err != nil {
			return 0, damaged(err)
		}
		n, ok := parseID(h.ID)
		if !ok || n != binary.BigEndian.Uint64(it.Key()[1:]) {
			return 0, damaged(fmt.Errorf("draft %s", h.ID))
		}
		switch {
		case h.State == Pending, h.onItsWay():
			ended++
		case h.State == Approved && slices.Contains(h.Rules, Keys): // a key that was granted may not have been drawn
		default:
			continue
		}
		if h.State == Pending {
			h.State, h.Decision, h.Same = Expired, &Decision{At: now}, model.Digest{}
			b.Delete(stateKey(Pending, n))
			b.Put(stateKey(Expired, n), nil)
		}
		h.Restored = true
		if err := put(b, h); err != nil {
			return 0, err
		}
	}
	return ended, it.Error()
}
