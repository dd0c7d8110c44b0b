package deploy

import (
	"bytes"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
)

// values are the organisation's, as the programs see them.
func (m *manifest) values() map[string]string { return m.config("organisation").Data }

// config finds a generated ConfigMap by the name that it was given.
func (m *manifest) config(name string) *corev1.ConfigMap {
	for n, c := range m.configs {
		if rest, ok := strings.CutPrefix(n, name+"-"); ok && !strings.Contains(rest, "-") {
			return c
		}
	}
	return &corev1.ConfigMap{}
}

// nodeFile and chaincodeFile are what is compared here of the programs' own configuration; the programs check
// the whole (programs_test.go).
type nodeFile struct {
	Node, Msp, Listen, Admin string
	Ledger                   struct {
		Gateways []struct {
			Address    string
			TLSRoots   string `yaml:"tls_roots"`
			ServerName string `yaml:"server_name"`
		}
	}
	Digest     string `yaml:"genesis_digest"`
	ImportFrom string `yaml:"import_from"`
	Identity   string
}

type chaincodeFile struct {
	ID, Listen, Admin string
	Digest            string `yaml:"genesis_digest"`
	ImportFrom        string `yaml:"import_from"`
}

func parse[T any](t *testing.T, raw string) (v T) {
	t.Helper()
	if raw == "" {
		t.Fatal("a configuration is missing")
	}
	if err := yaml.NewDecoder(bytes.NewReader([]byte(raw))).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// One value stands in several files for several programs; they must be one.
func TestValuesAgree(t *testing.T) {
	for _, dir := range overlays {
		m := render(t, dir)
		v := m.values()
		for _, k := range []string{"CONSORTIUM_CIDR", "CLIENTS_CIDR"} {
			if p, err := netip.ParsePrefix(v[k]); err != nil || p != p.Masked() || p.Bits() == 0 {
				t.Errorf("%s: %s is %q", dir, k, v[k])
			}
		}
		peers := slices.DeleteFunc(slices.Sorted(maps.Keys(m.sets)), func(n string) bool { return !strings.HasPrefix(n, "peer") })
		agree(t, dir, v["MSP"], v["DOMAIN"], peers, m.config("zhenglian-config").Data["zhenglian.yaml"], m.config("zl-chaincode-config").Data["zl-chaincode.yaml"])

		for n, s := range m.sets {
			c := s.Spec.Template.Spec.Containers[0]
			env := map[string]string{}
			for _, e := range c.Env {
				env[e.Name] = e.Value
			}
			switch {
			case strings.HasPrefix(n, "peer"):
				if got := s.Spec.Template.Labels["app.kubernetes.io/instance"]; got != n {
					t.Errorf("%s: %s calls itself %s", dir, n, got)
				}
				if env["CORE_OPERATIONS_LISTENADDRESS"] != "0.0.0.0:9443" || env["CORE_OPERATIONS_TLS_ENABLED"] != "true" {
					t.Errorf("%s: %s: the probes' listener", dir, n)
				}
				if boot, _, _ := net.SplitHostPort(env["CORE_PEER_GOSSIP_BOOTSTRAP"]); m.services[boot] == nil {
					t.Errorf("%s: %s looks for peers at %q", dir, n, boot)
				}
			case n == "orderer" && env["ORDERER_OPERATIONS_TLS_ENABLED"] != "true":
				t.Errorf("%s: the orderer's probes' listener", dir)
			}
		}
	}
}

// agree compares the programs' files with the organisation's values.
func agree(t *testing.T, where, msp, domain string, peers []string, nodeYAML, chaincodeYAML string) {
	t.Helper()
	node, cc := parse[nodeFile](t, nodeYAML), parse[chaincodeFile](t, chaincodeYAML)
	if node.Msp != msp {
		t.Errorf("%s: the node is of %s, the peer of %s", where, node.Msp, msp)
	}
	if node.Digest != cc.Digest {
		t.Errorf("%s: the node and the contract have different genesis digests", where)
	}
	if node.ImportFrom != cc.ImportFrom {
		t.Errorf("%s: the node and the contract took over different ledgers", where)
	}
	if node.Listen != "0.0.0.0:8801" || node.Admin != "127.0.0.1:9801" || cc.Listen != "0.0.0.0:9999" {
		t.Errorf("%s: listeners %s %s %s", where, node.Listen, node.Admin, cc.Listen)
	}
	own := 0
	for i, g := range node.Ledger.Gateways {
		host, port, err := net.SplitHostPort(g.Address)
		if err != nil || port != "7051" {
			t.Errorf("%s: gateway %q", where, g.Address)
		}
		if !slices.Contains(peers, host) {
			if strings.HasSuffix(host, "."+domain) {
				t.Errorf("%s: gateway %s is one's own under its public name", where, host)
			}
			continue
		}
		if own++; own != i+1 {
			t.Errorf("%s: one's own gateways come first", where)
		}
		if g.ServerName != host+"."+domain || g.TLSRoots != "/etc/zhenglian/gateways/own.pem" {
			t.Errorf("%s: gateway %s is known as %q by %s", where, host, g.ServerName, g.TLSRoots)
		}
	}
	if own != len(peers) {
		t.Errorf("%s: %d of %d own peers are gateways", where, own, len(peers))
	}
}

// Every example shows where a ledger that took over a pilot's is named: in the node's file and in the contract's.
func TestImportFromIsShown(t *testing.T) {
	for _, dir := range []string{overlays[0] + "/values", overlays[1] + "/values", composeExample} {
		shown := func(name string) string {
			raw, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			return strings.Replace(string(raw), "\n# import_from: ", "\nimport_from: ", 1)
		}
		node, cc := parse[nodeFile](t, shown("zhenglian.yaml")), parse[chaincodeFile](t, shown("zl-chaincode.yaml"))
		if node.ImportFrom != nobody || cc.ImportFrom != nobody {
			t.Errorf("%s shows %q for the node, %q for the contract", dir, node.ImportFrom, cc.ImportFrom)
		}
	}
}
