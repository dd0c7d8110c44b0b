package fabric

import (
	"context"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
)

// fabricVersion is the version of Fabric's programs.
type fabricVersion struct{ major, minor, patch int }

var versionLine = regexp.MustCompile(`(?m)^\s*Version:\s*v?(\d+)\.(\d+)\.(\d+)`)

func parseVersion(out string) (fabricVersion, error) {
	m := versionLine.FindStringSubmatch(out)
	if m == nil {
		return fabricVersion{}, fmt.Errorf("`peer version` names no version: %.200q", out)
	}
	var v [3]int
	for i := range v {
		var err error
		if v[i], err = strconv.Atoi(m[i+1]); err != nil {
			return fabricVersion{}, err
		}
	}
	return fabricVersion{v[0], v[1], v[2]}, nil
}

func (v fabricVersion) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func (v fabricVersion) atLeast(major, minor, patch int) bool {
	return slices.Compare([]int{v.major, v.minor, v.patch}, []int{major, minor, patch}) >= 0
}

// check says whether a network as described can be made with these programs.
func (v fabricVersion) check(s Spec) error {
	if !v.atLeast(2, 4, 0) {
		return &SpecError{"bin", fmt.Sprintf("Fabric %s has no gateway: 2.4 or newer is needed", v)}
	}
	if s.Consensus == BFT && !v.atLeast(3, 0, 0) {
		return &SpecError{"consensus", fmt.Sprintf("Fabric %s has no BFT ordering: give --fabric-bin a Fabric 3, or use raft", v)}
	}
	return nil
}

// FabricVersion asks the programs of a folder for their version.
func FabricVersion(ctx context.Context, bin string) (string, error) {
	v, err := binaries(ctx, bin)
	return v.String(), err
}

func binaries(ctx context.Context, bin string) (fabricVersion, error) {
	out, err := run(ctx, "", nil, filepath.Join(bin, "peer"), "version")
	if err != nil {
		return fabricVersion{}, err
	}
	return parseVersion(string(out))
}

type channelOrg struct {
	Org
	Endpoints []string
	PeerPort  int
}

type channelOrderer struct {
	Number, Port           int
	MSP, Identity, TLSCert string
}

type channelPlan struct {
	Bind                                     string
	BFT                                      bool
	Batch                                    Batch
	Tick                                     time.Duration
	Snapshot                                 int           // bytes
	Miss                                     time.Duration // after which a BFT leader is missed
	PoolSize                                 int           // requests that a BFT orderer holds
	ChannelCapability, ApplicationCapability string
	Orgs                                     []channelOrg
	Orderers                                 []channelOrderer
	OrdererMSPs                              []string
}

func (n *Network) channelPlan(v fabricVersion) channelPlan {
	s := n.Spec()
	p := channelPlan{
		Bind: s.Bind, BFT: s.Consensus == BFT, Batch: s.Batch, Tick: s.Tick, Snapshot: s.Snapshot, Miss: 20 * s.Tick, PoolSize: max(400, 4*s.Batch.Messages),
		ChannelCapability: "V2_0", ApplicationCapability: "V2_0",
	}
	if p.BFT {
		p.ChannelCapability = "V3_0"
	}
	if v.atLeast(2, 5, 0) {
		p.ApplicationCapability = "V2_5"
	}
	for i, o := range n.orgs {
		org := channelOrg{Org: o, PeerPort: n.peers[i].port}
		for _, ord := range n.orderers {
			if ord.Org == o.ID {
				org.Endpoints = append(org.Endpoints, ord.Address)
			}
		}
		if len(org.Endpoints) > 0 {
			p.OrdererMSPs = append(p.OrdererMSPs, o.MSP)
		}
		p.Orgs = append(p.Orgs, org)
	}
	for _, o := range n.orderers {
		p.Orderers = append(p.Orderers, channelOrderer{o.Number, o.port, o.org.MSP, o.identity().Cert, o.tls().Cert})
	}
	return p
}

// makeChannel writes block 0 of the channel.
func (n *Network) makeChannel(ctx context.Context, v fabricVersion) error {
	block := n.GenesisBlock()
	if _, err := os.Stat(block); err == nil {
		return nil
	}
	dir := filepath.Dir(block)
	if err := render(filepath.Join(dir, "configtx.yaml"), "configtx.yaml.tmpl", n.channelPlan(v)); err != nil {
		return err
	}
	made := block + ".new"
	if _, err := run(ctx, dir, []string{"FABRIC_CFG_PATH=" + dir}, n.bin("configtxgen"), "-profile", "channel", "-channelID", Channel, "-outputBlock", made); err != nil {
		return err
	}
	return os.Rename(made, block)
}

func (n *Network) genesisBlock() (*common.Block, []byte, error) {
	raw, err := os.ReadFile(n.GenesisBlock())
	if err != nil {
		return nil, nil, err
	}
	b := &common.Block{}
	return b, raw, proto.Unmarshal(raw, b)
}

// GenesisHash is the hash of block 0's header, in hexadecimal: what nodes know the ledger by.
func (n *Network) GenesisHash() (string, error) {
	b, _, err := n.genesisBlock()
	if err != nil {
		return "", err
	}
	return headerHash(b.GetHeader())
}

// headerHash is Fabric's: SHA-256 over the ASN.1 DER of number, previous hash and data hash.
func headerHash(h *common.BlockHeader) (string, error) {
	if h == nil {
		return "", errors.New("a block without header")
	}
	der, err := asn1.Marshal(struct {
		Number   *big.Int
		Previous []byte
		Data     []byte
	}{new(big.Int).SetUint64(h.GetNumber()), h.GetPreviousHash(), h.GetDataHash()})
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), err
}

// joinOrderers starts the orderers and brings them into the channel.
func (n *Network) joinOrderers(ctx context.Context) error {
	_, block, err := n.genesisBlock()
	if err != nil {
		return err
	}
	return together(n.orderers, func(o *Orderer) error {
		if err := n.configureOrderer(o); err != nil {
			return err
		}
		if err := o.Start(); err != nil {
			return err
		}
		return o.waitFor(ctx, "does not answer", func() error {
			_, err := o.Membership(ctx)
			if errors.Is(err, errNotJoined) {
				if err := o.join(ctx, block); err != nil {
					return err
				}
				_, err = o.Membership(ctx)
			}
			return err
		})
	})
}

// joinPeers starts the peers and brings them into the channel.
func (n *Network) joinPeers(ctx context.Context) error {
	block, _, err := n.genesisBlock()
	if err != nil {
		return err
	}
	return together(n.peers, func(p *Peer) error {
		if err := n.configurePeer(p); err != nil {
			return err
		}
		if err := p.Start(); err != nil {
			return err
		}
		return p.waitFor(ctx, "does not join the channel", func() error {
			// Its services answer later than its process runs; health is served first.
			if _, err := operations(ctx, p.Operations, "/healthz"); err != nil {
				return err
			}
			return p.join(ctx, block)
		})
	})
}

// starting is how long a program may take to be of use after its start.
const starting = 30 * time.Second

// waitFor polls until f succeeds, the process ends or it took too long. The error shows the end of the log.
func (p *Process) waitFor(ctx context.Context, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	err := poll(ctx, 50*time.Millisecond, func() error {
		err := f()
		if err != nil && !p.Alive() {
			cancel()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", p.Name, what, err, p.why())
	}
	return nil
}

// waitLeader waits until the orderers can order.
func (n *Network) waitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	return poll(ctx, 50*time.Millisecond, func() error {
		if n.Spec().Consensus == BFT {
			return together(n.orderers, func(o *Orderer) error {
				m, err := o.Membership(ctx)
				if err == nil && m.Status != "active" {
					err = fmt.Errorf("%s is %s", o.Name, m.Status)
				}
				return err
			})
		}
		if n.Leader(ctx) == nil {
			return errNoLeader
		}
		return nil
	})
}

// Leader returns the orderer that leads (Raft), or nil.
func (n *Network) Leader(ctx context.Context) *Orderer {
	leads := make([]bool, len(n.orderers))
	_ = together(n.orderers, func(o *Orderer) error {
		var err error
		leads[o.Number-1], err = o.Leads(ctx) // one that does not answer does not lead
		return err
	})
	if i := slices.Index(leads, true); i >= 0 {
		return n.orderers[i]
	}
	return nil
}
