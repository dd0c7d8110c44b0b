package outbox

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/golang/snappy"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Keys, all integers big endian:
//
//	q ‖ sequence (8 bytes)                 → request
//	k ‖ idempotency key hash (16)          → idempotency record
//	r ‖ operation id (16)                  → refusal
//	e ‖ transaction id (32)                → envelope
//	d ‖ sequence (8) ‖ digest (first 16)   → an operation set aside (quarantine.go)
//	x ‖ Unix milliseconds (8) ‖ key above  → nothing: when k and r entries were made, for expiry
//
// Every value begins with the format byte.
const (
	requestPrefix     = 'q'
	idempotencyPrefix = 'k'
	refusalPrefix     = 'r'
	envelopePrefix    = 'e'
	quarantinePrefix  = 'd'
	madePrefix        = 'x'

	format = 1
)

// Bounds of decoding. A request holds at most model.MaxOperations operations of model.MaxOperation bytes.
const (
	maxEnvelope = 256 << 20
	maxProblem  = 4096
	maxText     = 128
)

func requestKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{requestPrefix}, seq)
}

func idempotencyKey(key [16]byte) []byte { return append([]byte{idempotencyPrefix}, key[:]...) }

func refusalKey(id model.OpID) []byte { return append([]byte{refusalPrefix}, id[:]...) }

func madeKey(at time.Time, key []byte) []byte {
	b := binary.BigEndian.AppendUint64([]byte{madePrefix}, uint64(at.UnixMilli()))
	return append(b, key...)
}

func envelopeKey(txID string) ([]byte, error) {
	id, err := hex.DecodeString(txID)
	if err != nil || len(id) != 32 {
		return nil, fmt.Errorf("outbox: %q is no transaction id", txID)
	}
	return append([]byte{envelopePrefix}, id...), nil
}

// encodeRequest writes format, count, then length and canonical bytes of each operation.
func encodeRequest(raw [][]byte) []byte {
	n := 1 + binary.MaxVarintLen32
	for _, r := range raw {
		n += binary.MaxVarintLen32 + len(r)
	}
	b := make([]byte, 1, n)
	b[0] = format
	b = binary.AppendUvarint(b, uint64(len(raw)))
	for _, r := range raw {
		b = binary.AppendUvarint(b, uint64(len(r)))
		b = append(b, r...)
	}
	return b
}

func decodeRequest(b []byte) (ops []model.Operation, raw [][]byte, err error) {
	if raw, err = splitRequest(b); err != nil {
		return nil, nil, err
	}
	ops = make([]model.Operation, len(raw))
	for i := range raw {
		if ops[i], err = model.DecodeOperation(raw[i]); err != nil {
			return nil, nil, err
		}
	}
	return ops, raw, nil
}

// splitRequest cuts a request into its operations' bytes without reading those.
func splitRequest(b []byte) (raw [][]byte, err error) {
	r := reader{rest: b}
	r.format()
	n := r.count(model.MaxOperations)
	for range n {
		one := r.bytes(model.MaxOperation)
		if r.failed {
			break
		}
		raw = append(raw, one)
	}
	if !r.done() || n == 0 {
		return nil, ErrDamaged
	}
	return raw, nil
}

type idempotency struct {
	digest     model.Digest
	operations int
	made       time.Time // to the millisecond
}

func (i idempotency) encode() []byte {
	b := append([]byte{format}, i.digest[:]...)
	b = binary.AppendUvarint(b, uint64(i.operations))
	return binary.AppendUvarint(b, uint64(i.made.UnixMilli()))
}

func decodeIdempotency(b []byte) (idempotency, error) {
	var i idempotency
	r := reader{rest: b}
	r.format()
	copy(i.digest[:], r.take(len(i.digest)))
	i.operations = r.count(model.MaxOperations)
	i.made = r.time()
	if !r.done() {
		return idempotency{}, ErrDamaged
	}
	return i, nil
}

// encodeRefusal writes format, kind, record, version, then the problem as JSON.
func encodeRefusal(o model.Outcome) ([]byte, error) {
	problem, err := json.Marshal(o.Problem)
	if err != nil {
		return nil, err
	}
	if len(problem) > maxProblem {
		cut := *o.Problem
		cut.Detail, cut.Field = "", ""
		if problem, err = json.Marshal(&cut); err != nil {
			return nil, err
		}
	}
	b := []byte{format}
	b = appendText(b, string(o.Kind))
	b = appendText(b, string(o.Record))
	b = binary.AppendUvarint(b, o.Version)
	return appendText(b, string(problem)), nil
}

func decodeRefusal(b []byte) (model.Outcome, error) {
	r := reader{rest: b}
	r.format()
	o := model.Outcome{Status: model.Rejected}
	o.Kind = model.Kind(r.bytes(maxText))
	o.Record = model.RecordID(r.bytes(maxText))
	o.Version = r.uvarint()
	problem := r.bytes(maxProblem)
	if !r.done() {
		return model.Outcome{}, ErrDamaged
	}
	o.Problem = new(model.Problem)
	if err := json.Unmarshal(problem, o.Problem); err != nil {
		return model.Outcome{}, ErrDamaged
	}
	return o, nil
}

// encodeEnvelope writes format, count, operation ids, then the envelope in snappy's block format.
func encodeEnvelope(envelope []byte, ids []model.OpID) []byte {
	b := make([]byte, 1, 1+binary.MaxVarintLen32+16*len(ids)+snappy.MaxEncodedLen(len(envelope)))
	b[0] = format
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return append(b, snappy.Encode(b[len(b):cap(b)], envelope)...)
}

func decodeEnvelope(b []byte) (envelope []byte, ids []model.OpID, err error) {
	r := reader{rest: b}
	r.format()
	for range r.count(model.MaxOperations) {
		var id model.OpID
		if copy(id[:], r.take(len(id))) != len(id) {
			break
		}
		ids = append(ids, id)
	}
	if r.failed {
		return nil, nil, ErrDamaged
	}
	if n, err := snappy.DecodedLen(r.rest); err != nil || n > maxEnvelope {
		return nil, nil, ErrDamaged
	}
	if envelope, err = snappy.Decode(nil, r.rest); err != nil {
		return nil, nil, ErrDamaged
	}
	return envelope, ids, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes fields off an entry; once it has failed it returns nothing.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) done() bool { return !r.failed && len(r.rest) == 0 }

func (r *reader) format() {
	if b := r.take(1); len(b) != 1 || b[0] != format {
		r.failed = true
	}
}

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.failed || n <= 0 {
		r.failed = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) count(most int) int {
	n := r.uvarint()
	if n > uint64(most) {
		r.failed = true
		return 0
	}
	return int(n)
}

func (r *reader) bytes(most int) []byte { return r.take(r.count(most)) }

func (r *reader) time() time.Time {
	ms := r.uvarint()
	if ms > 1<<52 {
		r.failed = true
	}
	return time.UnixMilli(int64(ms))
}
