package model

import (
	"encoding/binary"
	"strconv"
)

// Header is what the ledger's state holds of a record: 60–100 bytes in a page (page.go). The public value
// itself stands in the operation that set it.
type Header struct {
	Version   uint64   `json:"version"`
	State     State    `json:"state"`
	Owner     AgencyID `json:"owner"`     // the agency that may change it
	Value     Digest   `json:"value"`     // of the canonical public value
	From      Date     `json:"from"`      // first day of validity
	Until     Date     `json:"until"`     // last day, "" for none
	Effective Date     `json:"effective"` // since when the state holds; "" = from the start
	Op        OpID     `json:"op"`        // the operation that made this version
}

// Exists reports whether the header belongs to a record.
func (h Header) Exists() bool { return h.Version > 0 }

// RecordDigest is the digest of a record as a log leaf states it: SHA-256 over the canonical
// {effective, from, id, kind, op, owner, state, until, value, version}. It binds owner and dates beside the
// public value, so that one leaf proves a record's whole current standing. See docs/spec/leaf.md.
func RecordDigest(kind Kind, id RecordID, h Header) Digest {
	b := make([]byte, 0, 384)
	b = append(b, `{"effective":"`...)
	b = append(b, h.Effective...)
	b = append(b, `","from":"`...)
	b = append(b, h.From...)
	b = append(b, `","id":"`...)
	b = append(b, id...)
	b = append(b, `","kind":"`...)
	b = append(b, kind...)
	b = append(b, `","op":"`...)
	b = append(b, h.Op.String()...)
	b = append(b, `","owner":"`...)
	b = append(b, h.Owner...)
	b = append(b, `","state":"`...)
	b = append(b, h.State...)
	b = append(b, `","until":"`...)
	b = append(b, h.Until...)
	b = append(b, `","value":"`...)
	b = append(b, h.Value.String()...)
	b = append(b, `","version":`...)
	b = strconv.AppendUint(b, h.Version, 10)
	return DigestOf(append(b, '}'))
}

// Leaf is one entry of the verifiable log: what an accepted operation did to a record, and nothing of the
// block or transaction that carried it, so the same accepted operations in the same order give the same
// log on any ledger. Previous is the hash of the record's leaf before, zero (written "") for the first.
type Leaf struct {
	Operation Digest
	Kind      Kind
	ID        RecordID
	Version   uint64
	State     State
	Record    Digest
	Previous  Digest
}

// Encode is the leaf's canonical form, the bytes that the log hashes.
func (l Leaf) Encode() []byte {
	b := make([]byte, 0, 400)
	b = append(b, `{"id":"`...)
	b = append(b, l.ID...)
	b = append(b, `","kind":"`...)
	b = append(b, l.Kind...)
	b = append(b, `","operation":"`...)
	b = append(b, l.Operation.String()...)
	b = append(b, `","previous":"`...)
	if !l.Previous.IsZero() {
		b = append(b, l.Previous.String()...)
	}
	b = append(b, `","record":"`...)
	b = append(b, l.Record.String()...)
	b = append(b, `","state":"`...)
	b = append(b, l.State...)
	b = append(b, `","version":`...)
	b = strconv.AppendUint(b, l.Version, 10)
	return append(b, '}')
}

// Hash is the RFC 6962 leaf hash: SHA-256(0x00 ‖ leaf).
func (l Leaf) Hash() Digest {
	return DigestOf(append([]byte{0}, l.Encode()...))
}

// Effect is what an accepted operation did. Value is the canonical public value after it, nil where the
// operation left the value as it was.
type Effect struct {
	Header Header
	Value  []byte
}

// appendHeader writes the page form: uvarint version, state number, owner (length, bytes), value digest,
// op id, three dates as uvarint days.
func appendHeader(b []byte, kind Kind, h Header) []byte {
	b = binary.AppendUvarint(b, h.Version)
	b = append(b, Machines[kind].number(h.State), byte(len(h.Owner)))
	b = append(b, h.Owner...)
	b = append(b, h.Value[:]...)
	b = append(b, h.Op[:]...)
	b = binary.AppendUvarint(b, uint64(h.From.Days()))
	b = binary.AppendUvarint(b, uint64(h.Until.Days()))
	return binary.AppendUvarint(b, uint64(h.Effective.Days()))
}

func takeHeader(b []byte, kind Kind) (Header, []byte, bool) {
	var h Header
	r := reader{rest: b}
	h.Version = r.uvarint()
	state, ok := Machines[kind].state(r.byte())
	h.State = state
	h.Owner = AgencyID(r.take(int(r.byte())))
	copy(h.Value[:], r.take(len(h.Value)))
	copy(h.Op[:], r.take(len(h.Op)))
	h.From = r.date()
	h.Until = r.date()
	h.Effective = r.date()
	return h, r.rest, ok && !r.failed && h.Version > 0
}

type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.failed = true
		r.rest = nil
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

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || (n > 1 && r.rest[n-1] == 0) { // ends early, or is longer than its value needs
		r.failed = true
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

const lastDay = 401_767 // Days of 2999-12-31

func (r *reader) date() Date {
	n := r.uvarint()
	if n > lastDay {
		r.failed = true
		return ""
	}
	return DateFromDays(uint32(n))
}
