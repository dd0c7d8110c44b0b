package ledger

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

var errMalformed = errors.New("malformed message")

// pair reads a protobuf message that has no other fields than number 1 and 2, each length-delimited and at
// most once; absent ones are nil. Every message on the way from an envelope to its arguments is of this
// form. Unlike the general decoder it refuses anything else that could hide in a signed transaction, and
// it copies nothing.
func pair(b []byte) (one, two []byte, err error) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.BytesType || number > 2 {
			return nil, nil, errMalformed
		}
		b = b[n:]
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return nil, nil, errMalformed
		}
		b = b[n:]
		into := &one
		if number == 2 {
			into = &two
		}
		if *into != nil {
			return nil, nil, errMalformed
		}
		*into = v[:len(v):len(v)]
		if v == nil {
			*into = []byte{}
		}
	}
	return one, two, nil
}

// signedEnvelope encodes a PreparedTransaction{id, Envelope{payload, signature}}.
func signedEnvelope(txID string, payload, signature []byte) []byte {
	inner := protowire.SizeTag(1) + protowire.SizeBytes(len(payload)) + protowire.SizeTag(2) + protowire.SizeBytes(len(signature))
	b := make([]byte, 0, inner+len(txID)+32)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendString(b, txID)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(inner))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, payload)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendBytes(b, signature)
}
