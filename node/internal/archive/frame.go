package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/golang/snappy"
)

// A frame is one block as it stands in a segment file:
//
//	4 bytes  length of the compressed block, little endian
//	4 bytes  CRC-32C over all that follows
//	8 bytes  block number, little endian
//	1 byte   flags: 1 = the block is marked
//	…        the block, snappy-compressed
const frameHeader = 4 + 4 + 8 + 1

const flagMark = 1

// MaxBlock bounds a block in bytes, as it is and compressed.
const MaxBlock = 128 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errShort = errors.New("the file ends within a frame")
	errFrame = errors.New("the frame does not check")
)

type frame struct {
	number uint64
	mark   bool
	packed []byte
}

// appendFrame writes a frame; scratch is reused for the compressed block.
func appendFrame(b, scratch []byte, number uint64, mark bool, block []byte) (frame, compressed []byte) {
	packed := snappy.Encode(scratch[:cap(scratch)], block)
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(packed)))
	b = append(b, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, number)
	var flags byte
	if mark {
		flags = flagMark
	}
	b = append(append(b, flags), packed...)
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+8:], castagnoli))
	return b, packed
}

// frameSize is the size of the frame that a header announces.
func frameSize(header []byte) (int64, error) {
	n := binary.LittleEndian.Uint32(header)
	if n == 0 || n > MaxBlock {
		return 0, errFrame
	}
	return frameHeader + int64(n), nil
}

// decodeFrame reads the frame at the beginning of b and says how long it is.
func decodeFrame(b []byte) (frame, int64, error) {
	if len(b) < frameHeader {
		return frame{}, 0, errShort
	}
	size, err := frameSize(b)
	if err != nil {
		return frame{}, 0, err
	}
	if int64(len(b)) < size {
		return frame{}, 0, errShort
	}
	b = b[:size]
	if crc32.Checksum(b[8:], castagnoli) != binary.LittleEndian.Uint32(b[4:]) || b[16] > flagMark {
		return frame{}, 0, errFrame
	}
	return frame{binary.LittleEndian.Uint64(b[8:]), b[16] == flagMark, b[frameHeader:]}, size, nil
}

// block unpacks the frame's block.
func (f *frame) block() ([]byte, error) {
	n, err := snappy.DecodedLen(f.packed)
	if err != nil || n > MaxBlock {
		return nil, fmt.Errorf("%w: block %d cannot be unpacked", ErrDamaged, f.number)
	}
	b, err := snappy.Decode(nil, f.packed)
	if err != nil {
		return nil, fmt.Errorf("%w: block %d cannot be unpacked", ErrDamaged, f.number)
	}
	return b, nil
}
