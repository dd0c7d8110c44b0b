package fabblocktest

import (
	"fmt"
	"math"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	lifecycleproto "github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/protobuf/proto"

	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// An Org is an organisation with one identity of each role. It tells them apart by organizational unit.
type Org struct {
	ID                           string
	CA                           *msp.CA
	Peer, Client, Admin, Orderer *msp.Identity
}

// NewOrg makes an organisation.
func NewOrg(id string) *Org {
	ca, err := msp.NewCA(id, "ca."+id)
	if err != nil {
		panic(err)
	}
	o := &Org{ID: id, CA: ca}
	for role, to := range map[string]**msp.Identity{"peer": &o.Peer, "client": &o.Client, "admin": &o.Admin, "orderer": &o.Orderer} {
		*to = o.Issue(role+"."+id, role)
	}
	return o
}

// Issue makes another identity of the organisation with the given units.
func (o *Org) Issue(name string, units ...string) *msp.Identity {
	id, err := o.CA.IssueIn(name, units, msp.Validity{})
	if err != nil {
		panic(err)
	}
	return id
}

// MSP is the organisation's membership as it stands in a configuration.
func (o *Org) MSP() *mspproto.FabricMSPConfig {
	unit := func(name string) *mspproto.FabricOUIdentifier {
		return &mspproto.FabricOUIdentifier{OrganizationalUnitIdentifier: name, Certificate: o.CA.Root()}
	}
	return &mspproto.FabricMSPConfig{
		Name: o.ID, RootCerts: [][]byte{o.CA.Root()},
		FabricNodeOus: &mspproto.FabricNodeOUs{Enable: true, ClientOuIdentifier: unit("client"), PeerOuIdentifier: unit("peer"),
			AdminOuIdentifier: unit("admin"), OrdererOuIdentifier: unit("orderer")},
	}
}

// Group is the organisation as a group of a configuration.
func (o *Org) Group() *common.ConfigGroup {
	g := newGroup(nil)
	setValue(g, "MSP", &mspproto.MSPConfig{Config: Marshal(o.MSP())})
	for name, roles := range map[string][]mspproto.MSPRole_MSPRoleType{
		"Readers": {mspproto.MSPRole_MEMBER}, "Writers": {mspproto.MSPRole_ADMIN, mspproto.MSPRole_CLIENT, mspproto.MSPRole_ORDERER},
		"Admins": {mspproto.MSPRole_ADMIN}, "Endorsement": {mspproto.MSPRole_PEER},
	} {
		var who []*mspproto.MSPPrincipal
		for _, r := range roles {
			who = append(who, RoleOf(o.ID, r))
		}
		SetPolicy(g, name, OutOf(1, who...))
	}
	return g
}

// RoleOf is the principal of an organisation's role.
func RoleOf(mspID string, role mspproto.MSPRole_MSPRoleType) *mspproto.MSPPrincipal {
	return &mspproto.MSPPrincipal{PrincipalClassification: mspproto.MSPPrincipal_ROLE,
		Principal: Marshal(&mspproto.MSPRole{MspIdentifier: mspID, Role: role})}
}

// OutOf is the signature policy "n of these".
func OutOf(n int32, who ...*mspproto.MSPPrincipal) *common.SignaturePolicyEnvelope {
	rule := &common.SignaturePolicy_NOutOf{N: n}
	for i := range who {
		rule.Rules = append(rule.Rules, &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: int32(i)}})
	}
	return &common.SignaturePolicyEnvelope{Identities: who, Rule: &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: rule}}}
}

// PeersOf is the policy "a peer of n of these organisations".
func PeersOf(n int32, ids ...string) *common.SignaturePolicyEnvelope {
	var who []*mspproto.MSPPrincipal
	for _, id := range ids {
		who = append(who, RoleOf(id, mspproto.MSPRole_PEER))
	}
	return OutOf(n, who...)
}

// SetPolicy puts a signature policy into a group.
func SetPolicy(g *common.ConfigGroup, name string, p *common.SignaturePolicyEnvelope) {
	g.Policies[name] = &common.ConfigPolicy{ModPolicy: "Admins", Policy: &common.Policy{Type: int32(common.Policy_SIGNATURE), Value: Marshal(p)}}
}

// SetImplicit puts an implicit policy into a group.
func SetImplicit(g *common.ConfigGroup, name string, rule common.ImplicitMetaPolicy_Rule, sub string) {
	g.Policies[name] = &common.ConfigPolicy{ModPolicy: "Admins", Policy: &common.Policy{Type: int32(common.Policy_IMPLICIT_META),
		Value: Marshal(&common.ImplicitMetaPolicy{Rule: rule, SubPolicy: sub})}}
}

func setValue(g *common.ConfigGroup, name string, m proto.Message) {
	g.Values[name] = &common.ConfigValue{ModPolicy: "Admins", Value: Marshal(m)}
}

func newGroup(subs map[string]*common.ConfigGroup) *common.ConfigGroup {
	g := &common.ConfigGroup{ModPolicy: "Admins", Groups: subs, Values: map[string]*common.ConfigValue{}, Policies: map[string]*common.ConfigPolicy{}}
	if subs == nil {
		g.Groups = map[string]*common.ConfigGroup{}
	}
	SetImplicit(g, "Readers", common.ImplicitMetaPolicy_ANY, "Readers")
	SetImplicit(g, "Writers", common.ImplicitMetaPolicy_ANY, "Writers")
	SetImplicit(g, "Admins", common.ImplicitMetaPolicy_MAJORITY, "Admins")
	return g
}

// A Channel makes the blocks of a channel whose organisations all order and endorse.
type Channel struct {
	ID         string
	Orgs       []*Org
	Consenters []*msp.Identity // BFT: the orderers, numbered from 1; nil: any one organisation's orderer signs
	Config     *common.Config
	Blocks     []*common.Block
}

// NewChannel makes a channel with its genesis block. With bft it has that many orderers under BFT consensus.
func NewChannel(id string, bft int, orgs ...string) *Channel {
	c := &Channel{ID: id}
	application, ordering := newGroup(nil), newGroup(nil)
	for _, name := range orgs {
		o := NewOrg(name)
		c.Orgs = append(c.Orgs, o)
		application.Groups[name], ordering.Groups[name] = o.Group(), o.Group()
	}
	capabilities := func(name string) *common.Capabilities {
		return &common.Capabilities{Capabilities: map[string]*common.Capability{name: {}}}
	}
	SetImplicit(application, "Endorsement", common.ImplicitMetaPolicy_MAJORITY, "Endorsement")
	SetImplicit(application, "LifecycleEndorsement", common.ImplicitMetaPolicy_MAJORITY, "Endorsement")
	setValue(application, "Capabilities", capabilities("V2_5"))
	setValue(ordering, "Capabilities", capabilities("V2_0"))
	setValue(ordering, "BatchTimeout", &orderer.BatchTimeout{Timeout: "1s"})
	root := newGroup(map[string]*common.ConfigGroup{"Application": application, "Orderer": ordering})
	setValue(root, "HashingAlgorithm", &common.HashingAlgorithm{Name: "SHA256"})
	setValue(root, "BlockDataHashingStructure", &common.BlockDataHashingStructure{Width: math.MaxUint32})
	c.Config = &common.Config{ChannelGroup: root}
	if bft == 0 {
		setValue(root, "Capabilities", capabilities("V2_0"))
		setValue(ordering, "ConsensusType", &orderer.ConsensusType{Type: "etcdraft"})
		SetImplicit(ordering, "BlockValidation", common.ImplicitMetaPolicy_ANY, "Writers")
	} else {
		setValue(root, "Capabilities", capabilities("V3_0"))
		setValue(ordering, "ConsensusType", &orderer.ConsensusType{Type: fabblock.BFT})
		c.setConsenters(ordering, bft)
	}
	genesis := Marshal(&common.Envelope{Payload: Marshal(&common.Payload{Header: &common.Header{
		ChannelHeader: Marshal(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG), ChannelId: id}), SignatureHeader: Marshal(&common.SignatureHeader{})},
		Data: Marshal(&common.ConfigEnvelope{Config: c.Config})})})
	c.Blocks = []*common.Block{{Header: &common.BlockHeader{DataHash: fabblock.DataHash([][]byte{genesis})}, Data: &common.BlockData{Data: [][]byte{genesis}},
		Metadata: &common.BlockMetadata{Metadata: [][]byte{{}, {}, {0}, {}, {}}}}}
	return c
}

// setConsenters numbers the orderers and makes the policy that Fabric makes of them: a quorum of identities.
func (c *Channel) setConsenters(ordering *common.ConfigGroup, n int) {
	mapping := &common.Orderers{}
	var who []*mspproto.MSPPrincipal
	for i := range n {
		org := c.Orgs[i%len(c.Orgs)]
		id := org.Issue(fmt.Sprint("orderer", i+1), "orderer")
		c.Consenters = append(c.Consenters, id)
		mapping.ConsenterMapping = append(mapping.ConsenterMapping, &common.Consenter{Id: uint32(i + 1), MspId: org.ID, Identity: id.Credentials()})
		who = append(who, &mspproto.MSPPrincipal{PrincipalClassification: mspproto.MSPPrincipal_IDENTITY, Principal: id.Serialized()})
	}
	setValue(ordering, "Orderers", mapping)
	SetPolicy(ordering, "BlockValidation", OutOf(int32(math.Ceil(float64(n+(n-1)/3+1)/2)), who...))
}

// Org is the organisation of that id.
func (c *Channel) Org(id string) *Org {
	return c.Orgs[slices.IndexFunc(c.Orgs, func(o *Org) bool { return o.ID == id })]
}

// Append makes the next block of transactions, of which codes says what a peer makes of each, valid where it is short.
func (c *Channel) Append(codes []peer.TxValidationCode, txs ...*common.Envelope) *common.Block {
	last := c.Blocks[len(c.Blocks)-1].GetHeader()
	b := &common.Block{Header: &common.BlockHeader{Number: last.GetNumber() + 1, PreviousHash: fabblock.HeaderHash(last)}, Data: &common.BlockData{},
		Metadata: &common.BlockMetadata{Metadata: [][]byte{{}, {}, make([]byte, len(txs)), {}, {}}}}
	for i, env := range txs {
		b.Data.Data = append(b.Data.Data, Marshal(env))
		if i < len(codes) {
			b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER][i] = byte(codes[i])
		}
	}
	c.Seal(b)
	c.Blocks = append(c.Blocks, b)
	return b
}

// Seal makes the block's data hash and signatures right: by the orderers of the numbers given, from 1, or by as many
// as are needed.
func (c *Channel) Seal(b *common.Block, by ...int) {
	b.Header.DataHash = fabblock.DataHash(b.GetData().GetData())
	header := fabblock.HeaderBytes(b.GetHeader())
	md := &common.Metadata{Value: Marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{}})}
	if c.Consenters == nil {
		h := Marshal(signatureHeader(c.Orgs[0].Orderer))
		md.Signatures = []*common.MetadataSignature{{SignatureHeader: h, Signature: sign(c.Orgs[0].Orderer, md.GetValue(), h, header)}}
	}
	if c.Consenters != nil && by == nil {
		for i := range c.Consenters[1:] {
			by = append(by, i+1)
		}
	}
	for _, n := range by {
		h := Marshal(&common.IdentifierHeader{Identifier: uint32(n), Nonce: []byte{byte(n)}})
		md.Signatures = append(md.Signatures, &common.MetadataSignature{IdentifierHeader: h, Signature: sign(c.Consenters[n-1], md.GetValue(), h, header)})
	}
	b.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES] = Marshal(md)
}

// ConfigTx is the transaction by which orderers put a configuration into a block.
func (c *Channel) ConfigTx(config *common.Config, update *common.Envelope) *common.Envelope {
	return envelope(common.HeaderType_CONFIG, c.ID, &common.ConfigEnvelope{Config: config, LastUpdate: update}, c.Orgs[0].Orderer)
}

// Apply is the configuration that an update makes.
func (c *Channel) Apply(update *common.ConfigUpdate) *common.Config {
	return &common.Config{Sequence: c.Config.GetSequence() + 1, ChannelGroup: overlay(c.Config.GetChannelGroup(), update.GetWriteSet())}
}

// overlay puts what a write set changes over a group.
func overlay(present, written *common.ConfigGroup) *common.ConfigGroup {
	out := proto.Clone(present).(*common.ConfigGroup)
	if written.GetVersion() != present.GetVersion() {
		out.Version, out.ModPolicy = written.GetVersion(), written.GetModPolicy()
		keep(out.Groups, written.GetGroups())
		keep(out.Values, written.GetValues())
		keep(out.Policies, written.GetPolicies())
	}
	for name, w := range written.GetGroups() {
		if had, ok := present.GetGroups()[name]; ok {
			w = overlay(had, w)
		}
		out.Groups[name] = w
	}
	for name, w := range written.GetValues() {
		if had, ok := present.GetValues()[name]; !ok || had.GetVersion() != w.GetVersion() {
			out.Values[name] = w
		}
	}
	for name, w := range written.GetPolicies() {
		if had, ok := present.GetPolicies()[name]; !ok || had.GetVersion() != w.GetVersion() {
			out.Policies[name] = w
		}
	}
	return out
}

func keep[V any](m, listed map[string]V) {
	for name := range m {
		if _, ok := listed[name]; !ok {
			delete(m, name)
		}
	}
}

// Definition are the writes that define a chaincode from nothing.
func Definition(chaincode string, sequence int64, plugin string, policy *peer.ApplicationPolicy) *rwset.NsReadWriteSet {
	field := func(m proto.Message) []byte {
		return Marshal(&lifecycleproto.StateData{Type: &lifecycleproto.StateData_Bytes{Bytes: Marshal(m)}})
	}
	kv := &kvrwset.KVRWSet{Writes: []*kvrwset.KVWrite{
		{Key: "namespaces/metadata/" + chaincode, Value: Marshal(&lifecycleproto.StateMetadata{Datatype: "ChaincodeDefinition"})},
		{Key: "namespaces/fields/" + chaincode + "/EndorsementInfo", Value: field(&lifecycleproto.ChaincodeEndorsementInfo{Version: fmt.Sprint(sequence), EndorsementPlugin: "escc"})},
		{Key: "namespaces/fields/" + chaincode + "/ValidationInfo", Value: field(&lifecycleproto.ChaincodeValidationInfo{ValidationPlugin: plugin, ValidationParameter: Marshal(policy)})},
		{Key: "namespaces/fields/" + chaincode + "/Sequence", Value: Marshal(&lifecycleproto.StateData{Type: &lifecycleproto.StateData_Int64{Int64: sequence}})},
	}}
	return Set("_lifecycle", kv)
}

// Signed is the application policy of own rules.
func Signed(p *common.SignaturePolicyEnvelope) *peer.ApplicationPolicy {
	return &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_SignaturePolicy{SignaturePolicy: p}}
}

// Named is the application policy that names one of the configuration.
func Named(path string) *peer.ApplicationPolicy {
	return &peer.ApplicationPolicy{Type: &peer.ApplicationPolicy_ChannelConfigPolicyReference{ChannelConfigPolicyReference: path}}
}
