package doctor

import (
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

func principals(orgs ...string) []*msp.MSPPrincipal {
	var out []*msp.MSPPrincipal
	for _, o := range orgs {
		raw, _ := proto.Marshal(&msp.MSPRole{MspIdentifier: o, Role: msp.MSPRole_PEER})
		out = append(out, &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_ROLE, Principal: raw})
	}
	return out
}

func by(i int32) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: i}}
}

func nOf(n int32, rules ...*common.SignaturePolicy) *common.SignaturePolicy {
	return &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{N: n, Rules: rules}}}
}

// outOf is a policy of n of the organisations.
func outOf(n int32, orgs ...string) *peer.ApplicationPolicy {
	var rules []*common.SignaturePolicy
	for i := range orgs {
		rules = append(rules, by(int32(i)))
	}
	return signature(nOf(n, rules...), orgs...)
}

func signature(rule *common.SignaturePolicy, orgs ...string) *peer.ApplicationPolicy {
	return &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_SignaturePolicy{SignaturePolicy: &common.SignaturePolicyEnvelope{Rule: rule, Identities: principals(orgs...)}}}
}

func TestPolicy(t *testing.T) {
	reference := &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{ChannelConfigPolicyReference: "/Channel/Application/Endorsement"}}
	channel := func(rule common.ImplicitMetaPolicy_Rule, orgs ...string) *Channel {
		meta, _ := proto.Marshal(&common.ImplicitMetaPolicy{SubPolicy: "Endorsement", Rule: rule})
		c := &Channel{Endorsement: &common.Policy{Type: int32(common.Policy_IMPLICIT_META), Value: meta}, Orgs: map[string]*common.Policy{}}
		for _, o := range orgs {
			raw, _ := proto.Marshal(outOf(1, o).GetSignaturePolicy())
			c.Orgs[o] = &common.Policy{Type: int32(common.Policy_SIGNATURE), Value: raw}
		}
		return c
	}
	able := func(orgs ...string) map[string]int {
		m := map[string]int{}
		for _, o := range orgs {
			m[o]++
		}
		return m
	}
	deep := by(0)
	for range maxDepth + 2 {
		deep = nOf(1, deep)
	}
	for _, test := range []struct {
		name    string
		channel *Channel
		policy  *peer.ApplicationPolicy
		able    map[string]int
		want    bool
		unknown bool
	}{
		{"2 of 3, all", nil, outOf(2, "A", "B", "C"), able("A", "B", "C"), true, false},
		{"2 of 3, two", nil, outOf(2, "A", "B", "C"), able("A", "C"), true, false},
		{"2 of 3, one", nil, outOf(2, "A", "B", "C"), able("C"), false, false},
		{"2 of 3, one with two peers", nil, outOf(2, "A", "B", "C"), able("C", "C"), false, false},
		{"2 of one organisation's, one peer", nil, signature(nOf(2, by(0), by(0)), "A"), able("A"), false, false},
		{"2 of one organisation's, two peers", nil, signature(nOf(2, by(0), by(0)), "A"), able("A", "A"), true, false},
		{"A and (B or C)", nil, signature(nOf(2, by(0), nOf(1, by(1), by(2))), "A", "B", "C"), able("A", "C"), true, false},
		{"a branch that fails takes nobody", nil, signature(nOf(1, nOf(2, by(0), by(1)), by(0)), "A", "B"), able("A"), true, false},
		{"nobody", nil, outOf(1, "A"), nil, false, false},
		{"majority, 2 of 4", channel(common.ImplicitMetaPolicy_MAJORITY, "A", "B", "C", "D"), reference, able("A", "B"), false, false},
		{"majority, 3 of 4", channel(common.ImplicitMetaPolicy_MAJORITY, "A", "B", "C", "D"), reference, able("A", "B", "D"), true, false},
		{"any", channel(common.ImplicitMetaPolicy_ANY, "A", "B"), reference, able("B"), true, false},
		{"all", channel(common.ImplicitMetaPolicy_ALL, "A", "B"), reference, able("B"), false, false},
		{"by reference, configuration unseen", nil, reference, able("A"), false, true},
		{"empty", nil, &peer.ApplicationPolicy{}, able("A"), false, true},
		{"too deep", nil, signature(deep, "A"), able("A"), false, true},
		{"names a principal that is not there", nil, signature(by(7), "A"), able("A"), false, true},
	} {
		ok, err := test.channel.satisfiable(test.policy, test.able)
		if ok != test.want || (err != nil) != test.unknown {
			t.Errorf("%s: %v %v", test.name, ok, err)
		}
	}
	if got := describe(outOf(2, "A", "B")); got != "2 of (A, B)" {
		t.Error(got)
	}
}

// FuzzPolicy: what a definition carries comes from outside.
func FuzzPolicy(f *testing.F) {
	for _, p := range []*peer.ApplicationPolicy{outOf(2, "A", "B"), signature(by(-1), "A"), signature(nOf(-3), "A"), {}} {
		raw, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p := policyOf(raw)
		if p == nil {
			return
		}
		_, _ = (*Channel)(nil).satisfiable(p, map[string]int{"A": 1, "B": 2})
		_ = describe(p)
	})
}

// FuzzChannel: so does the configuration.
func FuzzChannel(f *testing.F) {
	group := func(groups map[string]*common.ConfigGroup) *common.ConfigGroup {
		return &common.ConfigGroup{Groups: groups}
	}
	m := func(v proto.Message) []byte { raw, _ := proto.Marshal(v); return raw }
	config := &common.ConfigEnvelope{Config: &common.Config{ChannelGroup: group(map[string]*common.ConfigGroup{
		"Application": group(map[string]*common.ConfigGroup{"A": group(nil)}), "Orderer": group(nil),
	})}}
	f.Add(m(&common.Envelope{Payload: m(&common.Payload{Data: m(config)})}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = readChannel(&common.Block{Data: &common.BlockData{Data: [][]byte{raw}}})
	})
}
