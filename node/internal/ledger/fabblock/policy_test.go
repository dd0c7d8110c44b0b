package fabblock_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock/fabblocktest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

func leaf(n int32) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: n}}
}

func gate(n int32, rules ...*common.SignaturePolicy) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{N: n, Rules: rules}}}
}

// TestPolicies is Fabric's common/cauthdsl, common/policies and the principals of its msp, read as a table.
func TestPolicies(t *testing.T) {
	w := newWorld(t, 0)
	a, b, c := w.Org("BeijingMSP"), w.Org("HebeiMSP"), w.Org("TianjinMSP")
	chain := sha256.Sum256(a.Peer.Certificate().Raw) // not the chain's
	authority, err := msp.ParseCertificate(a.CA.Root())
	if err != nil {
		t.Fatal(err)
	}
	// Fabric takes certificates in with a low S; the twin is this one where it has a high one.
	root := sha256.Sum256(fabblocktest.LowS(authority))
	role := fabblocktest.RoleOf
	principal := func(kind mspproto.MSPPrincipal_Classification, m proto.Message) *mspproto.MSPPrincipal {
		return &mspproto.MSPPrincipal{PrincipalClassification: kind, Principal: fabblocktest.Marshal(m)}
	}
	unit := func(id, name string, certifiers []byte) *mspproto.MSPPrincipal {
		return principal(mspproto.MSPPrincipal_ORGANIZATION_UNIT, &mspproto.OrganizationUnit{MspIdentifier: id, OrganizationalUnitIdentifier: name, CertifiersIdentifier: certifiers})
	}
	anonymity := func(kind mspproto.MSPIdentityAnonymity_MSPIdentityAnonymityType) *mspproto.MSPPrincipal {
		return principal(mspproto.MSPPrincipal_ANONYMITY, &mspproto.MSPIdentityAnonymity{AnonymityType: kind})
	}
	combined := func(all ...*mspproto.MSPPrincipal) *mspproto.MSPPrincipal {
		return principal(mspproto.MSPPrincipal_COMBINED, &mspproto.CombinedPrincipal{Principals: all})
	}
	deep := leaf(0)
	for range 4000 { // a message nests 10,000 deep, and Fabric has no other bound
		deep = gate(1, deep)
	}
	// Combined principals nest as bytes in bytes, and no message bounds that. Each level copied into the next is slow
	// to make; msp's own test goes deeper.
	nested := combined(role("BeijingMSP", mspproto.MSPRole_PEER))
	for range 5000 {
		nested = combined(nested)
	}
	member, peerA, peerB := role("BeijingMSP", mspproto.MSPRole_MEMBER), role("BeijingMSP", mspproto.MSPRole_PEER), role("HebeiMSP", mspproto.MSPRole_PEER)
	type who = []fabblocktest.Signer
	type principals = []*mspproto.MSPPrincipal
	noRole := a.Issue("none")
	for _, tt := range []struct {
		name string
		rule *common.SignaturePolicy
		of   principals
		who  who
		want bool
		err  string
	}{
		{name: "a peer", rule: leaf(0), of: principals{peerA}, who: who{a.Peer}, want: true},
		{name: "a peer of another", rule: leaf(0), of: principals{peerA}, who: who{b.Peer}},
		{name: "nobody", rule: leaf(0), of: principals{peerA}},
		{name: "member is every role", rule: leaf(0), of: principals{member}, who: who{a.Orderer}, want: true},
		{name: "member needs a role where roles are told apart", rule: leaf(0), of: principals{member}, who: who{noRole}},
		{name: "client", rule: leaf(0), of: principals{role("BeijingMSP", mspproto.MSPRole_CLIENT)}, who: who{a.Peer, a.Client}, want: true},
		{name: "no client", rule: leaf(0), of: principals{role("BeijingMSP", mspproto.MSPRole_CLIENT)}, who: who{a.Peer, a.Admin}},
		{name: "admin", rule: leaf(0), of: principals{role("BeijingMSP", mspproto.MSPRole_ADMIN)}, who: who{a.Admin}, want: true},
		{name: "orderer", rule: leaf(0), of: principals{role("BeijingMSP", mspproto.MSPRole_ORDERER)}, who: who{a.Orderer}, want: true},
		{name: "unknown role", rule: leaf(0), of: principals{role("BeijingMSP", 9)}, who: who{a.Peer}},
		{name: "rubbish for a role", rule: leaf(0), of: principals{{Principal: []byte{0xff}}}, who: who{a.Peer}},
		{name: "unit of the right authority", rule: leaf(0), of: principals{unit("BeijingMSP", "peer", root[:])}, who: who{a.Peer}, want: true},
		{name: "unit of any authority is of none", rule: leaf(0), of: principals{unit("BeijingMSP", "peer", nil)}, who: who{a.Peer}},
		{name: "unit of another authority", rule: leaf(0), of: principals{unit("BeijingMSP", "peer", chain[:])}, who: who{a.Peer}},
		{name: "another unit", rule: leaf(0), of: principals{unit("BeijingMSP", "client", root[:])}, who: who{a.Peer}},
		{name: "another's unit", rule: leaf(0), of: principals{unit("HebeiMSP", "peer", root[:])}, who: who{a.Peer}},
		{name: "identity", rule: leaf(0), of: principals{{PrincipalClassification: mspproto.MSPPrincipal_IDENTITY, Principal: a.Peer.Serialized()}}, who: who{a.Peer}, want: true},
		{name: "identity in another form", rule: leaf(0), of: principals{{PrincipalClassification: mspproto.MSPPrincipal_IDENTITY, Principal: fabblocktest.WithOtherSignature(a.Peer).Bytes}}, who: who{a.Peer}, want: true},
		{name: "another identity", rule: leaf(0), of: principals{{PrincipalClassification: mspproto.MSPPrincipal_IDENTITY, Principal: a.Client.Serialized()}}, who: who{a.Peer}},
		{name: "rubbish for an identity", rule: leaf(0), of: principals{{PrincipalClassification: mspproto.MSPPrincipal_IDENTITY, Principal: []byte("x")}}, who: who{a.Peer}},
		{name: "a named identity", rule: leaf(0), of: principals{anonymity(mspproto.MSPIdentityAnonymity_NOMINAL)}, who: who{c.Peer}, want: true},
		{name: "an anonymous identity", rule: leaf(0), of: principals{anonymity(mspproto.MSPIdentityAnonymity_ANONYMOUS)}, who: who{c.Peer}},
		{name: "both of a combination", rule: leaf(0), of: principals{combined(member, unit("BeijingMSP", "peer", root[:]))}, who: who{a.Peer}, want: true},
		{name: "one of a combination", rule: leaf(0), of: principals{combined(member, unit("BeijingMSP", "client", root[:]))}, who: who{a.Peer}},
		{name: "an empty combination", rule: leaf(0), of: principals{combined()}, who: who{a.Peer}},
		{name: "a nest of combinations", rule: leaf(0), of: principals{nested}, who: who{a.Peer}, want: true},
		{name: "a nest for another", rule: leaf(0), of: principals{nested}, who: who{b.Peer}},
		{name: "an unknown kind", rule: leaf(0), of: principals{{PrincipalClassification: 9}}, who: who{a.Peer}},

		{name: "both", rule: gate(2, leaf(0), leaf(1)), of: principals{peerA, peerB}, who: who{a.Peer, b.Peer}, want: true},
		{name: "one of both", rule: gate(2, leaf(0), leaf(1)), of: principals{peerA, peerB}, who: who{a.Peer, a.Client}},
		{name: "either", rule: gate(1, leaf(0), leaf(1)), of: principals{peerA, peerB}, who: who{c.Peer, b.Peer}, want: true},
		{name: "one identity does not count for two", rule: gate(2, leaf(0), leaf(0)), of: principals{peerA}, who: who{a.Peer}},
		{name: "two identities for two of one organisation", rule: gate(2, leaf(0), leaf(0)), of: principals{member}, who: who{a.Peer, a.Client}, want: true},
		{name: "the first leaf takes the first signer", rule: gate(2, leaf(0), leaf(1)), of: principals{member, peerA}, who: who{a.Peer, a.Client}},
		{name: "and another order is enough", rule: gate(2, leaf(0), leaf(1)), of: principals{member, peerA}, who: who{a.Client, a.Peer}, want: true},
		{name: "a rule that fails uses nobody", rule: gate(1, gate(2, leaf(0), leaf(1)), leaf(0)), of: principals{peerA, peerB}, who: who{a.Peer}, want: true},
		{name: "a rule that is met uses its signers", rule: gate(2, gate(1, leaf(0)), leaf(0)), of: principals{peerA}, who: who{a.Peer}},
		{name: "nested", rule: gate(2, gate(1, leaf(0), leaf(1)), gate(1, leaf(2))), of: principals{peerA, peerB, role("TianjinMSP", mspproto.MSPRole_PEER)}, who: who{c.Peer, b.Peer}, want: true},
		{name: "none of some", rule: gate(0, leaf(0)), of: principals{peerA}, want: true},
		{name: "less than none", rule: gate(-1), want: true},
		{name: "more than there are", rule: gate(2, leaf(0)), of: principals{peerA}, who: who{a.Peer, b.Peer}},
		{name: "no such identity", rule: leaf(1), of: principals{peerA}, who: who{a.Peer}, err: "identity 1 of 1"},
		{name: "a negative identity", rule: leaf(-1), of: principals{peerA}, who: who{a.Peer}, err: "identity -1"},
		{name: "an empty rule", rule: gate(1, &common.SignaturePolicy{}), err: "empty rule"},
		{name: "no rule", err: "empty rule"},
		{name: "deep", rule: deep, of: principals{peerA}, who: who{a.Peer}, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fabblocktest.SetPolicy(w.Config.ChannelGroup.Groups["Application"], "Test", &common.SignaturePolicyEnvelope{Identities: tt.of, Rule: tt.rule})
			w.rewrite(t)
			p := w.reader.Policy("/Channel/Application/Test")
			var signers []*msp.Subject
			for _, s := range tt.who {
				subject, err := w.reader.Members.Resolve(s.Serialized())
				if err != nil {
					t.Fatal(err)
				}
				signers = append(signers, subject)
			}
			if got := p.MetBy(signers); got != tt.want {
				t.Errorf("met %v, want %v", got, tt.want)
			}
			if err := p.Err(); (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestImplicitPolicies(t *testing.T) {
	w := newWorld(t, 0)
	application := w.Config.ChannelGroup.Groups["Application"]
	fabblocktest.SetImplicit(application, "All", common.ImplicitMetaPolicy_ALL, "Admins")
	fabblocktest.SetImplicit(application, "AllExtra", common.ImplicitMetaPolicy_ALL, "Extra")
	fabblocktest.SetImplicit(application, "AnyExtra", common.ImplicitMetaPolicy_ANY, "Extra")
	fabblocktest.SetImplicit(application, "Odd", 7, "Admins")
	fabblocktest.SetPolicy(application.Groups["HebeiMSP"], "Extra", fabblocktest.PeersOf(1, "HebeiMSP"))
	fabblocktest.SetImplicit(application.Groups["HebeiMSP"], "Empty", common.ImplicitMetaPolicy_MAJORITY, "Admins")
	fabblocktest.SetPolicy(application, "Later", &common.SignaturePolicyEnvelope{Version: 1, Rule: gate(0)})
	w.rewrite(t)
	subjects := func(signers ...fabblocktest.Signer) (out []*msp.Subject) {
		for _, s := range signers {
			who, err := w.reader.Members.Resolve(s.Serialized())
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, who)
		}
		return out
	}
	a, b, c := w.Org("BeijingMSP"), w.Org("HebeiMSP"), w.Org("TianjinMSP")
	for _, tt := range []struct {
		path string
		who  []*msp.Subject
		want bool
	}{
		{"/Channel/Application/Admins", subjects(a.Admin), false},
		{"/Channel/Application/Admins", subjects(a.Admin, c.Admin), true},
		{"/Channel/Application/All", subjects(a.Admin, c.Admin), false},
		{"/Channel/Application/All", subjects(c.Admin, b.Admin, a.Admin), true},
		{"/Channel/Application/AllExtra", subjects(b.Peer), false},
		{"/Channel/Application/AnyExtra", subjects(b.Peer), true},
		{"/Channel/Application/Odd", subjects(b.Admin, a.Admin, c.Admin), false},
		{"/Channel/Application/Later", nil, false},
		{"/Channel/Application/HebeiMSP/Empty", nil, true},
		{"/Channel/Admins", subjects(a.Admin, c.Admin), true}, // both of Application and Orderer, each by the same two
		{"/Channel/Admins", subjects(a.Admin), false},
		{"Application/HebeiMSP/Admins", subjects(b.Admin), true},
		{"/Channel/Application/HebeiMSP/Admins", subjects(b.Admin), true},
		{"/Channel/Application/Nothing", subjects(b.Admin), false},
		{"/Application/Admins", subjects(a.Admin, c.Admin), false},
		{"/Channel", nil, false},
		{"/", nil, false},
		{"", nil, false},
	} {
		if got := w.reader.Policy(tt.path).MetBy(tt.who); got != tt.want {
			t.Errorf("%s by %d: %v", tt.path, len(tt.who), got)
		}
	}
	if p := w.reader.Policy("/Channel/Application/All"); p.Name() != "/Channel/Application/All" || p.Err() != nil {
		t.Errorf("policy %q: %v", p.Name(), p.Err())
	}
	if p := w.reader.Policy("/nowhere"); p.Name() != "" || p.Err() == nil {
		t.Errorf("policy %q: %v", p.Name(), p.Err())
	}
}

// FuzzPolicy has any bytes for a policy: it is read or refused, and judged within bounds.
func FuzzPolicy(f *testing.F) {
	w := newWorld(f, 0)
	s, err := w.reader.Members.Resolve(w.Orgs[0].Peer.Serialized())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(fabblocktest.Marshal(fabblocktest.PeersOf(2, "BeijingMSP", "HebeiMSP")))
	f.Add(fabblocktest.Marshal(&common.SignaturePolicyEnvelope{Rule: gate(1, gate(0, leaf(0)), leaf(3))}))
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		w.Config.ChannelGroup.Groups["Application"].Policies["Test"] = &common.ConfigPolicy{Policy: &common.Policy{Type: int32(common.Policy_SIGNATURE), Value: raw}}
		b := &common.Block{Header: &common.BlockHeader{}, Data: &common.BlockData{Data: [][]byte{fabblocktest.Marshal(&common.Envelope{
			Payload: fabblocktest.Marshal(&common.Payload{Header: &common.Header{ChannelHeader: fabblocktest.Marshal(&common.ChannelHeader{
				Type: int32(common.HeaderType_CONFIG), ChannelId: "jjj"})}, Data: fabblocktest.Marshal(&common.ConfigEnvelope{Config: w.Config})})})}}}
		c, err := fabblock.ParseConfig(b)
		if err != nil {
			t.Fatal(err)
		}
		p := c.Policy("/Channel/Application/Test")
		if met := p.MetBy([]*msp.Subject{s}); met && p.Err() != nil {
			t.Error("met though it cannot be read")
		}
	})
}
