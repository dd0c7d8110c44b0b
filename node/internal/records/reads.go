package records

import "github.com/zhenglian/zhenglian/chaincode/model"

// The reads below are of one fresh snapshot each.

// read runs fn on a snapshot and releases it.
func read[T any](s *Store, fn func(*Snapshot) (T, error)) (T, error) {
	snap := s.Snapshot()
	defer snap.Release()
	return fn(snap)
}

// View is a record as it stands, nil for none.
func (s *Store) View(kind model.Kind, id model.RecordID) (*model.View, error) {
	return read(s, func(x *Snapshot) (*model.View, error) { return x.View(kind, id) })
}

// History is Snapshot.History.
func (s *Store) History(kind model.Kind, id model.RecordID, before uint64, limit int) ([]model.HistoryEntry, error) {
	return read(s, func(x *Snapshot) ([]model.HistoryEntry, error) { return x.History(kind, id, before, limit) })
}

// List is Snapshot.List.
func (s *Store) List(kind model.Kind, after model.RecordID, limit int) ([]model.View, error) {
	return read(s, func(x *Snapshot) ([]model.View, error) { return x.List(kind, after, limit) })
}

// Entries is Snapshot.Entries.
func (s *Store) Entries(from uint64, limit int) ([]Entry, error) {
	return read(s, func(x *Snapshot) ([]Entry, error) { return x.Entries(from, limit) })
}

// Receipt is an operation's receipt; ok is false for one that stands in no applied block.
func (s *Store) Receipt(id model.OpID) (model.Receipt, bool, error) {
	snap := s.Snapshot()
	defer snap.Release()
	return snap.Receipt(id)
}

// KeyAt is Snapshot.KeyAt.
func (s *Store) KeyAt(agency model.AgencyID, id string, position uint64) (alg string, public []byte, ok bool, err error) {
	snap := s.Snapshot()
	defer snap.Release()
	return snap.KeyAt(agency, id, position)
}

// Claimed reports whether any licence ever held the identifier, or one holds the number of the type.
func (s *Store) Claimed(id model.LicenceID, t model.TypeCode, number string) (bool, error) {
	return read(s, func(x *Snapshot) (bool, error) {
		return x.claimed(identifierKey(string(id)), numberKey(numberClaim(t, number)))
	})
}

// ClaimedFile reports whether any licence ever stated a file by one of its digests.
func (s *Store) ClaimedFile(sha256, sm3 model.Digest) (bool, error) {
	return read(s, func(x *Snapshot) (bool, error) { return x.claimed(digestKey(sha256[:]), digestKey(sm3[:])) })
}

// LastSerial is the greatest serial of an agency's records of a kind, 0 for none.
func (s *Store) LastSerial(kind model.Kind, agency model.AgencyID) (uint64, error) {
	return read(s, func(x *Snapshot) (uint64, error) {
		b, err := x.get(serialKey(kind, agency))
		return beGet(b), err
	})
}
