package app

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
	"github.com/zhenglian/zhenglian/node/internal/keystore"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/vault"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// A consortium is founded in three steps, so that no organisation's secrets ever leave its own machine:
// each prepares its node's folder and gives its Member to the others; the members are put together into
// one genesis document whose digest everybody compares; each joins its node to the ledger. Found does all
// three on one machine.

// NodePlan is one organisation's node.
type NodePlan struct {
	ID            model.NodeID   `json:"id"`
	Msp           model.MSPID    `json:"msp"`
	NameZh        string         `json:"name_zh"`
	NameEn        string         `json:"name_en"`
	Listen        string         `json:"listen"`         // host:port of the API
	Admin         string         `json:"admin"`          // host:port of metrics and details, loopback
	Lang          string         `json:"lang,omitempty"` // zh or en
	RatePerSecond float64        `json:"rate_per_second,omitempty"`
	Home          model.AgencyID `json:"home"` // the agency that the first API keys belong to
	Agencies      []AgencyPlan   `json:"agencies"`
}

// AgencyPlan is an agency with the algorithm of the signing key to draw for it ("" for none).
type AgencyPlan struct {
	model.Agency
	Alg   envelope.Alg `json:"alg,omitempty"`
	KeyID string       `json:"key_id,omitempty"` // of that key; by default the agency's id and -1
}

// Member is what an organisation tells the others of itself. Nothing in it is secret.
type Member struct {
	Agencies     []model.Agency     `json:"agencies"`
	Organisation model.Organisation `json:"organisation"`
}

// Network says how a node reaches its ledger.
type Network struct {
	Channel      string       `json:"channel"`
	Chaincode    string       `json:"chaincode"`
	GenesisBlock string       `json:"genesis_block"` // hash of block 0's header, hexadecimal
	ImportFrom   string       `json:"import_from"`   // the same of the ledger that this one took over; "" for none
	Ledger       LedgerConfig `json:"ledger"`
}

// MemberFile is the name of a Member in its node's folder.
const MemberFile = "member.json"

// GenesisFile is the name of the genesis document in a node's folder.
const GenesisFile = "genesis.json"

// identityName is the name of a node's certificate and key files, without extension.
const identityName = "identity"

// Prepare makes the folder of a new node: identity, signing keys, secrets, outbox, API keys, of which it
// returns the first ones by role. It never overwrites anything.
func Prepare(dir string, p NodePlan, identity *msp.Identity) (*Member, map[string]string, error) {
	if name := identity.Certificate().Subject.CommonName; name != string(p.ID) {
		return nil, nil, fmt.Errorf("the certificate's common name is %q, but the node's id is %q: the ledger knows a node by it", name, p.ID)
	}
	for _, d := range []string{dir, filepath.Join(dir, "keys")} {
		if err := mkdir(d); err != nil {
			return nil, nil, err
		}
	}
	if err := identity.Save(dir, identityName); err != nil {
		return nil, nil, err
	}
	m := &Member{Organisation: model.Organisation{Msp: p.Msp, NameZh: p.NameZh, NameEn: p.NameEn, Nodes: []model.NodeID{p.ID}}}
	var err error
	if m.Agencies, err = drawKeys(filepath.Join(dir, "keys"), p); err != nil {
		return nil, nil, err
	}
	queue, err := outbox.Open(filepath.Join(dir, "outbox"), outbox.Config{Logger: quiet})
	if err != nil {
		return nil, nil, err
	}
	if err := queue.Close(); err != nil {
		return nil, nil, err
	}
	if err := inbox.Create(filepath.Join(dir, inboxDir)); err != nil {
		return nil, nil, err
	}
	keys, err := firstKeys(dir, p.Home)
	if err != nil {
		return nil, nil, err
	}
	if err := writeStores(dir, formats()); err != nil {
		return nil, nil, err
	}
	if err := saveJSON(filepath.Join(dir, MemberFile), m); err != nil {
		return nil, nil, err
	}
	return m, keys, saveJSON(filepath.Join(dir, planFile), p)
}

// planFile keeps what a node was prepared from until it joins.
const planFile = "plan.json"

// drawKeys draws the agencies' signing keys.
func drawKeys(dir string, p NodePlan) ([]model.Agency, error) {
	store, err := keystore.Open(dir)
	if err != nil {
		return nil, err
	}
	var out []model.Agency
	for _, plan := range p.Agencies {
		a := plan.Agency
		a.Msp, a.Node = p.Msp, p.ID
		a.Keys = []model.Key{}
		if a.Roles == nil {
			a.Roles = []model.Role{}
		}
		if plan.Alg != "" {
			id := plan.KeyID
			if id == "" {
				id = string(a.ID) + "-1"
			}
			s, err := store.Create(a.ID, id, plan.Alg)
			if err != nil {
				return nil, err
			}
			a.Keys = append(a.Keys, model.Key{Alg: string(plan.Alg), ID: id, Public: base64.RawURLEncoding.EncodeToString(s.Public())})
		}
		out = append(out, a)
	}
	return out, nil
}

// NodeSecret is the name of the secret under which persons have their pseudonyms.
const NodeSecret = "pseudonyms"

// FirstKeyYears is how long the first API keys last.
const FirstKeyYears = 1

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
	if err := auth.CreateDirectory(dir); err != nil {
		return nil, err
	}
	policies, err := auth.OpenPolicies("")
	if err != nil {
		return nil, err
	}
	people, err := auth.OpenDirectory(dir, secret, policies, nil)
	if err != nil {
		return nil, err
	}
	keys := map[string]string{}
	for _, r := range auth.Roles {
		token, _, err := people.Issue(auth.Grant{Name: "first " + string(r), Agency: home, Roles: []auth.Role{r}, Expires: model.TimeOf(time.Now().AddDate(FirstKeyYears, 0, 0))})
		if err != nil {
			return nil, err
		}
		keys[string(r)] = token
	}
	return keys, nil
}

// Genesis puts the members together into the document that their ledger begins with, and writes it to a new
// file. The digest is what every organisation configures.
func Genesis(path, channel string, created time.Time, members []Member, types []model.LicenceType) (digest string, err error) {
	doc := model.GenesisDocument{
		Agencies: []model.Agency{}, Channel: channel, Created: model.TimeOf(created), LicenceTypes: types,
		Organisations: []model.Organisation{}, Policy: model.Policy{Level: contract.MaxLevel},
	}
	if doc.LicenceTypes == nil {
		doc.LicenceTypes = []model.LicenceType{}
	}
	for _, m := range members {
		doc.Organisations = append(doc.Organisations, m.Organisation)
		doc.Agencies = append(doc.Agencies, m.Agencies...)
	}
	raw, err := model.Canonical(doc)
	if err != nil {
		return "", err
	}
	_, d, err := model.DecodeGenesis(raw)
	if err != nil {
		return "", fmt.Errorf("genesis: %w", err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "  "); err != nil {
		return "", err
	}
	pretty.WriteByte('\n')
	return d.String(), writeNew(path, pretty.Bytes(), 0o644)
}

// Join writes the configuration of a prepared node, with copies of the genesis document and of the gateways'
// TLS authorities, whose paths in n are relative to the working directory. All is checked before anything is
// written. It never overwrites anything, but a file that has the right content already is as good as written, and
// the plan goes last: a call that was cut off is called again.
func Join(dir, genesis, digest string, n Network) error {
	var p NodePlan
	if err := loadJSON(filepath.Join(dir, planFile), &p); err != nil {
		if _, joined := os.Stat(filepath.Join(dir, ConfigFile)); joined == nil {
			return fmt.Errorf("%s: this node has joined already: to change something, edit %s", dir, ConfigFile)
		}
		return fmt.Errorf("%w: prepare the node first", err)
	}
	doc, err := readGenesis(genesis, digest)
	if err != nil {
		return err
	}
	if d, _, err := model.DecodeGenesis(doc); err != nil {
		return err
	} else if d.Channel != n.Channel {
		return fmt.Errorf("%s is of the channel %q, not of %q", genesis, d.Channel, n.Channel)
	}
	if _, err := blockPin(n.GenesisBlock); err != nil {
		return err
	}
	if _, err := newContract(digest, n.ImportFrom); err != nil {
		return err
	}
	ledger, files, err := n.Ledger.copied()
	if err != nil {
		return err
	}
	c := Config{
		Node: p.ID, Msp: p.Msp, Channel: n.Channel, Chaincode: n.Chaincode, Genesis: GenesisFile, GenesisDigest: digest,
		GenesisBlock: n.GenesisBlock, ImportFrom: n.ImportFrom, Identity: identityName, Listen: p.Listen, Admin: p.Admin, Lang: p.Lang,
		RatePerSecond: p.RatePerSecond, Ledger: ledger,
	}
	if err := c.check(); err != nil {
		return err
	}
	raw, err := yaml.Marshal(&c)
	if err != nil {
		return err
	}
	files = append(files, newFile{GenesisFile, doc, 0o644}, newFile{ConfigFile, raw, 0o600})
	if err := writeFiles(dir, files); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, planFile))
}

// newFile is a file to be written into a node's folder.
type newFile struct {
	name string
	raw  []byte
	mode os.FileMode
}

// writeFiles writes those that are not there yet, and none where another content is there.
func writeFiles(dir string, files []newFile) error {
	var missing []newFile
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		switch there, err := os.ReadFile(path); {
		case errors.Is(err, os.ErrNotExist):
			missing = append(missing, f)
		case err != nil:
			return err
		case !bytes.Equal(there, f.raw):
			return fmt.Errorf("%s is there with another content, and nothing is ever overwritten: move it away if it is of a call with other values", path)
		}
	}
	for _, f := range missing {
		if err := writeNew(filepath.Join(dir, f.name), f.raw, f.mode); err != nil {
			return err
		}
	}
	return nil
}

// copied is the configuration as it stands in a node's folder, with copies of the files that it names.
func (l LedgerConfig) copied() (LedgerConfig, []newFile, error) {
	out := LedgerConfig{Embedded: l.Embedded}
	var files []newFile
	for i, g := range l.Gateways {
		raw, err := os.ReadFile(g.TLSRoots)
		if err != nil {
			return out, nil, err
		}
		if _, err := certPool(raw); err != nil {
			return out, nil, fmt.Errorf("%s: %w", g.TLSRoots, err)
		}
		name := fmt.Sprintf("gateway-%d-ca.pem", i+1)
		files = append(files, newFile{name, raw, 0o644})
		out.Gateways = append(out.Gateways, Gateway{Address: g.Address, TLSRoots: name, ServerName: g.ServerName})
	}
	return out, files, nil
}

// LoadPlan reads a node's plan, a JSON document. Unknown keys are refused.
func LoadPlan(path string) (p NodePlan, err error) { return p, loadJSON(path, &p) }

// LoadMember reads a member's file.
func LoadMember(path string) (m Member, err error) { return m, loadJSON(path, &m) }

// LoadTypes reads licence types, a JSON array.
func LoadTypes(path string) (t []model.LicenceType, err error) { return t, loadJSON(path, &t) }

func loadJSON(path string, into any) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(raw) > model.MaxGenesis {
		return fmt.Errorf("%s: %d bytes are too many", path, len(raw))
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if d.More() {
		return fmt.Errorf("%s: more than one document", path)
	}
	return nil
}

func saveJSON(path string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeNew(path, append(raw, '\n'), 0o600)
}

func blockPin(s string) (d model.Digest, err error) {
	if s == "" {
		return d, nil
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, errors.New("genesis_block: 64 hexadecimal digits are needed")
	}
	copy(d[:], b)
	return d, nil
}
