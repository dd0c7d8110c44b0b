package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

const goodConfig = `
node: beijing
msp: BeijingMSP
channel: jjj
chaincode: zhenglian
genesis: genesis.json
identity: identity
listen: 127.0.0.1:8801
admin: 127.0.0.1:9801
ledger: {embedded: ../ledger}
`

func TestLoadConfig(t *testing.T) {
	tests := []struct{ name, old, new, want string }{
		{"good", "", "", ""},
		{"unknown key", "channel: jjj", "chanel: jjj", "chanel"},
		{"bad node id", "node: beijing", "node: Bei Jing", "node"},
		{"no ledger", "ledger: {embedded: ../ledger}", "", "gateways or embedded"},
		{"two ledgers", "embedded: ../ledger", "embedded: a, gateways: [{address: 'a:1', tls_roots: b}]", "gateways or embedded"},
		{"gateway without port", "embedded: ../ledger", "gateways: [{address: a, tls_roots: b}]", "address"},
		{"gateway without roots", "embedded: ../ledger", "gateways: [{address: 'a:1'}]", "tls_roots"},
		{"beyond loopback without TLS", "listen: 127.0.0.1:8801", "listen: 0.0.0.0:8801", "tls_cert"},
		{"admin beyond loopback", "admin: 127.0.0.1:9801", "admin: 10.0.0.1:9801", "loopback"},
		{"half a TLS pair", "channel: jjj", "channel: jjj\ntls_cert: a", "go together"},
		{"a rule off with a reason", "channel: jjj", "channel: jjj\napproval: {off: [registry, keys], reason: one person, batch_over: 500, expires: 48h}", ""},
		{"a rule off without", "channel: jjj", "channel: jjj\napproval: {off: [registry]}", "reason"},
		{"no such rule", "channel: jjj", "channel: jjj\napproval: {off: [all], reason: x}", "no rule"},
		{"too many at once", "channel: jjj", "channel: jjj\napproval: {batch_over: 100000000}", "batch_over"},
		{"gone too soon", "channel: jjj", "channel: jjj\napproval: {expires: 1s}", "expires"},
		{"proxies", "channel: jjj", "channel: jjj\ntrusted_proxies: [10.1.2.3, 'fd00::/64']", ""},
		{"everybody a proxy", "channel: jjj", "channel: jjj\ntrusted_proxies: [0.0.0.0/0]", "trusted_proxies"},
		{"not YAML", "node: beijing", "node: [", ConfigFile},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(strings.Replace(goodConfig, tt.old, tt.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadConfig(dir)
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want mention of %q", err, tt.want)
			}
		})
	}
	if _, err := LoadConfig(t.TempDir()); err == nil || !strings.Contains(err.Error(), "zhenglian init") {
		t.Errorf("a missing file should say what to do: %v", err)
	}
}

func onePlan() Plan {
	uscc, err := model.InventUSCC("11110000X", 1001)
	if err != nil {
		panic(err)
	}
	return Plan{Channel: "jjj", Chaincode: "zhenglian", Created: time.Now(), Nodes: []NodePlan{{
		ID: "beijing", Msp: "BeijingMSP", NameZh: "北京", Home: "bj-scjg", Listen: "127.0.0.1:0", Admin: "127.0.0.1:0",
		Agencies: []AgencyPlan{{Alg: envelope.ES256, Agency: model.Agency{ID: "bj-scjg", NameZh: "局", Region: "110000", USCC: uscc, Roles: []model.Role{model.RoleIssuer}}}},
	}}}
}

// TestMissingIsRefused: what cannot be made anew is never silently begun anew.
func TestMissingIsRefused(t *testing.T) {
	for _, name := range []string{"vault", "keys", "api-keys.json", "people.json", "outbox", "inbox"} {
		t.Run(name, func(t *testing.T) {
			f, err := Found(t.TempDir(), onePlan())
			if err != nil {
				t.Fatal(err)
			}
			dir := f.Nodes[0].Dir
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			cfg, err := LoadConfig(dir)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := Run(ctx, cfg, quiet); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("the node ran without %s: %v", name, err)
			}
		})
	}
}

// TestKeys: keys are issued and revoked beside a running node, which takes that up.
func TestKeys(t *testing.T) {
	f, err := Found(t.TempDir(), onePlan())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(f.Nodes[0].Dir)
	if err != nil {
		t.Fatal(err)
	}
	k, err := People(cfg)
	if err != nil {
		t.Fatal(err)
	}
	running, err := People(cfg)
	if err != nil {
		t.Fatal(err)
	}
	token, e, err := k.Issue(auth.Grant{Name: "counter 3", Agency: "bj-scjg", Roles: []auth.Role{auth.Verifier}, Expires: model.TimeOf(time.Now().Add(time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := running.SignInKey("Bearer " + token); err == nil {
		t.Error("a key was known before the file was read again")
	}
	if err := running.Refresh(); err != nil {
		t.Fatal(err)
	}
	if _, err := running.SignInKey("Bearer " + token); err != nil {
		t.Error(err)
	}
	if err := k.Revoke(e.ID); err != nil {
		t.Fatal(err)
	}
	if err := running.Refresh(); err != nil {
		t.Fatal(err)
	}
	if _, err := running.SignInKey("Bearer " + token); err == nil {
		t.Error("a revoked key signs in")
	}
}

// TestFound: secrets are the user's alone, and nothing is ever overwritten.
func TestFound(t *testing.T) {
	dir := t.TempDir()
	f, err := Found(dir, onePlan())
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Nodes) != 1 || len(f.Nodes[0].Keys) != len(auth.Roles) {
		t.Fatalf("made %+v", f)
	}
	if _, err := LoadConfig(f.Nodes[0].Dir); err != nil {
		t.Error(err)
	}
	for _, secret := range []string{"identity.key", "api-keys.json", "keys/bj-scjg/bj-scjg-1.pem", "authority/ca.key"} {
		info, err := os.Stat(filepath.Join(f.Nodes[0].Dir, secret))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", secret, info.Mode())
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, "genesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Found(dir, onePlan()); err == nil {
		t.Error("a second founding in the same folder succeeded")
	}
	after, err := os.ReadFile(filepath.Join(dir, "genesis.json"))
	if err != nil || string(after) != string(before) {
		t.Error("the genesis document changed")
	}
	if _, err := readGenesis(filepath.Join(dir, "genesis.json"), strings.Repeat("0", 64)); err == nil {
		t.Error("a document of another digest was accepted")
	}
}
