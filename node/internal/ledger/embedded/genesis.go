package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// newGenesis makes block 0: a configuration with the members and the ledger's organisation as application
// organisations, the ledger's organisation as the one orderer, and the rule that its signature endorses.
func newGenesis(cfg Config) (*common.Block, error) {
	if cfg.Channel == "" || cfg.Chaincode == "" || len(cfg.Members) == 0 {
		return nil, errors.New("embedded: a ledger needs a channel name, a contract name and members")
	}
	application, ordering := newGroup("Admins"), newGroup("Admins")
	for _, m := range append([]msp.Config{cfg.Ledger}, cfg.Members...) {
		if _, taken := application.Groups[m.ID]; taken {
			return nil, fmt.Errorf("embedded: organisation %q is listed twice", m.ID)
		}
		group, err := newOrganisation(m)
		if err != nil {
			return nil, err
		}
		application.Groups[m.ID] = group
	}
	ordering.Groups[cfg.Ledger.ID] = application.Groups[cfg.Ledger.ID]

	limits := cfg.Limits.withDefaults()
	setValue(ordering, "ConsensusType", &orderer.ConsensusType{Type: fabblock.Embedded})
	setValue(ordering, "BatchSize", &orderer.BatchSize{
		MaxMessageCount:   boundedUint32(limits.BlockTxs),
		AbsoluteMaxBytes:  boundedUint32(limits.MessageBytes),
		PreferredMaxBytes: boundedUint32(limits.BlockBytes),
	})
	setValue(ordering, "BatchTimeout", &orderer.BatchTimeout{Timeout: "1ms"})
	setValue(ordering, "Capabilities", &common.Capabilities{Capabilities: map[string]*common.Capability{"V2_0": {}}})
	setPolicy(ordering, "BlockValidation", implicit(common.ImplicitMetaPolicy_ANY, "Writers"))
	setValue(application, "Capabilities", &common.Capabilities{Capabilities: map[string]*common.Capability{"V2_0": {}}})
	endorsement := signedBy(cfg.Ledger.ID, mspproto.MSPRole_MEMBER)
	setPolicy(application, "Endorsement", endorsement)
	setPolicy(application, "LifecycleEndorsement", endorsement)

	root := newGroup("Admins")
	root.Groups["Application"], root.Groups["Orderer"] = application, ordering
	setValue(root, "HashingAlgorithm", &common.HashingAlgorithm{Name: "SHA256"})
	setValue(root, "BlockDataHashingStructure", &common.BlockDataHashingStructure{Width: math.MaxUint32})
	setValue(root, "Capabilities", &common.Capabilities{Capabilities: map[string]*common.Capability{"V2_0": {}}})
	return newConfigBlock(cfg, root)
}

func newConfigBlock(cfg Config, root *common.ConfigGroup) (*common.Block, error) {
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	now := time.Now
	if cfg.Clock != nil {
		now = cfg.Clock
	}
	env := marshal(&common.Envelope{Payload: marshal(&common.Payload{
		Header: &common.Header{
			ChannelHeader: marshal(&common.ChannelHeader{
				Type: int32(common.HeaderType_CONFIG), Version: 1, Timestamp: timestamppb.New(now()),
				ChannelId: cfg.Channel, TxId: fabblock.TxID(nonce, nil),
			}),
			SignatureHeader: marshal(&common.SignatureHeader{Nonce: nonce}),
		},
		Data: marshal(&common.ConfigEnvelope{Config: &common.Config{ChannelGroup: root}}),
	})})
	b := &common.Block{
		Header:   &common.BlockHeader{DataHash: fabblock.DataHash([][]byte{env})},
		Data:     &common.BlockData{Data: [][]byte{env}},
		Metadata: &common.BlockMetadata{Metadata: newMetadata()},
	}
	b.Metadata.Metadata[common.BlockMetadataIndex_SIGNATURES] = marshal(&common.Metadata{
		Value: marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{}})})
	b.Metadata.Metadata[lastConfigIndex] = marshal(&common.Metadata{Value: marshal(&common.LastConfig{})})
	b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = []byte{0}
	if _, err := fabblock.ParseConfig(b); err != nil {
		return nil, err
	}
	return b, nil
}

// lastConfigIndex is the metadata slot that Fabric deprecates and its orderers still fill.
const lastConfigIndex = 1

func newMetadata() [][]byte {
	m := make([][]byte, len(common.BlockMetadataIndex_name))
	for i := range m {
		m[i] = []byte{}
	}
	return m
}

func newOrganisation(c msp.Config) (*common.ConfigGroup, error) {
	m, err := msp.NewMember(c)
	if err == nil {
		err = m.CheckLists()
	}
	if err != nil {
		return nil, err
	}
	g := newGroup("Admins")
	setValue(g, "MSP", &mspproto.MSPConfig{Config: marshal(&mspproto.FabricMSPConfig{
		Name: c.ID, RootCerts: c.Roots, IntermediateCerts: c.Intermediates, RevocationList: c.Revoked, TlsRootCerts: c.TLSRoots,
		CryptoConfig: &mspproto.FabricCryptoConfig{SignatureHashFamily: "SHA2", IdentityIdentifierHashFunction: "SHA256"},
	})})
	setPolicy(g, "Readers", signedBy(c.ID, mspproto.MSPRole_MEMBER))
	setPolicy(g, "Writers", signedBy(c.ID, mspproto.MSPRole_MEMBER))
	setPolicy(g, "Endorsement", signedBy(c.ID, mspproto.MSPRole_MEMBER))
	setPolicy(g, "Admins", signedBy(c.ID, mspproto.MSPRole_ADMIN))
	return g, nil
}

// newGroup makes a group with the three standing policies over its sub-groups.
func newGroup(modPolicy string) *common.ConfigGroup {
	g := &common.ConfigGroup{
		Groups: map[string]*common.ConfigGroup{}, Values: map[string]*common.ConfigValue{},
		Policies: map[string]*common.ConfigPolicy{}, ModPolicy: modPolicy,
	}
	setPolicy(g, "Readers", implicit(common.ImplicitMetaPolicy_ANY, "Readers"))
	setPolicy(g, "Writers", implicit(common.ImplicitMetaPolicy_ANY, "Writers"))
	setPolicy(g, "Admins", implicit(common.ImplicitMetaPolicy_MAJORITY, "Admins"))
	return g
}

func setValue(g *common.ConfigGroup, name string, m proto.Message) {
	g.Values[name] = &common.ConfigValue{ModPolicy: "Admins", Value: marshal(m)}
}

func setPolicy(g *common.ConfigGroup, name string, p *common.Policy) {
	g.Policies[name] = &common.ConfigPolicy{ModPolicy: "Admins", Policy: p}
}

func implicit(rule common.ImplicitMetaPolicy_Rule, sub string) *common.Policy {
	return &common.Policy{Type: int32(common.Policy_IMPLICIT_META),
		Value: marshal(&common.ImplicitMetaPolicy{SubPolicy: sub, Rule: rule})}
}

func signedBy(mspID string, role mspproto.MSPRole_MSPRoleType) *common.Policy {
	return &common.Policy{Type: int32(common.Policy_SIGNATURE), Value: marshal(&common.SignaturePolicyEnvelope{
		Rule: &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: &common.SignaturePolicy_NOutOf{
			N: 1, Rules: []*common.SignaturePolicy{{Type: &common.SignaturePolicy_SignedBy{SignedBy: 0}}},
		}}},
		Identities: []*mspproto.MSPPrincipal{{
			PrincipalClassification: mspproto.MSPPrincipal_ROLE,
			Principal:               marshal(&mspproto.MSPRole{MspIdentifier: mspID, Role: role}),
		}},
	})}
}

func boundedUint32(n int) uint32 {
	if n < 0 || n > math.MaxUint32 {
		return math.MaxUint32
	}
	return uint32(n)
}

// marshal encodes a message that is ours and always encodes: no string in it comes from outside unchecked.
func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}
