package records

import (
	"encoding/binary"
	"errors"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// ErrDamaged is a stored value that cannot be read: the store has to be rebuilt from the archive.
var ErrDamaged = errors.New("records: a stored value is damaged; rebuild the records from the archive")

func appendText[T ~string](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendDate(b []byte, d model.Date) []byte { return binary.AppendUvarint(b, uint64(d.Days())) }

// decoder takes fields off a stored value. After the first that does not fit, failed is set and all
// further ones are zero; a uvarint that is not written in its shortest form does not fit.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) fail() { d.failed, d.rest = true, nil }

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || (n > 1 && d.rest[n-1] == 0) {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text() string { return string(d.take(d.uvarint())) }

func (d *decoder) digest() (v model.Digest) {
	copy(v[:], d.take(uint64(len(v))))
	return v
}

const maxDays = 500_000

func (d *decoder) date() model.Date {
	n := d.uvarint()
	if n > maxDays {
		d.fail()
		return ""
	}
	return model.DateFromDays(uint32(n))
}

// done is nil when all was read and all of it fitted.
func (d *decoder) done() error {
	if d.failed || len(d.rest) != 0 {
		return ErrDamaged
	}
	return nil
}
