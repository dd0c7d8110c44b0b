package records

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Snapshot is the store after one block. All that it answers is of that moment. It must be released, and
// is used by one goroutine.
type Snapshot struct {
	s     *Store
	epoch *epoch

	// The operation read last: a record's value and its history are mostly in the same one.
	last   []byte
	lastAt place

	// The keys read last, a ring: a verdict asks for a record, its leaf and its names again and again, and each time the
	// database would look through all its levels.
	asked [8]struct{ key, value []byte }
	next  int
}

// Snapshot takes the newest.
func (s *Store) Snapshot() *Snapshot {
	s.reading.RLock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.refs++
	return &Snapshot{s: s, epoch: s.now}
}

// Release lets go of the snapshot; releasing twice does nothing more.
func (s *Snapshot) Release() {
	if s.epoch == nil {
		return
	}
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	s.s.release(s.epoch)
	s.epoch = nil
	s.s.reading.RUnlock()
}

// Height is the number of blocks that the snapshot reflects.
func (s *Snapshot) Height() uint64 { return s.epoch.height }

// Position is the number of leaves that it reflects.
func (s *Snapshot) Position() uint64 { return s.epoch.position }

// get is the value of a key, nil for none. The caller changes neither.
func (s *Snapshot) get(key []byte) ([]byte, error) {
	for i := range s.asked {
		if bytes.Equal(s.asked[i].key, key) {
			return s.asked[i].value, nil
		}
	}
	value, err := absent(s.epoch.db.Get(key, nil))
	if err == nil {
		a := &s.asked[s.next%len(s.asked)]
		a.key, a.value = key, value
		s.next++
	}
	return value, err
}

func (s *Snapshot) record(kind model.Kind, id model.RecordID) (*record, error) {
	b, err := s.get(recordKey(kind, id))
	if err != nil || b == nil {
		return nil, err
	}
	r, err := decodeRecord(b)
	return &r, err
}

func (s *Snapshot) entry(position uint64) (entry, error) {
	b, err := s.get(logKey(position))
	if err != nil {
		return entry{}, err
	}
	if b == nil {
		return entry{}, fmt.Errorf("%w: leaf %d", ErrDamaged, position)
	}
	return decodeEntry(b)
}

func (s *Snapshot) raw(e *entry) ([]byte, error) {
	if s.last != nil && s.lastAt == e.at {
		return s.last, nil
	}
	b, err := s.s.ops.read(e.at)
	if err == nil {
		s.last, s.lastAt = b, e.at
	}
	return b, err
}

// value is the public value of a record.
func (s *Snapshot) value(r *record) ([]byte, error) {
	if r.inline != nil {
		return r.inline, nil
	}
	e, err := s.entry(r.at.position)
	if err != nil {
		return nil, err
	}
	raw, err := s.raw(&e)
	if err != nil {
		return nil, err
	}
	n := uint64(len(raw))
	if r.at.offset > n || r.at.length > n-r.at.offset {
		return nil, ErrDamaged
	}
	return raw[r.at.offset : r.at.offset+r.at.length], nil
}

// View is a record as it stands, nil for none.
func (s *Snapshot) View(kind model.Kind, id model.RecordID) (*model.View, error) {
	r, err := s.record(kind, id)
	if err != nil || r == nil {
		return nil, err
	}
	e, err := s.entry(r.position)
	if err != nil {
		return nil, err
	}
	v := &model.View{Kind: kind, ID: id, Header: r.header, Digest: e.record, Position: r.position, Leaf: e.leaf}
	if v.Public, err = s.value(r); err != nil {
		return nil, err
	}
	if kind != model.KindLicence {
		return v, nil
	}
	for _, key := range r.names() {
		c, err := s.claims(key)
		if err != nil {
			return nil, err
		}
		// What has ended holds nothing, and is no duplicate of what stands in its place.
		v.Duplicate = v.Duplicate || (r.holds && c.contested(forever(key)))
	}
	return v, nil
}

func (s *Snapshot) claimed(keys ...[]byte) (bool, error) {
	for _, key := range keys {
		c, err := s.claims(key)
		if err != nil || c.claimed(forever(key)) {
			return err == nil, err
		}
	}
	return false, nil
}

func (s *Snapshot) claims(key []byte) (claims, error) {
	b, err := s.get(key)
	if err != nil {
		return claims{}, err
	}
	return decodeClaims(b)
}

// Find lists the licences that a query may mean: those that hold the name before those that once held it,
// the newer before the older. It is empty where none ever held it. A contested name says of none of them
// that it is the one meant: several hold it or, of an identifier or a file, ever held it.
func (s *Snapshot) Find(q *model.Query) (ids []model.RecordID, contested bool, err error) {
	var key []byte
	switch {
	case q.Record != "":
		return []model.RecordID{q.Record}, false, nil
	case q.Identifier != "":
		key = identifierKey(string(q.Identifier))
	case q.Number != "":
		key = numberKey(numberClaim(q.Type, q.Number))
	default:
		d, err := hex.DecodeString(q.File)
		if err != nil || len(d) != 32 {
			return nil, false, nil
		}
		key = digestKey(d)
	}
	c, err := s.claims(key)
	return c.ids(), c.contested(forever(key)), err
}

// History lists a record's versions below one, the newest first, at most limit of them; before 0 begins
// with the newest there is.
func (s *Snapshot) History(kind model.Kind, id model.RecordID, before uint64, limit int) ([]model.HistoryEntry, error) {
	r, err := s.record(kind, id)
	if err != nil || r == nil {
		return nil, err
	}
	if before == 0 {
		before = math.MaxUint64
	}
	out := make([]model.HistoryEntry, 0, min(uint64(max(limit, 0)), r.header.Version))
	for next := r.position + 1; next > 0 && len(out) < limit; {
		e, err := s.entry(next - 1)
		if err != nil {
			return nil, err
		}
		if e.previous >= next {
			return nil, ErrDamaged
		}
		raw, err := s.raw(&e)
		if err != nil {
			return nil, err
		}
		h, err := e.history(next-1, raw)
		if err != nil {
			return nil, err
		}
		if h.Version < before {
			out = append(out, h)
		}
		next = e.previous
	}
	return out, nil
}

// Versions lists a record's versions whose position is greater than after (−1: all), the oldest first, at
// most limit of them.
func (s *Snapshot) Versions(kind model.Kind, id model.RecordID, after int64, limit int) ([]model.HistoryEntry, error) {
	r, err := s.record(kind, id)
	if err != nil || r == nil {
		return nil, err
	}
	var positions []uint64
	for next := r.position + 1; next > 0 && int64(next-1) > after; {
		positions = append(positions, next-1)
		e, err := s.entry(next - 1)
		if err != nil {
			return nil, err
		}
		if e.previous >= next {
			return nil, ErrDamaged
		}
		next = e.previous
	}
	var out []model.HistoryEntry
	for i := len(positions) - 1; i >= 0 && len(out) < limit; i-- {
		e, err := s.entry(positions[i])
		if err != nil {
			return nil, err
		}
		raw, err := s.raw(&e)
		if err != nil {
			return nil, err
		}
		h, err := e.history(positions[i], raw)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

// Entry is the leaf at a position; ok is false where there is none yet.
func (s *Snapshot) Entry(position uint64) (Entry, bool, error) {
	if position >= s.epoch.position {
		return Entry{}, false, nil
	}
	e, err := s.entry(position)
	if err != nil {
		return Entry{}, false, err
	}
	raw, err := s.raw(&e)
	if err != nil {
		return Entry{}, false, err
	}
	out, err := e.read(position, raw)
	return out, err == nil, err
}

// Entries lists leaves in order from a position on, at most limit of them.
func (s *Snapshot) Entries(from uint64, limit int) ([]Entry, error) {
	var out []Entry
	it := s.epoch.db.NewIterator(&util.Range{Start: logKey(from), Limit: logKey(s.epoch.position)}, nil)
	defer it.Release()
	for len(out) < limit && it.Next() {
		position := beGet(it.Key()[len(spaceLog):])
		if position != from+uint64(len(out)) {
			return nil, fmt.Errorf("%w: leaf %d", ErrDamaged, from+uint64(len(out)))
		}
		e, err := decodeEntry(it.Value())
		if err != nil {
			return nil, err
		}
		raw, err := s.raw(&e)
		if err != nil {
			return nil, err
		}
		x, err := e.read(position, raw)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, it.Error()
}

// Receipt is an operation's receipt; ok is false for one that stands in no applied block.
func (s *Snapshot) Receipt(id model.OpID) (model.Receipt, bool, error) {
	b, err := s.get(operationKey(id))
	if err != nil || b == nil {
		return model.Receipt{}, false, err
	}
	e, ok, err := s.Entry(beGet(b))
	return e.Receipt, ok, err
}

// KeyAt is the key that an agency listed under an id when the leaf at a position was made.
func (s *Snapshot) KeyAt(agency model.AgencyID, id string, position uint64) (alg string, public []byte, ok bool, err error) {
	b, err := s.get(keyKey(agency, id))
	if err != nil {
		return "", nil, false, err
	}
	ws, err := decodeWindows(b)
	if err != nil {
		return "", nil, false, err
	}
	for _, w := range ws {
		if w.from <= position && position < w.until {
			public, err := base64.RawURLEncoding.Strict().DecodeString(w.public)
			if err != nil {
				return "", nil, false, ErrDamaged
			}
			return w.alg, public, true, nil
		}
	}
	return "", nil, false, nil
}

// List lists a kind's records in the order of their ids, after one, at most limit of them.
func (s *Snapshot) List(kind model.Kind, after model.RecordID, limit int) ([]model.View, error) {
	within := util.BytesPrefix(recordKey(kind, ""))
	if after != "" {
		within.Start = append(recordKey(kind, after), 0)
	}
	var out []model.View
	it := s.epoch.db.NewIterator(within, nil)
	defer it.Release()
	for len(out) < limit && it.Next() {
		v, err := s.View(kind, model.RecordID(it.Key()[len(recordKey(kind, "")):]))
		if err != nil {
			return nil, err
		}
		out = append(out, *v)
	}
	return out, it.Error()
}
