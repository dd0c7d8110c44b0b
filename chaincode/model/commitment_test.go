package model

import (
	"encoding/hex"
	"strings"
	"testing"
)

// TestCommitmentVector was computed with another program:
// printf 'zhenglian commitment v1\nholder_name\n"张三"' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0001…1f
func TestCommitmentVector(t *testing.T) {
	var salt Salt
	for i := range salt {
		salt[i] = byte(i)
	}
	for _, tt := range []struct {
		field string
		value any
		want  string
	}{
		{"holder_name", "张三", "ff95a8ff94c5f7bc2e0437b52e51703e6750b0340adeaf5893797026e3ff7282"}, {"holder_code", "11010519491231002X", "00457b144342599f7b264ec8fc0fa2f6e6d83a9ef351a22b9b0352609ac80cba"}, {"level", 3, "a10406abbfa3f42f2410eeb92c669a32a00e40a0674f71378e336f076b17f8f8"}, {"grades", []any{"A", true, nil}, "5c439e47b21dde3583e4fdb2fd1de9af57082150b8fc8a53c5c4603fa2e574d2"},
	} {
		c, err := Commit(salt, tt.field, tt.value)
		if err != nil || hex.EncodeToString(c[:]) != tt.want {
			t.Errorf("%s: %s, %v", tt.field, c, err)
		}
		o := Opening{Salt: salt, Value: tt.value}
		if !o.Opens(tt.field, c) {
			t.Errorf("%s does not open", tt.field)
		}
		if o.Opens(tt.field+"x", c) {
			t.Errorf("%s opens as another field", tt.field)
		}
		wrong := o
		wrong.Salt[0]++
		if wrong.Opens(tt.field, c) {
			t.Errorf("%s opens with another salt", tt.field)
		}
		wrong = o
		wrong.Value = "other"
		if wrong.Opens(tt.field, c) {
			t.Errorf("%s opens with another value", tt.field)
		}
		for i := range c {
			d := c
			d[i] ^= 1
			if o.Opens(tt.field, d) {
				t.Errorf("%s opens a commitment changed in byte %d", tt.field, i)
			}
		}
	}
	if (Opening{Salt: salt, Value: 1.5}).Opens("x", Digest{}) {
		t.Error("a value without canonical form opens something")
	}
	if _, err := Commit(salt, "x", "a\x00"); err == nil {
		t.Error("a control character is committed to")
	}
}

func TestSalt(t *testing.T) {
	a, b := NewSalt(), NewSalt()
	if a == b || strings.Contains(a.String(), "A") {
		t.Error("salts")
	}
	text, err := a.MarshalText()
	if err != nil || len(text) != 43 {
		t.Fatal(err, len(text))
	}
	var back Salt
	if err := back.UnmarshalText(text); err != nil || back != a {
		t.Error(err)
	}
	// The last character carries two bits that must be zero; anything else would write one salt in two ways.
	for _, s := range []string{"", strings.Repeat("A", 42), strings.Repeat("A", 44), strings.Repeat("A", 42) + "B", strings.Repeat("A", 42) + "=", strings.Repeat("A", 42) + "+", strings.Repeat("A", 42) + "\n"} {
		if err := back.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q is a salt", s)
		}
	}
}

// TestOpeningSurvivesJSON: a value that a holder presents as JSON opens what was computed from a Go value.
func TestOpeningSurvivesJSON(t *testing.T) {
	salt := NewSalt()
	for _, v := range []any{"文\"字\\", 5, 9007199254740991, -1, true, []string{"a"}, map[string]any{"b": 1, "a": "x"}} {
		c, err := Commit(salt, "f", v)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := Canonical(Presentation{"f": {Salt: salt, Value: v}})
		if err != nil {
			t.Fatal(err)
		}
		var p Presentation
		if _, err := DecodeStrict(raw, &p); err != nil || !p["f"].Opens("f", c) {
			t.Errorf("%v: %v", v, err)
		}
	}
}
