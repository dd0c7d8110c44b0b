package deploy

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"k8s.io/apimachinery/pkg/labels"
)

// variant is an overlay of which do has changed a copy.
func variant(t *testing.T, overlay string, do func(dir string)) (dir string) {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("kustomize")); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(root, strings.TrimPrefix(overlay, "kustomize"))
	do(dir)
	return dir
}

// upgrading is an overlay as it is while the contract is upgraded: the runbook's commands have been run in it.
func upgrading(t *testing.T, overlay string) (dir string) {
	t.Helper()
	return variant(t, overlay, func(dir string) {
		steps(t, dir, "values/zl-chaincode-next.yaml")
		swap(t, filepath.Join(dir, "values/zl-chaincode-next.yaml"), "zhenglian_1:", "zhenglian_2:")
	})
}

// upgradingCompose is the same of the example for Compose.
func upgradingCompose(t *testing.T) *types.Project {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("compose")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "beijing")
	steps(t, dir, "ZL_CHAINCODE_NEXT_IMAGE")
	swap(t, filepath.Join(dir, "zl-chaincode-next.yaml"), "zhenglian_1:", "zhenglian_2:")
	swap(t, filepath.Join(dir, "organisation.env"), "# COMPOSE_PROFILES=", "COMPOSE_PROFILES=")
	p, err := load(t, filepath.Join(root, "compose.yaml"), filepath.Join(dir, "organisation.env"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// steps runs in dir the commands of the runbook's block that speaks of what, but for those that need a cluster or
// an engine. Both languages have the same ones.
func steps(t *testing.T, dir, what string) {
	t.Helper()
	var script string
	for _, lang := range []string{"en", "zh-CN"} {
		raw, err := os.ReadFile("../../docs/ops/contract-upgrade." + lang + ".md")
		if err != nil {
			t.Fatal(err)
		}
		commands := ""
		for i, block := range strings.Split(string(raw), "```") {
			if i%2 == 0 || !strings.Contains(block, what) {
				continue
			}
			for line := range strings.Lines(block) {
				line, _, _ = strings.Cut(strings.TrimSpace(line), "  #") // what is said beside it
				if strings.HasPrefix(line, "cp ") || strings.HasPrefix(line, "sed ") {
					commands += strings.TrimSpace(line) + "\n"
				}
			}
		}
		if commands == "" || script != "" && commands != script {
			t.Fatalf("contract-upgrade.%s.md, %s: commands %q, in the other language %q", lang, what, commands, script)
		}
		script = commands
	}
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s%v\n%s", script, err, out)
	}
}

// While the contract is upgraded two versions of it stand side by side: each with an image, an address and a
// configuration of its own, and neither takes the other's calls.
func TestUpgrade(t *testing.T) {
	for _, overlay := range overlays {
		dir := upgrading(t, overlay)
		m := render(t, dir)
		held(t, m, map[string]string{"zl-chaincode": "0.1.0 zhenglian_1", "zl-chaincode-next": "0.2.0 zhenglian_2"})
		now, next := m.contract(t, "zl-chaincode"), m.contract(t, "zl-chaincode-next")
		if now == next || strings.Replace(now, "zhenglian_1:", "zhenglian_2:", 1) != next {
			t.Errorf("%s: the configurations differ in more than the package id:\n%s\n%s", overlay, now, next)
		}
		flows, _ := m.allowed()
		for _, f := range []string{"peer0 → zl-chaincode 9999", "peer0 → zl-chaincode-next 9999"} {
			if !slices.Contains(flows, f) {
				t.Errorf("%s: %s is not allowed", overlay, f)
			}
		}

		// An organisation that pins the present one by digest keeps that digest off the next one.
		digest := "sha256:" + strings.Repeat("a", 64)
		pinned := upgrading(t, overlay)
		swap(t, filepath.Join(pinned, "kustomization.yaml"), "newTag: 0.1.0", "newTag: 0.1.0, digest: \""+digest+"\"")
		held(t, render(t, pinned), map[string]string{"zl-chaincode": "0.1.0@" + digest + " zhenglian_1", "zl-chaincode-next": "0.2.0 zhenglian_2"})
	}
}

// Afterwards the new one stays where it is, and the upgrade after that takes the place that has become free.
func TestUpgradesChangePlaces(t *testing.T) {
	for _, overlay := range overlays {
		dir := upgrading(t, overlay)
		steps(t, dir, "chaincodes/current")
		held(t, render(t, dir), map[string]string{"zl-chaincode-next": "0.2.0 zhenglian_2"})

		again := upgrading(t, overlay)
		swap(t, filepath.Join(again, "values/zl-chaincode.yaml"), "zhenglian_1:", "zhenglian_3:")
		swap(t, filepath.Join(again, "kustomization.yaml"), "newTag: 0.1.0", "newTag: 0.3.0")
		held(t, render(t, again), map[string]string{"zl-chaincode": "0.3.0 zhenglian_3", "zl-chaincode-next": "0.2.0 zhenglian_2"})
	}
}

// held expects a manifest without faults in which exactly these contracts stand: by place, version of the image and
// label of the package.
func held(t *testing.T, m *manifest, want map[string]string) {
	t.Helper()
	for _, f := range m.faults() {
		t.Error(f)
	}
	if _, faults := m.allowed(); len(faults) > 0 {
		t.Error(faults)
	}
	got := map[string]string{}
	for name, d := range m.deployed {
		id, _, _ := strings.Cut(parse[chaincodeFile](t, m.contract(t, name)).ID, ":")
		image, version, _ := strings.Cut(d.Spec.Template.Spec.Containers[0].Image, ":")
		if image != "zhenglian/zl-chaincode" {
			t.Errorf("%s runs %s, which nobody builds", name, image)
		}
		got[name] = version + " " + id
		// A package names this address; whoever answers there runs that package.
		s := m.services[name]
		if s == nil || len(s.Spec.Ports) != 1 || s.Spec.Ports[0].Port != 9999 {
			t.Errorf("nothing is served at %s:9999", name)
		} else if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(d.Spec.Template.Labels)) {
			t.Errorf("%s:9999 is not served by %s", name, name)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("contracts %v, want %v", got, want)
	}
}

// contract is the configuration of one of the contracts.
func (m *manifest) contract(t *testing.T, name string) string {
	t.Helper()
	config := m.configs[volumeOf(m.deployed[name].Spec.Template.Spec, "config").ConfigMap.Name]
	if config == nil {
		t.Fatalf("%s has no configuration", name)
	}
	return config.Data["zl-chaincode.yaml"]
}

// The same under Compose: a second service, which is the first but for its image and configuration.
func TestComposeUpgrade(t *testing.T) {
	p := upgradingCompose(t)
	for _, f := range composeFaults(p) {
		t.Error(f)
	}
	now, next := p.Services["zl-chaincode"], p.Services["zl-chaincode-next"]
	if now.Image != "zhenglian/zl-chaincode:0.1.0" || next.Image != "zhenglian/zl-chaincode:0.2.0" {
		t.Errorf("images %s and %s", now.Image, next.Image)
	}
	for service, id := range map[string]string{"zl-chaincode": "zhenglian_1:", "zl-chaincode-next": "zhenglian_2:"} {
		raw, err := os.ReadFile(mounted(t, p, service, "/etc/zhenglian/zl-chaincode.yaml"))
		if err != nil || !strings.HasPrefix(parse[chaincodeFile](t, string(raw)).ID, id) {
			t.Errorf("%s does not serve %s (%v)", service, id, err)
		}
	}
	if len(now.Volumes) != len(next.Volumes) {
		t.Fatalf("mounts %v and %v", now.Volumes, next.Volumes)
	}
	for i := range now.Volumes {
		now.Volumes[i].Source = strings.Replace(now.Volumes[i].Source, "/zl-chaincode.yaml", "/zl-chaincode-next.yaml", 1)
	}
	next.Name, next.Image, next.Profiles = now.Name, now.Image, now.Profiles
	if !reflect.DeepEqual(now, next) {
		t.Errorf("the next contract differs in more than image and configuration:\n%+v\n%+v", now, next)
	}
}
