package fabblock

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of a transaction's envelope.
const (
	fieldPayload   = 1
	fieldSignature = 2
)

// checkFraming checks that a transaction is written in the one way in which orderers write them: payload, signature,
// neither empty, then at most fields that nobody knows.
//
// A block's data hash covers its transactions' bytes one after the other and not where each begins. Read leniently, the
// same bytes make other blocks: two transactions joined read as one whose payload is the second's, and the first is
// gone. As every transaction begins with its payload and has exactly one, bytes that are written so fall apart in one
// way only.
func checkFraming(raw []byte) error {
	for _, field := range []protowire.Number{fieldPayload, fieldSignature} {
		n, kind, size := protowire.ConsumeTag(raw)
		if size < 0 || size != protowire.SizeTag(n) || n != field || kind != protowire.BytesType {
			return errors.New("not payload and signature in this order")
		}
		value, m := protowire.ConsumeBytes(raw[size:])
		if m < 0 || len(value) == 0 || m != protowire.SizeBytes(len(value)) {
			return errors.New("a payload or signature is empty or not written shortest")
		}
		raw = raw[size+m:]
	}
	for len(raw) > 0 {
		n, kind, size := protowire.ConsumeField(raw)
		if size < 0 || kind == protowire.BytesType && (n == fieldPayload || n == fieldSignature) {
			return errors.New("a second payload or signature, or rubbish, follows")
		}
		raw = raw[size:]
	}
	return nil
}
