package envelope

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
)

func marshal(t testing.TB, s Signer) []byte {
	t.Helper()
	data, err := MarshalKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestKeyRoundTrip(t *testing.T) {
	for _, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			s := newSigner(t, alg)
			data := marshal(t, s)
			for name, in := range map[string][]byte{
				"as written":    data,
				"CRLF":          bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")),
				"no last line":  bytes.TrimSpace(data),
				"blank at last": append(bytes.Clone(data), "\n \n"...),
			} {
				back, err := ParseKey(in)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if back.Alg() != alg || !bytes.Equal(back.Public(), s.Public()) || !bytes.Equal(marshal(t, back), data) {
					t.Errorf("%s: another key came back", name)
				}
				if err := Verify(alg, s.Public(), []byte("m"), sign(t, back, []byte("m"))); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// The standard library and gmsm read and write the same bytes.
func TestKeyAsLibrariesWriteIt(t *testing.T) {
	p256 := newSigner(t, ES256)
	block, _ := pem.Decode(marshal(t, p256))
	any256, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := any256.(*ecdsa.PrivateKey)
	if key.Curve != elliptic.P256() {
		t.Error("another curve")
	}
	if der, err := x509.MarshalPKCS8PrivateKey(key); err != nil || !bytes.Equal(der, block.Bytes) {
		t.Errorf("crypto/x509 writes it differently: %v", err)
	}

	block, _ = pem.Decode(marshal(t, newSigner(t, SM2)))
	anySM2, err := smx509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if der, err := smx509.MarshalPKCS8PrivateKey(anySM2.(*sm2.PrivateKey)); err != nil || !bytes.Equal(der, block.Bytes) {
		t.Errorf("smx509 writes it differently: %v", err)
	}
}

// elsewhere is a signer whose key is in a device.
type elsewhere struct{ Signer }

func TestMarshalKeyHeldElsewhere(t *testing.T) {
	for _, s := range []Signer{nil, elsewhere{newSigner(t, ES256)}} {
		if _, err := MarshalKey(s); !errors.Is(err, ErrKey) {
			t.Errorf("%T: %v", s, err)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for _, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			s := newSigner(t, alg)
			data := marshal(t, s)
			text := string(data)
			block, _ := pem.Decode(data)
			d := s.(held).scalar()
			at := bytes.Index(block.Bytes, d)
			with := func(scalar []byte) []byte {
				der := bytes.Clone(block.Bytes)
				copy(der[at:], scalar)
				return pem.EncodeToMemory(&pem.Block{Type: keyPEMType, Bytes: der})
			}
			n := order(alg)
			for name, bad := range map[string][]byte{
				"empty":             nil,
				"text":              []byte("key"),
				"prefix only":       []byte("-----BEGIN PRIVATE KEY-----"),
				"text before":       []byte("key:\n" + text),
				"text after":        []byte(text + "x"),
				"twice":             []byte(text + text),
				"header":            []byte(strings.Replace(text, "KEY-----\n", "KEY-----\nA: b\n\n", 1)),
				"broken then whole": []byte("-----BEGIN PRIVATE KEY-----\n!\n" + text),
				"hidden block": append([]byte("-----BEGIN PRIVATE KEY-----\n!\n"),
					pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes})...),
				"other type":        []byte(strings.ReplaceAll(text, "PRIVATE KEY", "EC PRIVATE KEY")),
				"long":              append(bytes.Clone(data), bytes.Repeat([]byte("\n"), maxKeyFile)...),
				"der":               block.Bytes,
				"trailing in block": pem.EncodeToMemory(&pem.Block{Type: keyPEMType, Bytes: append(bytes.Clone(block.Bytes), 0)}),
				"cut":               pem.EncodeToMemory(&pem.Block{Type: keyPEMType, Bytes: block.Bytes[:100]}),
				"zero scalar":       with(make([]byte, 32)),
				"scalar is n":       with(n.Bytes()),
				"scalar past n":     with(bytes.Repeat([]byte{0xff}, 32)),
				"another scalar":    with(newSigner(t, alg).(held).scalar()),
				"negated scalar":    with(new(big.Int).Sub(n, new(big.Int).SetBytes(d)).FillBytes(make([]byte, 32))),
			} {
				_, err := ParseKey(bad)
				if !errors.Is(err, ErrKey) {
					t.Errorf("%s: %v", name, err)
				}
			}
			// Each byte of the file's DER is fixed by the key and the curve.
			for i := range block.Bytes {
				der := bytes.Clone(block.Bytes)
				der[i] ^= 1
				if _, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: keyPEMType, Bytes: der})); !errors.Is(err, ErrKey) {
					t.Errorf("byte %d flipped: %v", i, err)
				}
			}
		})
	}
}

// SM2 excludes n-1, for which (1+d) has no inverse.
func TestSM2ScalarRange(t *testing.T) {
	n := order(SM2)
	for _, tt := range []struct {
		below int64
		ok    bool
	}{{1, false}, {2, true}} {
		d := new(big.Int).Sub(n, big.NewInt(tt.below)).FillBytes(make([]byte, 32))
		if _, err := (sm2Suite{}).private(d); (err == nil) != tt.ok {
			t.Errorf("n-%d: %v", tt.below, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, v := range vectors(f) {
		if v.Private != "" {
			f.Add([]byte(v.Private))
			f.Add([]byte(strings.ReplaceAll(v.Private, "\n", "\r\n")))
			f.Add([]byte(strings.Replace(v.Private, "AQEE", "AQAE", 1)))
		}
	}
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseKey(data)
		if err != nil {
			if !errors.Is(err, ErrKey) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		a, _ := pem.Decode(data)
		b, _ := pem.Decode(marshal(t, s))
		if !bytes.Equal(a.Bytes, b.Bytes) {
			t.Fatal("accepted a form that it does not write")
		}
		if err := Verify(s.Alg(), s.Public(), data, sign(t, s, data)); err != nil {
			t.Fatal(err)
		}
	})
}
