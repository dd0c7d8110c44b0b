package records

import (
	"errors"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestVersions: who wrote a key last, in this store and in what was gathered, also of other namespaces and of
// keys that were taken away; and which ids there were.
func TestVersions(t *testing.T) {
	c := newChain(t)
	c.submit(c.licence(1, nil))
	dir := t.TempDir()
	s := openStore(t, dir, Options{})
	c.catchUp(s, 1)
	w := s.Writer()
	const page = "p/licence/bj-scjg/0"
	check := func(namespace, key string, block, tx uint64, there bool) {
		t.Helper()
		b, x, ok, err := w.Version(namespace, key)
		if err != nil || ok != there || (ok && (b != block || x != tx)) {
			t.Errorf("%q of %q: block %d tx %d %v (%v), want block %d tx %d %v", key, namespace, b, x, ok, err, block, tx, there)
		}
	}
	known := func(id string, block uint64, valid, there bool) {
		t.Helper()
		b, v, ok, err := w.Known(id)
		if err != nil || ok != there || (ok && (b != block || v != valid)) {
			t.Errorf("%s: block %d valid %v %v (%v), want block %d %v %v", id, b, v, ok, err, block, valid, there)
		}
	}
	id := func(digit string) string { return strings.Repeat(digit, 64) }
	check("", page, 1, 0, true)
	check("", "none", 0, 0, false)
	check("zhenglian", page, 0, 0, false)
	known(id("a"), 0, false, false)

	write := func(number uint64, valid, invalid []string, writes ...func() error) {
		t.Helper()
		if err := w.Block(number, model.Digest{byte(number)}, model.TimeOf(now), valid, invalid); err != nil {
			t.Fatal(err)
		}
		for _, x := range writes {
			if err := x(); err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(namespace, key, value string, tx uint64) func() error {
		return func() error { return w.Write(namespace, key, []byte(value), tx) }
	}
	// The second block is gathered and not committed with the first: both are seen by the writer at once.
	write(2, []string{id("a")}, []string{id("b"), id("a"), "not an id", id("A")}, put("", "x", "1", 7), put("_lifecycle", "s", "1", 3), put("_lifecycle", "t", "1", 3))
	for range 2 {
		check("", "x", 2, 7, true)
		check("_lifecycle", "s", 2, 3, true)
		check("_lifecycle", "t", 2, 3, true)
		known(id("a"), 2, true, true)
		known(id("b"), 2, false, true)
		known("not an id", 0, false, false)
		known(id("A"), 0, false, false)
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	write(3, []string{id("b")}, nil, put("", "x", "2", 0), put("", "x", "3", 1), put("_lifecycle", "s", "", 0))
	for range 2 {
		check("", "x", 3, 1, true)
		check("_lifecycle", "s", 0, 0, false)
		known(id("b"), 2, false, true) // the first counts
		if v, err := w.Get("x"); err != nil || string(v) != "3" {
			t.Errorf("x is %q (%v)", v, err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	snap := s.Snapshot()
	if v, err := snap.Get("x"); err != nil || string(v) != "3" {
		t.Errorf("x is %q (%v)", v, err)
	}
	if v, err := snap.Get("none"); err != nil || v != nil {
		t.Errorf("none is %q (%v)", v, err)
	}
	snap.Release()
	write(4, nil, nil, put("", "x", "4", 0))
	w.Reset()
	check("", "x", 3, 1, true)
}

// TestOlderFormat: a store of the format before this one says what to do.
func TestOlderFormat(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.db.Put([]byte(spaceFormat), []byte{formatVersion - 1}, nil), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "zhenglian reindex") {
		t.Errorf("opened: %v", err)
	}
}
