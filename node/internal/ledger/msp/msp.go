// Package msp is membership: who may speak for an organisation, and as what.
//
// An organisation is known by its id (BeijingMSP) and by the certificates of its own authorities. Whoever presents
// a certificate that chains to one of these roots speaks for the organisation; the certificate's subject common name
// says which agency or node of it, and its organizational unit, where the organisation tells its people apart by it,
// whether it is a client, a peer, an administrator or an orderer. The rules are those of Hyperledger Fabric, so that
// the same certificate is accepted or refused by the embedded ledger, by a peer and by a node that checks blocks:
//
//   - a serialized identity is the protobuf msp.SerializedIdentity with a PEM certificate;
//   - an authority's certificate is not an identity;
//   - an ECDSA signature is ASN.1 over the digest and has a low S; an Ed25519 signature covers the message;
//   - whether the chain is right does not depend on the clock. Expiry is asked for separately, because a block stays
//     valid after the certificates in it have expired.
//
// Where Fabric is lenient this package is exactly as lenient: a reader that refused what every peer accepts could be
// stopped by whoever sends such a thing. docs/design/0014-believing-a-fabric-block.md lists these places.
//
// CA is a small authority for development, the demo and tests; an organisation's real one is its own business, and
// only its root certificate reaches a ledger.
package msp

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Errors of this package, for errors.Is.
var (
	ErrMalformed = errors.New("msp: malformed identity or certificate")
	ErrUnknown   = errors.New("msp: organisation is not a member")
	ErrForeign   = errors.New("msp: certificate does not chain to the organisation's roots")
	ErrExpired   = errors.New("msp: certificate is outside its validity period")
	ErrRevoked   = errors.New("msp: certificate is revoked")
	ErrRole      = errors.New("msp: certificate has not exactly one role of the organisation")
	ErrSignature = errors.New("msp: signature is not valid")
)

// Config is what the members of a ledger are told about one organisation. It holds no secret.
type Config struct {
	ID            string   // organisation id, for example BeijingMSP
	Roots         [][]byte // PEM certificates of its root authorities, at least one
	Intermediates [][]byte // PEM certificates of intermediate authorities
	Revoked       [][]byte // PEM or DER revocation lists
	TLSRoots      [][]byte // PEM certificates of the authorities of its TLS certificates
	Admins        [][]byte // PEM certificates of administrators that are listed by themselves
	Units         []Unit   // organizational units of which every certificate must name one; none: any certificate
	Roles         *Roles   // how certificates of clients, peers, administrators and orderers are told apart; nil: they are not
	SHA3          bool     // signatures are over SHA3-256 instead of SHA-256
	ChainHash     string   // by which units name their authorities: SHA256 (default), SHA384, SHA3_256, SHA3_384
	NoEd25519     bool     // Ed25519 keys are refused, as by Fabric before version 3
}

// A Unit is an organizational unit of certificates, bound to the authority of the PEM certificate or, without one, to
// any authority of the organisation.
type Unit struct {
	Name      string
	Authority []byte
}

// Roles are the units by which an organisation tells its identities apart: Fabric's NodeOUs. A nil one is not used. A
// certificate must name exactly one of them.
type Roles struct{ Client, Peer, Admin, Orderer *Unit }

// A Member is one organisation with its authorities parsed. It is immutable and safe for concurrent use.
type Member struct {
	id            string
	config        Config
	roots         *x509.CertPool
	intermediates *x509.CertPool
	authorities   []*x509.Certificate
	inner         map[string]bool // authorities that certify another one, by DER: they certify no identities
	lists         []*revocations
	badList       error               // a revocation list that Fabric cannot use; every certificate is invalid then
	units         map[string][][]byte // name to chain identifiers; empty: no unit is asked for
	apart         bool                // roles are told apart by unit
	roles         map[Role]unit
	admins        map[[32]byte]bool // certificates listed by themselves
	unread        bool              // see Unread
}

// NewMember parses c.
func NewMember(c Config) (*Member, error) {
	if c.ID == "" {
		return nil, fmt.Errorf("%w: an organisation needs an id", ErrMalformed)
	}
	if len(c.Roots) == 0 {
		return nil, fmt.Errorf("%w: %s has no root certificate", ErrMalformed, c.ID)
	}
	m := &Member{id: c.ID, config: c, roots: x509.NewCertPool(), intermediates: x509.NewCertPool(), inner: map[string]bool{}}
	for _, set := range []struct {
		pems [][]byte
		pool *x509.CertPool
	}{{c.Roots, m.roots}, {c.Intermediates, m.intermediates}} {
		for _, p := range set.pems {
			cert, err := readCertificate(p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.ID, err)
			}
			if !cert.IsCA {
				return nil, fmt.Errorf("%w: %s lists %q as an authority, but the certificate is not one", ErrMalformed, c.ID, cert.Subject.CommonName)
			}
			set.pool.AddCert(cert)
			m.authorities = append(m.authorities, cert)
		}
	}
	for _, cert := range m.authorities[len(c.Roots):] {
		chain, err := m.chain(cert)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: intermediate authority %q: %v", ErrMalformed, c.ID, cert.Subject.CommonName, err)
		}
		for _, above := range chain[1:] {
			m.inner[string(above.Raw)] = true
		}
	}
	for _, raw := range c.Revoked {
		m.revoke(raw)
	}
	if err := m.setUnits(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.ID, err)
	}
	return m, m.setAdmins()
}

// Unread is an organisation whose membership is of a kind that this package does not read. It recognises nobody.
func Unread(id string) *Member { return &Member{id: id, config: Config{ID: id}, unread: true} }

// ID is the organisation's id.
func (m *Member) ID() string { return m.id }

// Config is what the member was made from.
func (m *Member) Config() Config { return m.config }

// Validate reports whether cert may speak for the organisation. With a zero time the validity period is not looked
// at; otherwise the certificate must be valid at that moment.
func (m *Member) Validate(cert *x509.Certificate, at time.Time) error {
	s := &Subject{MSP: m.id, Cert: cert}
	if err := m.recognise(s); err != nil {
		return err
	}
	if s.invalid != nil {
		return s.invalid
	}
	return validAt(cert, at)
}

// recognise fills in what the organisation says of a certificate. The error is one that keeps Fabric from reading the
// identity at all; s.invalid is one for which it is read and found not valid.
func (m *Member) recognise(s *Subject) error {
	cert := s.Cert
	s.member, s.key = m, keyOf(m.id, cert)
	if m.unread {
		return fmt.Errorf("%w: %s: its membership is of another kind", ErrForeign, m.id)
	}
	if cert.IsCA {
		return fmt.Errorf("%w: %q is the certificate of an authority", ErrForeign, cert.Subject.CommonName)
	}
	chain, err := m.chain(cert)
	if err != nil {
		return fmt.Errorf("%w: %s: %v", ErrForeign, m.id, err)
	}
	switch {
	case m.config.NoEd25519 && cert.PublicKeyAlgorithm == x509.Ed25519:
		s.invalid = fmt.Errorf("%w: %s: key type %s is not accepted", ErrForeign, m.id, cert.PublicKeyAlgorithm)
	case m.inner[string(chain[1].Raw)]:
		s.invalid = fmt.Errorf("%w: %s: the authority of %q certifies other authorities", ErrForeign, m.id, cert.Subject.CommonName)
	case m.badList != nil:
		s.invalid = m.badList
	case m.revoked(cert, chain[1]):
		s.invalid = fmt.Errorf("%w: %s: %q", ErrRevoked, m.id, cert.Subject.CommonName)
	default:
		s.chain = m.chainID(chain[1:])
		s.invalid = m.setRoles(s)
	}
	if m.admins[fingerprint(cert)] {
		s.roles |= Admin
	}
	return nil
}

// chain is the one way from the certificate to a root. It is judged at a moment when the certificate was valid, so
// that the answer never changes with the clock.
func (m *Member) chain(cert *x509.Certificate) ([]*x509.Certificate, error) {
	chains, err := cert.Verify(x509.VerifyOptions{Roots: m.roots, Intermediates: m.intermediates, CurrentTime: cert.NotBefore.Add(time.Second)})
	if err != nil {
		return nil, err
	}
	if len(chains) != 1 || len(chains[0]) < 2 {
		return nil, fmt.Errorf("not exactly one chain of at least two certificates")
	}
	if err := namesAllowed(chains[0]); err != nil {
		return nil, err
	}
	return chains[0], nil
}

// validAt checks the validity period alone.
func validAt(cert *x509.Certificate, at time.Time) error {
	if at.IsZero() {
		return nil
	}
	if at.Before(cert.NotBefore) || at.After(cert.NotAfter) {
		return fmt.Errorf("%w: %q is valid from %s to %s", ErrExpired, cert.Subject.CommonName,
			cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// ParseCertificate reads exactly one PEM certificate.
func ParseCertificate(p []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(p)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%w: not a PEM certificate", ErrMalformed)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fmt.Errorf("%w: more than one PEM block", ErrMalformed)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return cert, nil
}

// readCertificate reads the first PEM block as a certificate, whatever it is called and whatever follows it. So Fabric
// reads identities and configurations.
func readCertificate(p []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(p)
	if block == nil {
		return nil, fmt.Errorf("%w: not PEM", ErrMalformed)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return cert, nil
}
