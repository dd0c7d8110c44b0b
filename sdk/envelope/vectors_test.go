package envelope

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/emmansun/gmsm/sm3"
)

// vector is one entry of docs/spec/vectors/signatures.json.
type vector struct {
	Alg       Alg    `json:"alg"`
	Source    string `json:"source"`
	Public    hexed  `json:"public_hex"`
	Message   hexed  `json:"message_hex"`
	Signature hexed  `json:"signature_hex"`
	Valid     bool   `json:"valid"`
	Note      string `json:"note"`
	Private   string `json:"private_pem"`
}

type hexed []byte

func (h *hexed) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "vectors", "signatures.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var file struct {
		About   string   `json:"about"`
		Vectors []vector `json:"vectors"`
	}
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	return file.Vectors
}

func TestOutsideVectors(t *testing.T) {
	seen := map[Alg]int{}
	for _, v := range vectors(t) {
		t.Run(string(v.Alg)+" "+v.Source, func(t *testing.T) {
			want := error(nil)
			if !v.Valid {
				want = ErrSignature
			}
			if err := Verify(v.Alg, v.Public, v.Message, v.Signature); err != want {
				t.Errorf("Verify: %v, want %v %s", err, want, v.Note)
			}
			if v.Private == "" {
				return
			}
			s, err := ParseKey([]byte(v.Private))
			if err != nil {
				t.Fatal(err)
			}
			if s.Alg() != v.Alg || !bytes.Equal(s.Public(), v.Public) {
				t.Error("the private key is read as another's")
			}
			if data, err := MarshalKey(s); err != nil || string(data) != v.Private {
				t.Errorf("written differently: %v\n%s", err, data)
			}
			if err := Verify(v.Alg, v.Public, v.Message, sign(t, s, v.Message)); err != nil {
				t.Error(err)
			}
		})
		if v.Valid {
			seen[v.Alg]++
		}
	}
	for _, alg := range algs {
		if seen[alg] < 2 {
			t.Errorf("%s: %d vectors", alg, seen[alg])
		}
	}
}

// RFC 6979 fixes the nonce, so the signature of key 1 over a known message is known too.
func TestES256KSignsAsPublished(t *testing.T) {
	one := make([]byte, 32)
	one[31] = 1
	s, err := es256kSuite{}.private(one)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, v := range vectors(t) {
		if !bytes.Equal(v.Public, s.Public()) {
			continue
		}
		found = true
		if got := sign(t, s, v.Message); !bytes.Equal(got, v.Signature) {
			t.Errorf("signature %x, want %x", got, v.Signature)
		}
	}
	if !found {
		t.Error("no vector of key 1")
	}
}

// RFC 6979, A.2.5 prints the private key too, so ES256 has to give its very bytes.
func TestES256SignsAsPublished(t *testing.T) {
	x, err := hex.DecodeString("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
	if err != nil {
		t.Fatal(err)
	}
	s, err := es256Suite{}.private(x)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, v := range vectors(t) {
		if bytes.Equal(v.Public, s.Public()) {
			found = true
			if got := sign(t, s, v.Message); !bytes.Equal(got, v.Signature) {
				t.Errorf("signature %x, want %x", got, v.Signature)
			}
		}
	}
	if !found {
		t.Error("no vector of that key")
	}
}

// GB/T 32918.5-2017 prints the digest of user id, curve and key too.
func TestSM2UserID(t *testing.T) {
	const want = "b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3"
	for _, v := range vectors(t) {
		if v.Alg != SM2 || string(v.Message) != "message digest" {
			continue
		}
		p, err := ParsePublic(SM2, v.Public)
		if err != nil {
			t.Fatal(err)
		}
		if za := p.(*sm2Public).za; hex.EncodeToString(za[:]) != want {
			t.Errorf("ZA = %x", za)
		}
		return
	}
	t.Error("no worked example")
}

func TestSM3(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "vectors", "sm.json")
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		t.Skip("../shared/vectors/sm.json is not beside this checkout")
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		SM3 []struct {
			Message string `json:"message_utf8"`
			Digest  hexed  `json:"digest_hex"`
		} `json:"sm3"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.SM3) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range file.SM3 {
		if got := sm3.Sum([]byte(v.Message)); !bytes.Equal(got[:], v.Digest) {
			t.Errorf("SM3(%q) = %x, want %x", v.Message, got, v.Digest)
		}
	}
}
