package records

import (
	"encoding/binary"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// cursor says how far the store has come. It is written in the batch of what it speaks of.
type cursor struct {
	height   uint64       // blocks applied
	hash     model.Digest // of the last one's header
	position uint64       // leaves applied
	at       model.Time   // ledger time: the largest valid transaction's timestamp
	end      uint64       // bytes in the file of operations
}

func (c *cursor) encode() []byte {
	b := binary.AppendUvarint(nil, c.height)
	b = append(b, c.hash[:]...)
	b = binary.AppendUvarint(b, c.position)
	b = binary.AppendUvarint(b, uint64(c.at.Time().UnixMilli()))
	return binary.AppendUvarint(b, c.end)
}

func decodeCursor(b []byte) (cursor, error) {
	var c cursor
	if b == nil {
		return c, nil
	}
	d := decoder{rest: b}
	c.height = d.uvarint()
	c.hash = d.digest()
	c.position = d.uvarint()
	c.at = model.TimeOf(time.UnixMilli(int64(d.uvarint())))
	c.end = d.uvarint()
	return c, d.done()
}
