package deploy

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const (
	composeFile    = "compose/compose.yaml"
	composeExample = "compose/beijing"
)

// load reads the compose file with an organisation's values as Compose does: interpolated, validated against the
// specification's schema, normalised. Without profiles those of the values run.
func load(t *testing.T, file, env string, profiles ...string) (*types.Project, error) {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{file},
		cli.WithEnvFiles(env), cli.WithDotEnv, cli.WithInterpolation(true), cli.WithResolvedPaths(true), cli.WithDefaultProfiles(profiles...))
	if err != nil {
		return nil, err
	}
	return o.LoadProject(context.Background())
}

func example(t *testing.T) *types.Project {
	t.Helper()
	p, err := load(t, composeFile, composeExample+"/organisation.env", "orderer", "next")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mounted is the file that a service sees at a path.
func mounted(t *testing.T, p *types.Project, service, target string) string {
	t.Helper()
	for _, v := range p.Services[service].Volumes {
		if v.Target == target {
			return v.Source
		}
	}
	t.Fatalf("%s mounts no %s", service, target)
	return ""
}

// published are the ports that other machines reach, as docs/guide/deploy.en.md lists them.
var published = map[string]string{"peer0": "7051", "orderer": "7050", "zhenglian": "8801"}

// composeFaults returns a sentence for each rule that the project breaks.
func composeFaults(p *types.Project) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		s := p.Services[name]
		add := func(what string) { out = append(out, name+" "+what) }
		if _, fault := imageFault(s.Image); fault != "" {
			add(fault)
		}
		if s.Privileged || len(s.CapAdd) > 0 || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) {
			add("may gain privileges")
		}
		if user, _, _ := strings.Cut(s.User, ":"); user == "" || user == "0" || user == "root" {
			add("runs as root")
		}
		if !s.ReadOnly {
			add("may write to its root file system")
		}
		if s.NetworkMode != "" || s.Pid != "" || s.Ipc != "" || len(s.Devices) > 0 || len(s.VolumesFrom) > 0 {
			add("shares something of its machine")
		}
		if s.Deploy == nil || s.Deploy.Resources.Limits == nil || s.Deploy.Resources.Limits.MemoryBytes == 0 || s.Deploy.Resources.Limits.NanoCPUs == 0 || s.Deploy.Resources.Limits.Pids == 0 {
			add("has no limits")
		}
		if s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
			add("logs without end")
		}
		if s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD" {
			add("has no health check")
		}
		if s.StopGracePeriod == nil || s.Restart != "unless-stopped" {
			add("neither stops nor starts as it should")
		}
		for _, v := range s.Volumes {
			state := v.Type == "tmpfs" || v.Target == "/var/lib/zhenglian" || v.Target == "/var/hyperledger"
			switch {
			case v.Type != "tmpfs" && v.Type != "bind":
				add("keeps " + v.Target + " in a volume of root's")
			case !state && !v.ReadOnly:
				add("mounts " + v.Target + " for writing")
			case v.Type == "bind" && (v.Bind == nil || bool(v.Bind.CreateHostPath)):
				add("would make " + v.Source + " anew")
			case v.Type == "bind" && strings.Contains(v.Source, ".sock"):
				add("holds a socket of its machine")
			case v.Type == "tmpfs" && (v.Tmpfs == nil || v.Tmpfs.Size == 0):
				add("has memory without a limit at " + v.Target)
			}
		}
		if len(s.Configs)+len(s.Secrets) > 0 {
			add("takes configs or secrets, which Compose cannot copy into a read-only container")
		}
		switch want := published[name]; {
		case want == "" && len(s.Ports) > 0:
			add("is reachable from other machines")
		case want != "" && (len(s.Ports) != 1 || s.Ports[0].Published != want || s.Ports[0].HostIP == ""):
			add("is not published as documented")
		}
	}
	if contract := p.Networks["contract"]; !contract.Internal {
		out = append(out, "the contract has a way out")
	}
	for _, name := range []string{"zl-chaincode", "zl-chaincode-next"} {
		if got := slices.Sorted(maps.Keys(p.Services[name].Networks)); !slices.Equal(got, []string{"contract"}) {
			out = append(out, name+" is on other networks than its own")
		}
	}
	return out
}

func TestCompose(t *testing.T) {
	p := example(t)
	for _, f := range composeFaults(p) {
		t.Error(f)
	}
	if got, want := slices.Sorted(maps.Keys(p.Services)), []string{"orderer", "peer0", "zhenglian", "zl-chaincode", "zl-chaincode-next"}; !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
	if p.Name != "zhenglian-beijing" {
		t.Errorf("name %q", p.Name)
	}
	less, err := load(t, composeFile, composeExample+"/organisation.env")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(less.Services)), []string{"peer0", "zhenglian", "zl-chaincode"}; !slices.Equal(got, want) {
		t.Errorf("unasked run %v, want %v", got, want)
	}
}

// Without an organisation's values nothing starts, and the message says what to give.
func TestComposeNeedsValues(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.env")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, composeFile, empty); err == nil || !strings.Contains(err.Error(), "ZL_") {
		t.Errorf("without values: %v", err)
	}
	raw, err := os.ReadFile(composeExample + "/organisation.env")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		key, _, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if err := os.WriteFile(empty, []byte(strings.Replace(string(raw), line, "", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load(t, composeFile, empty, "orderer", "next"); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("without %s: %v", key, err)
		}
	}
}

func TestComposeValuesAgree(t *testing.T) {
	p := example(t)
	read := func(service, target string) string {
		raw, err := os.ReadFile(mounted(t, p, service, target))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	env := p.Services["peer0"].Environment
	domain := strings.TrimPrefix(*env["CORE_PEER_ID"], "peer0.")
	agree(t, composeExample, *env["CORE_PEER_LOCALMSPID"], domain, []string{"peer0"},
		read("zhenglian", "/var/lib/zhenglian/zhenglian.yaml"), read("zl-chaincode", "/etc/zhenglian/zl-chaincode.yaml"))
	// The health checks ask on loopback what the configuration puts there.
	cc := parse[chaincodeFile](t, read("zl-chaincode", "/etc/zhenglian/zl-chaincode.yaml"))
	node := parse[nodeFile](t, read("zhenglian", "/var/lib/zhenglian/zhenglian.yaml"))
	for service, address := range map[string]string{"zl-chaincode": cc.Admin, "zhenglian": node.Admin} {
		if got, want := strings.Join(p.Services[service].HealthCheck.Test, " "), "CMD /zl-probe http://"+address+"/readyz"; got != want {
			t.Errorf("%s: health check %q, want %q", service, got, want)
		}
	}
	for service, port := range map[string]string{"peer0": "9443", "orderer": "8443"} {
		if check := strings.Join(p.Services[service].HealthCheck.Test, " "); !strings.Contains(check, "/dev/tcp/127.0.0.1/"+port) || !strings.Contains(check, "GET /healthz") {
			t.Errorf("%s: health check %q", service, check)
		}
	}
}

func TestComposeRulesBite(t *testing.T) {
	tests := map[string]func(s *types.ServiceConfig){
		"privileged":      func(s *types.ServiceConfig) { s.Privileged = true },
		"capability":      func(s *types.ServiceConfig) { s.CapAdd = []string{"SYS_ADMIN"} },
		"capabilities":    func(s *types.ServiceConfig) { s.CapDrop = nil },
		"new privileges":  func(s *types.ServiceConfig) { s.SecurityOpt = nil },
		"root":            func(s *types.ServiceConfig) { s.User = "0:0" },
		"no user":         func(s *types.ServiceConfig) { s.User = "" },
		"writable root":   func(s *types.ServiceConfig) { s.ReadOnly = false },
		"host network":    func(s *types.ServiceConfig) { s.NetworkMode = "host" },
		"no limits":       func(s *types.ServiceConfig) { s.Deploy = nil },
		"no health check": func(s *types.ServiceConfig) { s.HealthCheck = nil },
		"log":             func(s *types.ServiceConfig) { s.Logging = nil },
		"latest":          func(s *types.ServiceConfig) { s.Image = "hyperledger/fabric-peer:latest" },
		"second port": func(s *types.ServiceConfig) {
			s.Ports = append(s.Ports, types.ServicePortConfig{Published: "9443", Target: 9443, HostIP: "0.0.0.0"})
		},
		"every address": func(s *types.ServiceConfig) { s.Ports[0].HostIP = "" },
		"engine": func(s *types.ServiceConfig) {
			s.Volumes = append(s.Volumes, types.ServiceVolumeConfig{Type: "bind", Source: "/var/run/docker.sock", Target: "/s", ReadOnly: true, Bind: &types.ServiceVolumeBind{}})
		},
		"writable secret": func(s *types.ServiceConfig) {
			for i := range s.Volumes {
				s.Volumes[i].ReadOnly = false
			}
		},
		"folder made anew": func(s *types.ServiceConfig) {
			for i := range s.Volumes {
				s.Volumes[i].Bind = nil
			}
		},
	}
	for name, do := range tests {
		p := example(t)
		s := p.Services["peer0"]
		do(&s)
		p.Services["peer0"] = s
		if len(composeFaults(p)) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}
