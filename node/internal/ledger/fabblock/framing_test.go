package fabblock

import (
	"bytes"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// wellFormed is how Fabric asks for the same: read and written again the transaction is what it was.
func wellFormed(raw []byte) bool {
	var env common.Envelope
	if proto.Unmarshal(raw, &env) != nil || len(env.GetPayload()) == 0 || len(env.GetSignature()) == 0 {
		return false
	}
	again, err := proto.Marshal(&env)
	return err == nil && bytes.Equal(again, raw)
}

func field(n protowire.Number, value ...byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), value)
}

func TestFraming(t *testing.T) {
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	p, s := field(1, 7, 8), field(2, 9)
	for _, tt := range []struct {
		name string
		raw  []byte
		want bool
	}{
		{"payload and signature", join(p, s), true},
		{"and an unknown field", join(p, s, field(9, 1)), true},
		{"and a known field of an unknown kind", join(p, s, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 5)), true},
		{"nothing", nil, false},
		{"no signature", p, false},
		{"no payload", s, false},
		{"the other way round", join(s, p), false},
		{"an empty payload", join(field(1), s), false},
		{"an empty signature", join(p, field(2)), false},
		{"two payloads", join(p, p, s), false},
		{"two signatures", join(p, s, s), false},
		{"two transactions", join(p, s, p, s), false},
		{"unknown first", join(field(9, 1), p, s), false},
		{"unknown between", join(p, field(9, 1), s), false},
		{"a long length", join([]byte{0x0a, 0x82, 0x00, 7, 8}, s), false},
		{"a long tag", join([]byte{0x8a, 0x00, 2, 7, 8}, s), false},
		{"cut off", join(p, s)[:5], false},
		{"rubbish after", join(p, s, []byte{0xff}), false},
	} {
		if got := checkFraming(tt.raw) == nil; got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if got := wellFormed(tt.raw); got != tt.want {
			t.Errorf("%s: to Fabric %v", tt.name, got)
		}
	}
}

// FuzzFraming holds the rule against Fabric's.
func FuzzFraming(f *testing.F) {
	f.Add(append(field(1, 7, 8), field(2, 9)...))
	f.Add(append(append(field(1, 7, 8), field(2, 9)...), field(9, 1)...))
	f.Add([]byte{0x0a, 1, 1, 0x12, 1, 1, 0x4b, 0x4c})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, want := checkFraming(raw) == nil, wellFormed(raw); got != want {
			t.Errorf("%x: %v, to Fabric %v", raw, got, want)
		}
	})
}
