package envelope

import (
	"crypto/ecdsa"
	"crypto/rand"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
)

type sm2Suite struct{}

func (sm2Suite) generate() (held, error) {
	key, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return newSM2Key(key)
}

func (sm2Suite) private(scalar []byte) (held, error) {
	key, err := sm2.NewPrivateKey(scalar)
	if err != nil {
		return nil, ErrKey
	}
	return newSM2Key(key)
}

func (sm2Suite) public(point []byte) (Verifier, error) {
	key, err := sm2.NewPublicKey(point)
	if err != nil {
		return nil, ErrPublicKey
	}
	za, err := sm2ZA(key)
	if err != nil {
		return nil, ErrPublicKey
	}
	return &sm2Public{key, za}, nil
}

// sm2ZA is the digest that SM2 puts before every message: user id, curve and public key. It depends
// on the key alone, so it is kept beside the parsed key. The empty user id stands for the default
// one, 1234567812345678.
func sm2ZA(key *ecdsa.PublicKey) ([sm3.Size]byte, error) {
	za, err := sm2.CalculateZA(key, nil)
	if err != nil {
		return [sm3.Size]byte{}, err
	}
	return [sm3.Size]byte(za), nil
}

func sm2Digest(za *[sm3.Size]byte, message []byte) []byte {
	h := sm3.New()
	h.Write(za[:])
	h.Write(message)
	return h.Sum(nil)
}

type sm2Key struct {
	key *sm2.PrivateKey
	d   [32]byte
	pub [PublicSize]byte
	za  [sm3.Size]byte
}

func newSM2Key(key *sm2.PrivateKey) (*sm2Key, error) {
	// The ECDH view is gmsm's way to the plain bytes of both halves.
	plain, err := key.ECDH()
	if err != nil {
		return nil, err
	}
	za, err := sm2ZA(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	return &sm2Key{key, [32]byte(plain.Bytes()), [PublicSize]byte(plain.PublicKey().Bytes()), za}, nil
}

func (k *sm2Key) Alg() Alg       { return SM2 }
func (k *sm2Key) Public() []byte { return append([]byte(nil), k.pub[:]...) }
func (k *sm2Key) scalar() []byte { return append([]byte(nil), k.d[:]...) }

func (k *sm2Key) Sign(message []byte) ([]byte, error) {
	// The digest is made here, not by gmsm's message signing, which refuses the empty message.
	der, err := sm2.SignASN1(rand.Reader, k.key, sm2Digest(&k.za, message), nil)
	if err != nil {
		return nil, err
	}
	return rawSignature(der)
}

type sm2Public struct {
	key *ecdsa.PublicKey
	za  [sm3.Size]byte
}

func (p *sm2Public) Verify(message, signature []byte) error {
	var buf [maxDER]byte
	der, ok := derSignature(buf[:0], signature)
	if !ok {
		return ErrSignature
	}
	if !sm2.VerifyASN1(p.key, sm2Digest(&p.za, message), der) {
		return ErrSignature
	}
	return nil
}
