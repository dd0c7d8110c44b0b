// Package envelope signs documents (签章) and checks those signatures.
//
// An agency signs its licences and receipts with a key of one suite:
//
//	ES256    ECDSA on NIST P-256 over SHA-256          (RFC 7518)
//	ES256K   ECDSA on secp256k1 over SHA-256, low S    (RFC 8812)
//	SM2      SM2 with SM3, user id 1234567812345678    (GB/T 32918.2, GM/T 0009)
//
// All three share one shape. A public key is the 65-byte uncompressed SEC 1 point, 0x04 ‖ x ‖ y. A
// signature is 64 bytes, r ‖ s, each 32 bytes big endian. What is signed is the message; the suite
// hashes it by its own rule, so nobody chooses a digest by hand. Which bytes are the message is
// said by the format of the document that is signed; docs/spec/signatures.md has the rest.
//
//	signer, err := envelope.NewSigner(envelope.ES256)
//	signature, err := signer.Sign(message)
//	err = envelope.Verify(signer.Alg(), signer.Public(), message, signature)
//
// Who checks many signatures of one key parses it once with [ParsePublic].
//
// A suite's name, not the key, says how to verify: nothing is guessed from the bytes, and a
// signature of one suite never verifies under another.
package envelope

import (
	"errors"
	"fmt"
)

// Alg names a signing suite as it is written in the registry and in signed documents.
type Alg string

// The suites. Their names never change meaning.
const (
	ES256  Alg = "ES256"
	ES256K Alg = "ES256K"
	SM2    Alg = "SM2"
)

// Sizes, the same for every suite.
const (
	PublicSize    = 65 // 0x04 ‖ x ‖ y
	SignatureSize = 64 // r ‖ s
)

var (
	// ErrAlg: the suite is not one of this package's.
	ErrAlg = errors.New("envelope: unknown signing suite")
	// ErrPublicKey: not the uncompressed encoding of a point on the suite's curve.
	ErrPublicKey = errors.New("envelope: invalid public key")
	// ErrSignature: the signature does not stand for this message and key. It never says more:
	// a short signature, a wrong one and a malleated one are the same answer.
	ErrSignature = errors.New("envelope: signature does not verify")
	// ErrKey: not a private key as MarshalKey writes it, or one that cannot be written.
	ErrKey = errors.New("envelope: invalid private key")
)

// A Signer holds one private key, in this process or elsewhere.
//
// Sign returns SignatureSize bytes that Verify accepts for Alg, Public and the same message. Two
// calls may return different signatures. It fails only where the key cannot be reached; it neither
// keeps nor changes message. Public returns bytes that the caller may keep and change. All methods
// are safe for concurrent use.
type Signer interface {
	Alg() Alg
	Public() []byte
	Sign(message []byte) ([]byte, error)
}

// A Verifier is one parsed public key.
//
// Verify returns nil or ErrSignature, never panics whatever the bytes, and is safe for concurrent
// use.
type Verifier interface {
	Verify(message, signature []byte) error
}

// A held private key can be written to a file.
type held interface {
	Signer
	scalar() []byte // 32 bytes, big endian
}

// A suite is what the package needs to know of one curve.
type suite interface {
	generate() (held, error)
	private(scalar []byte) (held, error)   // scalar of 32 bytes; refuses what is out of range
	public(point []byte) (Verifier, error) // point of PublicSize bytes beginning with 4
}

func suiteOf(alg Alg) (suite, error) {
	switch alg {
	case ES256:
		return es256Suite{}, nil
	case ES256K:
		return es256kSuite{}, nil
	case SM2:
		return sm2Suite{}, nil
	}
	// The name may come from outside and be of any length, so it is cut.
	return nil, fmt.Errorf("%w: %.20q", ErrAlg, string(alg))
}

// NewSigner makes a fresh key of the suite from the system's randomness.
func NewSigner(alg Alg) (Signer, error) {
	s, err := suiteOf(alg)
	if err != nil {
		return nil, err
	}
	key, err := s.generate()
	if err != nil {
		return nil, fmt.Errorf("envelope: new %s key: %w", alg, err)
	}
	return key, nil
}

// ParsePublic checks that public is a point of the suite's curve and returns its verifier. Errors
// are ErrAlg and ErrPublicKey.
func ParsePublic(alg Alg, public []byte) (Verifier, error) {
	s, err := suiteOf(alg)
	if err != nil {
		return nil, err
	}
	// The compressed and hybrid encodings, and the point at infinity, end here for every suite: a
	// key has one encoding, so registry entries can be compared as bytes.
	if len(public) != PublicSize || public[0] != 4 {
		return nil, ErrPublicKey
	}
	return s.public(public)
}

// Verify checks one signature. Errors are ErrAlg, ErrPublicKey and ErrSignature.
func Verify(alg Alg, public, message, signature []byte) error {
	v, err := ParsePublic(alg, public)
	if err != nil {
		return err
	}
	return v.Verify(message, signature)
}
