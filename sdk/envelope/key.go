package envelope

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
)

// A private key file is PEM "PRIVATE KEY" around PKCS#8 (RFC 5958) around ECPrivateKey (RFC 5915),
// for every suite alike; the curve's object identifier says which suite it is. This is what
// `openssl genpkey` writes for the same curves, so keys move between tools without conversion.

const (
	keyPEMType = "PRIVATE KEY"
	// A key file is under 300 bytes; more is not a key.
	maxKeyFile = 4096
)

var (
	oidPublicKeyEC = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	keyCurves      = []struct {
		alg Alg
		oid asn1.ObjectIdentifier
	}{
		{ES256, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}},
		{ES256K, asn1.ObjectIdentifier{1, 3, 132, 0, 10}},
		{SM2, asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 301}},
	}
)

type pkcs8 struct {
	Version   int
	Algorithm struct{ ID, Curve asn1.ObjectIdentifier }
	Key       []byte
}

type ecPrivateKey struct {
	Version int
	Scalar  []byte
	Public  asn1.BitString `asn1:"explicit,tag:1"`
}

// MarshalKey writes a signer's private key as PEM. It returns ErrKey for a signer whose key this
// package does not hold. The caller keeps the bytes secret.
func MarshalKey(s Signer) ([]byte, error) {
	key, ok := s.(held)
	if !ok {
		return nil, fmt.Errorf("%w: the key is held elsewhere", ErrKey)
	}
	der, err := keyDER(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyPEMType, Bytes: der}), nil
}

// ParseKey reads what MarshalKey writes. It is strict: one PEM block without headers, nothing but
// white space after it and nothing before it, DER in its one canonical form, a scalar in range, and
// a public key that belongs to it. Every error is ErrKey; its text holds nothing of the key.
func ParseKey(data []byte) (Signer, error) {
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%w: file longer than %d bytes", ErrKey, maxKeyFile)
	}
	if !bytes.HasPrefix(data, []byte("-----BEGIN "+keyPEMType+"-----")) {
		return nil, fmt.Errorf("%w: does not begin with PEM %q", ErrKey, keyPEMType)
	}
	block, rest := pem.Decode(data)
	// The prefix alone is no block: a broken first one would let Decode find a second, of any type.
	if block == nil || block.Type != keyPEMType || len(block.Headers) != 0 || len(bytes.TrimSpace(rest)) != 0 ||
		bytes.Count(data, []byte("-----BEGIN ")) != 1 {
		return nil, fmt.Errorf("%w: not exactly one PEM block without headers", ErrKey)
	}
	var outer pkcs8
	if rest, err := asn1.Unmarshal(block.Bytes, &outer); err != nil || len(rest) != 0 {
		return nil, fmt.Errorf("%w: not PKCS#8", ErrKey)
	}
	var inner ecPrivateKey
	if rest, err := asn1.Unmarshal(outer.Key, &inner); err != nil || len(rest) != 0 || len(inner.Scalar) != 32 {
		return nil, fmt.Errorf("%w: not an elliptic curve key of 256 bits with its public key", ErrKey)
	}
	for _, c := range keyCurves {
		if !c.oid.Equal(outer.Algorithm.Curve) {
			continue
		}
		s, err := suiteOf(c.alg)
		if err != nil {
			return nil, err
		}
		key, err := s.private(inner.Scalar)
		if err != nil {
			return nil, fmt.Errorf("%w: scalar out of range", ErrKey)
		}
		// Writing it again and comparing settles versions, identifiers, padding and the public key
		// at once.
		if der, err := keyDER(key); err != nil || !bytes.Equal(der, block.Bytes) {
			return nil, fmt.Errorf("%w: not in canonical form, or its public key is another's", ErrKey)
		}
		return key, nil
	}
	return nil, fmt.Errorf("%w: curve of no suite", ErrKey)
}

func keyDER(key held) ([]byte, error) {
	public := key.Public()
	inner, err := asn1.Marshal(ecPrivateKey{1, key.scalar(), asn1.BitString{Bytes: public, BitLength: 8 * len(public)}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	outer := pkcs8{Key: inner}
	outer.Algorithm.ID = oidPublicKeyEC
	for _, c := range keyCurves {
		if c.alg == key.Alg() {
			outer.Algorithm.Curve = c.oid
		}
	}
	return asn1.Marshal(outer)
}
