package fabblock

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// Types of consensus that make a difference to readers. All others are Fabric's with one orderer's signature a block.
const (
	Embedded = "embedded" // by which the embedded ledger names itself
	BFT      = "BFT"      // Fabric's, since version 3
)

// Paths of the policies that blocks are judged by.
const (
	pathRoot        = "Channel"
	pathOrdering    = "/Channel/Orderer/BlockValidation"
	pathEndorsement = "/Channel/Application/Endorsement"
	pathLifecycle   = "/Channel/Application/LifecycleEndorsement"
)

// A Channel is what its blocks are checked against: the configuration, and the definition of the contract. It is
// immutable after the caller has set Chaincode, and safe for concurrent use. A block that changes either gives
// another Channel (Block.Next).
type Channel struct {
	ID          string      // channel name
	Sequence    uint64      // of the configuration
	Created     time.Time   // the configuration envelope's timestamp
	Members     *msp.Roster // application organisations
	Orderers    *msp.Roster // ordering organisations
	SealedCodes bool        // a block's signature covers its validation codes: so on the embedded ledger

	// Chaincode is the contract whose transactions are judged. On the embedded ledger transactions may name no other,
	// or any if it is empty. On Fabric the transactions of other contracts are decoded and only as far judged as they
	// write to this one's namespace; if it is empty no contract's are.
	Chaincode string

	unread      string      // an organisation whose membership is of a kind that is not evaluated
	all         *msp.Roster // every organisation of the channel: whoever may sign anything
	config      *common.Config
	policies    *policies
	ordering    *Policy
	endorsement *Policy           // of a contract on the embedded ledger
	defining    *Policy           // of definitions
	groups      map[string]string // application organisations' group names by id
	bft         bool              // signatures may name orderers by number
	consenters  map[uint32][]byte // serialized identities of orderers by number
	quorum      int               // orderers whose signatures a BFT block needs
	defined     lifecycle         // what blocks have written about the contract's definition
	definition  *Definition       // nil before there is one
}

// Definition is what the organisations have agreed about the contract, nil before they have. The embedded ledger has
// none.
func (c *Channel) Definition() *Definition { return c.definition }

// Policy finds a policy of the configuration by its path, such as /Channel/Application/Endorsement. It is nil where
// there is none.
func (c *Channel) Policy(path string) *Policy { return c.policies.get(path) }

// ParseConfig reads the configuration out of a block that holds one configuration transaction. It believes the
// block: the caller knows the genesis block by its hash.
func ParseConfig(b *common.Block) (*Channel, error) {
	number := b.GetHeader().GetNumber()
	if len(b.GetData().GetData()) != 1 {
		return nil, blockError(BadConfig, number, errors.New("not exactly one transaction"))
	}
	env, err := decodeConfig(b.GetData().GetData()[0])
	if err != nil {
		return nil, blockError(BadConfig, number, err)
	}
	c, err := newChannel(env)
	if err == nil && c.unread != "" {
		err = fmt.Errorf("the membership of %s is not X.509 and is not evaluated", c.unread)
	}
	if err != nil {
		return nil, blockError(BadConfig, number, err)
	}
	return c, nil
}

// configTx is a configuration transaction, decoded.
type configTx struct {
	channel *common.ChannelHeader
	body    *common.ConfigEnvelope
}

func decodeConfig(raw []byte) (*configTx, error) {
	var env common.Envelope
	if err := proto.Unmarshal(raw, &env); err != nil {
		return nil, err
	}
	var payload common.Payload
	if err := proto.Unmarshal(env.GetPayload(), &payload); err != nil {
		return nil, err
	}
	return decodeConfigPayload(&payload)
}

func decodeConfigPayload(payload *common.Payload) (*configTx, error) {
	tx := &configTx{&common.ChannelHeader{}, &common.ConfigEnvelope{}}
	if err := proto.Unmarshal(payload.GetHeader().GetChannelHeader(), tx.channel); err != nil {
		return nil, err
	}
	if tx.channel.GetType() != int32(common.HeaderType_CONFIG) {
		return nil, fmt.Errorf("transaction type %d is not a configuration", tx.channel.GetType())
	}
	return tx, proto.Unmarshal(payload.GetData(), tx.body)
}

// newChannel reads a configuration.
func newChannel(tx *configTx) (*Channel, error) {
	config := tx.body.GetConfig()
	root := config.GetChannelGroup()
	c := &Channel{ID: tx.channel.GetChannelId(), Sequence: config.GetSequence(), Created: tx.channel.GetTimestamp().AsTime(),
		config: config}
	if c.ID == "" {
		return nil, errors.New("no channel name")
	}
	application, ordering := root.GetGroups()["Application"], root.GetGroups()["Orderer"]
	if len(application.GetGroups()) == 0 || len(ordering.GetGroups()) == 0 {
		return nil, errors.New("no application or no ordering organisations")
	}
	third, err := readCapabilities(root, application)
	if err != nil {
		return nil, err
	}
	if err := readHashing(root); err != nil {
		return nil, err
	}
	if err := c.readConsensus(ordering, third); err != nil {
		return nil, err
	}
	if err := c.readOrganisations(root, !third && !c.SealedCodes); err != nil {
		return nil, err
	}
	if c.policies, err = newPolicies(pathRoot, root, maxGroupDepth); err != nil {
		return nil, err
	}
	c.ordering, c.endorsement, c.defining = c.policies.get(pathOrdering), c.policies.get(pathEndorsement), c.policies.get(pathLifecycle)
	if c.defining == nil {
		ids := c.Members.IDs()
		c.defining = outOfMembers("a majority of the application organisations", len(ids)/2+1, ids)
	}
	for path, p := range map[string]*Policy{pathOrdering: c.ordering, pathLifecycle: c.defining} {
		if err := p.Err(); err != nil {
			return nil, fmt.Errorf("policy %s: %w", path, err)
		}
	}
	if err := c.endorsement.Err(); err != nil && c.SealedCodes {
		return nil, fmt.Errorf("policy %s: %w", pathEndorsement, err)
	}
	return c, nil
}

// Capabilities whose rules this package keeps. One that it does not know may stand for rules that it would break.
var (
	channelCapabilities     = map[string]bool{"V1_1": true, "V1_3": true, "V1_4_2": true, "V1_4_3": true, "V2_0": true, "V3_0": true}
	applicationCapabilities = map[string]bool{"V1_1": true, "V1_2": true, "V1_3": true, "V1_4_2": true, "V2_0": true, "V2_5": true}
)

// readCapabilities reports whether the channel has the rules of version 3.
func readCapabilities(root, application *common.ConfigGroup) (third bool, err error) {
	read := func(g *common.ConfigGroup, where string, known map[string]bool, least ...string) (map[string]*common.Capability, error) {
		var c common.Capabilities
		if err := proto.Unmarshal(g.GetValues()["Capabilities"].GetValue(), &c); err != nil {
			return nil, fmt.Errorf("%s capabilities: %w", where, err)
		}
		enough := false
		for name := range c.GetCapabilities() {
			if !known[name] {
				return nil, fmt.Errorf("the channel asks for %s capability %q, which this program does not know: upgrade it", where, name)
			}
			for _, l := range least {
				enough = enough || name == l
			}
		}
		if !enough {
			return nil, fmt.Errorf("the channel has none of the %s capabilities %v: raise them by a configuration update", where, least)
		}
		return c.GetCapabilities(), nil
	}
	channel, err := read(root, "channel", channelCapabilities, "V1_4_3", "V2_0", "V3_0")
	if err != nil {
		return false, err
	}
	_, third = channel["V3_0"]
	_, err = read(application, "application", applicationCapabilities, "V2_0", "V2_5")
	return third, err
}

// readHashing refuses hashes other than the ones that Fabric knows.
func readHashing(root *common.ConfigGroup) error {
	var algorithm common.HashingAlgorithm
	var structure common.BlockDataHashingStructure
	if err := errors.Join(proto.Unmarshal(root.GetValues()["HashingAlgorithm"].GetValue(), &algorithm),
		proto.Unmarshal(root.GetValues()["BlockDataHashingStructure"].GetValue(), &structure)); err != nil {
		return err
	}
	if algorithm.GetName() != "SHA256" || structure.GetWidth() != math.MaxUint32 {
		return fmt.Errorf("hashing algorithm %q of width %d is not known", algorithm.GetName(), structure.GetWidth())
	}
	return nil
}

// readConsensus reads how blocks are ordered and signed.
func (c *Channel) readConsensus(ordering *common.ConfigGroup, third bool) error {
	var consensus orderer.ConsensusType
	if err := proto.Unmarshal(ordering.GetValues()["ConsensusType"].GetValue(), &consensus); err != nil {
		return fmt.Errorf("type of consensus: %w", err)
	}
	c.SealedCodes = consensus.GetType() == Embedded
	c.bft = third
	if !third {
		if consensus.GetType() == BFT {
			return errors.New("consensus is BFT without channel capability V3_0")
		}
		return nil
	}
	var orderers common.Orderers
	if err := proto.Unmarshal(ordering.GetValues()["Orderers"].GetValue(), &orderers); err != nil {
		return fmt.Errorf("orderers: %w", err)
	}
	c.consenters = map[uint32][]byte{}
	for _, o := range orderers.GetConsenterMapping() {
		if _, taken := c.consenters[o.GetId()]; taken {
			continue // the first of two counts, as in Fabric
		}
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(&mspproto.SerializedIdentity{Mspid: o.GetMspId(), IdBytes: o.GetIdentity()})
		if err != nil {
			return fmt.Errorf("orderers: %w", err)
		}
		c.consenters[o.GetId()] = raw
	}
	if consensus.GetType() == BFT {
		n := len(orderers.GetConsenterMapping())
		if n == 0 {
			return errors.New("consensus is BFT and there are no orderers")
		}
		c.quorum = bftQuorum(n)
	}
	return nil
}

// bftQuorum is how many of n orderers must sign so that any two quorums share one that is honest, where at most f of
// n = 3f+1 or more are not.
func bftQuorum(n int) int {
	f := (n - 1) / 3
	return (n + f + 2) / 2 // ⌈(n + f + 1) / 2⌉
}

// readOrganisations collects the organisations of all groups. One that stands in several must be the same in each.
func (c *Channel) readOrganisations(root *common.ConfigGroup, noEd25519 bool) error {
	type known struct {
		member *msp.Member
		config *mspproto.MSPConfig
	}
	byID := map[string]known{}
	collect := func(g *common.ConfigGroup) (*msp.Roster, map[string]string, error) {
		var members []*msp.Member
		names := map[string]string{}
		for name, org := range g.GetGroups() {
			m, config, err := readOrganisation(org.GetValues()["MSP"].GetValue(), noEd25519)
			if err != nil {
				return nil, nil, fmt.Errorf("organisation %s: %w", name, err)
			}
			if config.GetType() != typeX509 {
				c.unread = m.ID()
			}
			if k, ok := byID[m.ID()]; ok {
				if !proto.Equal(k.config, config) {
					return nil, nil, fmt.Errorf("organisation %s is configured in two ways", m.ID())
				}
				m = k.member
			}
			byID[m.ID()] = known{m, config}
			if names[m.ID()] == "" {
				members = append(members, m)
			}
			if names[m.ID()] == "" || name < names[m.ID()] {
				names[m.ID()] = name
			}
		}
		r, err := msp.NewRoster(members...)
		return r, names, err
	}
	var err error
	if c.Members, c.groups, err = collect(root.GetGroups()["Application"]); err != nil {
		return err
	}
	if c.Orderers, _, err = collect(root.GetGroups()["Orderer"]); err != nil {
		return err
	}
	for _, consortium := range root.GetGroups()["Consortiums"].GetGroups() {
		if _, _, err = collect(consortium); err != nil {
			return err
		}
	}
	if len(byID) == len(c.Members.IDs()) {
		c.all = c.Members // one memory of identities for both
		return nil
	}
	var members []*msp.Member
	for _, k := range byID {
		members = append(members, k.member)
	}
	c.all, err = msp.NewRoster(members...)
	return err
}

// Types of membership.
const (
	typeX509   = 0
	typeIdemix = 1
)

// readOrganisation reads an organisation's membership. Of an Idemix one only the name is read: an organisation may change
// its membership to that by itself, and those who follow the channel go on without its identities.
func readOrganisation(raw []byte, noEd25519 bool) (*msp.Member, *mspproto.MSPConfig, error) {
	outer := &mspproto.MSPConfig{}
	if err := proto.Unmarshal(raw, outer); err != nil {
		return nil, nil, err
	}
	switch outer.GetType() {
	case typeX509:
	case typeIdemix:
		var x mspproto.IdemixMSPConfig
		if err := proto.Unmarshal(outer.GetConfig(), &x); err != nil {
			return nil, nil, err
		}
		return msp.Unread(x.GetName()), outer, nil
	default:
		return nil, nil, fmt.Errorf("membership type %d is not known", outer.GetType())
	}
	var f mspproto.FabricMSPConfig
	if err := proto.Unmarshal(outer.GetConfig(), &f); err != nil {
		return nil, nil, err
	}
	config := msp.Config{
		ID:            f.GetName(),
		Roots:         f.GetRootCerts(),
		Intermediates: f.GetIntermediateCerts(),
		Revoked:       f.GetRevocationList(),
		TLSRoots:      f.GetTlsRootCerts(),
		Admins:        f.GetAdmins(),
		ChainHash:     f.GetCryptoConfig().GetIdentityIdentifierHashFunction(),
		NoEd25519:     noEd25519,
	}
	switch family := f.GetCryptoConfig().GetSignatureHashFamily(); family {
	case "", "SHA2":
	case "SHA3":
		config.SHA3 = true
	default:
		return nil, nil, fmt.Errorf("hash family %q is not known", family)
	}
	for _, u := range f.GetOrganizationalUnitIdentifiers() {
		config.Units = append(config.Units, msp.Unit{Name: u.GetOrganizationalUnitIdentifier(), Authority: u.GetCertificate()})
	}
	if o := f.GetFabricNodeOus(); o.GetEnable() {
		unit := func(u *mspproto.FabricOUIdentifier) *msp.Unit {
			if u == nil {
				return nil
			}
			return &msp.Unit{Name: u.GetOrganizationalUnitIdentifier(), Authority: u.GetCertificate()}
		}
		config.Roles = &msp.Roles{Client: unit(o.GetClientOuIdentifier()), Peer: unit(o.GetPeerOuIdentifier()),
			Admin: unit(o.GetAdminOuIdentifier()), Orderer: unit(o.GetOrdererOuIdentifier())}
	}
	m, err := msp.NewMember(config)
	return m, outer, err
}
