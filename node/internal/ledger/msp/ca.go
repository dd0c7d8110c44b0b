package msp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityYears = 20
	identityYears  = 5
	backdate       = 5 * time.Minute // clocks of one ledger's nodes differ
)

// A CA is a small certificate authority (ECDSA P-256) of one organisation, for init, the demo and tests.
type CA struct {
	mspID   string
	certPEM []byte
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// NewCA makes an authority with a fresh key.
func NewCA(mspID, commonName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{mspID}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.AddDate(authorityYears, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return newCA(mspID, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key)
}

func newCA(mspID string, certPEM []byte, key *ecdsa.PrivateKey) (*CA, error) {
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !cert.IsCA || !public.Equal(&key.PublicKey) {
		return nil, fmt.Errorf("%w: not an authority's certificate and key", ErrMalformed)
	}
	return &CA{mspID: mspID, certPEM: certPEM, cert: cert, key: key}, nil
}

// MspID is the organisation's id.
func (ca *CA) MspID() string { return ca.mspID }

// Config is what the organisation tells the other members. Its TLS certificates come from the same authority.
func (ca *CA) Config() Config {
	return Config{ID: ca.mspID, Roots: [][]byte{ca.certPEM}, TLSRoots: [][]byte{ca.certPEM}}
}

// Root is the authority's PEM certificate.
func (ca *CA) Root() []byte { return ca.certPEM }

// Validity is a certificate's period; zero fields take the default of five years from a few minutes ago.
type Validity struct{ From, Until time.Time }

func (v Validity) withDefaults() Validity {
	now := time.Now()
	if v.From.IsZero() {
		v.From = now.Add(-backdate)
	}
	if v.Until.IsZero() {
		v.Until = now.AddDate(identityYears, 0, 0)
	}
	return v
}

// Issue makes an identity with a fresh key, whose common name is the agency or node id.
func (ca *CA) Issue(commonName string, v Validity) (*Identity, error) {
	return ca.IssueIn(commonName, nil, v)
}

// IssueIn makes an identity like Issue, with organizational units in its certificate.
func (ca *CA) IssueIn(commonName string, units []string, v Validity) (*Identity, error) {
	certPEM, key, err := ca.issue(&x509.Certificate{
		Subject:  pkix.Name{CommonName: commonName, Organization: []string{ca.mspID}, OrganizationalUnit: units},
		KeyUsage: x509.KeyUsageDigitalSignature,
	}, v)
	if err != nil {
		return nil, err
	}
	keyPEM, err := marshalKey(key)
	if err != nil {
		return nil, err
	}
	return NewIdentity(ca.mspID, certPEM, keyPEM)
}

// IssueTLS makes a TLS certificate for server and client use with the given names and addresses, and returns both
// as PEM.
func (ca *CA) IssueTLS(commonName string, hosts []string, v Validity) (certPEM, keyPEM []byte, err error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName, Organization: []string{ca.mspID}},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	certPEM, key, err := ca.issue(template, v)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = marshalKey(key)
	return certPEM, keyPEM, err
}

// ServerTLS makes a server's TLS configuration from a fresh certificate for hosts.
func (ca *CA) ServerTLS(commonName string, hosts ...string) (*tls.Config, error) {
	certPEM, keyPEM, err := ca.IssueTLS(commonName, hosts, Validity{})
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

func (ca *CA) issue(template *x509.Certificate, v Validity) ([]byte, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, nil, err
	}
	v = v.withDefaults()
	template.NotBefore, template.NotAfter = v.From, v.Until
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key, nil
}

// Save writes ca.crt and ca.key (mode 0600) into dir. It never overwrites.
func (ca *CA) Save(dir string) error {
	key, err := marshalKey(ca.key)
	if err != nil {
		return err
	}
	return savePair(dir, "ca", ca.certPEM, key)
}

// LoadCA reads what Save wrote.
func LoadCA(mspID, dir string) (*CA, error) {
	cert, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	p, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	key, err := parseKey(p)
	if err != nil {
		return nil, err
	}
	return newCA(mspID, cert, key)
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}
