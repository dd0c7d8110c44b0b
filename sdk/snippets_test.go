package sdk_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

var program = regexp.MustCompile("(?ms)^```go\n(package main\n.*?)^```$")

// The programs in the pages for readers compile. They are built as packages of this module that stand in an overlay
// only, so that they see the module as a reader's own would.
func TestSnippets(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	overlay := map[string]map[string]string{"Replace": {}}
	var packages []string
	for _, page := range append(pages(t, root), "sdk/README.md") {
		raw, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range program.FindAllSubmatch(raw, -1) {
			name := fmt.Sprintf("snippet%d", len(packages))
			at := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(at, m[1], 0o600); err != nil {
				t.Fatal(err)
			}
			overlay["Replace"][filepath.Join(root, "sdk", name, "main.go")] = at
			packages = append(packages, "./sdk/"+name)
		}
	}
	if len(packages) == 0 {
		t.Fatal("no page has a program")
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(at, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("go", append([]string{"build", "-overlay", at, "-o", t.TempDir() + "/"}, packages...)...)
	c.Dir = root
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("a program in a page does not compile: %v\n%s", err, out)
	}
}
