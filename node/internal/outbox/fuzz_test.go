package outbox

import (
	"bytes"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func FuzzRequest(f *testing.F) {
	for _, n := range []int{1, 3} {
		var raw [][]byte
		for _, op := range operations(n) {
			raw = append(raw, op.Encode())
		}
		f.Add(encodeRequest(raw))
	}
	f.Add([]byte{format, 0})
	f.Add([]byte{format, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, raw, err := decodeRequest(b)
		if err != nil {
			return
		}
		for i := range ops {
			if !bytes.Equal(ops[i].Encode(), raw[i]) {
				t.Errorf("operation %d is not canonical", i)
			}
		}
		if again, _, err := decodeRequest(encodeRequest(raw)); err != nil || len(again) != len(ops) {
			t.Errorf("encoded again: %v", err)
		}
	})
}

func FuzzEntries(f *testing.F) {
	f.Add(idempotency{digest: model.Digest{1}, operations: 3, made: time.UnixMilli(1)}.encode())
	refusal, err := encodeRefusal(model.Outcome{Kind: model.KindLicence, Record: "a.1", Version: 2, Problem: problem(model.CodeTransition)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(refusal)
	f.Add(encodeEnvelope([]byte("envelope envelope envelope"), []model.OpID{{1}, {2}}))
	f.Add(encodeEnvelope(nil, nil))
	f.Add([]byte{format})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if i, err := decodeIdempotency(b); err == nil {
			if again, err := decodeIdempotency(i.encode()); err != nil || again != i {
				t.Errorf("idempotency record: %+v, %+v: %v", i, again, err)
			}
		}
		if o, err := decodeRefusal(b); err == nil {
			e, err := encodeRefusal(o)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := decodeRefusal(e); err == nil && (again.Record != o.Record || again.Problem.Code != o.Problem.Code) {
				t.Errorf("refusal: %+v, %+v", o, again)
			}
		}
		if e, ids, err := decodeEnvelope(b); err == nil {
			again, of, err := decodeEnvelope(encodeEnvelope(e, ids))
			if err != nil || !bytes.Equal(again, e) || len(of) != len(ids) {
				t.Errorf("envelope: %v", err)
			}
		}
	})
}
