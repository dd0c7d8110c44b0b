package envelope

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
)

type es256Suite struct{}

func (es256Suite) generate() (held, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newES256Key(key)
}

func (es256Suite) private(scalar []byte) (held, error) {
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, ErrKey
	}
	return newES256Key(key)
}

func (es256Suite) public(point []byte) (Verifier, error) {
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, ErrPublicKey
	}
	return es256Public{key}, nil
}

type es256Key struct {
	key *ecdsa.PrivateKey
	pub [PublicSize]byte
}

func newES256Key(key *ecdsa.PrivateKey) (*es256Key, error) {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return &es256Key{key, [PublicSize]byte(point)}, nil
}

func (k *es256Key) Alg() Alg       { return ES256 }
func (k *es256Key) Public() []byte { return append([]byte(nil), k.pub[:]...) }

func (k *es256Key) Sign(message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	// Without a random source the nonce is that of RFC 6979, drawn from key and message by HMAC-SHA-256: a
	// sixth cheaper than a hedged one, and every signature can be computed again.
	der, err := k.key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return rawSignature(der)
}

func (k *es256Key) scalar() []byte {
	// Cannot fail: the key was parsed or made by crypto/ecdsa on this curve.
	d, _ := k.key.Bytes()
	return d
}

type es256Public struct{ key *ecdsa.PublicKey }

func (p es256Public) Verify(message, signature []byte) error {
	var buf [maxDER]byte
	der, ok := derSignature(buf[:0], signature)
	if !ok {
		return ErrSignature
	}
	digest := sha256.Sum256(message)
	if !ecdsa.VerifyASN1(p.key, digest[:], der) {
		return ErrSignature
	}
	return nil
}
