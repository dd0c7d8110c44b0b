package records

import (
	"encoding/binary"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// version is the place of the transaction that wrote a key.
type version struct{ block, tx uint64 }

func appendVersion(b []byte, v version) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, v.block), v.tx)
}

// encodeState writes a key's version before its value.
func encodeState(v version, value []byte) []byte {
	return append(appendVersion(make([]byte, 0, 2*binary.MaxVarintLen64+len(value)), v), value...)
}

// decodeState reads what encodeState wrote; nothing is the state of an absent key.
func decodeState(b []byte) (v version, value []byte, ok bool, err error) {
	if len(b) == 0 {
		return version{}, nil, false, nil
	}
	d := decoder{rest: b}
	v = version{d.uvarint(), d.uvarint()}
	if d.failed {
		return version{}, nil, false, ErrDamaged
	}
	return v, d.rest[:len(d.rest):len(d.rest)], true, nil
}

// Get reads the mirror of the contract's state, nil for an absent key.
func (s *Snapshot) Get(key string) ([]byte, error) {
	b, err := absent(s.epoch.db.Get(stateKey(key), nil)) // the contract may keep what it is given
	if err != nil {
		return nil, err
	}
	_, value, _, err := decodeState(b)
	return value, err
}

// Get reads the mirror of the contract's state, nil for an absent key.
func (w *Writer) Get(key string) ([]byte, error) {
	b, err := w.read(stateKey(key))
	if err != nil {
		return nil, err
	}
	_, value, _, err := decodeState(b)
	return value, err
}

// Version is the block and place in it of the transaction that wrote a key last; ok is false for an absent
// key. The namespace is empty for the contract's own state.
func (w *Writer) Version(namespace, key string) (block, tx uint64, ok bool, err error) {
	at := stateKey(key)
	if namespace != "" {
		at = versionKey(namespace, key)
	}
	b, err := w.read(at)
	if err != nil {
		return 0, 0, false, err
	}
	v, _, ok, err := decodeState(b)
	return v.block, v.tx, ok, err
}

// Known is the first block that holds a transaction of an id, and whether it is valid there; ok is false for
// an id that no block holds.
func (w *Writer) Known(txID string) (block uint64, valid, ok bool, err error) {
	key, ok := txKey(txID)
	if !ok {
		return 0, false, false, nil
	}
	b, err := w.read(key)
	if err != nil || b == nil {
		return 0, false, false, err
	}
	block, valid, err = decodeTx(b)
	return block, valid, err == nil, err
}

func (w *Writer) note(txID string, block uint64, valid bool) error {
	key, ok := txKey(txID)
	if !ok {
		return nil
	}
	b, err := w.read(key)
	if err == nil && b == nil {
		w.put(key, encodeTx(block, valid))
	}
	return err
}

func encodeTx(block uint64, valid bool) []byte {
	var flags byte
	if valid {
		flags = flagValid
	}
	return binary.AppendUvarint([]byte{flags}, block)
}

const flagValid = 1

func decodeTx(b []byte) (block uint64, valid bool, err error) {
	d := decoder{rest: b}
	flags := d.byte()
	block = d.uvarint()
	if flags > flagValid {
		return 0, false, ErrDamaged
	}
	return block, flags == flagValid, d.done()
}

// Write sets a key of the block begun last: the contract's own state where the namespace is empty. Of other
// namespaces only the version is kept, and an empty value takes the key away. tx is the place in the block of
// the transaction that wrote it; of two writes the later counts.
func (w *Writer) Write(namespace, key string, value []byte, tx uint64) error {
	if w.err != nil {
		return w.err
	}
	v := version{w.next.height - 1, tx}
	switch {
	case namespace == "":
		w.put(stateKey(key), encodeState(v, value))
	case len(value) == 0:
		w.put(versionKey(namespace, key), nil)
	default:
		w.put(versionKey(namespace, key), appendVersion(nil, v))
	}
	return nil
}

// RegistryVersion is the version of the registry as the contract's state has it, 0 before the first.
func (s *Snapshot) RegistryVersion() (uint64, error) {
	b, err := s.Get(model.RegistryVersionKey)
	if err != nil || b == nil {
		return 0, err
	}
	return strconv.ParseUint(string(b), 10, 64)
}
