package fabric

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hyperledger/fabric-admin-sdk/pkg/channel"
	"github.com/hyperledger/fabric-admin-sdk/pkg/discovery"
	"github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gossip"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// Peer is an organisation's peer: it endorses, keeps the ledger and is the gateway of the organisation's node.
type Peer struct {
	*Process
	Address    string // host:port of the gateway and every other service
	Operations string // host:port of /healthz and /metrics

	org       Org
	dir       string
	chaincode string // where a chaincode would dial in; none does
	port      int
}

func (n *Network) newPeer(org Org) (*Peer, error) {
	s := n.state
	name := "peer-" + org.ID
	for _, suffix := range []string{"", "-chaincode", "-operations"} {
		if _, err := s.port(name + suffix); err != nil {
			return nil, err
		}
	}
	p := &Peer{
		Process: n.process(s.Spec.Dir, name, KindPeer, org.ID), org: org,
		Address: s.address(name), Operations: s.address(name + "-operations"),
		dir: filepath.Join(s.Spec.Dir, "peers", org.ID), chaincode: s.address(name + "-chaincode"), port: s.Ports[name],
	}
	p.program, p.args = filepath.Join(s.Spec.Bin, "peer"), []string{"node", "start"}
	p.env = append(p.env, "FABRIC_CFG_PATH="+p.dir, "FABRIC_LOGGING_SPEC="+s.Spec.Log)
	return p, nil
}

// MSP is the organisation's membership.
func (p *Peer) MSP() string { return p.org.MSP }

// TLSRoots is the PEM file of the authority of its TLS certificate.
func (p *Peer) TLSRoots() string { return p.org.TLSRoots() }

// ServerName is the name in its TLS certificate.
func (p *Peer) ServerName() string { return p.org.host("peer") }

// Admin is the organisation's administrator.
func (p *Peer) Admin() Identity { return p.org.Admin() }

func (n *Network) configurePeer(p *Peer) error {
	home := filepath.Join(p.org.Dir(), "peers", p.org.host("peer"))
	return render(filepath.Join(p.dir, "core.yaml"), "core.yaml.tmpl", struct {
		Name, MSP, Address, ChaincodeListen, Operations string
		MSPDir, Dir, TLSCert, TLSKey, TLSRoots, Builder string
	}{
		p.Name, p.org.MSP, p.Address, p.chaincode, p.Operations,
		filepath.Join(home, "msp"), p.dir, filepath.Join(home, "tls", "server.crt"), filepath.Join(home, "tls", "server.key"), p.org.TLSRoots(), n.path("builder"),
	})
}

// Dial connects to the peer. The caller closes the connection.
func (p *Peer) Dial() (*grpc.ClientConn, error) {
	config, err := tlsConfig(nil, p.org.TLSRoots())
	if err != nil {
		return nil, err
	}
	config.ServerName = p.ServerName()
	return grpc.NewClient("passthrough:///"+p.Address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(100<<20), grpc.MaxCallSendMsgSize(100<<20)))
}

// Signer loads an identity for Fabric's clients.
func (i Identity) Signer() (identity.SigningIdentity, error) {
	cert, err := identity.ReadCertificate(i.Cert)
	if err != nil {
		return nil, err
	}
	key, err := identity.ReadPrivateKey(i.Key)
	if err != nil {
		return nil, err
	}
	return identity.NewPrivateKeySigningIdentity(i.MSP, cert, key)
}

// asAdmin calls f with a connection to the peer and its organisation's administrator.
func (p *Peer) asAdmin(f func(grpc.ClientConnInterface, identity.SigningIdentity) error) error {
	id, err := p.Admin().Signer()
	if err != nil {
		return err
	}
	conn, err := p.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := f(conn, id); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}

// ConfigBlock is the block with the channel's configuration, as the peer has it. The organisation's administrator asks.
func (p *Peer) ConfigBlock(ctx context.Context) (b *common.Block, err error) {
	err = p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		b, err = channel.GetConfigBlock(ctx, conn, id, Channel)
		return err
	})
	return b, err
}

// join brings the peer into the channel unless it is there.
func (p *Peer) join(ctx context.Context, block *common.Block) error {
	return p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		channels, err := channel.ListChannelOnPeer(ctx, conn, id)
		if err != nil {
			return err
		}
		for _, c := range channels {
			if c.GetChannelId() == Channel {
				return nil
			}
		}
		return channel.JoinChannel(ctx, conn, id, block)
	})
}

// Height is the number of blocks that the peer has.
func (p *Peer) Height(ctx context.Context) (uint64, error) {
	m, err := scrape(ctx, p.Operations)
	if err != nil {
		return 0, err
	}
	v, ok := m.value("ledger_blockchain_height", "channel", Channel)
	if !ok {
		return 0, fmt.Errorf("%s %w", p.Name, errNotJoined)
	}
	return uint64(v), nil
}

// Seen is what a peer's gateway knows of a peer of the channel: it chooses endorsers by it.
type Seen struct {
	MSP       string
	Address   string
	Height    uint64
	Contracts map[string]string // sequence of the definition that the peer runs, by name
}

// Sees asks the peer whom it knows in the channel.
func (p *Peer) Sees(ctx context.Context) ([]Seen, error) {
	var out []Seen
	err := p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		r, err := discovery.NewPeer(conn, id).PeerMembershipQuery(ctx, Channel, nil)
		if err != nil {
			return err
		}
		if r == nil {
			return errors.New("discovery did not answer: the peer does not know the channel or this administrator yet")
		}
		for msp, peers := range r.GetPeersByOrg() {
			for _, q := range peers.GetPeers() {
				seen := Seen{MSP: msp, Contracts: map[string]string{}}
				alive, info := &gossip.GossipMessage{}, &gossip.GossipMessage{}
				if err := proto.Unmarshal(q.GetMembershipInfo().GetPayload(), alive); err != nil {
					return err
				}
				if err := proto.Unmarshal(q.GetStateInfo().GetPayload(), info); err != nil {
					return err
				}
				seen.Address = alive.GetAliveMsg().GetMembership().GetEndpoint()
				props := info.GetStateInfo().GetProperties()
				seen.Height = props.GetLedgerHeight()
				// What gossip calls the version is the definition's sequence.
				for _, c := range props.GetChaincodes() {
					seen.Contracts[c.GetName()] = c.GetVersion()
				}
				out = append(out, seen)
			}
		}
		return nil
	})
	return out, err
}
