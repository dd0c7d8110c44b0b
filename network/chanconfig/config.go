package chanconfig

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/hyperledger/fabric-config/configtx"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// MaxBlock bounds a configuration block that is read.
const MaxBlock = 64 << 20 // bytes

// Config is a channel's configuration and the changes made to it so far. Not safe for concurrent use.
type Config struct {
	Channel string
	tx      configtx.ConfigTx
}

// ErrUnchanged says that the configuration is already as wanted.
var ErrUnchanged = errors.New("the channel's configuration is so already: nothing to change")

// Parse reads a configuration block, as `peer channel fetch config` writes it.
func Parse(raw []byte) (*Config, error) {
	if len(raw) > MaxBlock {
		return nil, fmt.Errorf("larger than %d bytes: no configuration block", MaxBlock)
	}
	b := &common.Block{}
	if err := proto.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("no block: %w", err)
	}
	return Of(b)
}

// Of reads a configuration block.
func Of(b *common.Block) (*Config, error) {
	var e common.Envelope
	var p common.Payload
	var h common.ChannelHeader
	var c common.ConfigEnvelope
	if len(b.GetData().GetData()) != 1 {
		return nil, errors.New("not a configuration block: fetch it with `peer channel fetch config`")
	}
	if err := errors.Join(proto.Unmarshal(b.GetData().GetData()[0], &e), proto.Unmarshal(e.GetPayload(), &p)); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(p.GetHeader().GetChannelHeader(), &h); err != nil {
		return nil, err
	}
	if common.HeaderType(h.GetType()) != common.HeaderType_CONFIG {
		return nil, errors.New("not a configuration block: fetch it with `peer channel fetch config`")
	}
	if err := proto.Unmarshal(p.GetData(), &c); err != nil {
		return nil, err
	}
	out := &Config{Channel: h.GetChannelId(), tx: configtx.New(c.GetConfig())}
	for _, name := range []string{"Application", "Orderer"} {
		if out.group(name) == nil {
			return nil, fmt.Errorf("the configuration has no group %s", name)
		}
	}
	return out, nil
}

// group is a part of the changed configuration.
func (c *Config) group(name string) *common.ConfigGroup {
	return c.tx.UpdatedConfig().GetChannelGroup().GetGroups()[name]
}

// Org describes an organisation that joins.
type Org struct {
	MSP     *msp.MSPConfig // see ReadMSP
	Anchors []string       // host:port of peers that the others' find it by
}

// Orgs lists the organisations of the channel.
func (c *Config) Orgs() []string {
	var out []string
	for name := range c.group("Application").GetGroups() {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// AddOrg takes an organisation in: it may read, call the contract and endorse, and its administrator's word counts in
// the majority. Whether its endorsement is asked for stands in the contract's definition.
func (c *Config) AddOrg(o Org) error {
	name, err := nameOf(o.MSP)
	if err != nil {
		return err
	}
	group := c.group("Application")
	if group.GetGroups()[name] != nil {
		return fmt.Errorf("%s is a member already: set-msp exchanges its authorities", name)
	}
	role := func(roles ...msp.MSPRole_MSPRoleType) *common.ConfigPolicy { return anyOf(name, roles...) }
	made := &common.ConfigGroup{
		ModPolicy: "Admins", Groups: map[string]*common.ConfigGroup{},
		Policies: map[string]*common.ConfigPolicy{
			"Readers":     role(msp.MSPRole_ADMIN, msp.MSPRole_PEER, msp.MSPRole_CLIENT),
			"Writers":     role(msp.MSPRole_ADMIN, msp.MSPRole_CLIENT),
			"Admins":      role(msp.MSPRole_ADMIN),
			"Endorsement": role(msp.MSPRole_PEER),
		},
		Values: map[string]*common.ConfigValue{"MSP": value(o.MSP)},
	}
	if len(o.Anchors) > 0 {
		anchors := &peer.AnchorPeers{}
		for _, at := range o.Anchors {
			host, port, err := address(at)
			if err != nil {
				return err
			}
			anchors.AnchorPeers = append(anchors.AnchorPeers, &peer.AnchorPeer{Host: host, Port: int32(port)})
		}
		made.Values["AnchorPeers"] = value(anchors)
	}
	if group.Groups == nil {
		group.Groups = map[string]*common.ConfigGroup{}
	}
	group.Groups[name] = made
	return nil
}

// RemoveOrg takes a member out. One that still runs an orderer is refused: its orderer goes first.
func (c *Config) RemoveOrg(name string) error {
	group := c.group("Application")
	if group.GetGroups()[name] == nil {
		return fmt.Errorf("%s is no member; members are %s", name, strings.Join(c.Orgs(), ", "))
	}
	if org := c.group("Orderer").GetGroups()[name]; org != nil {
		return fmt.Errorf("%s orders the channel (%s): take its orderers out first, with remove-orderer", name, strings.Join(endpoints(org), ", "))
	}
	if len(group.GetGroups()) == 1 {
		return errors.New("the last member cannot leave")
	}
	delete(group.Groups, name)
	return nil
}

// SetMSP exchanges an organisation's membership definition: its authorities, revocation lists, roles. Where it runs
// orderers as well, both places change together.
func (c *Config) SetMSP(m *msp.MSPConfig) error {
	name, err := nameOf(m)
	if err != nil {
		return err
	}
	found := false
	for _, part := range []string{"Application", "Orderer"} {
		org := c.group(part).GetGroups()[name]
		if org == nil {
			continue
		}
		found = true
		if v := org.GetValues()["MSP"]; !sameMSP(v.GetValue(), m) {
			org.Values["MSP"] = &common.ConfigValue{Value: value(m).Value, ModPolicy: v.GetModPolicy(), Version: v.GetVersion()}
		}
	}
	if !found {
		return fmt.Errorf("%s is no member; members are %s", name, strings.Join(c.Orgs(), ", "))
	}
	return nil
}

// sameMSP compares what two definitions say, not how they are encoded.
func sameMSP(raw []byte, m *msp.MSPConfig) bool {
	var old msp.MSPConfig
	var a, b msp.FabricMSPConfig
	return proto.Unmarshal(raw, &old) == nil && proto.Unmarshal(old.GetConfig(), &a) == nil &&
		proto.Unmarshal(m.GetConfig(), &b) == nil && proto.Equal(&a, &b)
}

// SetOrdererCert exchanges the TLS certificate by which the other orderers know the one at an address. One orderer at
// a time: the others must go on agreeing.
func (c *Config) SetOrdererCert(at string, cert []byte) error {
	if _, _, err := address(at); err != nil {
		return err
	}
	if err := onlyCerts(cert); err != nil {
		return err
	}
	s, err := c.ordering()
	if err != nil {
		return err
	}
	o := s.at(at)
	if o == nil {
		return s.nobody(at)
	}
	o.ClientTlsCert, o.ServerTlsCert = cert, cert
	return s.save()
}

// capable are the groups that have capabilities, and which this program knows.
var capable = map[string][]string{
	"channel": {"V2_0", "V3_0"}, "orderer": {"V2_0"}, "application": {"V2_0", "V2_5"},
}

// SetCapability raises the capability of a part of the channel: channel, orderer or application. Programs that do not
// know it stop: raise it when every organisation runs a Fabric that does.
func (c *Config) SetCapability(part, capability string) error {
	if !slices.Contains(capable[part], capability) {
		return fmt.Errorf("%s %s: known are %v", part, capability, capable)
	}
	group := c.tx.UpdatedConfig().GetChannelGroup()
	if part != "channel" {
		group = c.group(strings.ToUpper(part[:1]) + part[1:])
	}
	v := group.GetValues()["Capabilities"]
	if v == nil {
		v = &common.ConfigValue{ModPolicy: "Admins"}
		group.Values["Capabilities"] = v
	}
	var has common.Capabilities
	if err := proto.Unmarshal(v.GetValue(), &has); err != nil {
		return err
	}
	for name := range has.GetCapabilities() {
		if name > capability {
			return fmt.Errorf("%s has %s already", part, name)
		}
	}
	return set(v, &common.Capabilities{Capabilities: map[string]*common.Capability{capability: {}}})
}

// Update is the change as Fabric takes it, without signatures. ErrUnchanged: there is none.
func (c *Config) Update() (*Update, error) {
	raw, err := c.tx.ComputeMarshaledUpdate(c.Channel)
	if err != nil {
		if strings.Contains(err.Error(), "no differences detected") {
			return nil, ErrUnchanged
		}
		return nil, err
	}
	return &Update{channel: c.Channel, config: raw}, nil
}

func nameOf(m *msp.MSPConfig) (string, error) {
	var f msp.FabricMSPConfig
	if err := proto.Unmarshal(m.GetConfig(), &f); err != nil {
		return "", err
	}
	if f.GetName() == "" {
		return "", errors.New("a membership definition without a name")
	}
	return f.GetName(), nil
}

// anyOf is a policy that one signature of the roles meets.
func anyOf(name string, roles ...msp.MSPRole_MSPRoleType) *common.ConfigPolicy {
	var all []*msp.MSPPrincipal
	for _, role := range roles {
		raw, _ := proto.Marshal(&msp.MSPRole{MspIdentifier: name, Role: role}) // of two plain fields: it cannot fail
		all = append(all, &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_ROLE, Principal: raw})
	}
	return &common.ConfigPolicy{ModPolicy: "Admins", Policy: outOf(1, all)}
}

// outOf is a policy that the signatures of n of the principals meet.
func outOf(n int, all []*msp.MSPPrincipal) *common.Policy {
	rule := &common.SignaturePolicy_NOutOf{N: int32(n)}
	for i := range all {
		rule.Rules = append(rule.Rules, &common.SignaturePolicy{Type: &common.SignaturePolicy_SignedBy{SignedBy: int32(i)}})
	}
	raw, _ := proto.Marshal(&common.SignaturePolicyEnvelope{ // of values made here: it cannot fail
		Rule: &common.SignaturePolicy{Type: &common.SignaturePolicy_NOutOf_{NOutOf: rule}}, Identities: all,
	})
	return &common.Policy{Type: int32(common.Policy_SIGNATURE), Value: raw}
}

func value(m proto.Message) *common.ConfigValue {
	raw, _ := proto.Marshal(m) // of values read or made here: it cannot fail
	return &common.ConfigValue{Value: raw, ModPolicy: "Admins"}
}

func set(v *common.ConfigValue, m proto.Message) error {
	raw, err := proto.Marshal(m)
	if err == nil {
		v.Value = raw
	}
	return err
}

func address(at string) (string, uint32, error) {
	host, port, err := net.SplitHostPort(at)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not host:port", at)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is no port", port)
	}
	return host, uint32(n), nil
}

// onlyCerts checks that a PEM text holds certificates and nothing else, a private key above all.
func onlyCerts(raw []byte) error {
	rest, n := raw, 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("a %s among the certificates", strings.ToLower(block.Type))
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
		n++
	}
	if n == 0 || len(bytes.TrimSpace(rest)) > 0 {
		return errors.New("no PEM certificate")
	}
	return nil
}
