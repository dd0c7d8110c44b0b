package fabblock

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// A Rule is met by signatures of Need different organisations out of Of.
type Rule struct {
	Of   []string // organisation ids, sorted
	Need int
}

// met reports whether the organisations that signed meet the rule.
func (r Rule) met(signed map[string]bool) bool {
	n := 0
	for _, id := range r.Of {
		if signed[id] {
			n++
		}
	}
	return r.Need > 0 && n >= r.Need
}

// Embedded is the type of consensus by which the embedded ledger names itself in its configuration.
const Embedded = "embedded"

// A Channel is what a configuration block says of its channel, and what blocks are checked against. It is immutable
// after the caller has set Chaincode and, where the contract's own definition says otherwise, Endorsement. It is
// safe for concurrent use.
type Channel struct {
	ID          string      // channel name
	Sequence    uint64      // of the configuration
	Created     time.Time   // the configuration envelope's timestamp
	Members     *msp.Roster // application organisations: whoever may create and endorse transactions
	Orderers    *msp.Roster // ordering organisations: whoever may sign blocks
	Ordering    Rule        // signatures that a block needs
	SealedCodes bool        // a block's signature covers its validation codes: so on the embedded ledger
	Endorsement Rule        // signatures that a transaction needs
	Chaincode   string      // the only contract that transactions may name; empty: any
}

// ParseConfig reads the configuration out of a block that holds one configuration transaction. It believes the
// block: the caller knows the genesis block by its hash.
func ParseConfig(b *common.Block) (*Channel, error) {
	number := b.GetHeader().GetNumber()
	if len(b.GetData().GetData()) != 1 {
		return nil, blockError(BadConfig, number, errors.New("not exactly one transaction"))
	}
	var env common.Envelope
	if err := proto.Unmarshal(b.GetData().GetData()[0], &env); err != nil {
		return nil, blockError(BadConfig, number, err)
	}
	c, err := parseConfigEnvelope(&env)
	if err != nil {
		return nil, blockError(BadConfig, number, err)
	}
	return c, nil
}

func parseConfigEnvelope(env *common.Envelope) (*Channel, error) {
	var payload common.Payload
	if err := proto.Unmarshal(env.GetPayload(), &payload); err != nil {
		return nil, err
	}
	var header common.ChannelHeader
	if err := proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &header); err != nil {
		return nil, err
	}
	if header.GetType() != int32(common.HeaderType_CONFIG) {
		return nil, fmt.Errorf("transaction type %d is not a configuration", header.GetType())
	}
	var config common.ConfigEnvelope
	if err := proto.Unmarshal(payload.GetData(), &config); err != nil {
		return nil, err
	}
	root := config.GetConfig().GetChannelGroup()
	c := &Channel{ID: header.GetChannelId(), Sequence: config.GetConfig().GetSequence(), Created: header.GetTimestamp().AsTime()}
	if c.ID == "" {
		return nil, errors.New("no channel name")
	}
	var consensus orderer.ConsensusType
	err := proto.Unmarshal(root.GetGroups()["Orderer"].GetValues()["ConsensusType"].GetValue(), &consensus)
	if err != nil {
		return nil, fmt.Errorf("type of consensus: %w", err)
	}
	c.SealedCodes = consensus.GetType() == Embedded
	if c.Members, err = parseOrganisations(root.GetGroups()["Application"]); err != nil {
		return nil, fmt.Errorf("application organisations: %w", err)
	}
	if c.Orderers, err = parseOrganisations(root.GetGroups()["Orderer"]); err != nil {
		return nil, fmt.Errorf("ordering organisations: %w", err)
	}
	if c.Endorsement, err = parseRule(root.GetGroups()["Application"].GetPolicies()["Endorsement"], c.Members); err != nil {
		return nil, fmt.Errorf("endorsement policy: %w", err)
	}
	if c.Ordering, err = parseRule(root.GetGroups()["Orderer"].GetPolicies()["BlockValidation"], c.Orderers); err != nil {
		return nil, fmt.Errorf("block validation policy: %w", err)
	}
	return c, nil
}

func parseOrganisations(group *common.ConfigGroup) (*msp.Roster, error) {
	if len(group.GetGroups()) == 0 {
		return nil, errors.New("none")
	}
	var members []*msp.Member
	for name, org := range group.GetGroups() {
		m, err := parseMSP(org.GetValues()["MSP"].GetValue())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		members = append(members, m)
	}
	return msp.NewRoster(members...)
}

func parseMSP(raw []byte) (*msp.Member, error) {
	var outer mspproto.MSPConfig
	if err := proto.Unmarshal(raw, &outer); err != nil {
		return nil, err
	}
	if outer.GetType() != 0 {
		return nil, fmt.Errorf("membership type %d is not X.509", outer.GetType())
	}
	var inner mspproto.FabricMSPConfig
	if err := proto.Unmarshal(outer.GetConfig(), &inner); err != nil {
		return nil, err
	}
	return msp.NewMember(msp.Config{
		ID:            inner.GetName(),
		Roots:         inner.GetRootCerts(),
		Intermediates: inner.GetIntermediateCerts(),
		Revoked:       inner.GetRevocationList(),
		TLSRoots:      inner.GetTlsRootCerts(),
	})
}

// parseRule reads the two shapes of policy in use: k of n organisations, and the implicit rules ANY, ALL and
// MAJORITY over the group's organisations.
func parseRule(p *common.ConfigPolicy, orgs *msp.Roster) (Rule, error) {
	switch p.GetPolicy().GetType() {
	case int32(common.Policy_SIGNATURE):
		var env common.SignaturePolicyEnvelope
		if err := proto.Unmarshal(p.GetPolicy().GetValue(), &env); err != nil {
			return Rule{}, err
		}
		return parseSignaturePolicy(&env, orgs)
	case int32(common.Policy_IMPLICIT_META):
		var meta common.ImplicitMetaPolicy
		if err := proto.Unmarshal(p.GetPolicy().GetValue(), &meta); err != nil {
			return Rule{}, err
		}
		r := Rule{Of: orgs.IDs()}
		switch meta.GetRule() {
		case common.ImplicitMetaPolicy_ANY:
			r.Need = 1
		case common.ImplicitMetaPolicy_ALL:
			r.Need = len(r.Of)
		case common.ImplicitMetaPolicy_MAJORITY:
			r.Need = len(r.Of)/2 + 1
		default:
			return Rule{}, fmt.Errorf("implicit rule %d", meta.GetRule())
		}
		return r, nil
	}
	return Rule{}, fmt.Errorf("policy type %d", p.GetPolicy().GetType())
}

func parseSignaturePolicy(env *common.SignaturePolicyEnvelope, orgs *msp.Roster) (Rule, error) {
	out := env.GetRule().GetNOutOf()
	if out == nil {
		return Rule{}, errors.New("not of the form k of n organisations")
	}
	r := Rule{Need: int(out.GetN())}
	for _, sub := range out.GetRules() {
		by, ok := sub.GetType().(*common.SignaturePolicy_SignedBy)
		if !ok || by.SignedBy < 0 || int(by.SignedBy) >= len(env.GetIdentities()) {
			return Rule{}, errors.New("not of the form k of n organisations")
		}
		principal := env.GetIdentities()[by.SignedBy]
		if principal.GetPrincipalClassification() != mspproto.MSPPrincipal_ROLE {
			return Rule{}, errors.New("a principal is not a role of an organisation")
		}
		var role mspproto.MSPRole
		if err := proto.Unmarshal(principal.GetPrincipal(), &role); err != nil {
			return Rule{}, err
		}
		id := role.GetMspIdentifier()
		if orgs.Member(id) == nil || slices.Contains(r.Of, id) {
			return Rule{}, fmt.Errorf("organisation %q is unknown or named twice", id)
		}
		r.Of = append(r.Of, id)
	}
	slices.Sort(r.Of)
	if r.Need < 1 || r.Need > len(r.Of) {
		return Rule{}, fmt.Errorf("%d of %d organisations", r.Need, len(r.Of))
	}
	return r, nil
}
