package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// While the contract is upgraded two versions of it stand side by side: each with its own address and
// configuration, and neither takes the other's calls.
func TestUpgrade(t *testing.T) {
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS("kustomize")); err != nil {
		t.Fatal(err)
	}
	overlay := filepath.Join(root, "overlays/beijing")
	swap(t, filepath.Join(overlay, "kustomization.yaml"), "# - ../../chaincodes/next", "- ../../chaincodes/next")
	next, err := os.ReadFile(filepath.Join(overlay, "values/zl-chaincode.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(overlay, "values/next/zl-chaincode.yaml"), strings.Replace(string(next), "zhenglian_1:", "zhenglian_2:", 1))
	swap(t, filepath.Join(overlay, "values/kustomization.yaml"), "configMapGenerator:\n", "configMapGenerator:\n  - name: zl-chaincode-next-config\n    files: [next/zl-chaincode.yaml]\n")
	m := render(t, overlay)
	for _, f := range m.faults() {
		t.Error(f)
	}
	if _, faults := m.allowed(); len(faults) > 0 {
		t.Error(faults)
	}
	if got, want := slices.Sorted(maps.Keys(m.deployed)), []string{"zl-chaincode", "zl-chaincode-next"}; !slices.Equal(got, want) {
		t.Fatalf("deployments %v, want %v", got, want)
	}
	for name, id := range map[string]string{"zl-chaincode": "zhenglian_1:", "zl-chaincode-next": "zhenglian_2:"} {
		config := m.configs[volumeOf(m.deployed[name].Spec.Template.Spec, "config").ConfigMap.Name]
		if config == nil || !strings.Contains(config.Data["zl-chaincode.yaml"], id) {
			t.Errorf("%s does not serve %s", name, id)
		}
	}
}
