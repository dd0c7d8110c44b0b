package fabblock

import (
	"errors"
	"slices"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// TestPolicyBounds counts a policy's rules and principals against small bounds, and its depth.
func TestPolicyBounds(t *testing.T) {
	one := &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{}}
	all := func(rules ...*common.SignaturePolicy) *common.SignaturePolicy {
		return &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{N: int32(len(rules)), Rules: rules}}}
	}
	deep := func(n int) *common.SignaturePolicy {
		rule := one
		for range n - 1 {
			rule = all(rule)
		}
		return rule
	}
	anybody := &mspproto.MSPPrincipal{PrincipalClassification: mspproto.MSPPrincipal_ANONYMITY}
	raw, err := proto.Marshal(&mspproto.CombinedPrincipal{Principals: slices.Repeat([]*mspproto.MSPPrincipal{anybody}, 7)})
	if err != nil {
		t.Fatal(err)
	}
	seven := &mspproto.MSPPrincipal{PrincipalClassification: mspproto.MSPPrincipal_COMBINED, Principal: raw}
	type principals = []*mspproto.MSPPrincipal
	for _, tt := range []struct {
		name string
		of   principals
		rule *common.SignaturePolicy
		left int
		want error
	}{
		{"one rule and one principal", principals{anybody}, one, 2, nil},
		{"a rule too many", principals{anybody}, one, 1, errPolicyLong},
		{"rules", principals{anybody}, all(one, all(one, one)), 6, nil},
		{"rules beyond the bound", principals{anybody}, all(one, all(one, one)), 5, errPolicyLong},
		{"principals that no rule names", principals{anybody, anybody, anybody}, one, 4, nil},
		{"and beyond the bound", principals{anybody, anybody, anybody}, one, 2, errPolicyLong},
		{"a combination", principals{seven}, one, 9, nil},
		{"and beyond the bound", principals{seven}, one, 7, errPolicyLong},
		{"as deep as may be", principals{anybody}, deep(maxPolicyDepth), maxPolicyNodes, nil},
		{"an absurd nest", principals{anybody}, deep(maxPolicyDepth + 1), maxPolicyNodes, errPolicyDeep},
		{"a more absurd one", principals{anybody}, deep(1_000_000), maxPolicyNodes, errPolicyDeep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := (&compiler{left: tt.left}).signature(&common.SignaturePolicyEnvelope{Identities: tt.of, Rule: tt.rule})
			if !errors.Is(err, tt.want) || (r == nil) != (tt.want != nil) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}
