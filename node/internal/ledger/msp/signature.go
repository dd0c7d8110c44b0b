package msp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/asn1"
	"fmt"
	"math/big"
)

type ecdsaSignature struct{ R, S *big.Int }

// halves are half the orders of the curves that Fabric accepts.
var halves = map[elliptic.Curve]*big.Int{
	elliptic.P224(): new(big.Int).Rsh(elliptic.P224().Params().N, 1),
	elliptic.P256(): new(big.Int).Rsh(elliptic.P256().Params().N, 1),
	elliptic.P384(): new(big.Int).Rsh(elliptic.P384().Params().N, 1),
	elliptic.P521(): new(big.Int).Rsh(elliptic.P521().Params().N, 1),
}

// halfOrder is half the order of the curves that Fabric accepts, nil for any other.
func halfOrder(c elliptic.Curve) *big.Int { return halves[c] }

// digestOf is the SHA-256 digest of the concatenated parts; large messages are hashed where they lie.
func digestOf(parts [][]byte) [sha256.Size]byte {
	if len(parts) == 1 {
		return sha256.Sum256(parts[0])
	}
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// digest3Of is the SHA3-256 digest.
func digest3Of(parts [][]byte) [sha256.Size]byte {
	h := sha3.New256()
	for _, p := range parts {
		h.Write(p)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// verify checks one signature over the concatenated parts by Fabric's rules. third says that the digest is SHA3-256.
func verify(public crypto.PublicKey, third bool, sig []byte, parts [][]byte) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		half := halfOrder(k.Curve)
		if half == nil {
			return fmt.Errorf("%w: curve %s is not accepted", ErrSignature, k.Curve.Params().Name)
		}
		// Bytes after the pair, and further elements in it, are passed over, because Fabric does: a reader that minded
		// them could be stopped by whoever appends one to a signature.
		var s ecdsaSignature
		if _, err := asn1.Unmarshal(sig, &s); err != nil || s.R.Sign() <= 0 || s.S.Sign() <= 0 {
			return fmt.Errorf("%w: not an ASN.1 pair", ErrSignature)
		}
		// (r, s) and (r, n−s) verify alike; only one of them is a signature.
		if s.S.Cmp(half) > 0 {
			return fmt.Errorf("%w: S is not the low one", ErrSignature)
		}
		digest := digestOf
		if third {
			digest = digest3Of
		}
		d := digest(parts)
		if ecdsa.VerifyASN1(k, d[:], sig) {
			return nil
		}
		if der, err := asn1.Marshal(s); err == nil && !bytes.Equal(der, sig) && ecdsa.VerifyASN1(k, d[:], der) {
			return nil // the right pair with something after or in it
		}
		return ErrSignature
	case ed25519.PublicKey:
		if !ed25519.Verify(k, bytes.Join(parts, nil), sig) {
			return ErrSignature
		}
		return nil
	}
	return fmt.Errorf("%w: key type %T is not accepted", ErrSignature, public)
}

// signDigest signs the SHA-256 digest of a message with a low S.
func signDigest(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	var s ecdsaSignature
	if _, err := asn1.Unmarshal(sig, &s); err != nil {
		return nil, err
	}
	if s.S.Cmp(halfOrder(key.Curve)) <= 0 {
		return sig, nil
	}
	s.S.Sub(key.Params().N, s.S)
	return asn1.Marshal(s)
}
