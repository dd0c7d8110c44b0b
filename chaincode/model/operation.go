package model

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
)

// OpID is an operation's id: 16 bytes, written as 32 hexadecimal digits.
type OpID [16]byte

// NewOpID is a random id, for an operation that came without an idempotency key.
func NewOpID() OpID {
	var id OpID
	_, _ = rand.Read(id[:]) // crypto/rand.Read never fails since Go 1.24
	return id
}

// DeriveOpID is the id of the n-th operation of a request made under an idempotency key: the same agency,
// principal, key and place always give the same id.
func DeriveOpID(agency AgencyID, principal, key string, n int) OpID {
	h := sha256.New()
	for _, s := range []string{"zhenglian:opid:v1", string(agency), principal, key, strconv.Itoa(n)} {
		h.Write([]byte(strconv.Itoa(len(s)) + ":" + s))
	}
	var id OpID
	copy(id[:], h.Sum(nil))
	return id
}

func (o OpID) String() string { return hex.EncodeToString(o[:]) }

// MarshalText writes 32 lower-case hexadecimal digits.
func (o OpID) MarshalText() ([]byte, error) {
	return hex.AppendEncode(make([]byte, 0, 32), o[:]), nil
}

// UnmarshalText accepts exactly what MarshalText writes.
func (o *OpID) UnmarshalText(b []byte) error {
	if len(b) != 32 {
		return E(CodeBadID)
	}
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return E(CodeBadID)
		}
	}
	_, err := hex.Decode(o[:], b)
	return err
}

// Kind is a kind of record.
type Kind string

// Type is an operation's type, "<area>.<verb>".
type Type string

// RecordID identifies a record within its kind: "<creating agency>.<serial>" for what agencies write
// (no dot is in either part), a natural id (agency id, MSP id, type code, USCC) for registry entries.
// It is always one URL path segment.
type RecordID string

// MaxSerial is the greatest serial of a new record. Nodes count on from the greatest that the ledger holds,
// so one chosen at the end of what an id can write would leave its agency none to come after it.
const MaxSerial = 1_000_000_000_000

// NewRecordID composes the id of an agency's n-th record of a kind.
func NewRecordID(agency AgencyID, serial uint64) RecordID {
	return RecordID(string(agency) + "." + strconv.FormatUint(serial, 10))
}

// ParseRecordID checks the shape of either form.
func ParseRecordID(s string) (RecordID, error) {
	if a, n, ok := strings.Cut(s, "."); ok {
		if _, err := ParseAgencyID(a); err != nil || n == "" || len(n) > 15 || n[0] == '0' {
			return "", E(CodeBadID)
		}
		for i := 0; i < len(n); i++ {
			if n[i] < '0' || n[i] > '9' {
				return "", E(CodeBadID)
			}
		}
		return RecordID(s), nil
	}
	if s == "" || len(s) > 64 {
		return "", E(CodeBadID)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' {
			return "", E(CodeBadID)
		}
	}
	return RecordID(s), nil
}

// Serial splits a serial id; ok is false for a natural id.
func (r RecordID) Serial() (agency AgencyID, serial uint64, ok bool) {
	a, n, cut := strings.Cut(string(r), ".")
	if !cut {
		return "", 0, false
	}
	serial, err := strconv.ParseUint(n, 10, 64)
	return AgencyID(a), serial, err == nil
}

// UnmarshalText parses.
func (r *RecordID) UnmarshalText(b []byte) error { return parseInto(r, b, ParseRecordID) }

// Pseudonym stands for a person on the ledger; only the person's own node can resolve it. It is 32
// hexadecimal digits of a keyed hash, or empty for an automatic act.
type Pseudonym string

// UnmarshalText parses.
func (p *Pseudonym) UnmarshalText(b []byte) error {
	if len(b) != 0 {
		var id OpID
		if err := id.UnmarshalText(b); err != nil {
			return err
		}
	}
	*p = Pseudonym(b)
	return nil
}

// Operation is everything that changes the ledger. Time is stamped when the node makes a proposal, so the
// digest is fixed only then; all else is fixed at acceptance. See docs/spec/operation.md.
type Operation struct {
	Agency  AgencyID        `json:"agency"` // the acting agency; empty only in genesis operations
	Body    json.RawMessage `json:"body"`   // the public body, canonical
	ID      OpID            `json:"id"`
	Kind    Kind            `json:"kind"`
	Person  Pseudonym       `json:"person"`
	Record  RecordID        `json:"record"`
	Time    Time            `json:"time"`
	Type    Type            `json:"type"`
	Version uint64          `json:"version"` // the version of the record that it makes
}

// Encode is the canonical form: fields in order, the body as it stands. Body must be canonical.
func (o *Operation) Encode() []byte {
	b := make([]byte, 0, len(o.Body)+320)
	b = append(b, `{"agency":"`...)
	b = append(b, o.Agency...)
	b = append(b, `","body":`...)
	b = append(b, o.Body...)
	b = append(b, `,"id":"`...)
	b = hex.AppendEncode(b, o.ID[:])
	b = append(b, `","kind":"`...)
	b = append(b, o.Kind...)
	b = append(b, `","person":"`...)
	b = append(b, o.Person...)
	b = append(b, `","record":"`...)
	b = append(b, o.Record...)
	b = append(b, `","time":"`...)
	b = append(b, o.Time.String()...)
	b = append(b, `","type":"`...)
	b = append(b, o.Type...)
	b = append(b, `","version":`...)
	b = strconv.AppendUint(b, o.Version, 10)
	return append(b, '}')
}

// Digest is SHA-256 over the canonical form.
func (o *Operation) Digest() Digest { return DigestOf(o.Encode()) }

// DecodeOperation reads an operation in canonical form, as it stands in a transaction's arguments; any
// other writing of it is refused, so that the digest is that of the argument's own bytes.
func DecodeOperation(raw []byte) (Operation, error) {
	var o Operation
	if len(raw) > MaxOperation {
		return o, E(CodeTooLarge)
	}
	if !IsCanonical(raw) {
		if _, err := Canonicalize(raw); err != nil {
			return o, err
		}
		return o, E(CodeNotCanonical)
	}
	if err := o.scan(raw); err != nil {
		return Operation{}, err
	}
	if _, ok := Types[o.Type]; !ok {
		return Operation{}, E(CodeUnknownOperation, "type")
	}
	if Machines[o.Kind] == nil {
		return Operation{}, E(CodeUnknownOperation, "kind")
	}
	return o, nil
}

// scan reads canonical bytes: the nine fields in their one order. It is some ten times faster than the
// general decoder, and it runs on every operation at the endorser and at every follower.
func (o *Operation) scan(raw []byte) error {
	s := fieldScanner{rest: raw}
	var id, t []byte
	agency := s.text(`{"agency":`)
	o.Body = s.raw(`,"body":`)
	id = s.text(`,"id":`)
	o.Kind = Kind(s.text(`,"kind":`))
	person := s.text(`,"person":`)
	record := s.text(`,"record":`)
	t = s.text(`,"time":`)
	o.Type = Type(s.text(`,"type":`))
	version := s.raw(`,"version":`)
	if s.failed || string(s.rest) != "}" {
		// The general decoder says what is wrong with it.
		var strict Operation
		if err := decodeLedger(raw, &strict); err != nil {
			return err
		}
		return E(CodeMissingField)
	}
	for _, e := range []struct {
		field string
		err   error
	}{
		{"agency", o.Agency.UnmarshalText(agency)},
		{"id", o.ID.UnmarshalText(id)},
		{"person", o.Person.UnmarshalText(person)},
		{"record", o.Record.UnmarshalText(record)},
		{"time", o.Time.UnmarshalText(t)},
	} {
		if e.err != nil {
			return E(AsError(e.err).Code, e.field)
		}
	}
	v, err := strconv.ParseUint(string(version), 10, 53)
	if err != nil {
		return E(CodeWrongType, "version")
	}
	o.Version = v
	if len(o.Body) == 0 || o.Body[0] != '{' {
		return E(CodeWrongType, "body")
	}
	if o.Record == "" || o.Time.IsZero() || o.Version == 0 {
		return E(CodeMissingField)
	}
	return nil
}

// fieldScanner takes fields off canonical JSON in a known order.
type fieldScanner struct {
	rest   []byte
	failed bool
}

// raw takes the prefix and then one JSON value.
func (s *fieldScanner) raw(prefix string) []byte {
	if s.failed || len(s.rest) < len(prefix) || string(s.rest[:len(prefix)]) != prefix {
		s.failed = true
		return nil
	}
	c := checker{in: s.rest, at: len(prefix)}
	if !c.skip() {
		s.failed = true
		return nil
	}
	v := s.rest[len(prefix):c.at]
	s.rest = s.rest[c.at:]
	return v
}

// text takes the prefix and a string without escapes.
func (s *fieldScanner) text(prefix string) []byte {
	v := s.raw(prefix)
	if s.failed || len(v) < 2 || v[0] != '"' {
		s.failed = true
		return nil
	}
	v = v[1 : len(v)-1]
	for _, c := range v {
		if c == '\\' {
			s.failed = true
			return nil
		}
	}
	return v
}

// skip passes over one value that is known to be well formed.
func (c *checker) skip() bool {
	in, depth := c.in, 0
	for i := c.at; i < len(in); i++ {
		switch in[i] {
		case '"':
			i++
			if end := bytes.IndexByte(in[i:], '"'); end >= 0 && bytes.IndexByte(in[i:i+end], '\\') < 0 {
				i += end
			}
			for ; i < len(in) && in[i] != '"'; i++ { // past escapes
				if in[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				c.at = i + 1
				return i < len(in)
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				c.at = i
				return true
			}
			if depth--; depth == 0 {
				c.at = i + 1
				return true
			}
		case ',':
			if depth == 0 {
				c.at = i
				return true
			}
		}
	}
	c.at = len(in)
	return depth == 0
}
