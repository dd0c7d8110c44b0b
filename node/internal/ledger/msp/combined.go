package msp

import (
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of combined principals and of those in them.
const (
	fieldPrincipals     = 1 // of CombinedPrincipal
	fieldClassification = 1 // of MSPPrincipal
	fieldPrincipal      = 2
)

// combination is what has still to be read of a combined principal.
type combination struct {
	rest []byte
	some bool // one in it has been read
}

// readCombined reads a combined principal. Who meets it meets all that are in it, those in further combined ones
// too, so it is the list of the simple ones, each once. One that cannot be read makes the whole met by nobody.
//
// Fabric has no bound for how deep they are, and every level is bytes in the one above. Unmarshalling copies them each
// time and so takes time by the square of the depth, which in a few megabytes can be a million. Here they are read
// where they stand, with a list of what waits for a stack.
func readCombined(raw []byte, left *int) (Principal, error) {
	all := Principal{kind: metByAll}
	seen := map[string]bool{}
	for open := []combination{{rest: raw}}; len(open) > 0; {
		c := &open[len(open)-1]
		if len(c.rest) == 0 {
			if !c.some {
				return Principal{}, nil
			}
			open = open[:len(open)-1]
			continue
		}
		field, part, ok := nextField(&c.rest)
		if !ok {
			return Principal{}, nil
		}
		if field.number != fieldPrincipals || field.kind != protowire.BytesType {
			continue
		}
		if *left--; *left < 0 {
			return Principal{}, ErrTooMany
		}
		c.some = true
		kind, raw, ok := openPrincipal(part)
		if !ok {
			return Principal{}, nil
		}
		if kind == mspproto.MSPPrincipal_COMBINED {
			open = append(open, combination{rest: raw})
			continue
		}
		// Of few bytes there can be millions alike.
		key := string(protowire.AppendVarint(nil, uint64(kind))) + string(raw)
		if seen[key] {
			continue
		}
		seen[key] = true
		one := readSimple(kind, raw)
		if one.kind == metByNobody {
			return Principal{}, nil
		}
		all.all = append(all.all, one)
	}
	return all, nil
}

// openPrincipal reads an MSPPrincipal as proto.Unmarshal does, without a copy.
func openPrincipal(b []byte) (kind mspproto.MSPPrincipal_Classification, principal []byte, ok bool) {
	for len(b) > 0 {
		field, value, ok := nextField(&b)
		switch {
		case !ok:
			return 0, nil, false
		case field.number == fieldClassification && field.kind == protowire.VarintType:
			kind = mspproto.MSPPrincipal_Classification(field.varint)
		case field.number == fieldPrincipal && field.kind == protowire.BytesType:
			principal = value
		}
	}
	return kind, principal, true
}

// field is a field's head, and its value where that is a number.
type field struct {
	number protowire.Number
	kind   protowire.Type
	varint uint64
}

// nextField takes a field off b. value is that of one of bytes.
func nextField(b *[]byte) (f field, value []byte, ok bool) {
	number, kind, n := protowire.ConsumeTag(*b)
	if n < 0 || !number.IsValid() {
		return f, nil, false
	}
	f, rest := field{number: number, kind: kind}, (*b)[n:]
	switch kind {
	case protowire.VarintType:
		f.varint, n = protowire.ConsumeVarint(rest)
	case protowire.BytesType:
		value, n = protowire.ConsumeBytes(rest)
	default:
		n = protowire.ConsumeFieldValue(number, kind, rest)
	}
	if n < 0 {
		return f, nil, false
	}
	*b = rest[n:]
	return f, value, true
}
