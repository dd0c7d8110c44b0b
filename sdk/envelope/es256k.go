package envelope

import (
	"crypto/sha256"

	"github.com/zhenglian/zhenglian/sdk/envelope/secp256k1"
)

type es256kSuite struct{}

func (es256kSuite) generate() (held, error) {
	key, err := secp256k1.GenerateKey()
	if err != nil {
		return nil, err
	}
	return es256kKey{key}, nil
}

func (es256kSuite) private(scalar []byte) (held, error) {
	key, err := secp256k1.ParsePrivate(scalar)
	if err != nil {
		return nil, ErrKey
	}
	return es256kKey{key}, nil
}

func (es256kSuite) public(point []byte) (Verifier, error) {
	key, err := secp256k1.ParsePublic(point)
	if err != nil {
		return nil, ErrPublicKey
	}
	return es256kPublic{key}, nil
}

type es256kKey struct{ key *secp256k1.PrivateKey }

func (k es256kKey) Alg() Alg       { return ES256K }
func (k es256kKey) Public() []byte { return k.key.Public().Bytes() }
func (k es256kKey) scalar() []byte { return k.key.Bytes() }

func (k es256kKey) Sign(message []byte) ([]byte, error) {
	return k.key.Sign(sha256.Sum256(message))
}

type es256kPublic struct{ key secp256k1.PublicKey }

func (p es256kPublic) Verify(message, signature []byte) error {
	if !p.key.Verify(sha256.Sum256(message), signature) {
		return ErrSignature
	}
	return nil
}
