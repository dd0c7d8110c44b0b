package envelope

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzParsePublic(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(string(v.Alg), []byte(v.Public))
		f.Add(string(v.Alg), []byte(v.Public[:64]))
	}
	f.Add("ES256", append([]byte{4}, make([]byte, 64)...))
	f.Add("none", []byte{})
	f.Fuzz(func(t *testing.T, alg string, public []byte) {
		v, err := ParsePublic(Alg(alg), public)
		if err != nil {
			if v != nil || !errors.Is(err, ErrAlg) && !errors.Is(err, ErrPublicKey) {
				t.Fatalf("%v, %v", v, err)
			}
			return
		}
		if len(public) != PublicSize || public[0] != 4 {
			t.Fatalf("accepted %x", public)
		}
		// A parsed key is usable, and refuses a signature that nobody made.
		if err := v.Verify(public, bytes.Repeat([]byte{1}, SignatureSize)); err != ErrSignature {
			t.Fatal(err)
		}
	})
}

func FuzzVerify(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(string(v.Alg), []byte(v.Public), []byte(v.Message), []byte(v.Signature))
		f.Add(string(v.Alg), []byte(v.Public), []byte(v.Message[1:]), []byte(v.Signature))
		f.Add(string(v.Alg), []byte(v.Public), []byte(v.Message), []byte(v.Signature[:63]))
	}
	known := map[string]bool{}
	for _, v := range vectors(f) {
		if v.Valid {
			known[string(v.Alg)+string(v.Public)+string(v.Message)] = true
		}
	}
	f.Fuzz(func(t *testing.T, alg string, public, message, signature []byte) {
		err := Verify(Alg(alg), public, message, signature)
		switch {
		case err == nil:
			// The fuzzer cannot sign, so what verifies is a vector or, under ES256, its twin.
			if !known[alg+string(public)+string(message)] {
				t.Fatalf("forged %s: key %x message %x signature %x", alg, public, message, signature)
			}
		case !errors.Is(err, ErrAlg) && !errors.Is(err, ErrPublicKey) && err != ErrSignature:
			t.Fatalf("error of another kind: %v", err)
		}
	})
}
