package zhenglian_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The program in README.md compiles.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?ms)^```go\n(package main\n.*?)^```$").FindSubmatch(raw)
	if m == nil {
		t.Fatal("README.md has no program")
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(at, m[1], 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(here, "snippet", "main.go"): at}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-overlay", list, "-o", os.DevNull, "./snippet").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
