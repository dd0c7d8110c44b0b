package app

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// NetworkFile describes a Fabric network to those who found a consortium on it, all on one machine. Paths are
// relative to the working directory.
type NetworkFile struct {
	Channel      string        `json:"channel"`
	Chaincode    string        `json:"chaincode"`
	GenesisBlock string        `json:"genesis_block"` // hash of block 0's header, hexadecimal
	Nodes        []NetworkNode `json:"nodes"`
}

// NetworkNode is one node's place in the network.
type NetworkNode struct {
	ID       model.NodeID  `json:"id"`
	Msp      model.MSPID   `json:"msp"`
	Listen   string        `json:"listen"`
	Admin    string        `json:"admin"`
	Identity IdentityFiles `json:"identity"`
	Gateways []Gateway     `json:"gateways"`
}

// IdentityFiles are a PEM certificate and its PKCS#8 PEM key.
type IdentityFiles struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// Load reads the identity.
func (f IdentityFiles) Load(id model.MSPID) (*msp.Identity, error) {
	cert, err := os.ReadFile(f.Cert)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(f.Key)
	if err != nil {
		return nil, err
	}
	return msp.NewIdentity(string(id), cert, key)
}

// LoadNetwork reads a network's description.
func LoadNetwork(path string) (n NetworkFile, err error) { return n, loadJSON(path, &n) }

// FoundedConsortium says what FoundConsortium made.
type FoundedConsortium struct {
	GenesisDigest string           `json:"genesis_digest"`
	Nodes         []ConsortiumNode `json:"nodes"`
}

// ConsortiumNode is one node's folder, addresses and first API keys by role.
type ConsortiumNode struct {
	Name     model.NodeID      `json:"name"`
	Dir      string            `json:"dir"`
	URL      string            `json:"url"`
	AdminURL string            `json:"admin_url"`
	Keys     map[string]string `json:"keys"`
}

// FoundConsortium makes the folders of a network's nodes, below dir, with the agencies and licence types of a
// plan. Of the plan it takes the nodes that the network has.
func FoundConsortium(dir string, n NetworkFile, p Plan) (*FoundedConsortium, error) {
	planned := map[model.NodeID]NodePlan{}
	for _, node := range p.Nodes {
		planned[node.ID] = node
	}
	out := &FoundedConsortium{}
	var members []Member
	agencies := map[model.AgencyID]bool{}
	for _, node := range n.Nodes {
		plan, ok := planned[node.ID]
		if !ok || plan.Msp != node.Msp {
			return nil, fmt.Errorf("node %s of %s is in no plan", node.ID, node.Msp)
		}
		plan.Listen, plan.Admin = node.Listen, node.Admin
		identity, err := node.Identity.Load(node.Msp)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", node.ID, err)
		}
		at := filepath.Join(dir, "nodes", string(node.ID))
		m, keys, err := Prepare(at, plan, identity)
		if err != nil {
			return nil, err
		}
		for _, a := range m.Agencies {
			agencies[a.ID] = true
		}
		members = append(members, *m)
		out.Nodes = append(out.Nodes, ConsortiumNode{node.ID, at, "http://" + node.Listen, "http://" + node.Admin, keys})
	}
	if len(members) == 0 {
		return nil, errors.New("the network has no nodes")
	}
	var err error
	genesis := filepath.Join(dir, GenesisFile)
	if out.GenesisDigest, err = Genesis(genesis, n.Channel, p.Created, members, issuedBy(p.Types, agencies)); err != nil {
		return nil, err
	}
	for i, node := range n.Nodes {
		if err := Join(out.Nodes[i].Dir, genesis, out.GenesisDigest, Network{
			Channel: n.Channel, Chaincode: n.Chaincode, GenesisBlock: n.GenesisBlock, Ledger: LedgerConfig{Gateways: node.Gateways},
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// issuedBy leaves out issuers that are not there.
func issuedBy(types []model.LicenceType, agencies map[model.AgencyID]bool) []model.LicenceType {
	out := make([]model.LicenceType, len(types))
	for i, t := range types {
		out[i] = t
		out[i].Issuers = map[model.AgencyID]model.Region{}
		for a, r := range t.Issuers {
			if agencies[a] {
				out[i].Issuers[a] = r
			}
		}
	}
	return out
}

// BlockHash is the hash of the header of the block in a file, such as configtxgen writes: the value of
// genesis_block for a channel's block 0.
func BlockHash(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return "", fmt.Errorf("%s: not a block: %w", path, err)
	}
	c, err := fabblock.ParseConfig(&b)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if b.GetHeader().GetNumber() != 0 || !bytes.Equal(b.GetHeader().GetDataHash(), fabblock.DataHash(b.GetData().GetData())) {
		return "", fmt.Errorf("%s: not the intact block 0 of %s", path, c.ID)
	}
	return hex.EncodeToString(headerHash(&b)), nil
}
