package records

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// entry is one leaf of the log. The operation that it is of stands in the file of operations.
type entry struct {
	block    uint64
	tx       [32]byte
	msp      model.MSPID // on whose word: the transaction's creator, or of an imported one its first carrier's
	state    model.State // after the operation
	late     bool
	previous uint64 // position of the record's leaf before, plus one; 0 for the first
	leaf     model.Digest
	record   model.Digest
	at       place
}

// place is where an operation's canonical bytes stand in the file of operations.
type place struct {
	offset, length uint64
	sum            uint32 // CRC-32C
}

const flagLate = 1

func (e *entry) encode() []byte {
	b := make([]byte, 0, 192)
	var flags byte
	if e.late {
		flags |= flagLate
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, e.block)
	b = append(b, e.tx[:]...)
	b = appendText(b, e.msp)
	b = appendText(b, e.state)
	b = binary.AppendUvarint(b, e.previous)
	b = append(append(b, e.leaf[:]...), e.record[:]...)
	b = binary.AppendUvarint(b, e.at.offset)
	b = binary.AppendUvarint(b, e.at.length)
	return binary.LittleEndian.AppendUint32(b, e.at.sum)
}

func decodeEntry(b []byte) (entry, error) {
	var e entry
	d := decoder{rest: b}
	flags := d.byte()
	e.late = flags&flagLate != 0
	e.block = d.uvarint()
	copy(e.tx[:], d.take(uint64(len(e.tx))))
	e.msp = model.MSPID(d.text())
	e.state = model.State(d.text())
	e.previous = d.uvarint()
	e.leaf, e.record = d.digest(), d.digest()
	e.at.offset, e.at.length = d.uvarint(), d.uvarint()
	if sum := d.take(4); sum != nil {
		e.at.sum = binary.LittleEndian.Uint32(sum)
	}
	if d.failed || e.at.length == 0 || e.at.length > maxRaw || e.at.offset > maxOffset || flags > flagLate {
		return e, ErrDamaged
	}
	return e, d.done()
}

const (
	maxRaw    = model.MaxGenesis // of one operation's bytes: a genesis entry is at most the document
	maxOffset = 1 << 50
)

func (e *entry) end() int64 { return int64(e.at.offset + e.at.length) }

func decodeOperation(raw []byte) (model.Operation, error) {
	op, err := model.DecodeOperation(raw)
	if err != nil {
		return op, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return op, nil
}

// Entry is one leaf of the log as readers see it.
type Entry struct {
	Receipt   model.Receipt
	Operation model.Operation
	Raw       []byte       // the operation's canonical bytes
	Record    model.Digest // the record digest that the leaf states
	Msp       model.MSPID
	Previous  uint64 // position of the record's leaf before, plus one; 0 for the first
}

func (e *entry) read(position uint64, raw []byte) (Entry, error) {
	op, err := decodeOperation(raw)
	if err != nil {
		return Entry{}, err
	}
	return Entry{
		Receipt: model.Receipt{
			Operation: op.ID, Digest: model.DigestOf(raw), Kind: op.Kind, Record: op.Record, Version: op.Version, State: e.state,
			Position: position, Leaf: e.leaf, Block: e.block, Tx: hex.EncodeToString(e.tx[:]), Time: op.Time, Late: e.late,
		},
		Operation: op, Raw: raw, Record: e.record, Msp: e.msp, Previous: e.previous,
	}, nil
}

// history is the entry as one version of its record.
func (e *entry) history(position uint64, raw []byte) (model.HistoryEntry, error) {
	op, err := decodeOperation(raw)
	if err != nil {
		return model.HistoryEntry{}, err
	}
	return model.HistoryEntry{
		Position: position, Version: op.Version, Operation: op.ID, Type: op.Type, Agency: op.Agency, Msp: e.msp, Person: op.Person,
		Time: op.Time, State: e.state, Block: e.block, Tx: hex.EncodeToString(e.tx[:]), Late: e.late, Body: op.Body,
	}, nil
}

// leafOf is the leaf that an operation's bytes and an entry make, after the leaf before it.
func (e *entry) leafOf(op *model.Operation, raw []byte, previous model.Digest) model.Leaf {
	return model.Leaf{
		Operation: model.DigestOf(raw), Kind: op.Kind, ID: op.Record, Version: op.Version, State: e.state, Record: e.record, Previous: previous,
	}
}
