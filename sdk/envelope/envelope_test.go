package envelope

import (
	"bytes"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
)

var algs = []Alg{ES256, ES256K, SM2}

// The curves' group order n, field prime p (GB/T 32918.5, SEC 2, FIPS 186).
var curves = map[Alg]struct{ n, p string }{
	ES256: {"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
		"ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"},
	ES256K: {"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
		"fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f"},
	SM2: {"fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123",
		"fffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffff"},
}

func newSigner(t testing.TB, alg Alg) Signer {
	t.Helper()
	s, err := NewSigner(alg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s Signer, message []byte) []byte {
	t.Helper()
	sig, err := s.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func order(alg Alg) *big.Int {
	n, _ := new(big.Int).SetString(curves[alg].n, 16)
	return n
}

func TestSignVerify(t *testing.T) {
	messages := [][]byte{nil, {0}, []byte("证照"), bytes.Repeat([]byte("x"), 1<<20)}
	for _, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			s := newSigner(t, alg)
			if s.Alg() != alg {
				t.Errorf("Alg = %q", s.Alg())
			}
			for _, m := range messages {
				sig := sign(t, s, m)
				if len(sig) != SignatureSize || len(s.Public()) != PublicSize {
					t.Fatalf("sizes %d, %d", len(sig), len(s.Public()))
				}
				if err := Verify(alg, s.Public(), m, sig); err != nil {
					t.Errorf("%d bytes: %v", len(m), err)
				}
				if err := Verify(alg, s.Public(), append([]byte("!"), m...), sig); err != ErrSignature {
					t.Errorf("another message: %v", err)
				}
				if err := Verify(alg, newSigner(t, alg).Public(), m, sig); err != ErrSignature {
					t.Errorf("another key: %v", err)
				}
			}
		})
	}
}

// What the caller does to a returned key must not reach the signer.
func TestPublicIsACopy(t *testing.T) {
	for _, alg := range algs {
		s := newSigner(t, alg)
		s.Public()[10] ^= 1
		if err := Verify(alg, s.Public(), nil, sign(t, s, nil)); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// Every bit of the signature counts, so do its length and its range.
func TestSignatureRefused(t *testing.T) {
	m := []byte("message")
	for _, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			s := newSigner(t, alg)
			sig := sign(t, s, m)
			v, err := ParsePublic(alg, s.Public())
			if err != nil {
				t.Fatal(err)
			}
			for bit := range 8 * len(sig) {
				bad := bytes.Clone(sig)
				bad[bit/8] ^= 1 << (bit % 8)
				if err := v.Verify(m, bad); err != ErrSignature {
					t.Fatalf("bit %d: %v", bit, err)
				}
			}
			n := order(alg).Bytes()
			zero := make([]byte, 32)
			top := bytes.Repeat([]byte{0xff}, 32)
			r, half := sig[:32], sig[32:]
			for name, bad := range map[string][]byte{
				"nil":        nil,
				"short":      sig[:63],
				"long":       append(bytes.Clone(sig), 0),
				"zero":       make([]byte, 64),
				"r zero":     append(bytes.Clone(zero), half...),
				"s zero":     append(bytes.Clone(r), zero...),
				"r is n":     append(bytes.Clone(n), half...),
				"s is n":     append(bytes.Clone(r), n...),
				"r past n":   append(bytes.Clone(top), half...),
				"s past n":   append(bytes.Clone(r), top...),
				"all ones":   append(bytes.Clone(top), top...),
				"halves":     append(bytes.Clone(half), r...),
				"megabytes":  make([]byte, 5<<20),
				"der":        mustDER(t, sig),
				"der padded": append(mustDER(t, sig), make([]byte, 64)...)[:64],
			} {
				if err := v.Verify(m, bad); err != ErrSignature {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func mustDER(t *testing.T, sig []byte) []byte {
	der, ok := derSignature(nil, sig)
	if !ok {
		t.Fatal("not a signature")
	}
	return der
}

// s ↦ n−s makes a second valid ECDSA signature out of a first. ES256K refuses it, and its signer
// never makes one; under ES256 both stand, as RFC 7518 has it. In SM2, where
// r takes part in the sum, n−s means nothing.
func TestMalleated(t *testing.T) {
	m := []byte("message")
	for _, alg := range algs {
		s := newSigner(t, alg)
		n := order(alg)
		for range 32 {
			sig := sign(t, s, m)
			twin := bytes.Clone(sig)
			x := new(big.Int).SetBytes(sig[32:])
			new(big.Int).Sub(n, x).FillBytes(twin[32:])
			err := Verify(alg, s.Public(), m, twin)
			if want := alg == ES256; (err == nil) != want {
				t.Fatalf("%s: n-s verifies: %v, want %v", alg, err == nil, want)
			}
			if alg == ES256K && new(big.Int).Lsh(x, 1).Cmp(n) > 0 {
				t.Fatal("signed with s in the upper half")
			}
			m = append(m, 'x')
		}
	}
}

func TestSuitesDoNotMix(t *testing.T) {
	m := []byte("message")
	for _, made := range algs {
		s := newSigner(t, made)
		sig := sign(t, s, m)
		for _, read := range algs {
			if read == made {
				continue
			}
			if err := Verify(read, s.Public(), m, sig); !errors.Is(err, ErrPublicKey) {
				t.Errorf("a %s key read as %s: %v", made, read, err)
			}
			if err := Verify(read, newSigner(t, read).Public(), m, sig); err != ErrSignature {
				t.Errorf("a %s signature read as %s: %v", made, read, err)
			}
		}
	}
}

func TestUnknownAlg(t *testing.T) {
	for _, alg := range []Alg{"", "es256", "ES384", "none", "EdDSA", Alg(strings.Repeat("A", 1<<20))} {
		_, err := NewSigner(alg)
		if !errors.Is(err, ErrAlg) || len(err.Error()) > 200 {
			t.Errorf("NewSigner(%.20q): %.200v", alg, err)
		}
		if err := Verify(alg, nil, nil, nil); !errors.Is(err, ErrAlg) {
			t.Errorf("Verify(%.20q): %.200v", alg, err)
		}
	}
}

func TestParsePublicRefuses(t *testing.T) {
	for _, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			good := newSigner(t, alg).Public()
			p, _ := new(big.Int).SetString(curves[alg].p, 16)
			off := bytes.Clone(good)
			off[64] ^= 1
			compressed := append([]byte{2 + good[64]&1}, good[1:33]...)
			hybrid := append([]byte{6 + good[64]&1}, good[1:]...)
			overX := append([]byte{4}, append(p.Bytes(), good[33:]...)...)
			overY := append(bytes.Clone(good[:33]), p.Bytes()...)
			for name, bad := range map[string][]byte{
				"nil": nil, "infinity": {0}, "short": good[:64], "long": append(bytes.Clone(good), 0),
				"zero": make([]byte, 65), "origin": append([]byte{4}, make([]byte, 64)...),
				"off the curve": off, "compressed": compressed, "hybrid": hybrid,
				"x is p": overX, "y is p": overY, "all ones": append([]byte{4}, bytes.Repeat([]byte{0xff}, 64)...),
				"x+p": overflowing(alg, p),
			} {
				if _, err := ParsePublic(alg, bad); !errors.Is(err, ErrPublicKey) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// overflowing is a point on the curve whose small x is written as x+p, which still fits 32 bytes
// (p of secp256k1, the largest, leaves room for x below 2^32). A reader that reduces would give one
// key two encodings.
func overflowing(alg Alg, p *big.Int) []byte {
	var a, b *big.Int
	switch alg {
	case ES256:
		a = big.NewInt(-3)
		b, _ = new(big.Int).SetString("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b", 16)
	case ES256K:
		a, b = new(big.Int), big.NewInt(7)
	case SM2:
		a = big.NewInt(-3)
		b, _ = new(big.Int).SetString("28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93", 16)
	}
	for i := int64(1); ; i++ {
		x := big.NewInt(i)
		y := new(big.Int).Exp(x, big.NewInt(3), p)
		y.Add(y, new(big.Int).Mul(a, x)).Add(y, b).Mod(y, p)
		if y.ModSqrt(y, p) == nil {
			continue
		}
		point := make([]byte, 65)
		point[0] = 4
		x.FillBytes(point[1:33])
		y.FillBytes(point[33:])
		if _, err := ParsePublic(alg, point); err != nil {
			panic("the reduced point must parse: " + err.Error())
		}
		x.Add(x, p).FillBytes(point[1:33])
		return point
	}
}

func TestConcurrentUse(t *testing.T) {
	for _, alg := range algs {
		s := newSigner(t, alg)
		v, err := ParsePublic(alg, s.Public())
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 8 {
					m := []byte{byte(i), byte(j)}
					sig, err := s.Sign(m)
					if err == nil {
						err = v.Verify(m, sig)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}
