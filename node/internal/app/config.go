// Package app wires a node and a ledger process out of the parts beside it. It is the only package that
// knows them all.
package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
)

// ConfigFile is the name of a node's configuration in its folder.
const ConfigFile = "zhenglian.yaml"

// Config is a node's configuration. Paths are relative to the folder of the file. Unknown keys are refused.
type Config struct {
	Node          model.NodeID `yaml:"node"`                  // this node's id: its certificate's common name
	Msp           model.MSPID  `yaml:"msp"`                   // its organisation
	Channel       string       `yaml:"channel"`               // ledger channel
	Chaincode     string       `yaml:"chaincode"`             // contract name
	Genesis       string       `yaml:"genesis"`               // file of the genesis document
	GenesisDigest string       `yaml:"genesis_digest"`        // its digest; a document of another is refused
	GenesisBlock  string       `yaml:"genesis_block"`         // hash of the ledger's block 0; blocks of another ledger are refused
	ImportFrom    string       `yaml:"import_from,omitempty"` // hash of block 0 of the ledger that this one took over; "" where it took over none
	Identity      string       `yaml:"identity"`              // name of the certificate and key files, without extension
	Listen        string       `yaml:"listen"`                // host:port of the API
	Admin         string       `yaml:"admin"`                 // host:port of /metrics and the detailed /readyz; loopback only
	TLSCert       string       `yaml:"tls_cert"`              // PEM; needed when Listen is beyond loopback; read again when renewed
	TLSKey        string       `yaml:"tls_key"`
	Lang          string       `yaml:"lang"` // zh or en: the language of the public page's first view
	Ledger        LedgerConfig `yaml:"ledger"`
	OIDC          []OIDC       `yaml:"oidc,omitempty"`  // identity providers whose users sign in here
	RatePerSecond float64      `yaml:"rate_per_second"` // requests a second of one person or key; 0: 2,000
	// TrustedProxies are addresses and networks of reverse proxies ("10.1.2.3", "10.1.2.0/28"): behind them, who is counted
	// by address is the one that their X-Forwarded-For names last, not the proxy.
	TrustedProxies []string `yaml:"trusted_proxies,omitempty"`
	OutboxLimit    int      `yaml:"outbox_limit"` // accepted operations that may wait; 0: 200,000
	Approval       Approval `yaml:"approval,omitempty"`
	// ImportsKeep is how long the files of imports that ended are kept: they hold personal data ("168h"); 0: 7 days.
	ImportsKeep time.Duration `yaml:"imports_keep,omitempty"`
	Push        PushConfig    `yaml:"push,omitempty"` // exchange tables and watched folders of back offices
	Webhooks    WebhookConfig `yaml:"webhooks,omitempty"`
	// Telemetry sends traces to an OpenTelemetry collector; nil: nothing is traced.
	Telemetry *TelemetryConfig `yaml:"telemetry,omitempty"`

	AccessLog AccessLogConfig `yaml:"access_log,omitempty"`

	dir string // folder of the file
}

// Approval says what needs a second person at this node. Left out, every rule is in force.
type Approval struct {
	BatchOver int           `yaml:"batch_over,omitempty"` // operations of one array, rows of one batch, above which it does; 0: 200
	Expires   time.Duration `yaml:"expires,omitempty"`    // what waits, and a batch once approved, lives so long ("168h"); 0: 7 days
	Off       []inbox.Rule  `yaml:"off,omitempty"`        // rules not in force: endings, registry, keys, batches; shown as degraded
	Reason    string        `yaml:"reason,omitempty"`     // why; required with Off
}

func (a Approval) policy() inbox.Policy {
	return inbox.Policy{BatchOver: a.BatchOver, Expires: a.Expires, Off: a.Off, Reason: a.Reason}
}

// LedgerConfig says where the ledger is: gateways to dial, or a folder that this process serves itself.
type LedgerConfig struct {
	Gateways []Gateway `yaml:"gateways" json:"gateways"` // peers, one's own first; the others are used while it fails, and until it has been well for a minute
	Embedded string    `yaml:"embedded" json:"-"`        // folder with ledger.yaml: the ledger runs in this process
}

// Gateway is a peer that serves Fabric's Gateway protocol, or an embedded ledger in another process.
type Gateway struct {
	Address    string `yaml:"address" json:"address"`         // host:port, TLS
	TLSRoots   string `yaml:"tls_roots" json:"tls_roots"`     // PEM of the authorities of its TLS certificate
	ServerName string `yaml:"server_name" json:"server_name"` // the name in that certificate; "": the host of Address
}

// OIDC is an OpenID Connect issuer whose word is taken for who somebody is.
type OIDC struct {
	Issuer           string `yaml:"issuer"`             // its address: https, or http on this machine
	ClientID         string `yaml:"client_id"`          // this node's name there
	ClientSecretFile string `yaml:"client_secret_file"` // mode 0600; "" for a public client
	Audience         string `yaml:"audience"`           // of tokens that programs bring; "": client_id
	RedirectURL      string `yaml:"redirect_url"`       // https://…/auth/callback as browsers reach this node; "": no sign-in by browser
	CAFile           string `yaml:"ca_file"`            // PEM of the authorities of its TLS certificate; "": the system's
}

// LedgerFile is the name of an embedded ledger's configuration in its folder.
const LedgerFile = "ledger.yaml"

// LedgerServer is the configuration of an embedded ledger.
type LedgerServer struct {
	Dir           string `yaml:"dir"` // the databases, and nothing else
	Channel       string `yaml:"channel"`
	Chaincode     string `yaml:"chaincode"`
	Msp           string `yaml:"msp"` // LedgerMSP
	GenesisDigest string `yaml:"genesis_digest"`
	ImportFrom    string `yaml:"import_from,omitempty"` // as a node's
	Frozen        bool   `yaml:"frozen,omitempty"`      // it serves its blocks and takes no more: its members move to another
	Identity      string `yaml:"identity"`
	Listen        string `yaml:"listen"` // host:port for nodes of other processes; "" for none
	Admin         string `yaml:"admin"`  // host:port of /metrics, loopback only; "" for none
	TLSCert       string `yaml:"tls_cert"`
	TLSKey        string `yaml:"tls_key"`

	dir string
}

// LoadConfig reads a node's configuration from its folder. A folder that is just being switched to another ledger
// has none that could be used.
func LoadConfig(dir string) (*Config, error) {
	if err := wholeFolder(dir); err != nil {
		return nil, err
	}
	kind, err := migrate.Interrupted(dir)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		return nil, interrupted(kind)
	}
	c := &Config{dir: dir}
	if err := load(filepath.Join(dir, ConfigFile), c); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.TLSCert == "" && !loopback(c.Listen) {
		return nil, fmt.Errorf("%s: listen: %s is beyond this machine, so tls_cert and tls_key are needed", ConfigFile, c.Listen)
	}
	return c, nil
}

// check finds what cannot be right, but for the API's certificate, which an operator adds.
func (c *Config) check() error {
	if _, err := model.ParseNodeID(string(c.Node)); err != nil {
		return fmt.Errorf("%s: node: %w", ConfigFile, err)
	}
	if _, err := model.ParseMSPID(string(c.Msp)); err != nil {
		return fmt.Errorf("%s: msp: %w", ConfigFile, err)
	}
	if (len(c.Ledger.Gateways) == 0) == (c.Ledger.Embedded == "") {
		return fmt.Errorf("%s: ledger: give either gateways or embedded", ConfigFile)
	}
	for i, g := range c.Ledger.Gateways {
		if _, _, err := net.SplitHostPort(g.Address); err != nil {
			return fmt.Errorf("%s: ledger: gateway %d: address: %w", ConfigFile, i+1, err)
		}
		if g.TLSRoots == "" {
			return fmt.Errorf("%s: ledger: gateway %s: tls_roots is missing: the PEM file of its TLS authority", ConfigFile, g.Address)
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("%s: tls_cert and tls_key go together", ConfigFile)
	}
	if !loopback(c.Admin) {
		return fmt.Errorf("%s: admin: %s must be a loopback address", ConfigFile, c.Admin)
	}
	if _, err := auth.ParseProxies(c.TrustedProxies); err != nil {
		return fmt.Errorf("%s: trusted_proxies: %w", ConfigFile, err)
	}
	if p := c.Approval.policy(); p.Check() != nil {
		return fmt.Errorf("%s: approval: %w", ConfigFile, p.Check())
	}
	if err := errors.Join(c.Webhooks.check(), c.Telemetry.check()); err != nil {
		return err
	}
	return c.Push.check(c)
}

// LoadLedger reads an embedded ledger's configuration from its folder.
func LoadLedger(dir string) (*LedgerServer, error) {
	c := &LedgerServer{dir: dir}
	if err := load(filepath.Join(dir, LedgerFile), c); err != nil {
		return nil, err
	}
	if c.Admin != "" && !loopback(c.Admin) {
		return nil, fmt.Errorf("%s: admin: %s must be a loopback address", LedgerFile, c.Admin)
	}
	return c, nil
}

func load(path string, into any) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is missing: run `zhenglian init` first, or `zhenglian consortium prepare` and `join` (%w)", path, err)
	}
	if err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func save(path string, v any) error {
	raw, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return writeNew(path, raw, 0o600)
}

// writeNew writes a file that must not exist yet.
func writeNew(path string, raw []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	return errors.Join(err, f.Sync(), f.Close())
}

func (c *Config) path(name string) string       { return under(c.dir, name) }
func (c *LedgerServer) path(name string) string { return under(c.dir, name) }

func under(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
