package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/keystore"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/vault"
	"github.com/zhenglian/zhenglian/sdk/envelope"
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

// NodePlan is one organisation's node.
type NodePlan struct {
	ID             model.NodeID
	Msp            model.MSPID
	NameZh, NameEn string
	Listen, Admin  string
	Lang           string
	Home           model.AgencyID // the agency that the first API keys belong to
	Agencies       []AgencyPlan
}

// AgencyPlan is an agency with the algorithm of the signing key to draw for it ("" for none).
type AgencyPlan struct {
	model.Agency
	Alg envelope.Alg
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

// FirstKeyYears is how long the first API keys last.
const FirstKeyYears = 1

// Found makes the ledger and the nodes' folders under dir: authorities, identities, signing keys, genesis
// document, ledger, configuration, API keys. It never overwrites anything.
func Found(dir string, p Plan) (*Founded, error) {
	f := founding{dir: dir, plan: p, out: &Founded{
		LedgerDir: filepath.Join(dir, "ledger"), LedgerConfig: filepath.Join(dir, "ledger-service"),
	}}
	for _, step := range []func() error{f.authorities, f.nodes, f.genesis, f.ledger, f.configure} {
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
	members  []msp.Config
	doc      model.GenesisDocument
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
	f.doc = model.GenesisDocument{Channel: f.plan.Channel, Created: model.TimeOf(f.plan.Created), LicenceTypes: f.plan.Types, Policy: model.Policy{Level: 1}}
	for _, n := range f.plan.Nodes {
		dir := filepath.Join(f.dir, "nodes", string(n.ID))
		for _, d := range []string{dir, filepath.Join(dir, "keys"), filepath.Join(dir, "authority")} {
			if err := mkdir(d); err != nil {
				return err
			}
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
		if err := identity.Save(dir, "identity"); err != nil {
			return err
		}
		f.members = append(f.members, ca.Config())
		f.doc.Organisations = append(f.doc.Organisations, model.Organisation{Msp: n.Msp, NameZh: n.NameZh, NameEn: n.NameEn, Nodes: []model.NodeID{n.ID}})
		if err := f.agencies(n, filepath.Join(dir, "keys")); err != nil {
			return err
		}
		queue, err := outbox.Open(filepath.Join(dir, "outbox"), outbox.Config{Logger: quiet})
		if err != nil {
			return err
		}
		if err := queue.Close(); err != nil {
			return err
		}
		keys, err := firstKeys(dir, n.Home)
		if err != nil {
			return err
		}
		f.out.Nodes = append(f.out.Nodes, FoundedNode{ID: n.ID, Dir: dir, Keys: keys})
	}
	return nil
}

func (f *founding) agencies(n NodePlan, dir string) error {
	store, err := keystore.Open(dir)
	if err != nil {
		return err
	}
	for _, plan := range n.Agencies {
		a := plan.Agency
		a.Msp, a.Node = n.Msp, n.ID
		a.Keys = []model.Key{}
		if a.Roles == nil {
			a.Roles = []model.Role{}
		}
		if plan.Alg != "" {
			id := string(a.ID) + "-1"
			s, err := store.Create(a.ID, id, plan.Alg)
			if err != nil {
				return err
			}
			a.Keys = append(a.Keys, model.Key{Alg: string(plan.Alg), ID: id, Public: base64.RawURLEncoding.EncodeToString(s.Public())})
		}
		f.doc.Agencies = append(f.doc.Agencies, a)
	}
	return nil
}

// NodeSecret is the name of the secret under which persons have their pseudonyms.
const NodeSecret = "pseudonyms"

// firstKeys makes the node's vault, its secret, and one API key a role.
func firstKeys(dir string, home model.AgencyID) (map[string]string, error) {
	v, err := vault.Open(filepath.Join(dir, "vault"))
	if err != nil {
		return nil, err
	}
	defer v.Close()
	secret, err := v.Secret(NodeSecret, func() []byte { s := model.NewSalt(); return s[:] })
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, keyFile)
	if err := auth.CreateKeys(path); err != nil {
		return nil, err
	}
	store, err := auth.OpenKeys(path, secret)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, r := range auth.Roles {
		token, _, err := store.Issue(auth.Grant{Name: "first " + string(r), Agency: home, Roles: []auth.Role{r}, Expires: time.Now().AddDate(FirstKeyYears, 0, 0)})
		if err != nil {
			return nil, err
		}
		keys[string(r)] = token
	}
	return keys, nil
}

func (f *founding) genesis() error {
	raw, err := model.Canonical(f.doc)
	if err != nil {
		return err
	}
	_, digest, err := model.DecodeGenesis(raw)
	if err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	f.digest = digest.String()
	var pretty []byte
	if pretty, err = json.MarshalIndent(json.RawMessage(raw), "", "  "); err != nil {
		return err
	}
	return writeNew(filepath.Join(f.dir, "genesis.json"), append(pretty, '\n'), 0o644)
}

func (f *founding) ledger() error {
	if err := embedded.Create(f.out.LedgerDir, embedded.Config{
		Channel: f.plan.Channel, Chaincode: f.plan.Chaincode, Members: f.members, Ledger: f.ledgerCA.Config(),
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

func (f *founding) configure() error {
	for i, n := range f.plan.Nodes {
		dir := f.out.Nodes[i].Dir
		c := Config{
			Node: n.ID, Msp: n.Msp, Channel: f.plan.Channel, Chaincode: f.plan.Chaincode, Genesis: "../../genesis.json",
			GenesisDigest: f.digest, GenesisBlock: f.block, Identity: "identity", Listen: n.Listen, Admin: n.Admin, Lang: n.Lang,
		}
		if f.plan.Ledger == "" {
			c.Ledger.Embedded = "../../ledger-service"
		} else {
			c.Ledger.Gateways, c.Ledger.TLSRoots = []string{f.plan.Ledger}, "ledger-ca.pem"
			if err := writeNew(filepath.Join(dir, c.Ledger.TLSRoots), f.ledgerCA.Root(), 0o644); err != nil {
				return err
			}
		}
		if err := save(filepath.Join(dir, ConfigFile), &c); err != nil {
			return err
		}
	}
	return nil
}

func mkdir(dir string) error { return os.MkdirAll(dir, 0o700) }

func headerHash(b *common.Block) []byte { return fabblock.HeaderHash(b.GetHeader()) }
