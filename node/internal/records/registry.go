package records

import "github.com/zhenglian/zhenglian/chaincode/model"

// cachedEntry is a decoded registry record, or that there is none.
type cachedEntry struct {
	header model.Header
	entry  model.Entry // nil where there is none
}

// maxCached bounds the decoded entries; beyond it the cache begins anew.
const maxCached = 10_000

// RegistryEntry is a registry record, decoded: its header and its value, nil for none. The value is shared
// and read only. Callers ask for a record's kind, so the value has that kind's type.
func (s *Store) RegistryEntry(kind model.Kind, id model.RecordID) (model.Header, model.Entry, error) {
	key := string(recordKey(kind, id))
	s.mu.Lock()
	c, ok := s.entries[key]
	s.mu.Unlock()
	if ok {
		return c.header, c.entry, nil
	}
	snap := s.Snapshot()
	defer snap.Release()
	v, err := snap.View(kind, id)
	if err != nil {
		return model.Header{}, nil, err
	}
	if v != nil {
		if c.entry, err = model.DecodeEntry(kind, id, v.Public); err != nil {
			return model.Header{}, nil, err
		}
		c.header = v.Header
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// What was read of an older epoch may have changed since.
	if s.now == snap.epoch {
		if len(s.entries) >= maxCached {
			clear(s.entries)
		}
		s.entries[key] = c
	}
	return c.header, c.entry, nil
}

func standing[T model.Entry](s *Store, kind model.Kind, id model.RecordID) (none T, err error) {
	h, e, err := s.RegistryEntry(kind, id)
	if err != nil || e == nil || h.State != model.Active {
		return none, err
	}
	return e.(T), nil
}

// Agency is an agency that stands in the registry, nil for none. It is shared and read only.
func (s *Store) Agency(id model.AgencyID) (*model.Agency, error) {
	return standing[*model.Agency](s, model.KindAgency, model.RecordID(id))
}

// LicenceType is a licence type that stands in the registry, nil for none. It is shared and read only.
func (s *Store) LicenceType(code model.TypeCode) (*model.LicenceType, error) {
	return standing[*model.LicenceType](s, model.KindLicenceType, model.RecordID(code))
}

// Organisation is a member of the ledger, nil for none. It is shared and read only.
func (s *Store) Organisation(id model.MSPID) (*model.Organisation, error) {
	return standing[*model.Organisation](s, model.KindOrganisation, model.RecordID(id))
}

// Policy is the ledger's own rules, nil before its first block with operations. It is shared and read only.
func (s *Store) Policy() (*model.Policy, error) {
	return standing[*model.Policy](s, model.KindPolicy, model.PolicyID)
}
