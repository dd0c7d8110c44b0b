// Package backup is the file that a node is saved in: a tape of named parts, one after another, sealed for a
// passphrase or a recipient (seal.go). docs/spec/backup.md has the format.
//
// A tape is a tar file whose first entry is backup.json (Info) and whose last is manifest.json: name, size and
// SHA-256 of every entry before it. Databases are entries of keys and values, in pieces of some megabytes, so that
// one that is in use can be written as it is read.
package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const (
	infoName     = "backup.json"
	manifestName = "manifest.json"
	piece        = 4 << 20   // bytes of an entry of keys and values, about
	maxPiece     = 128 << 20 // a request in the outbox has up to 64 MiB
	maxEntries   = 1_000_000
	pieceSuffix  = ".kv"
)

// Info says what a backup is of.
type Info struct {
	Format        int            `json:"format"` // 1
	Created       time.Time      `json:"created"`
	Program       string         `json:"program"` // version
	Node          model.NodeID   `json:"node"`
	Msp           model.MSPID    `json:"msp"`
	Channel       string         `json:"channel"`
	GenesisDigest string         `json:"genesis_digest"`
	Stores        map[string]int `json:"stores"` // formats, see docs/spec/stores.md
}

// Entry is one part of a tape.
type Entry struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Manifest is the end of a tape.
type Manifest struct {
	Blocks  uint64  `json:"blocks"`  // of the archive
	Waiting int     `json:"waiting"` // operations in the outbox
	Records *Known  `json:"records,omitempty"`
	Entries []Entry `json:"entries"`
}

// Known is what a node's records were at a height: whoever makes them again from the blocks comes to the same digest.
// A node whose records could not be read has none.
type Known struct {
	Blocks uint64       `json:"blocks"` // at most those of the archive
	Digest model.Digest `json:"digest"`
}

// Writer writes a tape. It is for one goroutine.
type Writer struct {
	t       *tar.Writer
	at      time.Time
	entries []Entry
}

// NewWriter begins a tape.
func NewWriter(w io.Writer, info Info) (*Writer, error) {
	info.Format = 1
	b := &Writer{t: tar.NewWriter(w), at: info.Created.UTC().Truncate(time.Second)}
	raw, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	return b, b.File(infoName, 0o600, int64(len(raw)), bytes.NewReader(raw))
}

// File adds size bytes of r under a name.
func (b *Writer) File(name string, mode int64, size int64, r io.Reader) error {
	if err := b.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: b.at, Format: tar.FormatPAX}); err != nil {
		return err
	}
	h := sha256.New()
	if n, err := io.Copy(io.MultiWriter(b.t, h), io.LimitReader(r, size)); err != nil {
		return err
	} else if n != size {
		return fmt.Errorf("backup: %s shrank while it was read", name)
	}
	b.entries = append(b.entries, Entry{name, size, hex.EncodeToString(h.Sum(nil))})
	return nil
}

// Database adds the keys and values that each yields, in pieces name.000000.kv and so on.
func (b *Writer) Database(name string, each func(yield func(key, value []byte) error) error) error {
	var buf []byte
	n := 0
	flush := func() error {
		err := b.File(fmt.Sprintf("%s.%06d%s", name, n, pieceSuffix), 0o600, int64(len(buf)), bytes.NewReader(buf))
		n++
		buf = buf[:0]
		return err
	}
	if err := each(func(key, value []byte) error {
		buf = binary.AppendUvarint(buf, uint64(len(key)))
		buf = append(buf, key...)
		buf = binary.AppendUvarint(buf, uint64(len(value)))
		buf = append(buf, value...)
		if len(buf) >= piece {
			return flush()
		}
		return nil
	}); err != nil {
		return err
	}
	return flush() // an empty database has an empty piece
}

// Close writes the manifest and ends the tape.
func (b *Writer) Close(m Manifest) error {
	m.Entries = b.entries
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := b.File(manifestName, 0o600, int64(len(raw)), bytes.NewReader(raw)); err != nil {
		return err
	}
	return b.t.Close()
}

// Sink takes a tape's parts, in their order.
type Sink interface {
	// Begin is told what the backup is of, before anything else.
	Begin(Info) error
	// File takes a file; r has size bytes and is read by File.
	File(name string, mode int64, size int64, r io.Reader) error
	// Pair takes one key and value of the database name. Both are the sink's to keep.
	Pair(name string, key, value []byte) error
}

// Read reads a tape whole into sink and returns what it is of and what it held. Everything that the sink was given was
// right only if Read returns no error: the manifest comes last. ErrChanged: the tape is not what was written.
func Read(r io.Reader, sink Sink) (info Info, m Manifest, err error) {
	t := tar.NewReader(r)
	var seen []Entry
	for {
		h, err := t.Next()
		if err != nil {
			return info, m, unread(err)
		}
		if h.Typeflag != tar.TypeReg || !local(h.Name) || len(seen) > maxEntries {
			return info, m, fmt.Errorf("%w: entry %q", ErrFormat, h.Name)
		}
		sum := sha256.New()
		in := io.TeeReader(t, sum)
		switch {
		case len(seen) == 0:
			if h.Name != infoName || h.Size > maxHeader {
				return info, m, ErrFormat
			}
			if err := readJSON(in, &info); err != nil || info.Format != 1 {
				return info, m, fmt.Errorf("%w: %s: format %d", ErrFormat, infoName, info.Format)
			}
			if err := sink.Begin(info); err != nil {
				return info, m, err
			}
		case h.Name == manifestName:
			raw, err := io.ReadAll(io.LimitReader(t, maxEntries*256))
			if err != nil {
				return info, m, unread(err)
			}
			if err := readJSON(bytes.NewReader(raw), &m); err != nil {
				return info, m, ErrFormat
			}
			if _, err := t.Next(); !errors.Is(err, io.EOF) {
				return info, m, ErrChanged
			}
			if _, err := io.Copy(io.Discard, r); err != nil { // to the end of what was sealed
				return info, m, unread(err)
			}
			return info, m, same(seen, m.Entries)
		case strings.HasSuffix(h.Name, pieceSuffix):
			if err := pairs(h, in, sink); err != nil {
				return info, m, unread(err)
			}
		default:
			if err := sink.File(h.Name, h.Mode, h.Size, in); err != nil {
				return info, m, unread(err)
			}
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			return info, m, unread(err)
		}
		seen = append(seen, Entry{h.Name, h.Size, hex.EncodeToString(sum.Sum(nil))})
	}
}

func unread(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return fmt.Errorf("%w: it ends early", ErrChanged)
	}
	return err
}

func same(seen, wanted []Entry) error {
	if len(seen) != len(wanted) {
		return fmt.Errorf("%w: %d parts, the manifest lists %d", ErrChanged, len(seen), len(wanted))
	}
	for i := range seen {
		if seen[i] != wanted[i] {
			return fmt.Errorf("%w: part %s", ErrChanged, seen[i].Name)
		}
	}
	return nil
}

func readJSON(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// local says that a name stays below the folder that it is restored to.
func local(name string) bool {
	return name != "" && len(name) <= 1000 && path.Clean(name) == name && name != "." && !path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../") && !strings.ContainsAny(name, "\\\x00")
}

func pairs(h *tar.Header, r io.Reader, sink Sink) error {
	name := strings.TrimSuffix(h.Name, pieceSuffix)
	i := strings.LastIndexByte(name, '.')
	if i < 0 || !local(name[:i]) || h.Size > maxPiece {
		return fmt.Errorf("%w: entry %q", ErrFormat, h.Name)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	next := func() ([]byte, error) {
		n, k := binary.Uvarint(raw)
		if k <= 0 || n > uint64(len(raw)-k) {
			return nil, fmt.Errorf("%w: %s", ErrFormat, h.Name)
		}
		b := raw[k : k+int(n) : k+int(n)]
		raw = raw[k+int(n):]
		return b, nil
	}
	for len(raw) > 0 {
		key, err := next()
		if err != nil {
			return err
		}
		value, err := next()
		if err != nil {
			return err
		}
		if err := sink.Pair(name[:i], key, value); err != nil {
			return err
		}
	}
	return nil
}
