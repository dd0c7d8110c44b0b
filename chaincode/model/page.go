package model

import (
	"strconv"
)

// PageSize is the number of serials whose headers share one key of the ledger's state: a round trip
// between peer and chaincode costs more than a kilobyte. It is part of the state's format.
const PageSize = 16

// Page holds the headers of up to PageSize consecutive serials of one agency and kind. Slot i is serial
// 16·n+i; an empty slot has a zero header.
type Page struct {
	Kind    Kind
	Headers [PageSize]Header
}

// pageFormat is the first byte of an encoded page.
const pageFormat = 1

// StateKey is the key of the ledger's state under which a record's header (serial id) or whole entry
// (natural id) stands. See docs/spec/state.md.
func StateKey(kind Kind, id RecordID) string {
	if wholeEntry(kind) {
		return "r/" + string(kind) + "/" + string(id)
	}
	agency, serial, ok := id.Serial()
	if !ok {
		return ""
	}
	return "p/" + string(kind) + "/" + string(agency) + "/" + strconv.FormatUint(serial/PageSize, 10)
}

// wholeEntry says which kinds stand whole in state, header and value, one key each: what contracts decide
// by. All others are headers in pages.
func wholeEntry(kind Kind) bool { return kind != KindLicence }

// PageSlot is a serial's place in its page.
func PageSlot(id RecordID) int {
	_, serial, _ := id.Serial()
	return int(serial % PageSize)
}

// Encode writes format, then for each occupied slot its number and header.
func (p *Page) Encode() []byte {
	b := make([]byte, 1, 1+PageSize*96)
	b[0] = pageFormat
	for i, h := range p.Headers {
		if h.Exists() {
			b = appendHeader(append(b, byte(i)), p.Kind, h)
		}
	}
	return b
}

// DecodePage reads what Encode wrote; any other bytes are refused. Empty input is an empty page.
func DecodePage(kind Kind, b []byte) (Page, error) {
	p := Page{Kind: kind}
	if len(b) == 0 {
		return p, nil
	}
	if b[0] != pageFormat {
		return p, E(CodeBadValue).With("page format %d", b[0])
	}
	last := -1
	for b = b[1:]; len(b) > 0; {
		slot := int(b[0])
		if slot <= last || slot >= PageSize {
			return p, E(CodeBadValue).With("page slot out of order")
		}
		h, rest, ok := takeHeader(b[1:], kind)
		if !ok {
			return p, E(CodeBadValue).With("page header")
		}
		p.Headers[slot] = h
		last, b = slot, rest
	}
	return p, nil
}

// Touches names the state keys that an operation writes, so that a node keeps each out of two
// transactions in flight. Keys that it only reads may be shared.
func Touches(op *Operation) []string {
	keys := []string{StateKey(op.Kind, op.Record)}
	if Types[op.Type].registry {
		keys = append(keys, RegistryVersionKey)
	}
	if op.Kind == KindOrganisation {
		keys = append(keys, MembersKey)
	}
	return keys
}

// Keys of state that belong to no record.
const (
	ContractKey        = "c"  // genesis digest, and whether an import is open
	RegistryVersionKey = "rv" // the registry's version, a decimal number
	MembersKey         = "m"  // the number of member organisations, a decimal number
	ImportBlockKey     = "i0" // block 0 of the ledger that is or was imported
)

// ChangesRegistry reports whether the type raises the registry's version.
func ChangesRegistry(t Type) bool { return Types[t].registry }
