package inbox

import (
	"github.com/syndtr/goleveldb/leveldb/util"
)

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
