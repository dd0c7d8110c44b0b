package records

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestRestore takes operations away as a power cut may: cut off, written as zeros, or a hole in the middle,
// whatever was known to be on the disk. The blocks bring them back, and nothing else does.
func TestRestore(t *testing.T) {
	c := newChain(t)
	for i := 1; i <= 6; i++ {
		c.submit(c.licence(2*i-1, nil), c.licence(2*i, nil), c.act(model.LicenceSuspend, 2*i, 2))
	}
	tests := []struct {
		name string
		lose func(f *os.File, end int64) error
	}{
		{"cut off", func(f *os.File, end int64) error { return f.Truncate(end / 2) }},
		{"one byte", func(f *os.File, end int64) error { return f.Truncate(end - 1) }},
		{"all", func(f *os.File, end int64) error { return f.Truncate(0) }},
		{"zeros", func(f *os.File, end int64) error {
			return errors.Join(f.Truncate(end*2/3), f.Truncate(end))
		}},
		{"a hole", func(f *os.File, end int64) error {
			_, err := f.WriteAt(make([]byte, 100), end/3)
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			c.catchUp(s, 2)
			want, _, err := s.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			// A power cut comes before the note that all was synced.
			if s, err = Open(dir, Options{}); err != nil {
				t.Fatal(err)
			}
			if err := s.db.Delete([]byte(spaceSynced), nil); err != nil {
				t.Fatal(err)
			}
			end := s.ops.end
			if err := errors.Join(s.ops.file.Close(), s.closeDB()); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(filepath.Join(dir, oplogName), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tt.lose(f, end), f.Close()); err != nil {
				t.Fatal(err)
			}

			s = openStore(t, dir, Options{})
			w := s.Writer()
			first, ok, err := w.Gap()
			if err != nil || !ok {
				t.Fatalf("no gap (%v)", err)
			}
			last := c.blocks[len(c.blocks)-1]
			if _, err := s.View(model.KindLicence, last.applied[0].Op.Record); !errors.Is(err, ErrDamaged) && tt.name != "a hole" && tt.name != "one byte" {
				t.Errorf("read what is missing: %v", err)
			}
			for n := first; n < uint64(len(c.blocks)); n++ {
				g := &c.blocks[n]
				tx := hex.EncodeToString(g.hash[:])
				ops := make([][]byte, len(g.applied))
				for i := range ops {
					ops[i] = g.applied[i].Raw
				}
				if err := w.Restore(n, tx, [][]byte{[]byte("another")}); err != nil {
					t.Fatal(err)
				}
				if err := w.Restore(n+1, tx, ops); err != nil {
					t.Fatal(err)
				}
				if err := w.Restore(n, tx, ops); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok, err := w.Gap(); ok || err != nil {
				t.Fatalf("the gap is still there (%v)", err)
			}
			if got, _, err := s.Digest(); err != nil || got != want {
				t.Errorf("other content than before (%v)", err)
			}
		})
	}
}

// TestGapStopsWriting: nothing is added while operations are missing.
func TestGapStopsWriting(t *testing.T) {
	c := newChain(t)
	c.submit(c.licence(1, nil))
	s := newStore(t, Options{})
	c.catchUp(s, 1)
	c.submit(c.licence(2, nil))
	s.gap--
	if err := c.blocks[2].give(s.Writer(), 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Writer().Commit(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("committed over a gap: %v", err)
	}
	s.gap++
	s.Writer().Reset()
	c.catchUp(s, 1)
}
