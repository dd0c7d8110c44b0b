package model

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// Salt is the secret of one field's commitment: 32 random bytes, kept off the ledger with the value.
// Erasing both leaves a commitment that nobody can open.
type Salt [32]byte

// NewSalt draws a salt.
func NewSalt() Salt {
	var s Salt
	_, _ = rand.Read(s[:]) // never fails since Go 1.24
	return s
}

// MarshalText writes base64url without padding.
func (s Salt) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, s[:]), nil
}

// UnmarshalText accepts exactly what MarshalText writes.
func (s *Salt) UnmarshalText(b []byte) error {
	if len(b) != 43 || bytes.ContainsAny(b, "\r\n") { // which the decoder would pass over
		return E(CodeBadValue, "salt")
	}
	v, err := base64.RawURLEncoding.Strict().DecodeString(string(b))
	if err != nil {
		return E(CodeBadValue, "salt")
	}
	copy(s[:], v)
	return nil
}

// String never shows the salt.
func (s Salt) String() string { return "[salt]" }

// Commit is the commitment (摘要锁定值) to a field's value:
// HMAC-SHA-256(salt, "zhenglian commitment v1\n" ‖ field ‖ "\n" ‖ canonical value).
// See docs/spec/commitment.md.
func Commit(salt Salt, field string, value any) (Digest, error) {
	v, err := Canonical(value)
	if err != nil {
		return Digest{}, err
	}
	m := hmac.New(sha256.New, salt[:])
	m.Write([]byte("zhenglian commitment v1\n" + field + "\n"))
	m.Write(v)
	return Digest(m.Sum(nil)), nil
}

// Opening discloses a committed field to a verifier.
type Opening struct {
	Salt  Salt `json:"salt"`
	Value any  `json:"value"`
}

// Opens reports in constant time whether the opening is of the commitment to the field.
func (o Opening) Opens(field string, c Digest) bool {
	d, err := Commit(o.Salt, field, o.Value)
	return err == nil && subtle.ConstantTimeCompare(d[:], c[:]) == 1
}
