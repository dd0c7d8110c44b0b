package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"google.golang.org/protobuf/proto"
)

// files reads the certificates in the network's folder and the nodes'.
func (l *looker) files(context.Context) {
	paths, _ := l.net.Certificates() // what can be read of them
	for _, n := range l.net.Nodes() {
		for _, pattern := range []string{"*.crt", "*.pem"} {
			found, _ := filepath.Glob(filepath.Join(n.Dir, pattern))
			paths = append(paths, found...)
		}
	}
	renewed, programs := map[string]string{}, map[string]string{}
	for _, r := range l.net.Renewable() {
		for _, path := range r.Files {
			renewed[path], programs[path] = r.Name, r.Program
		}
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for _, c := range parse(raw) {
			l.facts.Files = append(l.facts.Files, Certificate{Cert: c, Where: path, Program: programs[path], Renew: renewed[path]})
		}
	}
}

// disks asks for the room under the network's folder and the nodes'.
func (l *looker) disks(context.Context) {
	paths := []string{l.facts.Dir}
	for _, n := range l.net.Nodes() {
		paths = append(paths, n.Dir)
	}
	seen := map[uint64]bool{}
	for _, path := range paths {
		d, device, err := room(path)
		if err != nil || seen[device] {
			continue
		}
		seen[device] = true
		l.facts.Disks = append(l.facts.Disks, d)
	}
}

// configuration asks all peers at once for the channel's configuration and keeps the newest.
func (l *looker) configuration(ctx context.Context) {
	peers := l.net.Peers()
	blocks := make([]*common.Block, len(peers))
	var asks []func()
	for i, p := range peers {
		if !p.Alive() {
			continue
		}
		asks = append(asks, func() { blocks[i], _ = p.ConfigBlock(ctx) }) // why not is the peer's own finding
	}
	both(asks...)
	var newest *common.Block
	for _, b := range blocks {
		if b != nil && (newest == nil || b.GetHeader().GetNumber() > newest.GetHeader().GetNumber()) {
			newest = b
		}
	}
	if newest == nil {
		return
	}
	if c, err := readChannel(newest); err == nil {
		l.facts.Channel = c
	}
}

// readChannel reads what the doctor judges of a configuration block.
func readChannel(b *common.Block) (*Channel, error) {
	var envelope common.Envelope
	var payload common.Payload
	var config common.ConfigEnvelope
	if len(b.GetData().GetData()) != 1 {
		return nil, errors.New("not a configuration block")
	}
	if err := errors.Join(proto.Unmarshal(b.GetData().GetData()[0], &envelope), proto.Unmarshal(envelope.GetPayload(), &payload),
		proto.Unmarshal(payload.GetData(), &config)); err != nil {
		return nil, err
	}
	root := config.GetConfig().GetChannelGroup()
	application, ordering := root.GetGroups()["Application"], root.GetGroups()["Orderer"]
	if application == nil || ordering == nil {
		return nil, errors.New("a configuration without application or orderers")
	}
	c := &Channel{
		Capabilities: map[string][]string{"channel": capabilities(root), "orderer": capabilities(ordering), "application": capabilities(application)},
		Consenters:   map[string][]byte{}, Orgs: map[string]*common.Policy{},
		Endorsement: application.GetPolicies()["Endorsement"].GetPolicy(),
	}
	for _, group := range []*common.ConfigGroup{application, ordering} {
		for name, org := range group.GetGroups() {
			c.authorities(name, org.GetValues()["MSP"].GetValue())
			if group == application {
				c.Orgs[name] = org.GetPolicies()["Endorsement"].GetPolicy()
			}
		}
	}
	return c, c.consenters(ordering)
}

func capabilities(g *common.ConfigGroup) []string {
	var c common.Capabilities
	if proto.Unmarshal(g.GetValues()["Capabilities"].GetValue(), &c) != nil {
		return nil
	}
	var out []string
	for name := range c.GetCapabilities() {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// authorities notes an organisation's.
func (c *Channel) authorities(org string, raw []byte) {
	var config msp.MSPConfig
	var fabricConfig msp.FabricMSPConfig
	if proto.Unmarshal(raw, &config) != nil || proto.Unmarshal(config.GetConfig(), &fabricConfig) != nil {
		return
	}
	for _, kind := range []struct {
		name  string
		certs [][]byte
	}{
		{"authority", fabricConfig.GetRootCerts()}, {"intermediate authority", fabricConfig.GetIntermediateCerts()},
		{"TLS authority", fabricConfig.GetTlsRootCerts()}, {"intermediate TLS authority", fabricConfig.GetTlsIntermediateCerts()},
	} {
		for _, raw := range kind.certs {
			for _, cert := range parse(raw) {
				c.Authorities = append(c.Authorities, Certificate{Cert: cert, Where: "channel configuration, " + kind.name + " of " + org, Channel: true})
			}
		}
	}
}

// consenters notes by what certificates orderers know one another. Only the key counts: a certificate renewed for the
// same key is as good.
func (c *Channel) consenters(ordering *common.ConfigGroup) error {
	note := func(host string, port uint32, raw []byte) {
		for _, cert := range parse(raw) {
			at := net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
			c.Consenters[at] = cert.RawSubjectPublicKeyInfo
			c.Authorities = append(c.Authorities, Certificate{Cert: cert, Where: "channel configuration, orderer " + at, Channel: true})
		}
	}
	var kind orderer.ConsensusType
	if err := proto.Unmarshal(ordering.GetValues()["ConsensusType"].GetValue(), &kind); err != nil {
		return err
	}
	if kind.GetType() == "BFT" {
		var all common.Orderers
		err := proto.Unmarshal(ordering.GetValues()["Orderers"].GetValue(), &all)
		for _, o := range all.GetConsenterMapping() {
			note(o.GetHost(), o.GetPort(), o.GetServerTlsCert())
		}
		return err
	}
	var raft etcdraft.ConfigMetadata
	err := proto.Unmarshal(kind.GetMetadata(), &raft)
	for _, o := range raft.GetConsenters() {
		note(o.GetHost(), o.GetPort(), o.GetServerTlsCert())
	}
	return err
}

func hostname(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
