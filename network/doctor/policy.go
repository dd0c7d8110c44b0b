package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// policyOf reads an endorsement policy as a definition carries it.
func policyOf(raw []byte) *peer.ApplicationPolicy {
	p := &peer.ApplicationPolicy{}
	if proto.Unmarshal(raw, p) != nil {
		return nil
	}
	return p
}

// errPolicy says that a policy has a shape that is not known here.
var errPolicy = errors.New("a policy of another kind")

// satisfiable tells whether peers of the given organisations, so many of each, can endorse under a policy.
func (c *Channel) satisfiable(p *peer.ApplicationPolicy, able map[string]int) (bool, error) {
	switch t := p.GetType().(type) {
	case *peer.ApplicationPolicy_SignaturePolicy:
		return satisfies(t.SignaturePolicy, able)
	case *peer.ApplicationPolicy_ChannelConfigPolicyReference:
		if c == nil || c.Endorsement == nil || !strings.HasSuffix(t.ChannelConfigPolicyReference, "Application/Endorsement") {
			return false, errPolicy
		}
		return c.implied(c.Endorsement, able)
	}
	return false, errPolicy
}

// implied judges the application group's own policy, by what its organisations' say.
func (c *Channel) implied(p *common.Policy, able map[string]int) (bool, error) {
	if common.Policy_PolicyType(p.GetType()) == common.Policy_SIGNATURE {
		var e common.SignaturePolicyEnvelope
		if err := proto.Unmarshal(p.GetValue(), &e); err != nil {
			return false, err
		}
		return satisfies(&e, able)
	}
	var meta common.ImplicitMetaPolicy
	if err := proto.Unmarshal(p.GetValue(), &meta); err != nil {
		return false, err
	}
	with := 0
	for _, name := range slices.Sorted(maps.Keys(c.Orgs)) {
		var e common.SignaturePolicyEnvelope
		if err := proto.Unmarshal(c.Orgs[name].GetValue(), &e); err != nil {
			return false, err
		}
		if ok, err := satisfies(&e, able); err == nil && ok {
			with++
		}
	}
	switch meta.GetRule() {
	case common.ImplicitMetaPolicy_ANY:
		return with >= 1, nil
	case common.ImplicitMetaPolicy_ALL:
		return with == len(c.Orgs), nil
	default:
		return with > len(c.Orgs)/2, nil
	}
}

// satisfies evaluates a policy as Fabric does: in order, and each peer's signature counts once.
func satisfies(e *common.SignaturePolicyEnvelope, able map[string]int) (bool, error) {
	left := maps.Clone(able)
	if left == nil {
		left = map[string]int{}
	}
	return walk(e.GetRule(), e.GetIdentities(), left, 0)
}

const maxDepth = 32

func walk(rule *common.SignaturePolicy, identities []*msp.MSPPrincipal, left map[string]int, depth int) (bool, error) {
	if depth > maxDepth {
		return false, errPolicy
	}
	switch t := rule.GetType().(type) {
	case *common.SignaturePolicy_SignedBy:
		if t.SignedBy < 0 || int(t.SignedBy) >= len(identities) {
			return false, errPolicy
		}
		org, err := orgOf(identities[t.SignedBy])
		if err != nil || left[org] == 0 {
			return false, err
		}
		left[org]--
		return true, nil
	case *common.SignaturePolicy_NOutOf_:
		met := 0
		for _, r := range t.NOutOf.GetRules() {
			try := maps.Clone(left)
			ok, err := walk(r, identities, try, depth+1)
			if err != nil {
				return false, err
			}
			if ok {
				met++
				maps.Copy(left, try)
			}
		}
		return met >= int(t.NOutOf.GetN()), nil
	}
	return false, errPolicy
}

// orgOf is the organisation of a principal by role, the only kind by which peers endorse here.
func orgOf(p *msp.MSPPrincipal) (string, error) {
	if p.GetPrincipalClassification() != msp.MSPPrincipal_ROLE {
		return "", errPolicy
	}
	var role msp.MSPRole
	if err := proto.Unmarshal(p.GetPrincipal(), &role); err != nil {
		return "", err
	}
	switch role.GetRole() {
	case msp.MSPRole_PEER, msp.MSPRole_MEMBER:
		return role.GetMspIdentifier(), nil
	}
	return "", errPolicy
}

// describe writes a policy for people.
func describe(p *peer.ApplicationPolicy) string {
	if ref := p.GetChannelConfigPolicyReference(); ref != "" {
		return "as the channel's " + ref
	}
	e := p.GetSignaturePolicy()
	var write func(r *common.SignaturePolicy, depth int) string
	write = func(r *common.SignaturePolicy, depth int) string {
		if depth > maxDepth {
			return "…"
		}
		if n := r.GetNOutOf(); n != nil {
			var parts []string
			for _, sub := range n.GetRules() {
				parts = append(parts, write(sub, depth+1))
			}
			return fmt.Sprintf("%d of (%s)", n.GetN(), strings.Join(parts, ", "))
		}
		if i := int(r.GetSignedBy()); i >= 0 && i < len(e.GetIdentities()) {
			if org, err := orgOf(e.GetIdentities()[i]); err == nil {
				return org
			}
		}
		return "?"
	}
	return write(e.GetRule(), 0)
}
