package msp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
)

// NewRequest draws a key and makes a certificate request for a common name, both PEM. The key stays where it was drawn.
func NewRequest(mspID, commonName string) (requestPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if keyPEM, err = marshalKey(key); err != nil {
		return nil, nil, err
	}
	requestPEM, err = requestOf(mspID, commonName, key)
	return requestPEM, keyPEM, err
}

func requestOf(mspID, commonName string, key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName, Organization: []string{mspID}}}, key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), err
}

// CheckRequest reads a certificate request: signed by its own key, of curve P-256, for that common name and nothing else.
func CheckRequest(requestPEM []byte, commonName string) (*ecdsa.PublicKey, error) {
	b, rest := pem.Decode(requestPEM)
	if b == nil || b.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		return nil, fmt.Errorf("%w: not a PEM certificate request", ErrMalformed)
	}
	r, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate request: %v", ErrMalformed, err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: certificate request: %v", ErrMalformed, err)
	}
	key, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: the request's key is not of P-256", ErrMalformed)
	}
	if r.Subject.CommonName != commonName {
		return nil, fmt.Errorf("%w: the request is for %q, not for %q", ErrMalformed, r.Subject.CommonName, commonName)
	}
	return key, nil
}

// Certify makes a certificate for a checked request's key. Of the request it takes nothing but the key.
func (ca *CA) Certify(commonName string, key *ecdsa.PublicKey, v Validity) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	v = v.withDefaults()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName, Organization: []string{ca.mspID}}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: v.From, NotAfter: v.Until, BasicConstraintsValid: true,
	}, ca.cert, key, ca.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
