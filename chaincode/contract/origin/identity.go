package origin

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// An organisation is whose authorities certify its callers.
type organisation struct {
	roots, intermediates *x509.CertPool
	lists                []*x509.RevocationList
}

// An identity is a caller whose certificate chains to its organisation's authorities.
type identity struct {
	msp  string
	cert *x509.Certificate
}

var errSignature = errors.New("the signature does not verify")

func newOrganisation(c *msp.FabricMSPConfig) (*organisation, error) {
	if len(c.GetRootCerts()) == 0 || len(c.GetRootCerts())+len(c.GetIntermediateCerts())+len(c.GetRevocationList()) > maxListed {
		return nil, errors.New("none or too many authorities")
	}
	o := &organisation{roots: x509.NewCertPool(), intermediates: x509.NewCertPool()}
	for _, set := range []struct {
		certs [][]byte
		pool  *x509.CertPool
	}{{c.GetRootCerts(), o.roots}, {c.GetIntermediateCerts(), o.intermediates}} {
		for _, raw := range set.certs {
			cert, err := certificate(raw)
			if err != nil {
				return nil, err
			}
			if !cert.IsCA {
				return nil, fmt.Errorf("%q is no authority", cert.Subject.CommonName)
			}
			set.pool.AddCert(cert)
		}
	}
	for _, raw := range c.GetRevocationList() {
		if block, _ := pem.Decode(raw); block != nil {
			raw = block.Bytes
		}
		list, err := x509.ParseRevocationList(raw)
		if err != nil {
			return nil, err
		}
		o.lists = append(o.lists, list)
	}
	return o, nil
}

// certificate reads the first PEM block, whatever stands around it, as Fabric does.
func certificate(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("a certificate is not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// identify reads a serialized identity and checks its chain. role tells members and orderers apart.
func (l *Ledger) identify(among map[string]*organisation, role string, serialized []byte) (*identity, error) {
	key := role + string(serialized)
	if id := l.known[key]; id != nil {
		return id, nil
	}
	var s msp.SerializedIdentity
	if err := proto.Unmarshal(serialized, &s); err != nil {
		return nil, err
	}
	o := among[s.GetMspid()]
	if o == nil {
		return nil, fmt.Errorf("organisation %q is unknown there", s.GetMspid())
	}
	cert, err := certificate(s.GetIdBytes())
	if err != nil {
		return nil, err
	}
	if err := o.accepts(cert); err != nil {
		return nil, fmt.Errorf("%s: %w", s.GetMspid(), err)
	}
	id := &identity{s.GetMspid(), cert}
	l.known[key] = id
	return id, nil
}

// accepts judges the chain at a moment when the certificate was valid, so that the answer never changes with
// the clock.
func (o *organisation) accepts(cert *x509.Certificate) error {
	if cert.IsCA {
		return errors.New("the certificate is an authority's")
	}
	chains, err := cert.Verify(x509.VerifyOptions{
		Roots: o.roots, Intermediates: o.intermediates, CurrentTime: cert.NotBefore.Add(time.Second), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if len(chain) > 1 && !o.revoked(cert, chain[1]) {
			return nil
		}
	}
	return errors.New("the certificate is revoked")
}

func (o *organisation) revoked(cert, authority *x509.Certificate) bool {
	for _, list := range o.lists {
		if !bytes.Equal(list.AuthorityKeyId, authority.SubjectKeyId) || list.CheckSignatureFrom(authority) != nil {
			continue
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return true
			}
		}
	}
	return false
}

var halves = map[elliptic.Curve]*big.Int{
	elliptic.P224(): half(elliptic.P224()), elliptic.P256(): half(elliptic.P256()),
	elliptic.P384(): half(elliptic.P384()), elliptic.P521(): half(elliptic.P521()),
}

func half(c elliptic.Curve) *big.Int { return new(big.Int).Rsh(c.Params().N, 1) }

// verify checks a signature over the parts, read as one: ECDSA over SHA-256 with a low S, or Ed25519.
func (id *identity) verify(signature []byte, parts ...[]byte) error {
	switch k := id.cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		most := halves[k.Curve]
		var s struct{ R, S *big.Int }
		// Bytes after the pair are passed over, as by the ledger that took the transaction.
		if _, err := asn1.Unmarshal(signature, &s); err != nil || most == nil || s.R.Sign() <= 0 || s.S.Sign() <= 0 || s.S.Cmp(most) > 0 {
			return errSignature
		}
		h := sha256.New()
		for _, p := range parts {
			h.Write(p)
		}
		if !ecdsa.Verify(k, h.Sum(nil), s.R, s.S) {
			return errSignature
		}
		return nil
	case ed25519.PublicKey:
		if !ed25519.Verify(k, bytes.Join(parts, nil), signature) {
			return errSignature
		}
		return nil
	}
	return errSignature
}
