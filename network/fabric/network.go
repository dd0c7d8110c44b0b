package fabric

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Network is a network's processes and addresses. Safe for concurrent use.
type Network struct {
	orgs     []Org
	orderers []*Orderer
	peers    []*Peer
	attached bool

	mu       sync.Mutex
	state    *state              // guarded by mu
	services map[string]*Service // guarded by mu, by process name
	nodes    []*Node             // guarded by mu
}

// Open reads the network of a folder. It starts nothing.
func Open(dir string) (*Network, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s, err := loadState(dir)
	if err != nil {
		return nil, err
	}
	return assemble(s, false)
}

// assemble makes the network's parts of what its folder remembers.
func assemble(s *state, attached bool) (*Network, error) {
	n := &Network{state: s, attached: attached, services: map[string]*Service{}}
	for _, o := range consortium[:s.Spec.Orgs] {
		o.dir = s.Spec.Dir
		n.orgs = append(n.orgs, o)
	}
	count := 3
	if s.Spec.Consensus == BFT {
		count = 4
	}
	for i := range count {
		o, err := n.newOrderer(i+1, n.orgs[i%len(n.orgs)])
		if err != nil {
			return nil, err
		}
		n.orderers = append(n.orderers, o)
	}
	for _, org := range n.orgs {
		p, err := n.newPeer(org)
		if err != nil {
			return nil, err
		}
		n.peers = append(n.peers, p)
		if s.Spec.Program != "" {
			for _, name := range []string{"node-" + org.ID, "node-" + org.ID + "-admin"} {
				if _, err := s.port(name); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, d := range s.Contracts {
		if err := n.addServices(d); err != nil {
			return nil, err
		}
	}
	if err := n.loadNodes(); err != nil {
		return nil, err
	}
	return n, nil
}

// Spec is the network's description.
func (n *Network) Spec() Spec {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Spec
}

// FabricVersion is the version of the programs that the network's processes are started with.
func (n *Network) FabricVersion() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state.Fabric
}

// Orgs lists the organisations.
func (n *Network) Orgs() []Org { return slices.Clone(n.orgs) }

// Orderers lists the orderers.
func (n *Network) Orderers() []*Orderer { return slices.Clone(n.orderers) }

// Peers lists the peers.
func (n *Network) Peers() []*Peer { return slices.Clone(n.peers) }

// Peer returns an organisation's peer, or nil.
func (n *Network) Peer(org string) *Peer {
	for _, p := range n.peers {
		if p.Org == org {
			return p
		}
	}
	return nil
}

// Services lists the contract services, of ended versions too.
func (n *Network) Services() []*Service {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []*Service
	for _, d := range n.state.Contracts {
		for _, o := range n.orgs {
			if s := n.services[serviceName(d.Name, d.Version, o.ID)]; s != nil {
				out = append(out, s)
			}
		}
	}
	return out
}

// Service returns the service of a contract's newest version at an organisation, or nil.
func (n *Network) Service(contract, org string) *Service {
	var out *Service
	for _, s := range n.Services() {
		if s.Contract == contract && s.Org == org {
			out = s
		}
	}
	return out
}

// Nodes lists the nodes.
func (n *Network) Nodes() []*Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.nodes)
}

// Node returns an organisation's node, or nil.
func (n *Network) Node(org string) *Node {
	for _, node := range n.Nodes() {
		if node.Org == org {
			return node
		}
	}
	return nil
}

// Processes lists all processes in the order in which they are started.
func (n *Network) Processes() []*Process {
	var out []*Process
	for _, o := range n.orderers {
		out = append(out, o.Process)
	}
	for _, p := range n.peers {
		out = append(out, p.Process)
	}
	for _, s := range n.Services() {
		out = append(out, s.Process)
	}
	for _, node := range n.Nodes() {
		out = append(out, node.Process)
	}
	return out
}

// Process returns the process of a name, or nil.
func (n *Network) Process(name string) *Process {
	for _, p := range n.Processes() {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// GenesisBlock is the file of the channel's block 0.
func (n *Network) GenesisBlock() string { return n.path("channel", Channel+".block") }

// GenesisFile is the consortium's genesis document, when nodes were founded here.
func (n *Network) GenesisFile() string { return n.path("consortium", "genesis.json") }

func (n *Network) path(parts ...string) string {
	return filepath.Join(append([]string{n.Spec().Dir}, parts...)...)
}

func (n *Network) bin(name string) string { return filepath.Join(n.Spec().Bin, name) }

// update changes what the folder remembers.
func (n *Network) update(change func(*state) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := change(n.state); err != nil {
		return err
	}
	return n.state.save()
}

// process describes one of the network's programs.
func (n *Network) process(dir, name string, kind Kind, org string) *Process {
	return &Process{
		Name: name, Kind: kind, Org: org,
		log: filepath.Join(dir, "logs", name+".log"), pid: filepath.Join(dir, "run", name+".pid"),
		dir: dir, env: []string{"TMPDIR=" + filepath.Join(dir, "tmp")}, attached: n.attached,
	}
}

// folders makes the folders that every process writes to.
func folders(dir string) error {
	for _, d := range []string{"logs", "run", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// together runs functions at once and returns all that they complain of.
func together[T any](items []T, f func(T) error) error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { errs[i] = f(item) })
	}
	wg.Wait()
	return join(errs)
}

func join(errs []error) error {
	var first error
	more := 0
	for _, err := range errs {
		switch {
		case err == nil:
		case first == nil:
			first = err
		default:
			more++
		}
	}
	if more > 0 {
		return fmt.Errorf("%w\n(and %d more like it)", first, more)
	}
	return first
}

// stopping is how long a program may take to end by itself.
const stopping = 10 * time.Second
