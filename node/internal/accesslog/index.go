package accesslog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// A closed segment has an index beside it: for every record and person in it, at which bytes their entries stand. It
// holds nothing that the segment does not say, is made again where it is missing or damaged, and is never trusted: every
// part of it has a checksum, and what it points at is read and compared.
const (
	indexMagic  = "zl access index 1\n"
	indexSuffix = ".index"
	indexHeader = len(indexMagic) + 8 + 8 + 8 + 8 + 4
	pairBytes   = 12  // hash, offset
	blockPairs  = 340 // so that a block fits a disk's page
	fenceBytes  = 12  // a block's first hash and its checksum
)

var errIndex = errors.New("accesslog: the index is damaged")

// hash64 is FNV-1a. Two keys of one hash cost a look, no more.
func hash64(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range parts {
		for i := 0; i < len(s); i++ {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211 // ends each part
	}
	return h
}

func recordKey(r Record) uint64      { return hash64("r", string(r.Kind), r.ID) }
func personKey(person string) uint64 { return hash64("p", person) }

type pair struct {
	hash   uint64
	offset uint32
}

// index is an opened index.
type index struct {
	file     *os.File
	pairs    int
	from, to int64 // least and greatest time, Unix milliseconds
	fences   []byte
}

func indexPath(segment string) string { return strings.TrimSuffix(segment, suffix) + indexSuffix }

// openIndex opens a segment's index, making it first where it is missing, of another length, or damaged.
func openIndex(segment string, size int64) (*index, error) {
	x, err := readIndex(indexPath(segment), size)
	if err == nil {
		return x, nil
	}
	if err := makeIndex(segment, size); err != nil {
		return nil, err
	}
	return readIndex(indexPath(segment), size)
}

func readIndex(path string, size int64) (*index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x, err := parseIndex(f, size)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return x, nil
}

func parseIndex(f *os.File, size int64) (*index, error) {
	var b [indexHeader]byte
	if _, err := io.ReadFull(f, b[:]); err != nil {
		return nil, errIndex
	}
	if string(b[:len(indexMagic)]) != indexMagic || binary.BigEndian.Uint32(b[indexHeader-4:]) != crc32.Checksum(b[:indexHeader-4], crcTable) {
		return nil, errIndex
	}
	n := b[len(indexMagic):]
	x := &index{file: f, pairs: int(binary.BigEndian.Uint64(n[8:])), from: int64(binary.BigEndian.Uint64(n[16:])), to: int64(binary.BigEndian.Uint64(n[24:]))}
	if int64(binary.BigEndian.Uint64(n)) != size || x.pairs < 0 || int64(x.pairs) > size*int64(MaxRecords) {
		return nil, errIndex
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	fences := x.blocks() * fenceBytes
	if info.Size() != int64(indexHeader)+int64(fences)+4+int64(x.pairs)*pairBytes {
		return nil, errIndex
	}
	raw := make([]byte, fences+4)
	if _, err := io.ReadFull(f, raw); err != nil || binary.BigEndian.Uint32(raw[fences:]) != crc32.Checksum(raw[:fences], crcTable) {
		return nil, errIndex
	}
	x.fences = raw[:fences]
	return x, nil
}

func (x *index) blocks() int { return (x.pairs + blockPairs - 1) / blockPairs }

func (x *index) close() error { return x.file.Close() }

// find adds the offsets of a key.
func (x *index) find(key uint64, offsets map[uint32]bool) error {
	fence := func(i int) uint64 { return binary.BigEndian.Uint64(x.fences[i*fenceBytes:]) }
	// The first block that may hold the key is the one before the first that begins with it or beyond.
	i := max(0, sort.Search(x.blocks(), func(i int) bool { return fence(i) >= key })-1)
	for ; i < x.blocks() && fence(i) <= key; i++ {
		n := min(blockPairs, x.pairs-i*blockPairs)
		raw := make([]byte, n*pairBytes)
		if _, err := x.file.ReadAt(raw, int64(indexHeader+len(x.fences)+4+i*blockPairs*pairBytes)); err != nil {
			return errIndex
		}
		if crc32.Checksum(raw, crcTable) != binary.BigEndian.Uint32(x.fences[i*fenceBytes+8:]) {
			return errIndex
		}
		at := sort.Search(n, func(j int) bool { return binary.BigEndian.Uint64(raw[j*pairBytes:]) >= key })
		for ; at < n && binary.BigEndian.Uint64(raw[at*pairBytes:]) == key; at++ {
			offsets[binary.BigEndian.Uint32(raw[at*pairBytes+8:])] = true
		}
	}
	return nil
}

// makeIndex reads a segment and writes its index beside it, whole or not at all.
func makeIndex(segment string, size int64) error {
	s, err := openSegment(segment, size)
	if err != nil {
		return damagedFile(segment, 0, err)
	}
	defer s.close()
	var pairs []pair
	from, to := int64(math.MaxInt64), int64(0)
	for {
		raw, at, err := s.step()
		if err == io.EOF {
			break
		}
		var e Entry
		if err == nil {
			e, err = decode(raw)
		}
		if err != nil {
			return damagedFile(segment, s.next, err)
		}
		ms := e.Time.Time().UnixMilli()
		from, to = min(from, ms), max(to, ms)
		if e.Person != "" {
			pairs = append(pairs, pair{personKey(e.Person), uint32(at)})
		}
		for _, r := range e.Records {
			pairs = append(pairs, pair{recordKey(r), uint32(at)})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		switch {
		case a.hash != b.hash:
			if a.hash < b.hash {
				return -1
			}
			return 1
		default:
			return int(int64(a.offset) - int64(b.offset))
		}
	})
	pairs = slices.Compact(pairs)
	blocks := make([]byte, 0, len(pairs)*pairBytes)
	for _, p := range pairs {
		blocks = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(blocks, p.hash), p.offset)
	}
	b := append([]byte{}, indexMagic...)
	for _, n := range []int64{size, int64(len(pairs)), from, to} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
	at := len(b)
	for i := 0; i < len(pairs); i += blockPairs {
		block := blocks[i*pairBytes : min(i+blockPairs, len(pairs))*pairBytes]
		b = binary.BigEndian.AppendUint32(append(b, block[:8]...), crc32.Checksum(block, crcTable))
	}
	b = append(binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], crcTable)), blocks...)
	return replace(indexPath(segment), b)
}

func replace(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "index-*.tmp") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func (x *index) overlaps(from, until time.Time) bool {
	return (until.IsZero() || x.from < until.UnixMilli()) && (from.IsZero() || x.to >= from.UnixMilli())
}
