// Package archive keeps every block of the ledger as it came, compressed, in append-only segment files. A
// node rebuilds its records from it, audits and evidence are served from it, and a new node can start
// from a copy. Whoever reads a copy checks it by the chain of block hashes: the checksums here find
// damage, not deceit.
//
// A segment is named by its first block's number and holds frames (frame.go) one after another, from
// block 0 on without a gap. Appending does not wait for the disk: what a power cut takes off the end is
// fetched from the ledger again. Open finds a torn end and cuts it off; damage anywhere before the end is
// an error that names the block and is never cut away unasked.
package archive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Errors of this package, for errors.Is.
var (
	ErrInUse   = errors.New("archive: the folder is in use by another process")
	ErrDamaged = errors.New("archive: damaged")
	ErrAbsent  = errors.New("archive: no such block")
	ErrOrder   = errors.New("archive: the block is not the next one")
)

// Options of an archive; the zero value is good.
type Options struct {
	SegmentBytes int64 // a segment is closed when it has grown beyond this: 64 MiB
	// Repair cuts the archive off before the first damaged block, wherever it is.
	Repair bool
}

// Archive is an open archive. Reading is safe for concurrent use, also while one goroutine appends.
type Archive struct {
	dir     string
	options Options
	lock    *os.File

	appending sync.Mutex // held by Append, Sync and Close
	file      *os.File   // the last segment, nil before the first block
	end       int64      // where its last frame ends
	buffer    []byte
	scratch   []byte
	failed    error // set when the end of the last segment is no longer known

	mu       sync.RWMutex
	segments []segment // guarded by mu
	marks    []uint64  // guarded by mu; numbers of the marked blocks, in order
}

type segment struct {
	first   uint64
	offsets []int64 // of its frames
}

const (
	suffix = ".blocks"
	digits = 16
)

func (a *Archive) path(first uint64) string {
	return filepath.Join(a.dir, fmt.Sprintf("%0*d%s", digits, first, suffix))
}

// Open opens the archive in dir, or makes an empty one.
func Open(dir string, o Options) (*Archive, error) {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = 64 << 20
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir)
	}
	a := &Archive{dir: dir, options: o, lock: lock}
	if err := a.load(); err != nil {
		_ = a.Close()
		return nil, err
	}
	return a, nil
}

// firsts lists the segments in the folder by their first blocks.
func (a *Archive) firsts() ([]uint64, error) {
	names, err := os.ReadDir(a.dir)
	if err != nil {
		return nil, err
	}
	var firsts []uint64
	for _, n := range names {
		if s, ok := strings.CutSuffix(n.Name(), suffix); ok {
			first, err := strconv.ParseUint(s, 10, 64)
			if err != nil || len(s) != digits {
				return nil, fmt.Errorf("%w: unknown file %s", ErrDamaged, n.Name())
			}
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	return firsts, nil
}

// Peek counts the blocks of a stopped node's archive, and changes nothing there. A torn end does not count; a gap or
// other damage is ErrDamaged.
func Peek(dir string) (height uint64, err error) {
	a := &Archive{dir: dir}
	firsts, err := a.firsts()
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for i, first := range firsts {
		if first != a.Height() {
			return a.Height(), fmt.Errorf("%w: block %d is missing", ErrDamaged, a.Height())
		}
		_, bad, err := a.scan(first, i == len(firsts)-1)
		if err = errors.Join(err, bad); err != nil {
			return a.Height(), err
		}
	}
	return a.Height(), nil
}

func (a *Archive) load() error {
	firsts, err := a.firsts()
	if err != nil {
		return err
	}
	for i, first := range firsts {
		if first != a.Height() {
			if err := a.cut(firsts[i:], fmt.Errorf("%w: block %d is missing", ErrDamaged, a.Height())); err != nil {
				return err
			}
			break
		}
		end, bad, err := a.scan(first, i == len(firsts)-1)
		if err != nil {
			return err
		}
		if bad != nil {
			if err := a.cut(firsts[i+1:], bad); err != nil {
				return err
			}
		}
		a.end = end
		if bad != nil {
			break
		}
	}
	if len(a.segments) == 0 {
		return nil
	}
	last := &a.segments[len(a.segments)-1]
	if a.file, err = os.OpenFile(a.path(last.first), os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := a.file.Truncate(a.end); err != nil {
		return err
	}
	if len(last.offsets) > 0 {
		return nil
	}
	// A segment whose first frame was torn: its file is made again by the next Append.
	if err := errors.Join(a.file.Close(), os.Remove(a.path(last.first))); err != nil {
		return err
	}
	a.file = nil
	a.segments = a.segments[:len(a.segments)-1]
	return nil
}

// cut removes segments behind damage, where that was asked for.
func (a *Archive) cut(firsts []uint64, damage error) error {
	if !a.options.Repair {
		return damage
	}
	for _, f := range firsts {
		if err := os.Remove(a.path(f)); err != nil {
			return err
		}
	}
	return nil
}

// scan reads a segment's frame headers, and the last segment's frames whole. bad is damage; a torn end of
// the last segment is none, and end is where the good frames end.
func (a *Archive) scan(first uint64, last bool) (end int64, bad, err error) {
	f, err := os.Open(a.path(first))
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	s := segment{first: first}
	r := bufio.NewReaderSize(f, 1<<16)
	var buf []byte
	for end < info.Size() {
		next := first + uint64(len(s.offsets))
		number, mark, size, err := readFrame(r, info.Size()-end, last, &buf)
		if err != nil && !errors.Is(err, errShort) && !errors.Is(err, errFrame) {
			return 0, nil, err
		}
		if err != nil || number != next {
			torn := false
			if last {
				if torn, err = a.torn(f, end, next); err != nil {
					return 0, nil, err
				}
			}
			if !torn {
				bad = fmt.Errorf("%w: block %d", ErrDamaged, next)
			}
			break
		}
		if mark {
			a.marks = append(a.marks, number)
		}
		s.offsets = append(s.offsets, end)
		end += size
	}
	a.segments = append(a.segments, s)
	return end, bad, nil
}

// readFrame reads the next frame's header, and with whole set checks the rest too.
func readFrame(r *bufio.Reader, left int64, whole bool, buf *[]byte) (number uint64, mark bool, size int64, err error) {
	header, err := r.Peek(frameHeader)
	if errors.Is(err, io.EOF) {
		return 0, false, 0, errShort
	} else if err != nil {
		return 0, false, 0, err
	}
	if size, err = frameSize(header); err != nil {
		return 0, false, 0, err
	}
	if size > left {
		return 0, false, 0, errShort
	}
	if !whole {
		number, mark = binary.LittleEndian.Uint64(header[8:]), header[16] == flagMark
		_, err = r.Discard(int(size))
		return number, mark, size, err
	}
	*buf = slices.Grow((*buf)[:0], int(size))[:size]
	if _, err := io.ReadFull(r, *buf); err != nil {
		return 0, false, 0, err
	}
	x, _, err := decodeFrame(*buf)
	return x.number, x.mark, size, err
}

// torn tells an end that a crash tore from damage in the middle: nothing good may follow it. It looks for
// the frame after the bad one by its number.
func (a *Archive) torn(f *os.File, at int64, bad uint64) (bool, error) {
	rest, err := io.ReadAll(io.NewSectionReader(f, at, 1<<40))
	if err != nil {
		return false, err
	}
	mark := binary.LittleEndian.AppendUint64(nil, bad+1)
	for i := 8; ; {
		if i > len(rest) {
			return true, nil
		}
		n := bytes.Index(rest[i:], mark)
		if n < 0 {
			return true, nil
		}
		i += n
		if x, _, err := decodeFrame(rest[i-8:]); err == nil && x.number == bad+1 {
			return false, nil
		}
		i++
	}
}

// Height is the number of blocks in the archive.
func (a *Archive) Height() uint64 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.height()
}

func (a *Archive) height() uint64 {
	if len(a.segments) == 0 {
		return 0
	}
	last := &a.segments[len(a.segments)-1]
	return last.first + uint64(len(last.offsets))
}

// Piece is the beginning of a segment's file that holds whole frames.
type Piece struct {
	Path string
	Size int64
}

// Cut says which bytes of which files make up the archive as it is at one moment: its height, and the pieces in order.
// They stay as they are, whatever is appended.
func (a *Archive) Cut() (height uint64, pieces []Piece, err error) {
	a.appending.Lock()
	defer a.appending.Unlock()
	a.mu.RLock()
	defer a.mu.RUnlock()
	for i, s := range a.segments {
		size := a.end
		if i < len(a.segments)-1 {
			info, err := os.Stat(a.path(s.first))
			if err != nil {
				return 0, nil, err
			}
			size = info.Size()
		}
		pieces = append(pieces, Piece{a.path(s.first), size})
	}
	return a.height(), pieces, nil
}

// Marked lists the marked blocks below a number, in order: those after which blocks are to be checked
// otherwise than before. What an archive that somebody else made has marked is worth no more than its blocks.
func (a *Archive) Marked(below uint64) []uint64 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	n, _ := slices.BinarySearch(a.marks, below)
	return slices.Clone(a.marks[:n])
}

// File names the file that a block stands in, or would stand in, for whoever has to replace it.
func (a *Archive) File(number uint64) string {
	path, _, err := a.find(number)
	if err != nil {
		return a.dir
	}
	return path
}

// Append adds the next block, marked or not. Blocks that are here already may be given again and are passed
// over, with the mark that they have.
//
// The crash argument: a frame counts once it is whole in the file, which Open decides by its checksum. A
// write that fails half-way is cut off at once, or, where even that fails, nothing more is appended.
func (a *Archive) Append(number uint64, block []byte, mark bool) error {
	a.appending.Lock()
	defer a.appending.Unlock()
	if a.failed != nil {
		return a.failed
	}
	switch height := a.Height(); {
	case number < height:
		return nil
	case number > height:
		return fmt.Errorf("%w: %d at height %d", ErrOrder, number, height)
	}
	if len(block) > MaxBlock {
		return fmt.Errorf("archive: block %d has %d bytes, more than %d", number, len(block), MaxBlock)
	}
	if a.file == nil || a.end >= a.options.SegmentBytes {
		if err := a.roll(number); err != nil {
			return err
		}
	}
	a.buffer, a.scratch = appendFrame(a.buffer[:0], a.scratch, number, mark, block)
	if _, err := a.file.WriteAt(a.buffer, a.end); err != nil {
		if cut := a.file.Truncate(a.end); cut != nil {
			a.failed = errors.Join(err, cut)
		}
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	last := &a.segments[len(a.segments)-1]
	last.offsets = append(last.offsets, a.end)
	if mark {
		a.marks = append(a.marks, number)
	}
	a.end += int64(len(a.buffer))
	return nil
}

// roll closes the last segment on the disk and begins one.
func (a *Archive) roll(first uint64) error {
	if a.file != nil {
		if err := a.file.Sync(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(a.path(first), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if a.file != nil {
		_ = a.file.Close() // synced above
	}
	a.file, a.end = f, 0
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.segments); n == 0 || len(a.segments[n-1].offsets) > 0 {
		a.segments = append(a.segments, segment{first: first})
	}
	return nil
}

// Block is a block's bytes.
func (a *Archive) Block(number uint64) ([]byte, error) {
	path, offset, err := a.find(number)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var buf []byte
	x, err := frameAt(f, offset, number, &buf)
	if err != nil {
		return nil, err
	}
	return x.block()
}

func (a *Archive) find(number uint64) (string, int64, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if number >= a.height() {
		return "", 0, fmt.Errorf("%w: %d", ErrAbsent, number)
	}
	i, found := slices.BinarySearchFunc(a.segments, number, func(s segment, n uint64) int {
		switch {
		case s.first < n:
			return -1
		case s.first > n:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	s := &a.segments[i]
	return a.path(s.first), s.offsets[number-s.first], nil
}

func frameAt(f *os.File, offset int64, number uint64, buf *[]byte) (frame, error) {
	damaged := func(err error) (frame, error) {
		return frame{}, fmt.Errorf("%w: block %d: %w", ErrDamaged, number, err)
	}
	var header [frameHeader]byte
	if _, err := f.ReadAt(header[:], offset); err != nil {
		return damaged(err)
	}
	size, err := frameSize(header[:])
	if err != nil {
		return damaged(err)
	}
	*buf = slices.Grow((*buf)[:0], int(size))[:size]
	if _, err := f.ReadAt(*buf, offset); err != nil {
		return damaged(err)
	}
	x, _, err := decodeFrame(*buf)
	if err == nil && x.number != number {
		err = errFrame
	}
	if err != nil {
		return damaged(err)
	}
	return x, nil
}

// Iterate yields the blocks from a number on, in order, up to the height at the time of the call. An error
// is yielded once and ends it.
func (a *Archive) Iterate(from uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var f *os.File
		var open string
		defer func() {
			if f != nil {
				_ = f.Close() // only read
			}
		}()
		var buf []byte
		for n, height := from, a.Height(); n < height; n++ {
			path, offset, err := a.find(n)
			if err == nil && path != open {
				if f != nil {
					_ = f.Close()
				}
				f, err = os.Open(path)
				open = path
			}
			var block []byte
			if err == nil {
				var x frame
				if x, err = frameAt(f, offset, n, &buf); err == nil {
					block, err = x.block()
				}
			}
			if !yield(block, err) || err != nil {
				return
			}
		}
	}
}

// Sync waits until all that was appended is on the disk.
func (a *Archive) Sync() error {
	a.appending.Lock()
	defer a.appending.Unlock()
	if a.file == nil {
		return nil
	}
	return a.file.Sync()
}

// Close syncs and closes the archive.
func (a *Archive) Close() error {
	a.appending.Lock()
	defer a.appending.Unlock()
	var err error
	if a.file != nil {
		err = errors.Join(a.file.Sync(), a.file.Close())
		a.file = nil
	}
	if a.failed == nil {
		a.failed = errors.New("archive: closed")
	}
	return errors.Join(err, a.lock.Close())
}
