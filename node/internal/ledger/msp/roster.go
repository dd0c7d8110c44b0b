package msp

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

const cachedSubjects = 4096 // identities remembered by one roster

// A Subject is a caller whose certificate chains to the organisation's roots.
type Subject struct {
	MSP  string            // organisation id
	Name string            // the certificate's subject common name: the agency or node
	Cert *x509.Certificate // the certificate itself

	member  *Member // nil where Read made the subject
	roles   Role
	chain   []byte   // identifier of the chain above the certificate
	key     [32]byte // the same for any two forms of one identity
	invalid error    // why the organisation does not accept the certificate though it chains to its roots
}

// ValidAt reports whether the certificate's validity period covers the moment.
func (s *Subject) ValidAt(at time.Time) error { return validAt(s.Cert, at) }

// Invalid is nil for an identity that its organisation accepts. One that is revoked, or has no role where it needs
// one, can still sign but meets no policy.
func (s *Subject) Invalid() error { return s.invalid }

// Has reports whether the subject has the role.
func (s *Subject) Has(r Role) bool { return s.roles&r != 0 }

// Same reports whether both are the same identity, in whatever form each was written.
func (s *Subject) Same(other *Subject) bool { return s == other || s.key == other.key }

// Verify checks sig by the subject's key over the message, which is given in parts that are read as one.
func (s *Subject) Verify(sig []byte, message ...[]byte) error {
	return verify(s.Cert.PublicKey, s.member != nil && s.member.config.SHA3, sig, message)
}

// A Roster is the members of a ledger. It recognises serialized identities and remembers those it has recognised,
// because checking a chain costs as much as checking a signature. It is safe for concurrent use.
type Roster struct {
	members map[string]*Member

	mu    sync.RWMutex
	known map[[sha256.Size]byte]*Subject // guarded by mu
}

// NewRoster makes a roster of members whose ids differ.
func NewRoster(members ...*Member) (*Roster, error) {
	r := &Roster{members: map[string]*Member{}, known: map[[sha256.Size]byte]*Subject{}}
	for _, m := range members {
		if r.members[m.id] != nil {
			return nil, fmt.Errorf("%w: %s is listed twice", ErrMalformed, m.id)
		}
		r.members[m.id] = m
	}
	return r, nil
}

// IDs are the members' ids, sorted.
func (r *Roster) IDs() []string {
	ids := make([]string, 0, len(r.members))
	for id := range r.members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Member is the member of that id, or nil.
func (r *Roster) Member(id string) *Member { return r.members[id] }

// Identify reads a serialized identity and checks that its organisation accepts it, except for its validity period.
func (r *Roster) Identify(serialized []byte) (*Subject, error) {
	s, err := r.Resolve(serialized)
	if err == nil {
		err = s.invalid
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Resolve reads a serialized identity and checks that its certificate chains to the organisation's roots. Unlike
// Identify it also gives one that is not accepted for another reason; see Subject.Invalid.
func (r *Roster) Resolve(serialized []byte) (*Subject, error) {
	// There is no limit to the length beyond that of what it stands in: Fabric has none, and passes over any text
	// before and after the certificate.
	key := sha256.Sum256(serialized)
	r.mu.RLock()
	s := r.known[key]
	r.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	s, err := r.resolve(serialized)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= cachedSubjects { // dropping any one keeps the bound; recognising it again is cheap
		for k := range r.known {
			delete(r.known, k)
			break
		}
	}
	r.known[key] = s
	return s, nil
}

func (r *Roster) resolve(serialized []byte) (*Subject, error) {
	s, err := read(serialized)
	if err != nil {
		return nil, err
	}
	m := r.members[s.MSP]
	if m == nil {
		return nil, fmt.Errorf("%w: %q", ErrUnknown, s.MSP)
	}
	if err := m.recognise(s); err != nil {
		return nil, err
	}
	return s, nil
}

// Read says whom a serialized identity claims to be, without checking it: for identities that were checked before
// they were stored.
func Read(serialized []byte) (*Subject, error) { return read(serialized) }

func read(serialized []byte) (*Subject, error) {
	var id mspproto.SerializedIdentity
	if err := proto.Unmarshal(serialized, &id); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	cert, err := readCertificate(id.GetIdBytes())
	if err != nil {
		return nil, err
	}
	return &Subject{MSP: id.GetMspid(), Name: cert.Subject.CommonName, Cert: cert}, nil
}
