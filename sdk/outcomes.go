package sdk

import (
	"bytes"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// decodeOutcomes reads the answer to an array of operations. A node writes committed outcomes always in one
// way, and a batch of them is read by that form, ten times faster than in general; what differs anywhere
// goes the general way.
func decodeOutcomes(body []byte) ([]model.Outcome, error) {
	if out, ok := committedOutcomes(body); ok {
		return out, nil
	}
	var out []model.Outcome
	return out, decodeAnswer(body, &out)
}

func committedOutcomes(body []byte) ([]model.Outcome, bool) {
	f := form{rest: bytes.TrimSpace(body)}
	if !f.literal("[") {
		return nil, false
	}
	// One outcome has more than 400 bytes, so neither list grows and the pointers stay good.
	out := make([]model.Outcome, 0, len(body)/400+1)
	receipts := make([]model.Receipt, 0, len(body)/400+1)
	for {
		var o model.Outcome
		var r model.Receipt
		f.text(`{"operation":"`, &o.Operation)
		o.Status = model.Progress(f.plain(`,"status":"`))
		o.Kind = model.Kind(f.plain(`,"kind":"`))
		o.Record = model.RecordID(f.plain(`,"record":"`))
		o.Version = f.number(`,"version":`)
		f.text(`,"receipt":{"operation":"`, &r.Operation)
		f.text(`,"digest":"`, &r.Digest)
		r.Kind = model.Kind(f.plain(`,"kind":"`))
		r.Record = model.RecordID(f.plain(`,"record":"`))
		r.Version = f.number(`,"version":`)
		r.State = model.State(f.plain(`,"state":"`))
		r.Position = f.number(`,"position":`)
		f.text(`,"leaf":"`, &r.Leaf)
		r.Block = f.number(`,"block":`)
		r.Tx = f.plain(`,"tx":"`)
		f.text(`,"time":"`, &r.Time)
		r.Late = f.literal(`,"late":true`)
		if !f.literal("}}") || len(receipts) == cap(receipts) {
			return nil, false
		}
		for _, id := range [...]model.RecordID{o.Record, r.Record} {
			if _, err := model.ParseRecordID(string(id)); err != nil {
				return nil, false
			}
		}
		receipts = append(receipts, r)
		o.Receipt = &receipts[len(receipts)-1]
		out = append(out, o)
		if !f.literal(",") {
			return out, f.literal("]") && len(f.rest) == 0
		}
	}
}

// form reads JSON that is written in one known way. After the first difference it has failed and stays so.
type form struct {
	rest   []byte
	failed bool
}

func (f *form) literal(s string) bool {
	if f.failed || len(f.rest) < len(s) || string(f.rest[:len(s)]) != s {
		return false
	}
	f.rest = f.rest[len(s):]
	return true
}

// bytes reads a string of plain ASCII; prefix holds its opening quote.
func (f *form) bytes(prefix string) []byte {
	if !f.literal(prefix) {
		f.failed = true
		return nil
	}
	n := bytes.IndexByte(f.rest, '"')
	if n < 0 {
		f.failed = true
		return nil
	}
	s := f.rest[:n]
	for _, c := range s {
		if c == '\\' || c < 0x20 || c >= 0x80 {
			f.failed = true
			return nil
		}
	}
	f.rest = f.rest[n+1:]
	return s
}

func (f *form) plain(prefix string) string { return string(f.bytes(prefix)) }

func (f *form) text(prefix string, v interface{ UnmarshalText([]byte) error }) {
	if s := f.bytes(prefix); !f.failed && v.UnmarshalText(s) != nil {
		f.failed = true
	}
}

func (f *form) number(prefix string) uint64 {
	if !f.literal(prefix) {
		f.failed = true
		return 0
	}
	n := 0
	for n < len(f.rest) && f.rest[n] >= '0' && f.rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(string(f.rest[:n]), 10, 64)
	if err != nil || (n > 1 && f.rest[0] == '0') {
		f.failed = true
	}
	f.rest = f.rest[n:]
	return v
}
