// Package msp is membership: who may speak for an organisation.
//
// An organisation is known by its id (BeijingMSP) and by the certificates of its own authorities. Whoever presents
// a certificate that chains to one of these roots speaks for the organisation; the certificate's subject common name
// says which agency or node of it. The rules are those of Hyperledger Fabric, so that the same certificate is
// accepted or refused by the embedded ledger, by a peer and by a node that checks blocks:
//
//   - a serialized identity is the protobuf msp.SerializedIdentity with a PEM certificate;
//   - an authority's certificate is not an identity;
//   - an ECDSA signature is ASN.1 over the SHA-256 digest and has a low S; an Ed25519 signature covers the message;
//   - whether the chain is right does not depend on the clock. Expiry is asked for separately, because a block stays
//     valid after the certificates in it have expired.
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
	ErrSignature = errors.New("msp: signature is not valid")
)

// Config is what the members of a ledger are told about one organisation. It holds no secret.
type Config struct {
	ID            string   // organisation id, for example BeijingMSP
	Roots         [][]byte // PEM certificates of its root authorities, at least one
	Intermediates [][]byte // PEM certificates of intermediate authorities
	Revoked       [][]byte // PEM or DER revocation lists signed by one of its authorities
	TLSRoots      [][]byte // PEM certificates of the authorities of its TLS certificates
}

// A Member is one organisation with its authorities parsed. It is immutable and safe for concurrent use.
type Member struct {
	id            string
	config        Config
	roots         *x509.CertPool
	intermediates *x509.CertPool
	revoked       map[string]bool // issuer's raw subject ‖ serial number
}

// NewMember parses c.
func NewMember(c Config) (*Member, error) {
	if c.ID == "" {
		return nil, fmt.Errorf("%w: an organisation needs an id", ErrMalformed)
	}
	if len(c.Roots) == 0 {
		return nil, fmt.Errorf("%w: %s has no root certificate", ErrMalformed, c.ID)
	}
	m := &Member{id: c.ID, config: c, roots: x509.NewCertPool(), intermediates: x509.NewCertPool(), revoked: map[string]bool{}}
	var authorities []*x509.Certificate
	for _, set := range []struct {
		pems [][]byte
		pool *x509.CertPool
	}{{c.Roots, m.roots}, {c.Intermediates, m.intermediates}} {
		for _, p := range set.pems {
			cert, err := ParseCertificate(p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.ID, err)
			}
			if !cert.IsCA {
				return nil, fmt.Errorf("%w: %s lists %q as an authority, but the certificate is not one", ErrMalformed, c.ID, cert.Subject.CommonName)
			}
			set.pool.AddCert(cert)
			authorities = append(authorities, cert)
		}
	}
	for _, raw := range c.Revoked {
		if err := m.revoke(raw, authorities); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// revoke adds the entries of one revocation list. A list that no authority of the organisation signed is refused:
// passing over it in silence would let a revoked certificate through.
func (m *Member) revoke(raw []byte, authorities []*x509.Certificate) error {
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	list, err := x509.ParseRevocationList(raw)
	if err != nil {
		return fmt.Errorf("%w: %s: revocation list: %v", ErrMalformed, m.id, err)
	}
	for _, a := range authorities {
		if list.CheckSignatureFrom(a) == nil {
			for _, e := range list.RevokedCertificateEntries {
				m.revoked[string(a.RawSubject)+e.SerialNumber.String()] = true
			}
			return nil
		}
	}
	return fmt.Errorf("%w: %s: revocation list of %q is signed by none of its authorities", ErrMalformed, m.id, list.Issuer)
}

// ID is the organisation's id.
func (m *Member) ID() string { return m.id }

// Config is what the member was made from.
func (m *Member) Config() Config { return m.config }

// Validate reports whether cert may speak for the organisation. With a zero time the validity period is not looked
// at; otherwise the certificate must be valid at that moment.
func (m *Member) Validate(cert *x509.Certificate, at time.Time) error {
	if cert.IsCA {
		return fmt.Errorf("%w: %q is the certificate of an authority", ErrForeign, cert.Subject.CommonName)
	}
	// The chain is judged at a moment when the certificate was valid, so that the answer never changes with the clock.
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots:         m.roots,
		Intermediates: m.intermediates,
		CurrentTime:   cert.NotBefore.Add(time.Second),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("%w: %s: %v", ErrForeign, m.id, err)
	}
	if len(m.revoked) > 0 {
		for _, c := range chains[0] {
			if m.revoked[string(c.RawIssuer)+c.SerialNumber.String()] {
				return fmt.Errorf("%w: %s: %q", ErrRevoked, m.id, c.Subject.CommonName)
			}
		}
	}
	return validAt(cert, at)
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
