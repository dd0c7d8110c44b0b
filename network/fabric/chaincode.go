package fabric

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"
	"github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// policyOf is the endorsement policy: peers of k of the organisations.
func (n *Network) policyOf(k int) (*peer.ApplicationPolicy, error) {
	var peers []string
	for _, o := range n.orgs {
		peers = append(peers, "'"+o.MSP+".peer'")
	}
	return chaincode.NewApplicationPolicy(fmt.Sprintf("OutOf(%d, %s)", k, strings.Join(peers, ", ")), "")
}

// Definition is a contract's committed definition in the channel.
type Definition struct {
	Name     string
	Version  string
	Sequence int64 // 0: none is committed
	Policy   int   // k of n; 0 for a policy of another shape
	raw      []byte
}

// Definition asks a peer what the channel says of a contract.
func (p *Peer) Definition(ctx context.Context, contract string) (Definition, error) {
	d := Definition{Name: contract}
	err := p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		all, err := chaincode.NewGateway(conn, id).QueryCommitted(ctx, Channel)
		if err != nil {
			return err
		}
		for _, c := range all.GetChaincodeDefinitions() {
			if c.GetName() == contract {
				d.Version, d.Sequence, d.raw = c.GetVersion(), c.GetSequence(), c.GetValidationParameter()
				d.Policy = thresholdOf(d.raw)
			}
		}
		return nil
	})
	return d, err
}

// thresholdOf reads k from a policy as policyOf makes it.
func thresholdOf(raw []byte) int {
	var p peer.ApplicationPolicy
	if proto.Unmarshal(raw, &p) != nil {
		return 0
	}
	rule, ok := p.GetSignaturePolicy().GetRule().GetType().(*common.SignaturePolicy_NOutOf_)
	if !ok {
		return 0
	}
	for _, r := range rule.NOutOf.GetRules() {
		if _, leaf := r.GetType().(*common.SignaturePolicy_SignedBy); !leaf {
			return 0
		}
	}
	return int(rule.NOutOf.GetN())
}

// Deploy brings a contract to the peers: services started, packages installed, definition approved by every
// organisation and committed, the services of earlier versions ended once no peer needs them. It takes up where an
// earlier call was interrupted, and does nothing where all is done.
//
// Calls go on meanwhile: until the definition is committed they run the earlier version, whose services still stand.
func (n *Network) Deploy(ctx context.Context, d Deployment) error {
	return n.deploy(ctx, d, func(Step) {})
}

func (n *Network) deploy(ctx context.Context, d Deployment, progress func(Step)) error {
	if !versionPattern.MatchString(d.Name) || !versionPattern.MatchString(d.Version) {
		return &SpecError{"contract", fmt.Sprintf("name %q version %q", d.Name, d.Version)}
	}
	if d.Policy < 1 || d.Policy > len(n.orgs) {
		return &SpecError{"policy", fmt.Sprintf("%d of %d organisations can never endorse", d.Policy, len(n.orgs))}
	}
	if d.Settings == nil {
		d.Settings = map[string]string{}
	}
	at, known := n.deployment(d.Name, d.Version)
	switch {
	case !known:
		if err := n.prepare(d); err != nil {
			return err
		}
	case at.Policy != d.Policy || at.Ended:
		if err := n.update(func(s *state) error {
			s.Contracts = slices.DeleteFunc(s.Contracts, func(c Deployment) bool { return c.Name == d.Name && c.Version == d.Version })
			at.Policy, at.Ended = d.Policy, false
			s.Contracts = append(s.Contracts, at) // the newest is the last
			return n.addServices(at)
		}); err != nil {
			return err
		}
	}
	d, _ = n.deployment(d.Name, d.Version)
	var sequence int64
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"services", func(ctx context.Context) error { return n.startServices(ctx, d) }},
		{"installation", func(ctx context.Context) error {
			return together(n.peers, func(p *Peer) error { return n.install(ctx, p, d) })
		}},
		{"definition", func(ctx context.Context) (err error) {
			sequence, err = n.define(ctx, d)
			return err
		}},
		{"gateways", func(ctx context.Context) error { return n.WaitEndorsing(ctx, d.Name, sequence) }},
		{"earlier versions", func(ctx context.Context) error { return n.endEarlier(ctx, d) }},
	} {
		began := time.Now()
		err := step.do(ctx)
		progress(Step{Name: step.name, Took: time.Since(began), Err: err})
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if d.Name != Contract {
		return nil
	}
	return n.update(func(s *state) error {
		s.Spec.Version, s.Spec.Policy = d.Version, d.Policy
		return nil
	})
}

// endEarlier ends the services of all other versions of a contract.
func (n *Network) endEarlier(ctx context.Context, d Deployment) error {
	for _, old := range n.deployments(d.Name) {
		if old.Version != d.Version && !old.Ended {
			if err := n.endServices(ctx, old); err != nil {
				return err
			}
		}
	}
	return nil
}

// deployments lists what was deployed under a contract's name, the newest last.
func (n *Network) deployments(name string) []Deployment {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []Deployment
	for _, c := range n.state.Contracts {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

func (n *Network) deployment(name, version string) (Deployment, bool) {
	for _, d := range n.deployments(name) {
		if d.Version == version {
			return d, true
		}
	}
	return Deployment{}, false
}

func (n *Network) install(ctx context.Context, p *Peer, d Deployment) error {
	return p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		at := chaincode.NewPeer(conn, id)
		installed, err := at.QueryInstalled(ctx)
		if err != nil {
			return err
		}
		for _, c := range installed.GetInstalledChaincodes() {
			if c.GetPackageId() == d.Packages[p.Org] {
				return nil
			}
		}
		raw, err := os.ReadFile(n.path("contracts", d.Name+"-"+d.Version, p.Org+".tar.gz"))
		if err != nil {
			return err
		}
		r, err := at.Install(ctx, bytes.NewReader(raw))
		if err != nil {
			return err
		}
		if r.GetPackageId() != d.Packages[p.Org] {
			return fmt.Errorf("installed as %s, want %s", r.GetPackageId(), d.Packages[p.Org])
		}
		return nil
	})
}

// define approves and commits the definition unless the channel has it, and returns its sequence.
func (n *Network) define(ctx context.Context, d Deployment) (sequence int64, err error) {
	policy, err := n.policyOf(d.Policy)
	if err != nil {
		return 0, err
	}
	now, err := n.peers[0].Definition(ctx, d.Name)
	if err != nil {
		return 0, err
	}
	if now.Version == d.Version && now.Policy == d.Policy {
		return now.Sequence, nil
	}
	def := func(p *Peer) *chaincode.Definition {
		return &chaincode.Definition{
			ChannelName: Channel, Name: d.Name, Version: d.Version, Sequence: now.Sequence + 1,
			PackageID: d.Packages[p.Org], ApplicationPolicy: policy,
		}
	}
	if err := together(n.peers, func(p *Peer) error {
		return p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
			gateway := chaincode.NewGateway(conn, id)
			return n.ordered(ctx, func() error {
				// An approval of another run, or one whose answer was lost, counts.
				if a, err := gateway.QueryApproved(ctx, Channel, d.Name, now.Sequence+1); err == nil &&
					a.GetVersion() == d.Version && a.GetSource().GetLocalPackage().GetPackageId() == d.Packages[p.Org] && thresholdOf(a.GetValidationParameter()) == d.Policy {
					return nil
				}
				return gateway.Approve(ctx, def(p))
			})
		})
	}); err != nil {
		return 0, err
	}
	p := n.peers[0]
	return now.Sequence + 1, p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		return n.ordered(ctx, func() error {
			if at, err := p.Definition(ctx, d.Name); err == nil && at.Sequence > now.Sequence {
				return nil
			}
			return chaincode.NewGateway(conn, id).Commit(ctx, def(p))
		})
	})
}

// ordered repeats a lifecycle transaction while the network is not ready for it: gateways that do not know enough
// peers yet, orderers between two leaders, peers of different heights. Each try looks first whether an earlier one
// came through.
func (n *Network) ordered(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	return poll(ctx, 250*time.Millisecond, func() error {
		err := f()
		if err != nil && !passing(err) {
			cancel()
		}
		return err
	})
}

// passing tells whether an error may be gone at the next try.
func passing(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.FailedPrecondition, codes.Aborted, codes.DeadlineExceeded, codes.NotFound:
		return true
	}
	return false
}

// WaitEndorsing waits until every peer runs a contract as a definition says, or a later one, and every gateway knows
// that all the others do.
func (n *Network) WaitEndorsing(ctx context.Context, contract string, sequence int64) error {
	ctx, cancel := context.WithTimeout(ctx, starting)
	defer cancel()
	return together(n.peers, func(p *Peer) error {
		if err := poll(ctx, 50*time.Millisecond, func() error { return p.Reaches(ctx, contract) }); err != nil {
			return err
		}
		return poll(ctx, 50*time.Millisecond, func() error {
			seen, err := p.Sees(ctx)
			if err != nil {
				return err
			}
			with := 0
			for _, s := range seen {
				if at, err := strconv.ParseInt(s.Contracts[contract], 10, 64); err == nil && at >= sequence {
					with++
				}
			}
			if with < len(n.peers) {
				return fmt.Errorf("%s knows %d of %d peers that run %s by definition %d", p.Name, with, len(n.peers), contract, sequence)
			}
			return nil
		})
	})
}

// probe is a function that no contract has: its refusal shows that the contract answers.
const probe = "zl-network.probe"

// Reaches asks the peer to run the contract. nil: the contract answered, if only to refuse.
func (p *Peer) Reaches(ctx context.Context, contract string) error {
	return p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		proposal, err := signedProposal(id, contract, probe)
		if err != nil {
			return err
		}
		r, err := peer.NewEndorserClient(conn).ProcessProposal(ctx, proposal)
		if err != nil {
			return err
		}
		// A contract's refusal is below 500 or comes with the payload that it would have been endorsed in; what the
		// peer itself complains of is 500 and bare.
		if r.GetResponse().GetStatus() == 500 && len(r.GetPayload()) == 0 {
			return errors.New(r.GetResponse().GetMessage())
		}
		return nil
	})
}
