package msp

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// revocations is one revocation list.
type revocations struct {
	list    *pkix.CertificateList
	key     []byte // of the authority that it names
	serials map[string]bool
}

// revoke remembers one revocation list. Whether an authority of the organisation signed it is asked when it would
// revoke something, as Fabric does. To Fabric a list that does not name its authority's key makes every certificate
// of the organisation invalid; so it does here, and so does one that cannot be read.
//
// An organisation changes its own lists without anybody's leave. One that meant something else here than to its peers
// would stop whoever follows the channel, so lists are read exactly as Fabric reads them, of any version and whatever
// their entries and extensions say.
func (m *Member) revoke(raw []byte) {
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	//lint:ignore SA1019 the newer reader refuses lists that Fabric takes
	list, err := x509.ParseDERCRL(raw)
	var key []byte
	if err == nil {
		key, err = authorityOf(list)
	}
	if err != nil {
		m.badList = fmt.Errorf("%w: %s: revocation list: %v", ErrMalformed, m.id, err)
		return
	}
	canonicalSignature(list)
	r := &revocations{list, key, map[string]bool{}}
	for _, e := range list.TBSCertList.RevokedCertificates {
		r.serials[e.SerialNumber.String()] = true
	}
	m.lists = append(m.lists, r)
}

// authorityOf is the key identifier of the authority that a list names.
func authorityOf(list *pkix.CertificateList) ([]byte, error) {
	for _, e := range list.TBSCertList.Extensions {
		if !e.Id.Equal(oidAuthorityKey) {
			continue
		}
		var id struct {
			Key    []byte  `asn1:"optional,tag:0"`
			Issuer []byte  `asn1:"optional,tag:1"`
			Serial big.Int `asn1:"optional,tag:2"`
		}
		_, err := asn1.Unmarshal(e.Value, &id)
		return id.Key, err
	}
	return nil, errors.New("it does not name its authority's key")
}

// canonicalSignature drops what stands in or after an ECDSA signature besides the pair.
func canonicalSignature(list *pkix.CertificateList) {
	var pair ecdsaSignature
	if _, err := asn1.Unmarshal(list.SignatureValue.RightAlign(), &pair); err != nil {
		return // of another algorithm
	}
	if der, err := asn1.Marshal(pair); err == nil {
		list.SignatureValue = asn1.BitString{Bytes: der, BitLength: 8 * len(der)}
	}
}

// signedBy reports whether the authority signed the list. Whether its certificate allows it to sign any is not asked.
func (r *revocations) signedBy(authority *x509.Certificate) bool {
	//lint:ignore SA1019 the newer check asks for that
	return authority.CheckCRLSignature(r.list) == nil
}

// CheckLists reports a revocation list that does not do what its authors meant: one that cannot be used, and one that
// none of the authorities signed. Validate follows Fabric in silence; whoever founds a ledger wants to know.
func (m *Member) CheckLists() error {
	for _, r := range m.lists {
		signed := false
		for _, a := range m.authorities {
			signed = signed || r.signedBy(a)
		}
		if !signed {
			return fmt.Errorf("%w: %s: revocation list of %q is signed by none of its authorities", ErrMalformed, m.id, r.list.TBSCertList.Issuer)
		}
	}
	return m.badList
}

// revoked reports whether a list of the certificate's own authority names it.
func (m *Member) revoked(cert, authority *x509.Certificate) bool {
	for _, r := range m.lists {
		if r.serials[cert.SerialNumber.String()] && bytes.Equal(r.key, authority.SubjectKeyId) && r.signedBy(authority) {
			return true
		}
	}
	return false
}
