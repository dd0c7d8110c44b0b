package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"
)

// fill makes a ledger with values, deletions, ranges, conflicts and history, and closes it. With flushed set the
// databases have tables besides their journals.
func fill(t testing.TB, r *rig, flushed bool) {
	t.Helper()
	for i := range 20 {
		r.submit("put", fmt.Sprint("k", i%7), fmt.Sprint("value ", i), fmt.Sprint("only", i), strings.Repeat("x", 50))
	}
	r.submit("del", "only3")
	r.submit("count", "a", "z", "n")
	a, b := r.endorse("append", "k1", "a"), r.endorse("append", "k1", "b")
	r.commit(a)
	r.commit(b) // a conflict
	r.close()
	if !flushed {
		return
	}
	for _, name := range []string{blocksName, stateName} {
		db, err := leveldb.OpenFile(filepath.Join(r.dir, name), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.CompactRange(util.Range{}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r.open()
	r.submit("put", "late", "1")
	r.close()
}

func check(t testing.TB, dir string) Report {
	t.Helper()
	report, err := Fsck(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func mustBeSound(t testing.TB, dir string) Report {
	t.Helper()
	report := check(t, dir)
	for _, f := range report.Findings {
		t.Errorf("finding: %s: %s", f.Code, f.En)
	}
	return report
}

func TestFsckSound(t *testing.T) {
	r := newRig(t, nil)
	if _, err := Fsck(t.Context(), r.dir, nil); !errors.Is(err, ErrInUse) {
		t.Errorf("check of a served ledger: %v", err)
	}
	fill(t, r, true)
	before := contents(t, r.dir)
	var calls []uint64
	report, err := Fsck(t.Context(), r.dir, func(done, _ uint64) { calls = append(calls, done) })
	if err != nil || len(report.Findings) > 0 || len(report.Torn) > 0 {
		t.Fatalf("report %+v, %v", report, err)
	}
	if report.Height != 26 || report.Applied != 26 || report.Transactions != 26 || report.Entries < 70 {
		t.Errorf("report %+v", report)
	}
	if !slices.IsSorted(calls) || calls[len(calls)-1] != report.Height {
		t.Errorf("progress %v", calls)
	}
	if !slices.Equal(before, contents(t, r.dir)) {
		t.Error("the check changed the folder")
	}
	// A copy under another name, without lock files, is the same ledger.
	dir := filepath.Join(t.TempDir(), "elsewhere")
	copyDir(t, r.dir, dir)
	for _, name := range []string{blocksName, stateName} {
		if err := os.Remove(filepath.Join(dir, name, "LOCK")); err != nil {
			t.Fatal(err)
		}
	}
	mustBeSound(t, dir)
	if _, err := os.Stat(filepath.Join(dir, blocksName, "LOCK")); err == nil {
		t.Error("the check made a lock file")
	}
	if _, err := Fsck(t.Context(), t.TempDir(), nil); !errors.Is(err, ErrNotCreated) {
		t.Errorf("an empty folder: %v", err)
	}
}

func contents(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	if err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		out = append(out, fmt.Sprintf("%s %x", p, hashOf(b)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestFsckPut changes entries through goleveldb, whose own checksums then fit.
func TestFsckPut(t *testing.T) {
	r := newRig(t, nil)
	fill(t, r, false)
	type entry struct{ db, prefix, where string }
	for _, e := range []entry{
		{blocksName, "b", "block "},
		{stateName, "d", "state key "},
		{stateName, "h", "history of key "},
		{stateName, "t", "index entry of transaction "},
		{stateName, "s", "state savepoint"},
	} {
		for _, how := range []string{"flip", "delete", "add"} {
			t.Run(e.prefix+" "+how, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "l")
				copyDir(t, r.dir, dir)
				key := damage(t, filepath.Join(dir, e.db), e.prefix, how)
				report := check(t, dir)
				if len(report.Findings) == 0 {
					t.Fatalf("%s %s %x: nothing found", e.db, how, key)
				}
				named := slices.ContainsFunc(report.Findings, func(f Finding) bool {
					return strings.Contains(f.Where, strings.TrimSpace(e.where)) || strings.Contains(f.Where, fmt.Sprintf("%x", key))
				})
				// A lost last block shows as a state that lies ahead; a lost savepoint as one that is missing.
				if !named {
					t.Errorf("%x is not named in %+v", key, report.Findings)
				}
				for _, f := range report.Findings {
					if f.Code == "" || f.En == "" || f.Zh == "" || f.En == f.Zh {
						t.Errorf("finding %+v", f)
					}
				}
			})
		}
	}
}

// damage changes one entry with that prefix and gives its key.
func damage(t *testing.T, path, prefix, how string) []byte {
	t.Helper()
	db, err := leveldb.OpenFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var keys [][]byte
	it := db.NewIterator(util.BytesPrefix([]byte(prefix)), nil)
	for it.Next() {
		keys = append(keys, slices.Clone(it.Key()))
	}
	it.Release()
	key := keys[rand.IntN(len(keys))]
	value, err := db.Get(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	switch how {
	case "flip":
		if len(value) == 0 {
			value = []byte{1} // history entries hold nothing
		} else {
			value[rand.IntN(len(value))] ^= 1 << rand.IntN(8)
		}
		err = db.Put(key, value, nil)
	case "delete":
		err = db.Delete(key, nil)
	case "add":
		key = append(key, 'x')
		err = db.Put(key, value, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestFsckEveryByte flips bytes at random places of every file. A flip may go unnoticed only if nothing that the
// ledger stores changed by it: such files hold goleveldb's notes, or are left over.
func TestFsckEveryByte(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		t.Run(fmt.Sprint("flushed=", flushed), func(t *testing.T) {
			r := newRig(t, nil)
			fill(t, r, flushed)
			want := logical(t, r.dir)
			samples, missed := 60, 0
			if os.Getenv("ZL_SOAK") != "" {
				samples = 2000
			}
			var files []string
			_ = filepath.WalkDir(r.dir, func(p string, d fs.DirEntry, _ error) error {
				if info, err := d.Info(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
					rel, _ := filepath.Rel(r.dir, p)
					files = append(files, rel)
				}
				return nil
			})
			for i := range samples {
				file := files[i%len(files)]
				if flipAndCheck(t, r.dir, file, want) {
					missed++
				}
			}
			t.Logf("%d flips over %v: %d in bytes that hold nothing", samples, files, missed)
		})
	}
}

// flipAndCheck flips one bit of a copy and checks it. It reports whether the flip went unnoticed, and fails the test
// if it then changed what the databases hold.
func flipAndCheck(t *testing.T, from, file, want string) bool {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "l")
	copyDir(t, from, dir)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, file)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := rand.IntN(len(b))
	b[at] ^= 1 << rand.IntN(8)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if len(check(t, dir).Findings) > 0 {
		return false
	}
	if name := filepath.Base(file); name != "LOG" && name != "LOG.old" && !strings.HasPrefix(name, "CURRENT.") {
		t.Errorf("%s: flip at %d of %d unnoticed", file, at, len(b))
	}
	if got := logical(t, dir); got != want {
		t.Errorf("%s: flip at %d changed what is stored and went unnoticed", file, at)
	}
	return true
}

// logical is a digest of everything that both databases hold.
func logical(t *testing.T, dir string) string {
	t.Helper()
	var parts [][]byte
	for _, name := range []string{blocksName, stateName} {
		db, release, err := openOverlay(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		it := db.NewIterator(nil, nil)
		for it.Next() {
			parts = append(parts, slices.Clone(it.Key()), slices.Clone(it.Value()))
		}
		if err := it.Error(); err != nil {
			t.Fatal(err)
		}
		it.Release()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		release()
	}
	return string(hashOf(parts...))
}

// TestRecordsEveryBit flips every bit of the journals and manifests: each flip is damage, never the mark of a crash.
// And cuts them off at every length: that is never damage.
func TestRecordsEveryBit(t *testing.T) {
	r := newRig(t, nil)
	fill(t, r, false)
	for _, pattern := range []string{"*.log", "MANIFEST-*"} {
		names, err := filepath.Glob(filepath.Join(r.dir, "*", pattern))
		if err != nil || len(names) == 0 {
			t.Fatal(names, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			scan := func(b []byte) *dbFiles {
				s := &fileScan{name: "db", out: &dbFiles{}}
				s.records(name, b, true, func(int, []byte) {})
				return s.out
			}
			// Twenty kilobytes of whole records are enough, and leave room in the 32 KiB block for a length to grow into.
			end := len(b)
			(&fileScan{out: &dbFiles{}}).records(name, b, true, func(offset int, _ []byte) {
				if end == len(b) && offset > 20<<10 {
					end = offset
				}
			})
			b = b[:end]
			if f := scan(b); len(f.torn)+len(f.damage) > 0 {
				t.Fatal(f)
			}
			for i := range b {
				if len(scan(b[:i]).damage) > 0 {
					t.Fatalf("%s cut off at %d is damage: %v", name, i, scan(b[:i]).damage)
				}
				for bit := range 8 {
					b[i] ^= 1 << bit
					if len(scan(b).damage) == 0 {
						t.Fatalf("%s: bit %d of byte %d of %d flipped and unnoticed", name, bit, i, len(b))
					}
					b[i] ^= 1 << bit
				}
			}
		}
	}
}
