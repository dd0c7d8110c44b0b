package msp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"hash"
	"math/big"
	"strings"
)

// A Role is what an identity is to its organisation. A subject may have several.
type Role uint8

const (
	AnyMember Role = 1 << iota // every valid identity
	Client
	Peer
	Admin
	Orderer
)

// unit is a Unit with its authority resolved.
type unit struct {
	name  string
	chain []byte // identifier of the chain from its authority; nil: any
}

// setUnits resolves the configuration's units.
func (m *Member) setUnits() error {
	m.units = map[string][][]byte{}
	for _, u := range m.config.Units {
		id, err := m.authorityID(u.Authority)
		if err != nil {
			return err
		}
		m.units[u.Name] = append(m.units[u.Name], id)
	}
	m.roles = map[Role]unit{}
	if m.config.Roles == nil {
		return nil
	}
	for role, u := range map[Role]*Unit{Client: m.config.Roles.Client, Peer: m.config.Roles.Peer, Admin: m.config.Roles.Admin, Orderer: m.config.Roles.Orderer} {
		if u == nil {
			continue
		}
		r := unit{name: u.Name}
		if len(u.Authority) > 0 {
			id, err := m.authorityID(u.Authority)
			if err != nil {
				return err
			}
			r.chain = id
		}
		m.roles[role] = r
	}
	m.apart = len(m.roles) > 0
	return nil
}

// setAdmins takes the certificates of listed administrators.
func (m *Member) setAdmins() error {
	m.admins = map[[32]byte]bool{}
	for _, p := range m.config.Admins {
		cert, err := readCertificate(p)
		if err != nil {
			return fmt.Errorf("%s: administrator: %w", m.id, err)
		}
		m.admins[fingerprint(cert)] = true
	}
	return nil
}

// setRoles decides a valid certificate's roles by its units: of those that tell roles apart it must name one and no
// more. The order of the checks is Fabric's.
func (m *Member) setRoles(s *Subject) error {
	names := s.Cert.Subject.OrganizationalUnit
	if len(m.units) > 0 && !m.namesUnit(names, s.chain) {
		return fmt.Errorf("%w: %s: %q names no unit of the organisation", ErrRole, m.id, s.Name)
	}
	s.roles = AnyMember
	if !m.apart {
		return nil
	}
	special := map[string][]byte{} // of two roles with one name the later one's authority counts
	for _, role := range []Role{Client, Peer, Admin, Orderer} {
		if u, ok := m.roles[role]; ok {
			special[u.name] = u.chain
		}
	}
	n := 0
	for _, name := range names {
		chain, ok := special[name]
		if !ok {
			continue
		}
		if chain != nil && !bytes.Equal(chain, s.chain) {
			return m.noRole(s, "its unit is bound to another authority")
		}
		if n++; n > 1 {
			return m.noRole(s, "it names several")
		}
		for role, u := range m.roles {
			if u.name == name {
				s.roles |= role
			}
		}
	}
	if n == 0 {
		return m.noRole(s, "it names none")
	}
	return nil
}

func (m *Member) noRole(s *Subject, why string) error {
	s.roles = 0
	return fmt.Errorf("%w: %s: %q: %s", ErrRole, m.id, s.Name, why)
}

func (m *Member) namesUnit(names []string, chain []byte) bool {
	for _, name := range names {
		for _, id := range m.units[name] {
			if bytes.Equal(id, chain) {
				return true
			}
		}
	}
	return false
}

// authorityID identifies the chain of one of the organisation's own authorities.
func (m *Member) authorityID(p []byte) ([]byte, error) {
	cert, err := readCertificate(p)
	if err != nil {
		return nil, err
	}
	for i, a := range m.authorities {
		if fingerprint(a) != fingerprint(cert) {
			continue
		}
		if i < len(m.config.Roots) {
			return m.chainID([]*x509.Certificate{a}), nil
		}
		chain, err := m.chain(a)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
		}
		return m.chainID(chain), nil
	}
	return nil, fmt.Errorf("%w: a unit is bound to %q, which is none of the authorities", ErrMalformed, cert.Subject.CommonName)
}

// chainID is the digest over the certificates of a chain, as principals name it.
func (m *Member) chainID(chain []*x509.Certificate) []byte {
	var h hash.Hash
	switch m.config.ChainHash {
	case "SHA384":
		h = sha512.New384()
	case "SHA3_256":
		h = sha3.New256()
	case "SHA3_384":
		h = sha3.New384()
	default:
		h = sha256.New()
	}
	for i, cert := range chain {
		signer := cert
		if i+1 < len(chain) {
			signer = chain[i+1]
		}
		h.Write(lowS(cert, signer))
	}
	return h.Sum(nil)
}

// fingerprint identifies a certificate by all that its authority signed. The signature itself is left out: of an
// ECDSA signature anybody can make a second one that verifies alike, and both stand for one identity.
func fingerprint(cert *x509.Certificate) [sha256.Size]byte {
	return sha256.Sum256(cert.RawTBSCertificate)
}

// keyOf tells identities apart.
func keyOf(mspID string, cert *x509.Certificate) [sha256.Size]byte {
	f := fingerprint(cert)
	return sha256.Sum256(append(f[:], mspID...))
}

// lowS is the certificate's DER with its signature in the one of two forms whose S is low, which is how Fabric takes
// every certificate in.
func lowS(cert, signer *x509.Certificate) []byte {
	key, ok := signer.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return cert.Raw
	}
	var pair ecdsaSignature
	half := halfOrder(key.Curve)
	if _, err := asn1.Unmarshal(cert.Signature, &pair); err != nil || half == nil || pair.S.Cmp(half) <= 0 {
		return cert.Raw
	}
	sig, err := asn1.Marshal(ecdsaSignature{pair.R, new(big.Int).Sub(key.Params().N, pair.S)})
	if err != nil {
		return cert.Raw
	}
	var parts struct{ TBS, Algorithm, Signature asn1.RawValue }
	if _, err := asn1.Unmarshal(cert.Raw, &parts); err != nil {
		return cert.Raw
	}
	bits, err := asn1.Marshal(asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)})
	if err != nil {
		return cert.Raw
	}
	parts.Signature = asn1.RawValue{FullBytes: bits}
	raw, err := asn1.Marshal(parts)
	if err != nil {
		return cert.Raw
	}
	return raw
}

var (
	oidAuthorityKey = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidAltNames     = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// namesAllowed refuses a chain whose authority constrains names where the certificate has no alternative names and a
// common name that looks like a host's. Go left this rule in version 1.15; Fabric keeps it.
func namesAllowed(chain []*x509.Certificate) error {
	if hasExtension(chain[0], oidAltNames) || !looksLikeHost(chain[0].Subject.CommonName) {
		return nil
	}
	for _, c := range chain[1:] {
		if hasExtension(c, oidConstraints) {
			return fmt.Errorf("authority %q constrains names and the certificate has none", c.Subject.CommonName)
		}
	}
	return nil
}

func hasExtension(cert *x509.Certificate, oid asn1.ObjectIdentifier) bool {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oid) {
			return true
		}
	}
	return false
}

func looksLikeHost(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return false
	}
	for i, label := range strings.Split(name, ".") {
		if label == "" {
			return false
		}
		if i == 0 && label == "*" {
			continue
		}
		for j, c := range label {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == ':'
			if !letter && (c != '-' || j == 0) {
				return false
			}
		}
	}
	return true
}
