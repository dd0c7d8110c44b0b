package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// block is a test block: half of it repeats, half does not.
func block(n uint64) []byte {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, n))
	return append(bytes.Repeat([]byte(fmt.Sprintf("block %d ", n)), 20), sum[:]...)
}

func marked(n uint64) bool { return n == 0 || n == 7 }

func open(t testing.TB, dir string, o Options) *Archive {
	t.Helper()
	a, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func fill(t testing.TB, a *Archive, to uint64) {
	t.Helper()
	for n := a.Height(); n < to; n++ {
		if err := a.Append(n, block(n), marked(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// check reads everything back, one by one and in a row.
func check(t testing.TB, a *Archive, height uint64) {
	t.Helper()
	if a.Height() != height {
		t.Fatalf("height %d, want %d", a.Height(), height)
	}
	var n uint64
	for b, err := range a.Iterate(0) {
		if err != nil || !bytes.Equal(b, block(n)) {
			t.Fatalf("block %d: %v", n, err)
		}
		if one, err := a.Block(n); err != nil || !bytes.Equal(one, b) {
			t.Fatalf("block %d alone: %v", n, err)
		}
		n++
	}
	if n != height {
		t.Fatalf("%d blocks in a row, want %d", n, height)
	}
	if _, err := a.Block(height); !errors.Is(err, ErrAbsent) {
		t.Errorf("block %d: %v", height, err)
	}
	var want []uint64
	for n := range height {
		if marked(n) {
			want = append(want, n)
		}
	}
	if got := a.Marked(height); !slices.Equal(got, want) {
		t.Errorf("marked are %v, want %v", got, want)
	}
	if got := a.Marked(7); height > 7 && !slices.Equal(got, []uint64{0}) {
		t.Errorf("marked below 7 are %v", got)
	}
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	o := Options{SegmentBytes: 1000}
	a := open(t, dir, o)
	check(t, a, 0)
	fill(t, a, 40)
	check(t, a, 40)
	if _, err := Open(dir, o); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := a.Append(41, block(41), false); !errors.Is(err, ErrOrder) {
		t.Errorf("gap: %v", err)
	}
	if err := a.Append(3, []byte("another"), false); err != nil {
		t.Errorf("a block that is there: %v", err)
	}
	if file := a.File(3); filepath.Dir(file) != dir || a.File(99) != dir {
		t.Errorf("block 3 stands in %s, block 99 in %s", file, a.File(99))
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d segments (%v)", len(files), err)
	}
	a = open(t, dir, o)
	check(t, a, 40)
	fill(t, a, 60)
	check(t, a, 60)
}

// TestTornEnd cuts the last segment at every byte: what is left is a whole beginning, and appending goes on.
func TestTornEnd(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{})
	fill(t, a, 6)
	ends := append([]int64{}, a.segments[0].offsets...)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(a.path(0))
	if err != nil {
		t.Fatal(err)
	}
	for size := range whole {
		var want uint64
		for _, end := range append(ends[1:], int64(len(whole))) {
			if int64(size) >= end {
				want++
			}
		}
		for _, tail := range [][]byte{nil, make([]byte, 100)} { // cut off, or never written over
			dir := t.TempDir()
			torn := append(append([]byte{}, whole[:size]...), tail...)
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(a.path(0))), torn, 0o600); err != nil {
				t.Fatal(err)
			}
			b, err := Open(dir, Options{})
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if b.Height() != want {
				t.Fatalf("%d bytes: height %d, want %d", size, b.Height(), want)
			}
			fill(t, b, 8)
			check(t, b, 8)
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDamage flips bytes everywhere: a flip before the last frame is an error that Repair cuts off at, and
// none goes unnoticed by who reads the block.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	o := Options{SegmentBytes: 600}
	a := open(t, dir, o)
	fill(t, a, 12)
	segments := a.segments
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for i, s := range segments {
		path := a.path(s.first)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at += 3 {
			bad := bytes.Clone(whole)
			bad[at] ^= 0x10
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			frame := len(s.offsets) - 1
			for int64(at) < s.offsets[frame] {
				frame--
			}
			hit := s.first + uint64(frame)
			b, err := Open(dir, o)
			switch {
			case err != nil:
				if !errors.Is(err, ErrDamaged) {
					t.Fatalf("segment %d byte %d: %v", i, at, err)
				}
			case b.Height() == 12:
				if _, err := b.Block(hit); !errors.Is(err, ErrDamaged) {
					t.Fatalf("segment %d byte %d: block %d read: %v", i, at, hit, err)
				}
			case i != len(segments)-1 || b.Height() != hit || hit != 11:
				t.Fatalf("segment %d byte %d: cut to height %d", i, at, b.Height())
			}
			if b != nil {
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			fillCopy(t, dir, o, 12)
		}
	}
}

// fillCopy puts back what a cut took.
func fillCopy(t *testing.T, dir string, o Options, to uint64) {
	t.Helper()
	a, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, a, to)
	check(t, a, to)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRepair(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, Options{SegmentBytes: 600})
	fill(t, a, 12)
	first := a.segments[1].first
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(a.path(first), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff, 0xff, 0xff, 0xff}, a.segments[1].offsets[1]); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{SegmentBytes: 600}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("damage unnoticed: %v", err)
	}
	b := open(t, dir, Options{SegmentBytes: 600, Repair: true})
	check(t, b, first+1)
	fill(t, b, 12)
	check(t, b, 12)
}

// FuzzFrame: any bytes give a frame or an error, and a frame encodes to the bytes that it was read from.
func FuzzFrame(f *testing.F) {
	for _, n := range []uint64{0, 7, 1 << 40} {
		b, _ := appendFrame(nil, nil, n, marked(n), block(n))
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b, b...))
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, size, err := decodeFrame(b)
		if err != nil {
			return
		}
		raw, err := x.block()
		if err != nil {
			return
		}
		again, _ := appendFrame(nil, nil, x.number, x.mark, raw)
		y, _, err := decodeFrame(again)
		if err != nil || y.number != x.number || y.mark != x.mark || size > int64(len(b)) {
			t.Fatalf("block %d does not come back: %v", x.number, err)
		}
		if back, err := y.block(); err != nil || !bytes.Equal(back, raw) {
			t.Fatalf("block %d differs: %v", x.number, err)
		}
	})
}

// FuzzOpen: a segment file of any content opens with a whole beginning, or not at all.
func FuzzOpen(f *testing.F) {
	var whole []byte
	for n := range uint64(3) {
		whole, _ = appendFrame(whole, nil, n, marked(n), block(n))
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add([]byte("not a segment"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%0*d%s", digits, 0, suffix)), content, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := Open(dir, Options{})
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		height := a.Height()
		if err := a.Append(height, block(height), false); err != nil {
			t.Fatal(err)
		}
		if b, err := a.Block(height); err != nil || !bytes.Equal(b, block(height)) {
			t.Fatalf("the appended block: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
