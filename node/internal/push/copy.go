package push

import "github.com/syndtr/goleveldb/leveldb/util"

// Copy yields every entry as it is at one moment, while units are taken. Key and value are yield's only until it
// returns.
func (j *Journal) Copy(yield func(key, value []byte) error) error {
	snap, err := j.db.GetSnapshot()
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
