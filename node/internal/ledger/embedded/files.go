package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/golang/snappy"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

// goleveldb skips what it cannot read at the end of a journal, because a crash may have cut off the last write. To
// it, a damaged record at the end looks the same as one that was never finished, and an acknowledged block would
// vanish without a word. So the files are read here first, by the same format (leveldb's log and table formats), and
// every byte that holds something is covered by a checksum that is compared. What a crash leaves is told apart from
// damage by one fact: a crash cuts a write short, it does not change it.

// fileDamage is one damaged place in a database's files.
type fileDamage struct {
	file   string // relative to the ledger's folder
	offset int64
	what   string
}

func (d fileDamage) Error() string {
	return fmt.Sprintf("%s at offset %d: %s", d.file, d.offset, d.what)
}

// dbFiles is what one database's files say before it is opened.
type dbFiles struct {
	damage  []fileDamage
	torn    []string // files whose last write was cut short: no damage
	tables  map[int64]int64
	journal []int64 // live journals in order
}

// scanFiles reads the entry point, the manifest and the journals of a database, and with deep set its tables too.
// The error is one of reading files at all.
func scanFiles(dir, name string, deep bool) (*dbFiles, error) {
	f := &dbFiles{}
	s := &fileScan{root: dir, name: name, out: f}
	manifest, err := s.current()
	if err != nil || manifest == "" {
		return f, err
	}
	from, err := s.manifest(manifest)
	if err != nil || from < 0 {
		return f, err
	}
	if err := s.journals(from); err != nil {
		return f, err
	}
	for _, num := range slices.Sorted(maps.Keys(f.tables)) {
		if err := s.table(num, f.tables[num], deep); err != nil {
			return f, err
		}
	}
	return f, nil
}

type fileScan struct {
	root, name string
	out        *dbFiles
}

func (s *fileScan) read(file string) ([]byte, error) {
	return os.ReadFile(filepath.Join(s.root, s.name, file))
}

func (s *fileScan) damaged(file string, offset int, format string, args ...any) {
	s.out.damage = append(s.out.damage, fileDamage{s.name + "/" + file, int64(offset), fmt.Sprintf(format, args...)})
}

// current reads the entry point, which names the manifest.
func (s *fileScan) current() (string, error) {
	b, err := s.read("CURRENT")
	if errors.Is(err, os.ErrNotExist) {
		s.damaged("CURRENT", 0, "the file is missing")
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var num int64
	name := strings.TrimSuffix(string(b), "\n")
	if n, err := fmt.Sscanf(name, "MANIFEST-%d", &num); n != 1 || err != nil || string(b) != fmt.Sprintf("MANIFEST-%06d\n", num) {
		s.damaged("CURRENT", 0, "it names no manifest: %q", b)
		return "", nil
	}
	if _, err := os.Stat(filepath.Join(s.root, s.name, name)); errors.Is(err, os.ErrNotExist) {
		s.damaged("CURRENT", 0, "it names %s, which does not exist", name)
		return "", nil
	} else if err != nil {
		return "", err
	}
	return name, nil
}

// manifest reads which tables and journals are live. It returns the first live journal, or −1 if it cannot tell.
func (s *fileScan) manifest(file string) (int64, error) {
	b, err := s.read(file)
	if err != nil {
		return -1, err
	}
	s.out.tables = map[int64]int64{}
	from := int64(-1)
	whole := s.records(file, b, true, func(offset int, record []byte) {
		r := &cursor{b: record}
		for len(r.b) > 0 && !r.bad {
			switch r.uvarint() {
			case 1: // comparer
				r.bytes()
			case 2: // first live journal
				from = int64(r.uvarint())
			case 3, 4, 9: // next file, sequence number, previous journal
				r.uvarint()
			case 5: // compaction pointer
				r.uvarint()
				r.bytes()
			case 6: // table removed
				r.uvarint()
				delete(s.out.tables, int64(r.uvarint()))
			case 7: // table added
				r.uvarint()
				num := int64(r.uvarint())
				s.out.tables[num] = int64(r.uvarint())
				r.bytes()
				r.bytes()
			default:
				r.bad = true
			}
		}
		if r.bad {
			s.damaged(file, offset, "a record cannot be read")
		}
	})
	if whole && from < 0 {
		s.damaged(file, 0, "it names no journal")
	}
	return from, nil
}

// journals reads the live journals. Only the last one that holds anything may have been cut short.
func (s *fileScan) journals(from int64) error {
	entries, err := os.ReadDir(filepath.Join(s.root, s.name))
	if err != nil {
		return err
	}
	type journal struct {
		num  int64
		file string
		b    []byte
	}
	var live []journal
	last := -1
	for _, e := range entries {
		fd, ok := parseFileName(e.Name())
		if !ok || fd.Type != storage.TypeJournal || fd.Num < from {
			continue
		}
		b, err := s.read(e.Name())
		if err != nil {
			return err
		}
		live = append(live, journal{fd.Num, e.Name(), b})
	}
	slices.SortFunc(live, func(a, b journal) int { return int(a.num - b.num) })
	for i, j := range live {
		if len(j.b) > 0 {
			last = i
		}
	}
	for i, j := range live {
		s.out.journal = append(s.out.journal, j.num)
		s.records(j.file, j.b, i == last, func(offset int, record []byte) {
			if len(record) < 12 {
				s.damaged(j.file, offset, "a batch of %d bytes", len(record))
			}
		})
	}
	return nil
}

const (
	logBlock  = 32 << 10
	logHeader = 7
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is leveldb's checksum.
func masked(b []byte) uint32 { return mask(crc32.Checksum(b, castagnoli)) }

func mask(crc uint32) uint32 { return (crc>>15 | crc<<17) + 0xa282ead8 }

// records walks over a file in leveldb's log format. mayTear says that a write may have been cut short at its end.
// It reports whether every record was read.
func (s *fileScan) records(file string, b []byte, mayTear bool, fn func(offset int, record []byte)) bool {
	var record []byte
	open, begin := false, 0
	torn := func(offset int, what string) bool {
		if mayTear {
			s.out.torn = append(s.out.torn, s.name+"/"+file)
		} else {
			s.damaged(file, offset, "%s", what)
		}
		return false
	}
	for at := 0; at < len(b); {
		if left := logBlock - at%logBlock; left < logHeader {
			pad := b[at:min(at+left, len(b))]
			if i := slices.IndexFunc(pad, func(c byte) bool { return c != 0 }); i >= 0 {
				s.damaged(file, at+i, "filling between blocks is not zero")
			}
			at += left
			continue
		}
		if len(b)-at < logHeader {
			return torn(at, "a chunk's header is cut off")
		}
		sum := binary.LittleEndian.Uint32(b[at:])
		length := int(binary.LittleEndian.Uint16(b[at+4:]))
		kind := b[at+6]
		end := at + logHeader + length
		room := at - at%logBlock + logBlock // where the 32 KiB block ends
		if end > len(b) && end <= room {
			if wholeAtAnyLength(b[at+6:], sum) {
				s.damaged(file, at+4, "a chunk's length is wrong")
				return false
			}
			return torn(at, "a chunk is cut off")
		}
		if end > room {
			s.damaged(file, at+4, "a chunk is longer than its block")
			return false
		}
		if masked(b[at+6:end]) != sum {
			s.damaged(file, at, "a chunk's checksum does not match")
			return false
		}
		switch first, final := kind == 1 || kind == 2, kind == 1 || kind == 4; {
		case kind < 1 || kind > 4, first == open:
			s.damaged(file, at+6, "chunks do not follow one another")
			return false
		default:
			if first {
				record, begin = record[:0], at
			}
			record = append(record, b[at+logHeader:end]...)
			if open = !final; final {
				fn(begin, record)
			}
		}
		at = end
	}
	if open {
		return torn(begin, "a record's end is missing")
	}
	return true
}

// wholeAtAnyLength tells a chunk whose length was changed from one that was cut off: of the former all bytes are
// there, and at its true length they match the checksum. Everything after it would be passed over.
func wholeAtAnyLength(b []byte, sum uint32) bool {
	crc := uint32(0)
	for i := range b {
		crc = crc32.Update(crc, castagnoli, b[i:i+1])
		if mask(crc) == sum {
			return true
		}
	}
	return false
}

const (
	tableFooter  = 48
	tableMagic   = "\x57\xfb\x80\x8b\x24\x75\x47\xdb"
	tableTrailer = 5 // compression ‖ checksum, after each block

	maxTableBlock = 256 << 20 // an uncompressed block is at most one entry longer than the block size
)

// table checks that a live table is there in full length, and with deep set that every byte of it is accounted for:
// all blocks lie one after another and each matches its checksum.
func (s *fileScan) table(num, size int64, deep bool) error {
	file := storage.FileDesc{Type: storage.TypeTable, Num: num}.String()
	info, err := os.Stat(filepath.Join(s.root, s.name, file))
	if errors.Is(err, os.ErrNotExist) {
		s.damaged(file, 0, "the table is missing")
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() != size {
		s.damaged(file, int(info.Size()), "the table has %d bytes, not %d", info.Size(), size)
		return nil
	}
	if !deep {
		return nil
	}
	b, err := s.read(file)
	if err != nil {
		return err
	}
	if len(b) < tableFooter || string(b[len(b)-len(tableMagic):]) != tableMagic {
		s.damaged(file, max(0, len(b)-tableFooter), "the footer cannot be read")
		return nil
	}
	foot := &cursor{b: b[len(b)-tableFooter : len(b)-len(tableMagic)]}
	meta, index := foot.handle(), foot.handle()
	if i := slices.IndexFunc(foot.b, func(c byte) bool { return c != 0 }); i >= 0 || foot.bad {
		s.damaged(file, len(b)-tableFooter, "the footer cannot be read")
		return nil
	}
	blocks := []handle{meta, index}
	for _, h := range []handle{meta, index} {
		content, ok := s.tableBlock(file, b, h)
		if !ok {
			return nil
		}
		inner, ok := handlesIn(content)
		if !ok {
			s.damaged(file, int(h.offset), "an index block cannot be read")
			return nil
		}
		blocks = append(blocks, inner...)
	}
	slices.SortFunc(blocks, func(a, b handle) int { return int(a.offset) - int(b.offset) })
	at := uint64(0)
	for _, h := range blocks {
		if h.offset != at {
			s.damaged(file, int(at), "blocks do not follow one another")
			return nil
		}
		at = h.offset + h.length + tableTrailer
		if h == meta || h == index {
			continue // read above
		}
		s.tableBlock(file, b, h)
	}
	if at != uint64(len(b)-tableFooter) {
		s.damaged(file, int(at), "blocks do not follow one another")
	}
	return nil
}

// tableBlock checks and uncompresses one block.
func (s *fileScan) tableBlock(file string, b []byte, h handle) ([]byte, bool) {
	if h.length > uint64(len(b)) || h.offset > uint64(len(b))-h.length || uint64(len(b))-h.offset-h.length < tableTrailer {
		s.damaged(file, 0, "an index names a block outside the file")
		return nil, false
	}
	block := b[h.offset : h.offset+h.length+1]
	sum := binary.LittleEndian.Uint32(b[h.offset+h.length+1:])
	if masked(block) != sum {
		s.damaged(file, int(h.offset), "a block's checksum does not match")
		return nil, false
	}
	content := block[:h.length]
	if block[h.length] == 1 {
		n, err := snappy.DecodedLen(content)
		if err == nil && n > maxTableBlock {
			err = errors.New("too long")
		}
		if err == nil {
			content, err = snappy.Decode(nil, content)
		}
		if err != nil {
			s.damaged(file, int(h.offset), "a block cannot be uncompressed")
			return nil, false
		}
	}
	return content, true
}

type handle struct{ offset, length uint64 }

// handlesIn reads the block handles that are the values of an index block.
func handlesIn(b []byte) ([]handle, bool) {
	if len(b) < 4 {
		return nil, false
	}
	restarts := int(binary.LittleEndian.Uint32(b[len(b)-4:]))
	if restarts > len(b)/4-1 {
		return nil, false
	}
	r := &cursor{b: b[:len(b)-4-4*restarts]}
	var out []handle
	for len(r.b) > 0 && !r.bad {
		r.uvarint() // bytes shared with the key before
		unshared, length := r.uvarint(), r.uvarint()
		r.take(unshared)
		v := &cursor{b: r.take(length)}
		h := v.handle()
		r.bad = r.bad || v.bad
		out = append(out, h)
	}
	return out, !r.bad
}

// cursor reads varints and byte strings; bad is set once something does not fit.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad, c.b = true, nil
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) bytes() []byte  { return c.take(c.uvarint()) }
func (c *cursor) handle() handle { return handle{c.uvarint(), c.uvarint()} }

// parseFileName reads the name of one of goleveldb's files.
func parseFileName(name string) (storage.FileDesc, bool) {
	for _, t := range []struct {
		format string
		kind   storage.FileType
	}{{"%06d.log", storage.TypeJournal}, {"%06d.ldb", storage.TypeTable}, {"MANIFEST-%06d", storage.TypeManifest}} {
		var num int64
		if n, err := fmt.Sscanf(name, t.format, &num); n == 1 && err == nil && name == fmt.Sprintf(t.format, num) {
			return storage.FileDesc{Type: t.kind, Num: num}, true
		}
	}
	return storage.FileDesc{}, false
}

// checkOnOpen refuses a database whose entry point, manifest or journals are damaged, or whose tables are missing.
func checkOnOpen(dir, name string) error {
	f, err := scanFiles(dir, name, false)
	if err != nil {
		return err
	}
	if len(f.damage) > 0 {
		return fmt.Errorf("%w: %w", ErrCorrupt, f.damage[0])
	}
	return nil
}

// strictness of opening after scanFiles has found no damage: goleveldb may skip the write that a crash cut short.
const strictness = opt.DefaultStrict
