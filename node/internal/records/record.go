package records

import (
	"encoding/binary"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// record is the current standing of a record. The public value stands either here, or in the operation
// that set it, where it is not written a second time.
type record struct {
	header     model.Header
	position   uint64 // of the latest leaf
	identifier string // of a licence: the current e-licence identifier
	number     string // of a licence: type and number, as numberClaim writes them
	files      []byte // of a licence: digests of its file, 64 bytes or none
	holds      bool   // of a licence: it holds its names, because no end of it has taken effect
	inline     []byte // the public value, where it stands in no operation
	at         span   // else where it stands
}

// span is a part of the operation at a position.
type span struct {
	position       uint64
	offset, length uint64
}

const (
	valueInline = 0
	valueAtSpan = 1
)

// names are the keys of the claims on a licence's current names.
func (r *record) names() [][]byte {
	keys := [][]byte{identifierKey(r.identifier), numberKey(r.number)}
	if len(r.files) == 64 {
		keys = append(keys, digestKey(r.files[:32]), digestKey(r.files[32:]))
	}
	return keys
}

func (r *record) encode() []byte {
	h := &r.header
	b := make([]byte, 0, 256+len(r.inline))
	b = binary.AppendUvarint(b, h.Version)
	b = appendText(b, h.State)
	b = appendText(b, h.Owner)
	b = append(b, h.Value[:]...)
	b = append(b, h.Op[:]...)
	b = appendDate(appendDate(appendDate(b, h.From), h.Until), h.Effective)
	b = binary.AppendUvarint(b, r.position)
	b = appendText(b, r.identifier)
	b = appendText(b, r.number)
	b = append(binary.AppendUvarint(b, uint64(len(r.files))), r.files...)
	var flags byte
	if r.holds {
		flags = flagHolds
	}
	b = append(b, flags)
	if r.inline != nil {
		return append(append(b, valueInline), r.inline...)
	}
	b = append(b, valueAtSpan)
	b = binary.AppendUvarint(b, r.at.position)
	b = binary.AppendUvarint(b, r.at.offset)
	return binary.AppendUvarint(b, r.at.length)
}

func decodeRecord(b []byte) (record, error) {
	var r record
	d := decoder{rest: b}
	h := &r.header
	h.Version = d.uvarint()
	h.State = model.State(d.text())
	h.Owner = model.AgencyID(d.text())
	h.Value = d.digest()
	copy(h.Op[:], d.take(uint64(len(h.Op))))
	h.From, h.Until, h.Effective = d.date(), d.date(), d.date()
	r.position = d.uvarint()
	r.identifier = d.text()
	r.number = d.text()
	r.files = d.take(d.uvarint())
	flags := d.byte()
	r.holds = flags == flagHolds
	if len(r.files) != 0 && len(r.files) != 64 || h.Version == 0 || flags > flagHolds {
		return r, ErrDamaged
	}
	switch d.byte() {
	case valueInline:
		r.inline = append([]byte{}, d.rest...)
		d.rest = nil
	case valueAtSpan:
		r.at = span{d.uvarint(), d.uvarint(), d.uvarint()}
	default:
		return r, ErrDamaged
	}
	return r, d.done()
}
