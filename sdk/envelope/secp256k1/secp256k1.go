// Package secp256k1 is the one door to github.com/ethereum/go-ethereum/crypto.
//
// That library is LGPL-3.0, so it is kept behind this package's few functions: whoever must replace
// it replaces this file and nothing else. A test of package sdk fails when anything else imports it.
//
// Digests are 32 bytes, public keys uncompressed points of 65 bytes, signatures r ‖ s of 64 bytes
// with s in the lower half of the group's order.
package secp256k1

import (
	"crypto/ecdsa"
	"errors"

	"github.com/ethereum/go-ethereum/crypto"
)

var (
	// ErrPrivate: not a scalar in [1, n-1].
	ErrPrivate = errors.New("secp256k1: invalid private key")
	// ErrPublic: not the uncompressed encoding of a point on the curve.
	ErrPublic = errors.New("secp256k1: invalid public key")
)

// PrivateKey is a key that signs. Safe for concurrent use.
type PrivateKey struct {
	key *ecdsa.PrivateKey
	pub PublicKey
}

// PublicKey is a checked point. The zero value verifies nothing.
type PublicKey struct{ point [65]byte }

// GenerateKey makes a key from the system's randomness.
func GenerateKey() (*PrivateKey, error) {
	key, err := crypto.GenerateKey()
	if err != nil {
		return nil, err
	}
	return newPrivate(key), nil
}

// ParsePrivate takes a scalar of 32 bytes, big endian.
func ParsePrivate(scalar []byte) (*PrivateKey, error) {
	key, err := crypto.ToECDSA(scalar)
	if err != nil {
		return nil, ErrPrivate
	}
	return newPrivate(key), nil
}

func newPrivate(key *ecdsa.PrivateKey) *PrivateKey {
	return &PrivateKey{key, PublicKey{[65]byte(crypto.FromECDSAPub(&key.PublicKey))}}
}

// Bytes returns the scalar, 32 bytes big endian.
func (k *PrivateKey) Bytes() []byte { return crypto.FromECDSA(k.key) }

// Public returns the public half.
func (k *PrivateKey) Public() PublicKey { return k.pub }

// Sign returns r ‖ s with s in the lower half. The nonce follows RFC 6979, so that the same digest
// gives the same signature.
func (k *PrivateKey) Sign(digest [32]byte) ([]byte, error) {
	signature, err := crypto.Sign(digest[:], k.key)
	if err != nil {
		return nil, err
	}
	return signature[:64:64], nil // the last byte would let the key be recovered; we name the key
}

// ParsePublic takes an uncompressed point, 0x04 ‖ x ‖ y.
func ParsePublic(point []byte) (PublicKey, error) {
	if len(point) != 65 || point[0] != 4 {
		return PublicKey{}, ErrPublic
	}
	if _, err := crypto.UnmarshalPubkey(point); err != nil {
		return PublicKey{}, ErrPublic
	}
	return PublicKey{[65]byte(point)}, nil
}

// Bytes returns the uncompressed point.
func (p PublicKey) Bytes() []byte { return append([]byte(nil), p.point[:]...) }

// Verify tells whether signature is p's over digest. It refuses an s in the upper half, so that
// nobody but the holder of the key can make a second signature out of a first.
func (p PublicKey) Verify(digest [32]byte, signature []byte) bool {
	return crypto.VerifySignature(p.point[:], digest[:], signature)
}
