package envelope

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func TestRawSignatureRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":          "",
		"not a sequence": "3106020101020101",
		"length":         "3007020101020101",
		"trailing":       "300702010102010100",
		"negative":       "3006020181020101",
		"zero":           "3006020100020101",
		"padded":         "300702020001020101",
		"33 bytes":       "3026022101" + hex.EncodeToString(make([]byte, 32)) + "020101",
		"one integer":    "3003020101",
		"no length":      "30020201",
	} {
		der, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := rawSignature(der); err == nil {
			t.Errorf("%s: accepted as %x", name, raw)
		}
	}
}

// Raw to DER and back is the identity on all that has a DER form, and DER to raw accepts only what
// that produces.
func FuzzSignatureDER(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Add(bytes.Repeat([]byte{0x7f}, 64))
	f.Add(append(make([]byte, 31), append([]byte{1}, append(make([]byte, 31), 0x80)...)...))
	f.Add([]byte{0x30, 6, 2, 1, 1, 2, 1, 1})
	f.Add([]byte{0x30, 7, 2, 2, 0, 0x80, 2, 1, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		if der, ok := derSignature(nil, in); ok {
			if raw, err := rawSignature(der); err != nil || !bytes.Equal(raw, in) {
				t.Fatalf("%x -> %x -> %x, %v", in, der, raw, err)
			}
		}
		if raw, err := rawSignature(in); err == nil {
			if der, ok := derSignature(nil, raw); !ok || !bytes.Equal(der, in) {
				t.Fatalf("%x -> %x -> %x", in, raw, der)
			}
		}
	})
}
