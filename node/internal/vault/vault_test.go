package vault

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// A restored vault skips ahead once, from what the ledger knows where that is more, and never gives a serial twice.
func TestRestoredSkips(t *testing.T) {
	dir := t.TempDir()
	floor := func(n uint64) func() (uint64, error) { return func() (uint64, error) { return n, nil } }
	serial := func(v *Vault, agency model.AgencyID, known uint64) uint64 {
		t.Helper()
		n, err := v.Serials(model.KindLicence, agency, 1, floor(known))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	reopen := func() *Vault {
		t.Helper()
		v, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := reopen()
	if n := serial(v, "bj-scjg", 1); n != 1 {
		t.Fatal(n)
	}
	_ = v.Close() // without Usable, as a copy of a running node's is
	for round := range uint64(2) {
		if err := Restored(dir); err != nil {
			t.Fatal(err)
		}
		if err := Restored(dir); err != nil { // called again
			t.Fatal(err)
		}
		v = reopen()
		first := serial(v, "bj-scjg", 50_000+round*2*Jump)
		if want := 50_000 + round*2*Jump + Jump; first != want {
			t.Errorf("round %d: %d, not %d", round, first, want)
		}
		if n := serial(v, "bj-new", 1); n < Jump { // a series that the backup did not have
			t.Error(n)
		}
		if err := v.Usable(); err != nil {
			t.Fatal(err)
		}
		_ = v.Close()
		v = reopen()
		if n := serial(v, "bj-scjg", 1); n != first+1 {
			t.Errorf("it skipped again: %d after %d", n, first)
		}
		_ = v.Close()
	}
}

// What is erased stands in no file, whether it was written just now, lies in a table, or lies deeper.
func TestEraseLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	v, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	item := func(n byte, value string) Item {
		return Item{Operation: model.OpID{n, 1}, Openings: Openings{model.FieldHolderName: {Salt: model.NewSalt(), Value: value}}}
	}
	somewhere := func(text string) bool {
		t.Helper()
		found := false
		if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			raw, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil // merged away
			}
			found = found || bytes.Contains(raw, []byte(text))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	settle := map[string]func(){
		"written just now": func() {},
		"in a table": func() {
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			if v, err = Open(dir); err != nil { // the journal becomes a table
				t.Fatal(err)
			}
		},
		"deeper": func() {
			for i := range 3 {
				if err := v.Keep([]Item{item(byte(100+i), "another")}); err != nil {
					t.Fatal(err)
				}
				if err := v.db.CompactRange(util.Range{}); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	n := byte(1)
	for _, where := range []string{"written just now", "in a table", "deeper"} {
		name := "zxqj" + strings.ReplaceAll(where, " ", "-")
		if err := v.Keep([]Item{item(n, name), item(n+1, "stays")}); err != nil {
			t.Fatal(err)
		}
		settle[where]()
		if !somewhere(name) {
			t.Fatalf("%s: the files do not hold what they are looked through for", where)
		}
		for range 2 {
			if err := v.Erase(model.OpID{n, 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if v, err = Open(dir); err != nil {
			t.Fatal(err)
		}
		if somewhere(name) {
			t.Errorf("%s: it still stands in a file", where)
		}
		if o, err := v.Openings(model.OpID{n, 1}); err != nil || o != nil {
			t.Errorf("%s: %v, %v", where, o, err)
		}
		if o, err := v.Openings(model.OpID{n + 1, 1}); err != nil || len(o) != 1 {
			t.Errorf("%s: the neighbour: %v, %v", where, o, err)
		}
		n += 2
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
}
