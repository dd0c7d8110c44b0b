package fabric

import (
	"context"
	"fmt"
	"time"
)

// Status is what can be seen of a network at one moment.
type Status struct {
	Dir       string           `json:"dir"`
	Fabric    string           `json:"fabric"`
	Consensus Consensus        `json:"consensus"`
	Channel   string           `json:"channel"`
	Leader    string           `json:"leader,omitempty"` // of Raft
	Processes []ProcessStatus  `json:"processes"`
	Contracts []ContractStatus `json:"contracts"`
}

// ProcessStatus is what one process says of itself.
type ProcessStatus struct {
	Name       string `json:"name"`
	Kind       Kind   `json:"kind"`
	Org        string `json:"org"`
	Pid        int    `json:"pid"` // 0: it does not run
	Address    string `json:"address"`
	Operations string `json:"operations,omitempty"` // where its health and metrics are
	Height     uint64 `json:"height,omitempty"`
	Version    string `json:"version,omitempty"`
	State      string `json:"state"` // up, leader, ready, down, or what is wrong
	Log        string `json:"log"`
}

// ContractStatus is a contract's committed definition.
type ContractStatus struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Sequence     int64  `json:"sequence"`
	Endorsements string `json:"endorsements"` // k of n
}

// asking is how long one process may take to answer.
const asking = 3 * time.Second

// Status asks every process how it does. A process that does not answer is part of the answer.
func (n *Network) Status(ctx context.Context) Status {
	spec := n.Spec()
	s := Status{Dir: spec.Dir, Fabric: n.FabricVersion(), Consensus: spec.Consensus, Channel: Channel}
	services, nodes := n.Services(), n.Nodes()
	s.Processes = make([]ProcessStatus, len(n.orderers)+len(n.peers)+len(services)+len(nodes))
	var asks []func(context.Context)
	at := 0
	add := func(p *Process, address, operations string, ask func(context.Context, *ProcessStatus) error) {
		row := &s.Processes[at]
		at++
		*row = ProcessStatus{Name: p.Name, Kind: p.Kind, Org: p.Org, Pid: p.Pid(), Address: address, Operations: operations, State: "down", Log: p.log}
		if row.Pid == 0 {
			return
		}
		asks = append(asks, func(ctx context.Context) {
			row.State = "up"
			if err := ask(ctx, row); err != nil {
				row.State = err.Error()
			}
		})
	}
	for _, o := range n.orderers {
		add(o.Process, o.Address, o.Operations, func(ctx context.Context, row *ProcessStatus) error {
			m, err := o.Membership(ctx)
			if err != nil {
				return err
			}
			row.Height = m.Height
			leads, err := o.Leads(ctx)
			if leads {
				row.State, s.Leader = "leader", o.Name // one orderer at most says so
			}
			return err
		})
	}
	for _, p := range n.peers {
		add(p.Process, p.Address, p.Operations, func(ctx context.Context, row *ProcessStatus) (err error) {
			row.Height, err = p.Height(ctx)
			return err
		})
	}
	for _, c := range services {
		add(c.Process, c.Address, c.Admin, func(ctx context.Context, row *ProcessStatus) error {
			row.State = "ready"
			return c.ready(ctx)
		})
		s.Processes[at-1].Version = c.Version
		if c.Ended && s.Processes[at-1].Pid == 0 {
			s.Processes[at-1].State = "ended by a later version"
		}
	}
	for _, node := range nodes {
		add(node.Process, node.URL, node.admin, func(ctx context.Context, row *ProcessStatus) error {
			row.State = "ready"
			_, err := operations(ctx, node.admin, "/readyz")
			return err
		})
	}
	_ = together(asks, func(ask func(context.Context)) error {
		ctx, cancel := context.WithTimeout(ctx, asking)
		defer cancel()
		ask(ctx)
		return nil
	})
	s.Contracts = n.contractStatus(ctx)
	return s
}

func (n *Network) contractStatus(ctx context.Context) []ContractStatus {
	out := []ContractStatus{}
	seen := map[string]bool{}
	for _, c := range n.Services() {
		if seen[c.Contract] {
			continue
		}
		seen[c.Contract] = true
		// Any peer that answers will do.
		for _, p := range n.peers {
			if !p.Alive() {
				continue
			}
			ctx, cancel := context.WithTimeout(ctx, asking)
			d, err := p.Definition(ctx, c.Contract)
			cancel()
			if err == nil {
				out = append(out, ContractStatus{d.Name, d.Version, d.Sequence, fmt.Sprintf("%d of %d", d.Policy, len(n.orgs))})
				break
			}
		}
	}
	return out
}
