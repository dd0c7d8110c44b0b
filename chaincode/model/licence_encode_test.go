package model

import (
	"bytes"
	"testing"
)

// TestAppendCanonical holds the fast encoder against the general one.
func TestAppendCanonical(t *testing.T) {
	full := Licence{
		Commitments: map[string]Digest{"holder_code": {1}, "holder_name": {2}}, Face: map[string]any{"b": "经营\"范围\\", "a": 5.0, "c": true},
		File: &FileDigest{Sealed: true, SHA256: Digest{3}, SM3: Digest{4}}, HolderKind: HolderEnterprise, HolderName: "名称（北京）", Number: "N1",
		Region: "110000", Signature: &Signature{Alg: "ES256", Key: "k", Value: "v"}, Type: "11100000MB0143028R001", ValidFrom: "2026-01-01",
	}
	legacy := full
	legacy.Legacy = "9111"
	for _, l := range []Licence{full, legacy, {}, {Face: map[string]any{}}} {
		want, err := Canonical(l)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.AppendCanonical(nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got  %s\nwant %s (%v)", got, want, err)
		}
		body, err := (&IssueBody{Under: "bj-scjg.1", Value: l}).EncodeBody()
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := Canonical(IssueBody{Under: "bj-scjg.1", Value: l}); !bytes.Equal(body, want) {
			t.Errorf("got  %s\nwant %s", body, want)
		}
	}
	full.Face["a"] = 1.5
	if _, err := full.AppendCanonical(nil); AsError(err).Code != CodeNumberNotInteger {
		t.Errorf("a fraction: %v", err)
	}
}
