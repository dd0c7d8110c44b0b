package msp

import (
	"bytes"
	"errors"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// A Principal says who a signer must be: the leaf of a policy. The zero one is met by nobody, and so is one that
// cannot be read: to Fabric both are an error each time somebody is measured by them, never one of the policy.
type Principal struct {
	kind  principalKind
	msp   string
	role  Role
	unit  string
	chain []byte
	key   [32]byte
	all   []Principal // simple ones
}

type principalKind uint8

const (
	metByNobody principalKind = iota
	metByRole
	metByUnit
	metByIdentity
	metByNamed // any identity that is not anonymous, and X.509 knows no other
	metByAll
)

// ErrTooMany is why principals are not read: there are more of them than are to be read.
var ErrTooMany = errors.New("too many principals")

// ReadPrincipal reads a principal of any of Fabric's kinds: role, organizational unit, identity, anonymity, combined.
// left is how many more may be read, and is counted down: one for the principal and one for each in it, however deep.
// That they are more, ErrTooMany, is the only error.
func ReadPrincipal(p *mspproto.MSPPrincipal, left *int) (Principal, error) {
	if *left--; *left < 0 {
		return Principal{}, ErrTooMany
	}
	if kind := p.GetPrincipalClassification(); kind != mspproto.MSPPrincipal_COMBINED {
		return readSimple(kind, p.GetPrincipal()), nil
	}
	return readCombined(p.GetPrincipal(), left)
}

// readSimple reads a principal that holds no others.
func readSimple(kind mspproto.MSPPrincipal_Classification, raw []byte) Principal {
	switch kind {
	case mspproto.MSPPrincipal_ROLE:
		var r mspproto.MSPRole
		role, ok := Role(0), false
		if proto.Unmarshal(raw, &r) == nil {
			role, ok = roles[r.GetRole()]
		}
		if ok {
			return Principal{kind: metByRole, msp: r.GetMspIdentifier(), role: role}
		}
	case mspproto.MSPPrincipal_ORGANIZATION_UNIT:
		var u mspproto.OrganizationUnit
		if proto.Unmarshal(raw, &u) == nil {
			return Principal{kind: metByUnit, msp: u.GetMspIdentifier(), unit: u.GetOrganizationalUnitIdentifier(), chain: u.GetCertifiersIdentifier()}
		}
	case mspproto.MSPPrincipal_IDENTITY:
		if s, err := read(raw); err == nil {
			return Principal{kind: metByIdentity, key: keyOf(s.MSP, s.Cert)}
		}
	case mspproto.MSPPrincipal_ANONYMITY:
		var a mspproto.MSPIdentityAnonymity
		if proto.Unmarshal(raw, &a) == nil && a.GetAnonymityType() == mspproto.MSPIdentityAnonymity_NOMINAL {
			return Principal{kind: metByNamed}
		}
	}
	return Principal{}
}

var roles = map[mspproto.MSPRole_MSPRoleType]Role{
	mspproto.MSPRole_MEMBER: AnyMember, mspproto.MSPRole_CLIENT: Client, mspproto.MSPRole_PEER: Peer,
	mspproto.MSPRole_ADMIN: Admin, mspproto.MSPRole_ORDERER: Orderer,
}

// MetBy reports whether the subject is who the principal asks for.
func (p *Principal) MetBy(s *Subject) bool {
	switch p.kind {
	case metByRole:
		return s.MSP == p.msp && s.roles&p.role != 0
	case metByUnit:
		if s.MSP != p.msp || s.invalid != nil || !bytes.Equal(s.chain, p.chain) {
			return false
		}
		for _, name := range s.Cert.Subject.OrganizationalUnit {
			if name == p.unit {
				return true
			}
		}
	case metByIdentity:
		return s.invalid == nil && s.key == p.key
	case metByNamed:
		return true
	case metByAll:
		for i := range p.all {
			if !p.all[i].MetBy(s) {
				return false
			}
		}
		return true
	}
	return false
}

// MemberOf is the principal that every valid identity of the organisation meets.
func MemberOf(mspID string) Principal {
	return Principal{kind: metByRole, msp: mspID, role: AnyMember}
}
