package records

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// After a power cut the file of operations may lack what the database speaks of: neither is synced, and
// the disk writes them in any order. The database is never wrong, so nothing is undone: the operations are
// taken again from the blocks that carried them, each held against the leaf that the database has of it.

// findGap looks for the first operation that is not in the file, from what was known to be on the disk on.
func (s *Store) findGap(at cursor, synced int64) error {
	s.gap = at.position
	lo, hi := uint64(0), at.position // the first position whose operation ends behind synced
	for lo < hi {
		mid := lo + (hi-lo)/2
		e, err := s.stored(mid)
		if err != nil {
			return err
		}
		if e.end() <= synced {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for p := lo; p < at.position; p++ {
		e, err := s.stored(p)
		if err != nil {
			return err
		}
		if _, err := s.ops.read(e.at); errors.Is(err, ErrDamaged) {
			s.gap = p
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) stored(position uint64) (entry, error) {
	b, err := absent(s.db.Get(logKey(position), nil))
	if err != nil {
		return entry{}, err
	}
	if b == nil {
		return entry{}, fmt.Errorf("%w: leaf %d", ErrDamaged, position)
	}
	return decodeEntry(b)
}

// Gap is the first block of which operations are missing; ok is false when none are, as ever but after a
// power cut. While there is a gap, what needs those operations cannot be read.
func (w *Writer) Gap() (block uint64, ok bool, err error) {
	if w.s.gap >= w.s.cursor().position {
		return 0, false, nil
	}
	e, err := w.s.stored(w.s.gap)
	return e.block, err == nil, err
}

// Restore gives the operations of a valid transaction of a block that was applied long ago, in order. It
// passes over those that are not missing.
func (w *Writer) Restore(block uint64, tx string, ops [][]byte) error {
	for s, i := w.s, 0; s.gap < s.cursor().position && i < len(ops); i++ {
		e, err := s.stored(s.gap)
		if err != nil {
			return err
		}
		if e.block != block || hex.EncodeToString(e.tx[:]) != tx {
			return nil
		}
		if crc32.Checksum(ops[i], castagnoli) != e.at.sum || uint64(len(ops[i])) != e.at.length {
			continue // one of the transaction's first, which are not missing
		}
		op, err := decodeOperation(ops[i])
		if err != nil {
			return err
		}
		var previous model.Digest
		if e.previous > 0 {
			before, err := s.stored(e.previous - 1)
			if err != nil {
				return err
			}
			previous = before.leaf
		}
		if e.leafOf(&op, ops[i], previous).Hash() != e.leaf {
			return fmt.Errorf("%w: the ledger's operation of leaf %d is another", ErrDamaged, s.gap)
		}
		if _, err := s.ops.file.WriteAt(ops[i], int64(e.at.offset)); err != nil {
			return err
		}
		s.gap++
	}
	return nil
}
