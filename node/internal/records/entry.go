package records

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// entry is one leaf of the log with the operation that it is of.
type entry struct {
	block    uint64
	tx       [32]byte
	msp      model.MSPID // of the transaction's creator
	state    model.State // after the operation
	late     bool
	previous uint64 // position of the record's leaf before, plus one; 0 for the first
	leaf     model.Digest
	record   model.Digest
	raw      []byte // the operation's canonical bytes
}

const flagLate = 1

func (e *entry) encode() []byte {
	b := make([]byte, 0, 160+len(e.raw))
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
	return append(b, e.raw...)
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
	e.raw = d.rest
	if d.failed || len(e.raw) == 0 || flags > flagLate {
		return e, ErrDamaged
	}
	return e, nil
}

func (e *entry) operation() (model.Operation, error) {
	op, err := model.DecodeOperation(e.raw)
	if err != nil {
		return op, fmt.Errorf("%w: %v", ErrDamaged, err)
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

func (e *entry) read(position uint64) (Entry, error) {
	op, err := e.operation()
	if err != nil {
		return Entry{}, err
	}
	return Entry{
		Receipt: model.Receipt{
			Operation: op.ID, Digest: model.DigestOf(e.raw), Kind: op.Kind, Record: op.Record, Version: op.Version, State: e.state,
			Position: position, Leaf: e.leaf, Block: e.block, Tx: hex.EncodeToString(e.tx[:]), Time: op.Time, Late: e.late,
		},
		Operation: op, Raw: e.raw, Record: e.record, Msp: e.msp, Previous: e.previous,
	}, nil
}

// history is the entry as one version of its record.
func (e *entry) history(position uint64) (model.HistoryEntry, error) {
	op, err := e.operation()
	if err != nil {
		return model.HistoryEntry{}, err
	}
	return model.HistoryEntry{
		Position: position, Version: op.Version, Operation: op.ID, Type: op.Type, Agency: op.Agency, Msp: e.msp, Person: op.Person,
		Time: op.Time, State: e.state, Block: e.block, Tx: hex.EncodeToString(e.tx[:]), Late: e.late, Body: op.Body,
	}, nil
}
