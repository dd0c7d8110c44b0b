package accesslog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// The vectors of docs/spec/accesslog.md were made by another program, after the page's words.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "spec", "vectors", "accesslog.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Start   model.Digest
		Header  string
		Entries []struct {
			Entry   Entry
			Encoded string
			Hash    model.Digest
		}
		File model.Digest `json:"file_sha256"`
	}
	if err := json.Unmarshal(raw, &v); err != nil || len(v.Entries) != 4 {
		t.Fatal(err, len(v.Entries))
	}
	file := header{first: 1, start: v.Start, before: v.Start}.encode()
	if hex.EncodeToString(file) != v.Header {
		t.Errorf("header %x", file)
	}
	c := chain{head: v.Start}
	for i := range v.Entries {
		e := &v.Entries[i]
		want, err := hex.DecodeString(e.Encoded)
		if err != nil {
			t.Fatal(err)
		}
		got := encode(nil, &e.Entry)
		if !bytes.Equal(got, want) {
			t.Errorf("entry %d:\n%x\n%x", i+1, got, want)
		}
		back, err := decode(want)
		if err != nil || !reflect.DeepEqual(back, e.Entry) {
			t.Errorf("entry %d: %v\n%+v\n%+v", i+1, err, back, e.Entry)
		}
		frame := append(make([]byte, frameBytes), got...)
		c.seal(frame)
		file = append(file, frame...)
		if c.head != e.Hash {
			t.Errorf("hash %d: %s", i+1, c.head)
		}
	}
	if sha256.Sum256(file) != v.File {
		t.Error("the file differs")
	}
}
