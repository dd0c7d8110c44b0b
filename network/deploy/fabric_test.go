package deploy

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// fabricVersion is the version of Fabric that can be had as a Go module; network/tools pins it as well.
const fabricVersion = "v1.4.0-rc1.0.20230401164317-bd8e24856939"

// Fabric passes over a key that it does not know. So every key here must stand in the configuration that Fabric
// itself is delivered with.
func TestFabricKnowsTheKeys(t *testing.T) {
	pins, err := os.ReadFile("../tools/go.mod")
	if err != nil || !strings.Contains(string(pins), fabricVersion) {
		t.Fatalf("network/tools pins another Fabric than %s (%v)", fabricVersion, err)
	}
	var module struct{ Dir, Error string }
	cmd := exec.Command("go", "mod", "download", "-json", "github.com/hyperledger/fabric@"+fabricVersion)
	cmd.Dir = t.TempDir() // beside no module: nothing is required of it
	out, err := cmd.Output()
	if e := json.Unmarshal(out, &module); e != nil || err != nil {
		t.Fatalf("%v %v %s", err, e, module.Error)
	}
	for ours, theirs := range map[string]string{"kustomize/peer/config/core.yaml": "core.yaml", "kustomize/orderer/config/orderer.yaml": "orderer.yaml"} {
		sample := filepath.Join(module.Dir, "sampleconfig", theirs)
		known := keys(t, sample)
		text, err := os.ReadFile(sample)
		if err != nil {
			t.Fatal(err)
		}
		for key := range keys(t, ours) {
			last := key[strings.LastIndex(key, ".")+1:]
			if !known[key] && !strings.Contains(string(text), "# "+last+": ") { // some stand there as comments
				t.Errorf("%s: Fabric does not know %s", ours, key)
			}
		}
	}
}

func keys(t *testing.T, path string) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, below := range v {
				walk(at+"."+k, below)
			}
		case []any:
			for _, below := range v {
				walk(at, below)
			}
		}
		out[at] = true
	}
	walk("", v)
	return out
}

// fabric finds Fabric's programs: official ones, or those that zl-network has built.
func fabric(t *testing.T, name string) string {
	t.Helper()
	found, _ := filepath.Glob("../../bin/fabric/*/" + name)
	if dir := os.Getenv("ZL_FABRIC_BIN"); dir != "" {
		found = append(found, filepath.Join(dir, name))
	}
	if len(found) > 0 { // copied: the pod's user may not reach where it lies
		path := filepath.Join(programs, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		raw, err := os.ReadFile(found[len(found)-1])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const why = "Fabric's programs are not built: bin/zl-network build"
	if os.Getenv("ZL_STRICT") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// Fabric's own programs take the configuration, environment and secrets of the manifests, as the pod's user (where
// the tests run as root), and answer the probes.
func TestFabricRuns(t *testing.T) {
	m := render(t, "kustomize/overlays/beijing")
	all := secrets(t, "beijing", []string{"own.pem"})
	for _, tt := range []struct{ set, listen, operations, msp string }{
		{"peer0", "CORE_PEER_LISTENADDRESS", "CORE_OPERATIONS_LISTENADDRESS", "CORE_PEER_LOCALMSPID"},
		{"peer1", "CORE_PEER_LISTENADDRESS", "CORE_OPERATIONS_LISTENADDRESS", "CORE_PEER_LOCALMSPID"},
		{"orderer", "", "ORDERER_OPERATIONS_LISTENADDRESS", "ORDERER_GENERAL_LOCALMSPID"},
	} {
		t.Run(tt.set, func(t *testing.T) {
			pod := m.sets[tt.set].Spec.Template
			c := pod.Spec.Containers[0]
			binary := fabric(t, c.Command[0])
			root := t.TempDir()
			layOut(t, root, m, pod.Spec, all)
			env := environment(m, pod)
			if env[tt.msp] != "BeijingMSP" {
				t.Errorf("%s is %q", tt.msp, env[tt.msp])
			}
			if tt.listen != "" {
				if got, want := env["CORE_PEER_GOSSIP_EXTERNALENDPOINT"], tt.set+".beijing.zhenglian.example:7051"; got != want {
					t.Errorf("external endpoint %q, want %q", got, want)
				}
				env["CORE_PEER_CHAINCODELISTENADDRESS"] = free(t)
				env[tt.listen] = free(t)
			} else {
				host, port, _ := net.SplitHostPort(free(t))
				env["ORDERER_GENERAL_LISTENADDRESS"], env["ORDERER_GENERAL_LISTENPORT"] = host, port
				env["ORDERER_ADMIN_LISTENADDRESS"] = free(t)
			}
			operations := free(t)
			env[tt.operations] = operations
			env["FABRIC_CFG_PATH"] = rooted(root, env["FABRIC_CFG_PATH"]+"/")
			p := start(t, handOver(t, root, pod.Spec), env, binary, c.Command[1:]...)
			for _, path := range served[strings.Split(c.Image, ":")[0]]["operations"] {
				if status, body := p.ask(t, "https://"+operations+path); status != http.StatusOK {
					t.Errorf("%s: %d %s", path, status, body)
				}
			}
			// What tells more than the probes need is for those with a certificate.
			for _, path := range []string{"/metrics", "/logspec"} {
				if status, _ := p.ask(t, "https://"+operations+path); status != http.StatusUnauthorized {
					t.Errorf("%s without a certificate: %d", path, status)
				}
			}
			if c.LivenessProbe.HTTPGet.Path != "/healthz" {
				t.Errorf("liveness asks %s", c.LivenessProbe.HTTPGet.Path)
			}
			_ = p.cmd.Process.Kill() // Fabric ends on SIGTERM with a status of its own
			err := <-p.done
			p.done <- err
			entries, err := os.ReadDir(filepath.Join(root, "var/hyperledger/production"))
			if err != nil || len(entries) == 0 {
				t.Errorf("nothing was written below the volume (%v)", err)
			}
		})
	}
}
