package accesslog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// A segment file is a header and frames, one for each entry, nothing else. docs/spec/accesslog.md is the format.
const (
	magic       = "zhenglian access log v1\n"
	headerBytes = len(magic) + 8 + 32 + 32 + 4
	frameBytes  = 4 + 4 + 8 // before the entry: length, checksum, beginning of the chain's hash
	chainDomain = "zhenglian:access:v1\n"
	suffix      = ".access"
	digits      = 16
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// header begins a segment: which entries it holds, and what they continue.
type header struct {
	first  uint64       // number of its first entry
	start  model.Digest // of the whole log: the hash before entry 1
	before model.Digest // the chain's hash before its first entry
}

func (h header) encode() []byte {
	b := make([]byte, 0, headerBytes)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = append(b, h.start[:]...)
	b = append(b, h.before[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
}

func decodeHeader(b []byte) (h header, err error) {
	if len(b) != headerBytes || string(b[:len(magic)]) != magic ||
		binary.BigEndian.Uint32(b[headerBytes-4:]) != crc32.Checksum(b[:headerBytes-4], crcTable) {
		return h, errors.New("the file's header is damaged")
	}
	b = b[len(magic):]
	h.first = binary.BigEndian.Uint64(b)
	copy(h.start[:], b[8:])
	copy(h.before[:], b[40:])
	if h.first == 0 || h.first == 1 && h.before != h.start {
		return h, errors.New("the file's header is not one of a log")
	}
	return h, nil
}

// chain is the hash after an entry: SHA-256 over the domain, the hash before, and the entry's bytes.
type chain struct {
	head    model.Digest
	scratch []byte
}

func (c *chain) add(entry []byte) {
	c.scratch = append(append(append(c.scratch[:0], chainDomain...), c.head[:]...), entry...)
	c.head = sha256.Sum256(c.scratch)
}

// seal fills in a frame whose entry stands in it already, and moves the chain on.
func (c *chain) seal(frame []byte) {
	c.add(frame[frameBytes:])
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-frameBytes))
	copy(frame[8:frameBytes], c.head[:8])
	binary.BigEndian.PutUint32(frame[4:], crc32.Checksum(frame[8:], crcTable))
}

// errTorn is a frame that the file's end cuts off; errFrame one that is whole and wrong.
var (
	errTorn  = errors.New("the file ends inside an entry")
	errFrame = errors.New("the entry's checksum is wrong")
	errChain = errors.New("the entry does not continue the chain: it or what is before it was changed")
)

// readFrame reads one frame: its entry's bytes (valid until the next call) and the beginning of the chain's hash.
func readFrame(r *bufio.Reader, scratch *[]byte) (entry []byte, link [8]byte, err error) {
	var head [frameBytes]byte
	if n, err := io.ReadFull(r, head[:]); err != nil {
		if n == 0 && err == io.EOF {
			return nil, link, io.EOF
		}
		return nil, link, tornOr(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > MaxEntry {
		return nil, link, errFrame
	}
	if cap(*scratch) < int(n) {
		*scratch = make([]byte, n)
	}
	entry = (*scratch)[:n]
	if _, err := io.ReadFull(r, entry); err != nil {
		return nil, link, tornOr(err)
	}
	if crc32.Update(crc32.Checksum(head[8:], crcTable), crcTable, entry) != binary.BigEndian.Uint32(head[4:]) {
		return nil, link, errFrame
	}
	return entry, [8]byte(head[8:]), nil
}

func tornOr(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errTorn
	}
	return err
}

// segmentFile is a segment as the folder lists it.
type segmentFile struct {
	first uint64 // by its name
	path  string
	size  int64
}

func segmentPath(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%0*d%s", digits, first, suffix))
}

// listSegments lists a log's segments in order. Anything else in the folder is passed over.
func listSegments(dir string) ([]segmentFile, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []segmentFile
	for _, d := range names {
		name, ok := strings.CutSuffix(d.Name(), suffix)
		if !ok || len(name) != digits {
			continue
		}
		first, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			continue
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, segmentFile{first, filepath.Join(dir, d.Name()), info.Size()})
	}
	slices.SortFunc(out, func(a, b segmentFile) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	return out, nil
}

// scanner reads a segment from its beginning, and knows where it is.
type scanner struct {
	file    *os.File
	r       *bufio.Reader
	header  header
	at      int64 // where the next frame begins
	next    uint64
	chain   chain
	scratch []byte
}

// openSegment opens a segment for reading at most limit bytes of it.
func openSegment(path string, limit int64) (*scanner, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &scanner{file: f, r: bufio.NewReaderSize(io.LimitReader(f, limit), 256<<10)}
	raw := make([]byte, headerBytes)
	if _, err := io.ReadFull(s.r, raw); err != nil {
		_ = f.Close()
		return nil, tornOr(err)
	}
	if s.header, err = decodeHeader(raw); err != nil {
		_ = f.Close()
		return nil, err
	}
	s.at, s.next, s.chain.head = int64(headerBytes), s.header.first, s.header.before
	return s, nil
}

func (s *scanner) close() error { return s.file.Close() }

// step reads the next entry's bytes and moves the chain on; io.EOF at the end. After another error the scanner is where
// it was.
func (s *scanner) step() (entry []byte, at int64, err error) {
	entry, link, err := readFrame(s.r, &s.scratch)
	if err != nil {
		return nil, s.at, err
	}
	s.chain.add(entry)
	if !bytes.Equal(link[:], s.chain.head[:8]) {
		return nil, s.at, errChain
	}
	if seq, ok := sequenceOf(entry); !ok || seq != s.next {
		return nil, s.at, errChain
	}
	at = s.at
	if at > math.MaxUint32-MaxEntry {
		return nil, s.at, errFrame // no segment is so large, and an index could not point there
	}
	s.at += int64(frameBytes + len(entry))
	s.next++
	return entry, at, nil
}

// sequenceOf reads an entry's number alone.
func sequenceOf(entry []byte) (uint64, bool) {
	if len(entry) < 2 || entry[0] != entryFormat {
		return 0, false
	}
	v, n := binary.Uvarint(entry[1:])
	return v, n > 0
}

// goodFrameBehind reports whether a whole frame of a later entry stands anywhere behind an offset. If so, what is at the
// offset is damage; if not, it is where a crash cut the file.
func goodFrameBehind(path string, from int64, after uint64) (bool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	for at := from + 1; at+int64(frameBytes) < int64(len(raw)); at++ {
		n := int64(binary.BigEndian.Uint32(raw[at:]))
		if n < 2 || n > MaxEntry || at+int64(frameBytes)+n > int64(len(raw)) {
			continue
		}
		frame := raw[at : at+int64(frameBytes)+n]
		seq, ok := sequenceOf(frame[frameBytes:])
		if !ok || seq < after || seq > after+uint64(len(raw)) {
			continue
		}
		if binary.BigEndian.Uint32(frame[4:]) == crc32.Checksum(frame[8:], crcTable) {
			return true, nil
		}
	}
	return false, nil
}

// syncDir makes a new or removed file's name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
