package app

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// Plan describes a new embedded ledger and the nodes that share it, all on this machine.
type Plan struct {
	Channel, Chaincode string
	Ledger             string // host:port on which the ledger's own process listens; "" runs it inside the one node
	LedgerAdmin        string // host:port of that process's metrics; "" for none
	Nodes              []NodePlan
	Types              []model.LicenceType
	Created            time.Time
}

// Founded says what Found made. The API keys are shown here once.
type Founded struct {
	LedgerDir    string // the databases
	LedgerConfig string // folder of ledger.yaml
	Nodes        []FoundedNode
}

// FoundedNode is one node's folder and first API keys by role.
type FoundedNode struct {
	ID   model.NodeID
	Dir  string
	Keys map[string]string
}

// Found makes the ledger and the nodes' folders under dir: authorities, identities, signing keys, genesis
// document, ledger, configuration, API keys. It never overwrites anything.
func Found(dir string, p Plan) (*Founded, error) {
	f := founding{dir: dir, plan: p, out: &Founded{
		LedgerDir: filepath.Join(dir, "ledger"), LedgerConfig: filepath.Join(dir, "ledger-service"),
	}}
	for _, step := range []func() error{f.authorities, f.nodes, f.genesis, f.ledger, f.join} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return f.out, nil
}

type founding struct {
	dir  string
	plan Plan
	out  *Founded

	ledgerCA *msp.CA
	members  []Member
	configs  []msp.Config
	digest   string
	block    string
}

// LedgerMSP is the organisation that runs an embedded ledger.
const LedgerMSP = "LedgerMSP"

func (f *founding) authorities() error {
	var err error
	if f.ledgerCA, err = msp.NewCA(LedgerMSP, "ca."+LedgerMSP); err != nil {
		return err
	}
	if err := mkdir(f.out.LedgerConfig); err != nil {
		return err
	}
	if err := f.ledgerCA.Save(f.out.LedgerConfig); err != nil {
		return err
	}
	id, err := f.ledgerCA.Issue("ledger", msp.Validity{})
	if err != nil {
		return err
	}
	return id.Save(f.out.LedgerConfig, "identity")
}

func (f *founding) nodes() error {
	for _, n := range f.plan.Nodes {
		dir := filepath.Join(f.dir, "nodes", string(n.ID))
		if err := mkdir(filepath.Join(dir, "authority")); err != nil {
			return err
		}
		ca, err := msp.NewCA(string(n.Msp), "ca."+string(n.Msp))
		if err != nil {
			return err
		}
		if err := ca.Save(filepath.Join(dir, "authority")); err != nil {
			return err
		}
		identity, err := ca.Issue(string(n.ID), msp.Validity{})
		if err != nil {
			return err
		}
		m, keys, err := Prepare(dir, n, identity)
		if err != nil {
			return err
		}
		f.configs, f.members = append(f.configs, ca.Config()), append(f.members, *m)
		f.out.Nodes = append(f.out.Nodes, FoundedNode{ID: n.ID, Dir: dir, Keys: keys})
	}
	return nil
}

func (f *founding) genesisFile() string { return filepath.Join(f.dir, GenesisFile) }

func (f *founding) genesis() (err error) {
	f.digest, err = Genesis(f.genesisFile(), f.plan.Channel, f.plan.Created, f.members, f.plan.Types)
	return err
}

func (f *founding) ledger() error {
	if err := embedded.Create(f.out.LedgerDir, embedded.Config{
		Channel: f.plan.Channel, Chaincode: f.plan.Chaincode, Members: f.configs, Ledger: f.ledgerCA.Config(),
	}); err != nil {
		return err
	}
	c := LedgerServer{
		Dir: "../ledger", Channel: f.plan.Channel, Chaincode: f.plan.Chaincode, Msp: LedgerMSP, GenesisDigest: f.digest,
		Identity: "identity", Listen: f.plan.Ledger, Admin: f.plan.LedgerAdmin, dir: f.out.LedgerConfig,
	}
	if c.Listen != "" {
		cert, key, err := f.ledgerCA.IssueTLS("ledger", []string{"127.0.0.1", "localhost"}, msp.Validity{})
		if err != nil {
			return err
		}
		c.TLSCert, c.TLSKey = "tls.crt", "tls.key"
		if err := writeNew(c.path(c.TLSCert), cert, 0o644); err != nil {
			return err
		}
		if err := writeNew(c.path(c.TLSKey), key, 0o600); err != nil {
			return err
		}
	}
	if err := save(filepath.Join(f.out.LedgerConfig, LedgerFile), &c); err != nil {
		return err
	}
	l, err := OpenLedger(&c, quiet)
	if err != nil {
		return err
	}
	if f.block, err = genesisBlockHash(l); err != nil {
		return err
	}
	return l.Close(context.Background())
}

func (f *founding) join() error {
	n := Network{Channel: f.plan.Channel, Chaincode: f.plan.Chaincode, GenesisBlock: f.block, Ledger: LedgerConfig{Embedded: "../../ledger-service"}}
	if f.plan.Ledger != "" {
		n.Ledger = LedgerConfig{Gateways: []Gateway{{Address: f.plan.Ledger, TLSRoots: filepath.Join(f.out.LedgerConfig, "ca.crt")}}}
	}
	for _, made := range f.out.Nodes {
		if err := Join(made.Dir, f.genesisFile(), f.digest, n); err != nil {
			return err
		}
	}
	return nil
}

func mkdir(dir string) error { return os.MkdirAll(dir, 0o700) }

func headerHash(b *common.Block) []byte { return fabblock.HeaderHash(b.GetHeader()) }
