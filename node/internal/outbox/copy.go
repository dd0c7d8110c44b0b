package outbox

import "github.com/syndtr/goleveldb/leveldb/util"

// Copy yields every entry as it is at one moment, while requests go on being accepted. Key and value are yield's only
// until it returns.
func (o *Outbox) Copy(yield func(key, value []byte) error) error {
	o.handle.RLock()
	snap, err := o.db.GetSnapshot()
	o.handle.RUnlock()
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
