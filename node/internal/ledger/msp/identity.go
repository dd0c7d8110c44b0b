package msp

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// An Identity is a certificate with its private key: what a node signs transactions with. It has the methods that
// the Gateway client asks of an identity, and SignDigest is the client's signing function. It is immutable and safe
// for concurrent use.
type Identity struct {
	mspID      string
	certPEM    []byte
	cert       *x509.Certificate
	key        *ecdsa.PrivateKey
	serialized []byte
}

// NewIdentity joins a PEM certificate and its PKCS#8 PEM key. It refuses a key that is not the certificate's.
func NewIdentity(mspID string, certPEM, keyPEM []byte) (*Identity, error) {
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(&key.PublicKey) {
		return nil, fmt.Errorf("%w: the key does not belong to the certificate of %q", ErrMalformed, cert.Subject.CommonName)
	}
	if halfOrder(key.Curve) == nil {
		return nil, fmt.Errorf("%w: curve %s is not accepted", ErrMalformed, key.Curve.Params().Name)
	}
	serialized, err := proto.MarshalOptions{Deterministic: true}.Marshal(&mspproto.SerializedIdentity{Mspid: mspID, IdBytes: certPEM})
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return &Identity{mspID: mspID, certPEM: certPEM, cert: cert, key: key, serialized: serialized}, nil
}

// MspID is the organisation's id.
func (id *Identity) MspID() string { return id.mspID }

// Credentials is the PEM certificate.
func (id *Identity) Credentials() []byte { return id.certPEM }

// Certificate is the certificate, not to be changed.
func (id *Identity) Certificate() *x509.Certificate { return id.cert }

// Serialized is the identity as it stands in transactions, not to be changed.
func (id *Identity) Serialized() []byte { return id.serialized }

// Sign signs the message, which is given in parts that are read as one.
func (id *Identity) Sign(message ...[]byte) ([]byte, error) {
	digest := digestOf(message)
	return signDigest(id.key, digest[:])
}

// SignDigest signs the SHA-256 digest of a message.
func (id *Identity) SignDigest(digest []byte) ([]byte, error) { return signDigest(id.key, digest) }

// Save writes NAME.crt and NAME.key (mode 0600) into dir. It never overwrites.
func (id *Identity) Save(dir, name string) error {
	key, err := marshalKey(id.key)
	if err != nil {
		return err
	}
	return savePair(dir, name, id.certPEM, key)
}

// LoadIdentity reads what Save wrote.
func LoadIdentity(mspID, dir, name string) (*Identity, error) {
	cert, err := os.ReadFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, err
	}
	return NewIdentity(mspID, cert, key)
}

func parseKey(p []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(p)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%w: not a PKCS#8 PEM key", ErrMalformed)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: private key", ErrMalformed) // the cause could quote the key
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: key type %T is not accepted", ErrMalformed, k)
	}
	return key, nil
}

func marshalKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// savePair writes the key first, so that a certificate never stands without its key.
func savePair(dir, name string, cert, key []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := saveFile(filepath.Join(dir, name+".key"), key, 0o600); err != nil {
		return err
	}
	return saveFile(filepath.Join(dir, name+".crt"), cert, 0o644)
}

func saveFile(path string, content []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
