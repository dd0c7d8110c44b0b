package vault

import (
	"strconv"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// Copy yields every entry as it is at one moment, while the vault is written on. Key and value are yield's only
// until it returns.
func (v *Vault) Copy(yield func(key, value []byte) error) error {
	snap, err := v.db.GetSnapshot()
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

// Jump is by how many serials each series of a restored vault skips ahead. What was accepted after the backup and is
// lost with the old machine had serials too, and somebody may have heard of them: at most as many as an outbox holds
// (200,000 unless configured otherwise) and a reservation beyond the last that stands on the ledger.
const Jump = 1 << 20

// Entries of a restored vault: jumpKey, and behind it each series that has skipped.
const jumpKey = "j"

// Restored makes a closed vault, just restored from a backup, skip serials: each series by Jump beyond what the
// backup and the ledger know, once, when it is next used. Called again it changes nothing that was not used yet.
func Restored(dir string) error {
	v, err := Open(dir)
	if err != nil {
		return err
	}
	defer v.Close()
	var b leveldb.Batch
	it := v.db.NewIterator(util.BytesPrefix([]byte(jumpKey)), nil)
	for it.Next() {
		b.Delete(append([]byte(nil), it.Key()...))
	}
	it.Release()
	if err := it.Error(); err != nil {
		return err
	}
	b.Put([]byte(jumpKey), strconv.AppendUint(nil, Jump, 10))
	return stored(v.db.Write(&b, &opt.WriteOptions{Sync: true}))
}

// jump is how far a series is still to skip, and the entry that says that it did, to be written with its reservation.
func (v *Vault) jump(series string) (by uint64, done []byte, err error) {
	restored, err := v.db.Has([]byte(jumpKey), nil)
	if err != nil || !restored {
		return 0, nil, err
	}
	done = []byte(jumpKey + "/" + series)
	skipped, err := v.db.Has(done, nil)
	if err != nil || skipped {
		return 0, nil, err
	}
	return Jump, done, nil
}
