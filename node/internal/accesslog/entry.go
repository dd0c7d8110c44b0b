// Package accesslog keeps a node's access log: who, signed in, read or wrote what, and what was decided. Entries stand
// in append-only segment files, each bound to all before it by a chain of hashes; the chain's head is anchored on the
// ledger (docs/spec/accesslog.md, docs/design/0021).
//
// Reading order: entry.go (the encoding), segment.go (files and chain), log.go and writer.go (appending), index.go and
// query.go (who looked at this record), verify.go (the proof), retain.go (what may go).
package accesslog

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Entry and its parts, as the API shows them.
type (
	Entry  = sdk.AccessEntry
	Record = sdk.AccessRecord
	Use    = sdk.AccessUse
)

// Bounds of an entry. Whoever touches more records than MaxRecords writes several entries.
const (
	MaxEntry   = 256 << 10 // bytes encoded
	MaxRecords = 1000
	maxText    = 1024 // bytes
)

const entryFormat = 1

// Flags of an entry.
const (
	flagAllowed = 1 << iota
	flagUse
	flagParty
	flagsKnown = flagAllowed | flagUse | flagParty
)

// ErrEntry marks bytes that are no entry as Append writes it.
var ErrEntry = errors.New("accesslog: not an entry")

// encode appends the canonical form. Texts are cut to their bounds and to whole characters; records beyond MaxRecords
// are left to the caller.
func encode(b []byte, e *Entry) []byte {
	b = append(b, entryFormat)
	b = binary.AppendUvarint(b, e.Sequence)
	b = binary.AppendUvarint(b, uint64(max(0, e.Time.Time().UnixMilli())))
	flags := byte(0)
	if e.Allowed {
		flags |= flagAllowed
	}
	if e.Use != nil {
		flags |= flagUse
	}
	if e.Party != "" {
		flags |= flagParty
	}
	b = append(b, flags)
	b = appendText(b, e.Person)
	b = appendText(b, e.Name)
	b = appendPseudonym(b, e.Pseudonym)
	b = appendText(b, string(e.Agency))
	b = appendText(b, e.Action)
	b = appendText(b, e.Route)
	b = appendText(b, e.Policy)
	b = binary.AppendUvarint(b, uint64(max(0, e.Status)))
	b = appendText(b, e.Request)
	b = binary.AppendUvarint(b, e.Count)
	if u := e.Use; u != nil {
		b = appendText(b, u.Purpose)
		b = appendText(b, u.OrgName)
		b = appendPseudonym(b, u.User)
		b = appendText(b, u.ItemName)
		b = appendText(b, u.ItemCode)
		b = appendText(b, u.BusinessCode)
	}
	if e.Party != "" {
		b = appendText(b, string(e.Party))
	}
	return appendRecords(b, e.Records)
}

// appendRecords writes runs: neighbours of one kind and creating agency share both, and are numbers.
func appendRecords(b []byte, records []Record) []byte {
	for len(records) > 0 {
		kind := records[0].Kind
		agency, _, numbered := serial(records[0].ID)
		n := 1
		for n < len(records) && records[n].Kind == kind {
			a, _, ok := serial(records[n].ID)
			if ok != numbered || a != agency {
				break
			}
			n++
		}
		b = appendText(b, string(kind))
		b = appendText(b, agency) // "" where the ids are not numbers
		b = binary.AppendUvarint(b, uint64(n))
		for _, r := range records[:n] {
			if numbered {
				_, s, _ := serial(r.ID)
				b = binary.AppendUvarint(b, s)
			} else {
				b = appendText(b, r.ID)
			}
		}
		records = records[n:]
	}
	return b
}

// serial takes apart "<agency>.<n>" where exactly that can be put together again.
func serial(id string) (agency string, n uint64, ok bool) {
	dot := strings.IndexByte(id, '.')
	if dot < 1 || dot > 32 || len(id)-dot > 16 || len(id) == dot+1 || id[dot+1] == '0' {
		return "", 0, false
	}
	for i := dot + 1; i < len(id); i++ {
		c := id[i] - '0'
		if c > 9 {
			return "", 0, false
		}
		n = n*10 + uint64(c)
	}
	return id[:dot], n, true
}

func appendText(b []byte, s string) []byte {
	if len(s) > maxText || !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s[:min(len(s), maxText)], "")
	}
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendPseudonym writes 16 bytes, or none.
func appendPseudonym(b []byte, p model.Pseudonym) []byte {
	if len(p) != 32 {
		return append(b, 0)
	}
	b = append(b, 16)
	at := len(b)
	b = append(b, make([]byte, 16)...)
	if _, err := hex.Decode(b[at:], []byte(p)); err != nil {
		return append(b[:at-1], 0)
	}
	return b
}

// decode reads what encode wrote; any other bytes are refused, so that an entry has one form.
func decode(raw []byte) (Entry, error) {
	r := reader{rest: raw}
	var e Entry
	if len(raw) > MaxEntry || r.byte() != entryFormat {
		return e, ErrEntry
	}
	e.Sequence = r.uvarint(1 << 62)
	e.Time = model.TimeOf(time.UnixMilli(int64(r.uvarint(1 << 47))))
	flags := r.byte()
	if flags&^flagsKnown != 0 {
		return e, ErrEntry
	}
	e.Allowed = flags&flagAllowed != 0
	e.Person = r.text()
	e.Name = r.text()
	e.Pseudonym = r.pseudonym()
	e.Agency = model.AgencyID(r.text())
	e.Action = r.text()
	e.Route = r.text()
	e.Policy = r.text()
	e.Status = int(r.uvarint(999))
	e.Request = r.text()
	e.Count = r.uvarint(1 << 62)
	if flags&flagUse != 0 {
		e.Use = &Use{Purpose: r.text(), OrgName: r.text(), User: r.pseudonym(), ItemName: r.text(), ItemCode: r.text(), BusinessCode: r.text()}
	}
	if flags&flagParty != 0 {
		if e.Party = model.USCC(r.text()); e.Party == "" {
			return Entry{}, ErrEntry
		}
	}
	e.Records = r.records()
	if r.failed {
		return Entry{}, ErrEntry
	}
	return e, nil
}

type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// uvarint reads a number of at most most in its shortest form.
func (r *reader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.failed || n <= 0 || v > most || (n > 1 && r.rest[n-1] == 0) {
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) text() string {
	b := r.take(int(r.uvarint(maxText)))
	if !utf8.Valid(b) {
		r.failed = true
		return ""
	}
	return string(b)
}

func (r *reader) pseudonym() model.Pseudonym {
	switch r.byte() {
	case 0:
		return ""
	case 16:
		return model.Pseudonym(hex.EncodeToString(r.take(16)))
	}
	r.failed = true
	return ""
}

func (r *reader) records() []Record {
	out := []Record{}
	var kindBefore, agencyBefore string
	for len(r.rest) > 0 && !r.failed {
		kind, agency := r.text(), r.text()
		n := int(r.uvarint(MaxRecords))
		if n == 0 || len(out)+n > MaxRecords || (len(out) > 0 && kind == kindBefore && agency == agencyBefore) {
			r.failed = true
			break
		}
		kindBefore, agencyBefore = kind, agency
		for range n {
			id := ""
			if agency != "" {
				id = agency + "." + strconv.FormatUint(r.uvarint(999_999_999_999_999), 10)
			} else {
				id = r.text()
			}
			if a, _, ok := serial(id); ok != (agency != "") || a != agency {
				r.failed = true
			}
			if r.failed {
				return nil
			}
			out = append(out, Record{Kind: model.Kind(kind), ID: id})
		}
	}
	return out
}
