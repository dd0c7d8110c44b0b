package fabric

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Node is an organisation's Zhenglian node.
type Node struct {
	*Process
	URL      string
	AdminURL string
	Dir      string
	Keys     map[string]string // the first API keys, by role

	admin string // host:port
}

// Gateway is how a node reaches a peer.
type Gateway struct {
	Address    string `json:"address"`
	TLSRoots   string `json:"tls_roots"`
	ServerName string `json:"server_name"`
}

// Gateways lists the peers as an organisation's node uses them: its own first.
func (n *Network) Gateways(org string) []Gateway {
	var own, others []Gateway
	for _, p := range n.peers {
		g := Gateway{p.Address, p.TLSRoots(), p.ServerName()}
		if p.Org == org {
			own = append(own, g)
		} else {
			others = append(others, g)
		}
	}
	return append(own, others...)
}

// The network as `zhenglian found` reads it, and what it answers.
type (
	networkFile struct {
		Channel      string        `json:"channel"`
		Chaincode    string        `json:"chaincode"`
		GenesisBlock string        `json:"genesis_block"`
		Nodes        []networkNode `json:"nodes"`
	}
	networkNode struct {
		ID       string    `json:"id"`
		MSP      string    `json:"msp"`
		Listen   string    `json:"listen"`
		Admin    string    `json:"admin"`
		Identity nodeFiles `json:"identity"`
		Gateways []Gateway `json:"gateways"`
	}
	nodeFiles struct {
		Cert string `json:"cert"`
		Key  string `json:"key"`
	}
	foundedNodes struct {
		GenesisDigest string `json:"genesis_digest"`
		Nodes         []struct {
			Name     string            `json:"name"`
			Dir      string            `json:"dir"`
			URL      string            `json:"url"`
			AdminURL string            `json:"admin_url"`
			Keys     map[string]string `json:"keys"`
		} `json:"nodes"`
	}
)

const nodesFile = "nodes.json"

// Description is the file that tells nodes how to reach the network: what `zhenglian found` founds them by, and
// `zhenglian migrate switch` turns those of a pilot by.
func (n *Network) Description() string { return n.path("channel", "consortium.json") }

// describe writes it.
func (n *Network) describe() error {
	hash, err := n.GenesisHash()
	if err != nil {
		return err
	}
	file := networkFile{Channel: Channel, Chaincode: Contract, GenesisBlock: hash}
	n.mu.Lock()
	for _, o := range n.orgs {
		id := o.Node()
		node := networkNode{ID: o.ID, MSP: o.MSP, Identity: nodeFiles{id.Cert, id.Key}, Gateways: n.Gateways(o.ID)}
		if n.state.Spec.Program != "" {
			node.Listen, node.Admin = n.state.address("node-"+o.ID), n.state.address("node-"+o.ID+"-admin")
		}
		file.Nodes = append(file.Nodes, node)
	}
	n.mu.Unlock()
	raw, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(n.Description(), raw, 0o600)
}

// found makes the genesis document and the nodes' folders. A network that takes over a pilot gets the pilot's.
func (n *Network) found(ctx context.Context) error {
	s := n.Spec()
	if len(n.Nodes()) > 0 {
		return nil
	}
	if err := n.describe(); err != nil || s.Program == "" || s.ImportFrom != "" {
		return err
	}
	// Without nodes.json nobody was told a genesis digest, so no contract holds one: what an interrupted founding left
	// can go.
	dir := n.path("consortium")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.Program, "found", "--network", n.Description(), "--dir", dir, "--json")
	cmd.Dir, cmd.Env = s.Dir, inherited()
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("zhenglian found: %w\n%s", err, &complaint)
	}
	if err := writeFile(n.path(nodesFile), out.Bytes(), 0o600); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.loadNodes()
}

// loadNodes reads what was founded. The caller holds mu, or is the only one yet.
func (n *Network) loadNodes() error {
	raw, err := os.ReadFile(filepath.Join(n.state.Spec.Dir, nodesFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var f foundedNodes
	if err := json.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("%s: %w", nodesFile, err)
	}
	if f.GenesisDigest == "" || len(f.Nodes) != len(n.orgs) {
		return fmt.Errorf("%s: %d nodes of %d organisations, genesis digest %q", nodesFile, len(f.Nodes), len(n.orgs), f.GenesisDigest)
	}
	n.state.Spec.GenesisDigest = f.GenesisDigest
	n.nodes = nil
	for _, made := range f.Nodes {
		node := &Node{
			Process: n.process(n.state.Spec.Dir, "node-"+made.Name, KindNode, made.Name),
			URL:     made.URL, AdminURL: made.AdminURL, Dir: made.Dir, Keys: made.Keys,
			admin: n.state.address("node-" + made.Name + "-admin"),
		}
		node.program, node.args = n.state.Spec.Program, []string{"serve", "--dir", made.Dir}
		n.nodes = append(n.nodes, node)
	}
	return nil
}

// startNodes runs the nodes and waits until they are ready.
func (n *Network) startNodes(ctx context.Context) error {
	return together(n.Nodes(), func(node *Node) error {
		if err := node.Start(); err != nil {
			return err
		}
		return node.WaitReady(ctx)
	})
}

// WaitReady waits until the node serves.
func (node *Node) WaitReady(ctx context.Context) error {
	return node.waitFor(ctx, "is not ready", func() error {
		_, err := operations(ctx, node.admin, "/readyz")
		return err
	})
}
