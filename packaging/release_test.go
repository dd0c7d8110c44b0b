package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// made is the release to look at, which scripts/release-check.sh has made: $ZL_RELEASE.
func made(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ZL_RELEASE")
	if dir == "" {
		t.Skip("ZL_RELEASE names no release; make release-check makes one and looks at it")
	}
	return dir
}

// one is the only file of a release that matches a pattern.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}

func readArchive(t *testing.T, at string) map[string][]byte {
	t.Helper()
	f, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	top := strings.TrimSuffix(filepath.Base(at), ".tar.gz") + "/"
	out := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(h.Name, top)
		if !ok || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: %s of %d %q", at, h.Name, h.Uid, h.Uname)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			out[name] = raw
		}
	}
}

func TestChecksums(t *testing.T) {
	dir := made(t)
	raw, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(raw)) {
		sum, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || fmt.Sprintf("%x", sha256.Sum256(body)) != sum {
			t.Errorf("%s: %v", name, err)
		}
		listed = append(listed, name)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "SHA256SUMS" && !slices.Contains(listed, e.Name()) {
			t.Errorf("%s has no checksum", e.Name())
		}
	}
}

// The archive has every program, static, of one commit, with its unit, documents, licences and bill of materials; the
// bill is valid CycloneDX and names exactly what the programs say of themselves.
func TestArchive(t *testing.T) {
	dir := made(t)
	at := one(t, dir, "zhenglian-*-linux-amd64.tar.gz")
	files := readArchive(t, at)
	for _, name := range []string{
		"LICENSE", "doc/README.md", "doc/README.zh-CN.md", "doc/CHANGELOG.md", "doc/docs/spec/openapi.json", "doc/docs/guide/install.en.md",
		"doc/docs/guide/install.zh-CN.md", "doc/licences/LIST", "doc/licences/README.md", "doc/sbom.cdx.json", "systemd/zhenglian.service",
	} {
		if len(files[name]) == 0 {
			t.Errorf("%s is not in the archive", name)
		}
	}
	bill, err := os.ReadFile(one(t, dir, "zhenglian-*-linux-amd64.cdx.json"))
	if err != nil || !bytes.Equal(bill, files["doc/sbom.cdx.json"]) {
		t.Errorf("the bill beside the archive is another: %v", err)
	}
	var sbom struct {
		Components []struct {
			Type, Name, Version string
			Licenses            []struct{ License struct{ ID string } }
			Hashes              []struct{ Content string }
		}
	}
	if err := json.Unmarshal(bill, &sbom); err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, c := range sbom.Components {
		named[c.Name+" "+c.Version] = false
		if len(c.Licenses) == 0 {
			t.Errorf("%s has no licence in the bill", c.Name)
		}
		if c.Type == "application" && fmt.Sprintf("%x", sha256.Sum256(files["bin/"+c.Name])) != c.Hashes[0].Content {
			t.Errorf("the bill has another digest of %s", c.Name)
		}
	}
	list, err := os.ReadFile("../scripts/programs")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(list)) {
		raw := files["bin/"+filepath.Base(p)]
		at := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(at, raw, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := static(at); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		info, err := buildinfo.Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if !strings.HasSuffix(info.Path, strings.TrimPrefix(p, ".")) {
			t.Errorf("%s is %s", p, info.Path)
		}
		named[filepath.Base(p)+" "+strings.TrimPrefix(info.Main.Version, "v")] = true
		named["stdlib "+strings.TrimPrefix(info.GoVersion, "go")] = true
		for _, d := range info.Deps {
			if _, ok := named[d.Path+" "+d.Version]; !ok {
				t.Errorf("%s holds %s %s, which the bill does not name", p, d.Path, d.Version)
			}
			named[d.Path+" "+d.Version] = true
			if !bytes.Contains(files["doc/licences/LIST"], []byte(d.Path+" "+d.Version+": ")) {
				t.Errorf("the licence of %s is not listed", d.Path)
			}
		}
	}
	for what, held := range named {
		if !held {
			t.Errorf("the bill names %s, which no program holds", what)
		}
	}
	validBill(t, bill)
}

// validBill holds the bill to CycloneDX's own schema, which comes with the library that wrote it.
func validBill(t *testing.T, bill []byte) {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	schemas := filepath.Join(strings.TrimSpace(string(out)), "schema")
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for name, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		raw, err := os.ReadFile(filepath.Join(schemas, file))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+name, v); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(bill))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("the bill is no CycloneDX 1.6: %v", err)
	}
}

// Whoever has the sources' archive and Go builds the programs without a network, and so with a library of his own in
// place of the one that is under the LGPL.
func TestSourcesBuildOffline(t *testing.T) {
	at := one(t, made(t), "zhenglian-*-source.tar.gz")
	files := readArchive(t, at)
	for _, name := range []string{"go.mod", "vendor/modules.txt", "vendor/github.com/ethereum/go-ethereum/COPYING.LESSER", "vendor/github.com/ethereum/go-ethereum/crypto/crypto.go"} {
		if len(files[name]) == 0 {
			t.Errorf("%s is not in the archive", name)
		}
	}
	root := t.TempDir()
	if out, err := exec.Command("tar", "xzf", at, "-C", root, "--strip-components=1").CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	// A change in the library has to be in the program.
	const mark = "changed-by-whoever-received-it"
	changed := filepath.Join(root, "vendor/github.com/ethereum/go-ethereum/crypto/changed.go")
	if err := os.WriteFile(changed, []byte("package crypto\n\nimport \"os\"\n\nfunc init() { os.Setenv(\"ZL_TEST_MARK\", \""+mark+"\") }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "zhenglian")
	c := exec.Command("go", "build", "-mod=vendor", "-trimpath", "-buildvcs=false", "-o", program, "./node/cmd/zhenglian")
	c.Dir = root
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOPROXY=off", "GOSUMDB=off")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	raw, err := os.ReadFile(program)
	if err != nil || !bytes.Contains(raw, []byte(mark)) {
		t.Errorf("the changed library is not in the program: %v", err)
	}
}

// Every program of the module is released or is a developer's own.
func TestProgramsAreListed(t *testing.T) {
	list, err := os.ReadFile("../scripts/programs")
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob("../*/cmd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range found {
		rel := "./" + strings.TrimPrefix(filepath.ToSlash(at), "../")
		if rel == "./node/cmd/zl-bench" { // measures a tree
			continue
		}
		if !slices.Contains(strings.Fields(string(list)), rel) {
			t.Errorf("%s is not in scripts/programs, so no release has it", rel)
		}
	}
}

func TestPackageVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.3": "1.2.3", "1.2.4-0.20261123220249-8dae34ad62a7": "1.2.4~0.20261123220249.8dae34ad62a7", "2.0.0-rc.1": "2.0.0~rc.1",
	} {
		if got := packageVersion(version); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
}
