package push

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Journal remembers every unit that this node ever took, so that none counts twice whatever becomes of the table or
// the folder that it came through: answers deleted, a database restored from an old copy, a key renewed in between.
// It is a goleveldb database in the node's folder; an entry has some 200 bytes and stays. Safe for concurrent use.
type Journal struct{ db *leveldb.DB }

// entry is what is remembered of a unit.
type entry struct {
	Digest    model.Digest   `json:"digest"`
	Principal string         `json:"principal"` // in whose name it was last given to the node; "" before that
	Agency    model.AgencyID `json:"agency"`
	Count     int            `json:"count"`
	Accepted  bool           `json:"accepted,omitempty"` // its operations are in the outbox or beyond
	Draft     string         `json:"draft,omitempty"`
}

// OpenJournal opens a journal, an empty one where there is none.
func OpenJournal(dir string) (*Journal, error) {
	db, err := leveldb.OpenFile(dir, nil)
	if err != nil {
		return nil, fmt.Errorf("push journal: %w", err)
	}
	return &Journal{db}, nil
}

// Close closes it.
func (j *Journal) Close() error { return j.db.Close() }

func journalKey(source, id string) []byte {
	return append(append([]byte(source), 0), id...) // sources hold no zero byte
}

// find reads an entry; ok is false for a unit that was never taken.
func (j *Journal) find(source, id string) (e entry, ok bool, err error) {
	raw, err := j.db.Get(journalKey(source, id), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return e, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	if err != nil {
		return e, false, fmt.Errorf("push journal: %w", err)
	}
	return e, true, nil
}

func (j *Journal) put(source, id string, e entry) error {
	raw, err := json.Marshal(e)
	if err == nil {
		err = j.db.Put(journalKey(source, id), raw, &opt.WriteOptions{Sync: true})
	}
	if err != nil {
		return model.E(model.CodeStorageFull).Because(err)
	}
	return nil
}
