package msp

import (
	"errors"
	"slices"
	"testing"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

func principalOf(t testing.TB, kind mspproto.MSPPrincipal_Classification, m proto.Message) *mspproto.MSPPrincipal {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &mspproto.MSPPrincipal{PrincipalClassification: kind, Principal: raw}
}

func combine(t testing.TB, all ...*mspproto.MSPPrincipal) *mspproto.MSPPrincipal {
	t.Helper()
	return principalOf(t, mspproto.MSPPrincipal_COMBINED, &mspproto.CombinedPrincipal{Principals: all})
}

// nest puts a principal into as many combined ones, one in the other. It writes from the inside out and backwards,
// since marshalling would copy each level into the next.
func nest(t testing.TB, p *mspproto.MSPPrincipal, depth int) *mspproto.MSPPrincipal {
	t.Helper()
	raw, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(raw)
	before := func(b []byte) {
		slices.Reverse(b)
		raw = append(raw, b...)
	}
	for i := range depth {
		before(protowire.AppendVarint(protowire.AppendTag(nil, fieldPrincipals, protowire.BytesType), uint64(len(raw))))
		if i == depth-1 {
			break
		}
		head := protowire.AppendVarint(protowire.AppendTag(nil, fieldClassification, protowire.VarintType), uint64(mspproto.MSPPrincipal_COMBINED))
		before(protowire.AppendVarint(protowire.AppendTag(head, fieldPrincipal, protowire.BytesType), uint64(len(raw))))
	}
	slices.Reverse(raw)
	return &mspproto.MSPPrincipal{PrincipalClassification: mspproto.MSPPrincipal_COMBINED, Principal: raw}
}

// TestCombinedBounds reads nests and crowds of principals: what one organisation may put into its own policies, Fabric
// reads however much it is, and nobody else may be stopped by it.
func TestCombinedBounds(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	s, err := rosterOf(t, ca.Config()).Identify(issueTo(t, ca, "bj", Validity{}).Serialized())
	if err != nil {
		t.Fatal(err)
	}
	member := principalOf(t, mspproto.MSPPrincipal_ROLE, &mspproto.MSPRole{MspIdentifier: "BeijingMSP"})
	stranger := principalOf(t, mspproto.MSPPrincipal_ROLE, &mspproto.MSPRole{MspIdentifier: "HebeiMSP"})
	crowd := func(n int) *mspproto.MSPPrincipal {
		return combine(t, slices.Repeat([]*mspproto.MSPPrincipal{member}, n)...)
	}
	for _, tt := range []struct {
		name string
		of   *mspproto.MSPPrincipal
		left int
		want bool
		rest int // of left; the principals that were read are as many less
		err  error
	}{
		{"a simple one", member, 1, true, 0, nil},
		{"one too many", member, 0, false, -1, ErrTooMany},
		{"a combination", combine(t, member, combine(t, member), member), 10, true, 5, nil},
		{"just as many as may be", combine(t, member, combine(t, member), member), 5, true, 0, nil},
		{"a combination of one too many", combine(t, member, combine(t, member), member), 4, false, -1, ErrTooMany},
		{"a nest", nest(t, member, 3), 10, true, 6, nil},
		{"an absurd nest", nest(t, member, 500_000), 1 << 20, true, 1<<20 - 500_001, nil},
		{"with a stranger at its bottom", nest(t, stranger, 500_000), 1 << 20, false, 1<<20 - 500_001, nil},
		{"with nothing at its bottom", nest(t, combine(t), 500_000), 1 << 20, false, 1<<20 - 500_001, nil},
		{"an absurd nest beyond the bound", nest(t, member, 500_000), 400_000, false, -1, ErrTooMany},
		{"a crowd", crowd(100_000), 1 << 20, true, 1<<20 - 100_001, nil},
		{"a crowd beyond the bound", crowd(100_000), 100_000, false, -1, ErrTooMany},
	} {
		t.Run(tt.name, func(t *testing.T) {
			left := tt.left
			p, err := ReadPrincipal(tt.of, &left)
			if !errors.Is(err, tt.err) || left != tt.rest {
				t.Fatalf("error %v, %d left; want %v, %d", err, left, tt.err, tt.rest)
			}
			if got := p.MetBy(s); got != tt.want {
				t.Errorf("met %v, want %v", got, tt.want)
			}
			if len(p.all) > 1 {
				t.Errorf("%d are kept of one and the same", len(p.all))
			}
		})
	}
}

// simpleOnes is readCombined as Fabric does it: every principal in p, false where it cannot be read.
func simpleOnes(p *mspproto.MSPPrincipal) (all []*mspproto.MSPPrincipal, ok bool) {
	if p.GetPrincipalClassification() != mspproto.MSPPrincipal_COMBINED {
		return []*mspproto.MSPPrincipal{p}, true
	}
	var c mspproto.CombinedPrincipal
	if proto.Unmarshal(p.GetPrincipal(), &c) != nil || len(c.GetPrincipals()) == 0 {
		return nil, false
	}
	for _, part := range c.GetPrincipals() {
		of, ok := simpleOnes(part)
		if !ok {
			return nil, false
		}
		all = append(all, of...)
	}
	return all, true
}

// FuzzPrincipal has any bytes for a principal: it is met by whom it is met in Fabric.
func FuzzPrincipal(f *testing.F) {
	ca, err := NewCA("BeijingMSP", "ca")
	if err != nil {
		f.Fatal(err)
	}
	own := issueTo(f, ca, "bj", Validity{})
	s, err := rosterOf(f, ca.Config()).Identify(own.Serialized())
	if err != nil {
		f.Fatal(err)
	}
	member := principalOf(f, mspproto.MSPPrincipal_ROLE, &mspproto.MSPRole{MspIdentifier: "BeijingMSP"})
	named := principalOf(f, mspproto.MSPPrincipal_ANONYMITY, &mspproto.MSPIdentityAnonymity{})
	identity := &mspproto.MSPPrincipal{PrincipalClassification: mspproto.MSPPrincipal_IDENTITY, Principal: own.Serialized()}
	add := func(p *mspproto.MSPPrincipal) { f.Add(int32(p.GetPrincipalClassification()), p.GetPrincipal()) }
	add(member)
	add(identity)
	add(combine(f, member, combine(f, named, identity), named))
	add(combine(f, member, combine(f)))
	add(nest(f, named, 20))
	f.Add(int32(4), []byte{0x0a, 0x02, 0x08, 0x04})
	f.Add(int32(4), []byte{0x0a, 0x06, 0x08, 0x01, 0x1a, 0x00, 0x08, 0x03})       // an unknown field, and a kind twice
	f.Add(int32(4), []byte{0x0a, 0x02, 0x08, 0x03, 0x13, 0x08, 0x01, 0x14})       // and a group
	f.Add(int32(4), []byte{0x0a, 0x04, 0x08, 0x03, 0x10, 0x01, 0x08, 0x01})       // numbers where bytes belong
	f.Add(int32(4), []byte{0x0a, 0x0c, 0x08, 0x83, 0x80, 0x80, 0x80, 0x80, 0x01}) // ends early
	f.Add(int32(9), []byte{})
	f.Fuzz(func(t *testing.T, kind int32, raw []byte) {
		p := &mspproto.MSPPrincipal{PrincipalClassification: mspproto.MSPPrincipal_Classification(kind), Principal: raw}
		left := 1 << 20
		got, err := ReadPrincipal(p, &left)
		if err != nil {
			t.Fatal(err)
		}
		all, want := simpleOnes(p)
		readable := want
		for _, one := range all {
			simple := readSimple(one.GetPrincipalClassification(), one.GetPrincipal())
			readable = readable && simple.kind != metByNobody
			want = want && simple.MetBy(s)
		}
		if readable != (got.kind != metByNobody) || got.MetBy(s) != want {
			t.Errorf("read %v, met %v; in Fabric %v, %v", got.kind != metByNobody, got.MetBy(s), readable, want)
		}
	})
}
