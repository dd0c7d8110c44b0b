package deploy

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	for _, set := range []string{"peer0", "peer1", "orderer"} {
		t.Run(set, func(t *testing.T) {
			pod := m.sets[set].Spec.Template
			c := pod.Spec.Containers[0]
			env := environment(m, pod)
			if got, want := env["CORE_PEER_GOSSIP_EXTERNALENDPOINT"], set+".beijing.zhenglian.example:7051"; got != want && set != "orderer" {
				t.Errorf("external endpoint %q, want %q", got, want)
			}
			p, operations := runFabric(t, m, set, env, all)
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
		})
	}
}

// The same under Compose, with its health checks.
func TestComposeFabricRuns(t *testing.T) {
	project, m := example(t), render(t, "kustomize/overlays/beijing")
	all := secrets(t, "beijing", []string{"own.pem"})
	for service, port := range map[string]string{"peer0": "9443", "orderer": "8443"} {
		t.Run(service, func(t *testing.T) {
			s := project.Services[service]
			env := map[string]string{}
			for k, v := range s.Environment {
				env[k] = *v
			}
			if !slices.Equal(s.Command, m.sets[service].Spec.Template.Spec.Containers[0].Command) {
				t.Errorf("runs %v", s.Command)
			}
			p, operations := runFabric(t, m, service, env, all)
			p.ask(t, "http://"+operations+"/healthz")
			host, at, _ := net.SplitHostPort(operations)
			check := slices.Clone([]string(s.HealthCheck.Test[1:]))
			check[2] = strings.Replace(strings.ReplaceAll(check[2], "$$", "$"), "127.0.0.1/"+port, host+"/"+at, 1)
			if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
				t.Errorf("health check: %v\n%s", err, out)
			}
			check[2] = strings.Replace(check[2], "/healthz", "/nothing", 1)
			if err := exec.Command(check[0], check[1:]...).Run(); err == nil {
				t.Error("the health check is content with anything")
			}
		})
	}
}

// runFabric starts one of Fabric's programs on what its pod mounts, with an environment, on free ports of
// loopback, and returns where its operations service listens.
func runFabric(t *testing.T, m *manifest, set string, env map[string]string, all map[string]map[string]string) (*process, string) {
	t.Helper()
	pod := m.sets[set].Spec.Template.Spec
	command := pod.Containers[0].Command
	binary := fabric(t, command[0])
	root := t.TempDir()
	layOut(t, root, m, pod, all)
	if got := env["CORE_PEER_LOCALMSPID"] + env["ORDERER_GENERAL_LOCALMSPID"]; got != "BeijingMSP" {
		t.Errorf("%s is of %q", set, got)
	}
	operations, other := free(t), free(t)
	if command[0] == "peer" {
		env["CORE_PEER_LISTENADDRESS"], env["CORE_PEER_CHAINCODELISTENADDRESS"], env["CORE_OPERATIONS_LISTENADDRESS"] = free(t), other, operations
	} else {
		host, port, _ := net.SplitHostPort(other)
		env["ORDERER_GENERAL_LISTENADDRESS"], env["ORDERER_GENERAL_LISTENPORT"] = host, port
		env["ORDERER_ADMIN_LISTENADDRESS"], env["ORDERER_OPERATIONS_LISTENADDRESS"] = free(t), operations
	}
	env["FABRIC_CFG_PATH"] = rooted(root, env["FABRIC_CFG_PATH"]+"/")
	p := start(t, handOver(t, root, pod), env, binary, command[1:]...)
	t.Cleanup(func() { // before the process is ended: what it wrote lies on the volume
		if entries, err := os.ReadDir(filepath.Join(root, "var/hyperledger/production")); err != nil || len(entries) == 0 {
			t.Errorf("%s wrote nothing to its volume (%v)", set, err)
		}
	})
	return p, operations
}
