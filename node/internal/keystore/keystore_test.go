package keystore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/zhenglian/zhenglian/sdk/envelope"
)

func TestKeystore(t *testing.T) {
	dir := t.TempDir()
	k, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []envelope.Alg{envelope.ES256, envelope.ES256K, envelope.SM2} {
		id := map[envelope.Alg]string{envelope.ES256: "a-1", envelope.ES256K: "a-2", envelope.SM2: "a-3"}[alg]
		made, err := k.Create("bj-scjg", id, alg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Create("bj-scjg", id, alg); err == nil {
			t.Error("a key was replaced")
		}
		again, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		read, ok := again.Signer("bj-scjg", id)
		if !ok || string(read.Public()) != string(made.Public()) {
			t.Errorf("%s is not read back", id)
		}
	}
	if _, ok := k.Signer("tj-scjg", "a-1"); ok {
		t.Error("another agency has the key")
	}
	if _, err := k.Create("bj-scjg", "../outside", envelope.ES256); err == nil {
		t.Error("a key id that is a path was taken")
	}
	path := filepath.Join(dir, "bj-scjg", "a-1.pem")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a key that others can read was opened")
	}
	if _, err := Open(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing folder was opened")
	}
}
