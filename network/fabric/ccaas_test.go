package fabric

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"
)

// authorities makes what Connection names without cryptogen.
func testConnection(t testing.TB) Connection {
	t.Helper()
	dir := t.TempDir()
	root := selfSigned(t, dir)
	id := Identity{Cert: filepath.Join(dir, "c.crt"), Key: filepath.Join(dir, "c.key")}
	if err := root.issue(id, subject{cn: "peer", client: true}); err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	return Connection{
		Address: "127.0.0.1:7052", DialTimeout: "3s", TLSRequired: true, ClientAuthRequired: true,
		ClientCert: read(id.Cert), ClientKey: read(id.Key), RootCert: read(filepath.Join(dir, "ca-cert.pem")),
	}
}

// The builder is called as a peer calls it: three programs, folders as arguments, no environment but PATH.
func TestBuilder(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(t.TempDir(), "it's a folder")
	n := &Network{state: &state{Spec: Spec{Dir: home, Builder: exe}}}
	if err := n.writeBuilder(); err != nil {
		t.Fatal(err)
	}
	call := func(name string, args ...string) (string, error) {
		cmd := exec.Command(filepath.Join(home, "builder", "bin", name), args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	source, metadata, build, release := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	write := func(dir, name string, v any) {
		t.Helper()
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := testConnection(t)
	write(source, "connection.json", c)
	write(metadata, "metadata.json", Metadata{Type: "golang", Path: "x", Label: "l"})
	if out, err := call("detect", source, metadata); err == nil {
		t.Errorf("detected a Go package: %s", out)
	}
	write(metadata, "metadata.json", Metadata{Type: "ccaas", Label: "zhenglian_1"})
	for _, step := range [][]string{{"detect", source, metadata}, {"build", source, metadata, build}, {"release", build, release}} {
		if out, err := call(step[0], step[1:]...); err != nil {
			t.Fatalf("%s: %v: %s", step[0], err, out)
		}
	}
	raw, err := os.ReadFile(filepath.Join(release, "chaincode", "server", "connection.json"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseConnection(raw); err != nil || got != c {
		t.Errorf("released %+v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(home, "builder", "bin", "run")); !errors.Is(err, os.ErrNotExist) {
		t.Error("there is a run program: the peer would start the service itself")
	}

	c.ClientKey = ""
	write(source, "connection.json", c)
	if out, err := call("build", source, metadata, build); err == nil || !strings.Contains(out, "client_cert") {
		t.Errorf("built without a key: %v %s", err, out)
	}
	for _, args := range [][]string{nil, {"run", "x"}, {"detect"}, {"build", "x", "y"}, {"release", "x"}, {"detect", "/none", "/none"}} {
		if err := Builder(args); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

func TestConnectionRefused(t *testing.T) {
	good := testConnection(t)
	if raw, err := json.Marshal(good); err != nil {
		t.Fatal(err)
	} else if _, err := ParseConnection(raw); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Connection){
		"address":         func(c *Connection) { c.Address = "7052" },
		"no host":         func(c *Connection) { c.Address = ":7052" },
		"port":            func(c *Connection) { c.Address = "h:0" },
		"timeout":         func(c *Connection) { c.DialTimeout = "soon" },
		"negative":        func(c *Connection) { c.DialTimeout = "-1s" },
		"no roots":        func(c *Connection) { c.RootCert = "" },
		"junk roots":      func(c *Connection) { c.RootCert = "junk" },
		"no key":          func(c *Connection) { c.ClientKey = "" },
		"not its key":     func(c *Connection) { c.ClientKey = testConnection(t).ClientKey },
		"TLS not meant":   func(c *Connection) { c.TLSRequired = false },
		"clients unasked": func(c *Connection) { *c = Connection{Address: "h:1", ClientAuthRequired: true} },
	} {
		c := good
		spoil(&c)
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseConnection(raw); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, raw := range []string{"", "{", `{"address":"h:1","more":1}`, `{"address":"h:1"}{}`, `[]`} {
		if _, err := ParseConnection([]byte(raw)); err == nil {
			t.Errorf("%q was accepted", raw)
		}
	}
	if _, err := ParseConnection([]byte(`{"address":"h:1"}`)); err != nil {
		t.Errorf("without TLS: %v", err)
	}
	if _, err := ParseMetadata([]byte(`{"type":"golang","label":"x"}`)); !errors.Is(err, errOtherBuilder) {
		t.Errorf("another builder's: %v", err)
	}
	for _, raw := range []string{`{"type":"ccaas","label":""}`, `{"type":"ccaas","label":"x","x":1}`, `{"type":"ccaas","label":"` + strings.Repeat("x", 200) + `"}`} {
		if _, err := ParseMetadata([]byte(raw)); err == nil || errors.Is(err, errOtherBuilder) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func FuzzConnection(f *testing.F) {
	raw, err := json.Marshal(testConnection(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"address":"h:1"}`))
	f.Add([]byte(`{"address":"[::1]:1","dial_timeout":"1ns"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseConnection(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := ParseConnection(again); err != nil || d != c {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"type":"ccaas","label":"zhenglian_1"}`))
	f.Add([]byte(`{"type":"ccaas","path":"","label":"x"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := ParseMetadata(raw); err == nil && (m.Type != packageType || m.Label == "") {
			t.Fatalf("%+v", m)
		}
	})
}

func TestPackage(t *testing.T) {
	m, c := Metadata{Type: packageType, Label: "zhenglian_1"}, testConnection(t)
	raw, id, err := makePackage(m, c)
	if err != nil {
		t.Fatal(err)
	}
	again, same, err := makePackage(m, c)
	if err != nil || same != id || !bytes.Equal(raw, again) {
		t.Errorf("the same parts gave %s and %s, %v", id, same, err)
	}
	c.Address = "127.0.0.1:7053"
	if _, other, err := makePackage(m, c); err != nil || other == id {
		t.Errorf("another address gave the same id, %v", err)
	}
	// Fabric's own reader comes to the same id.
	if want, err := chaincode.PackageID(bytes.NewReader(raw)); err != nil || want != id {
		t.Errorf("id %s, Fabric says %s, %v", id, want, err)
	}
	_, code, err := chaincode.ParseChaincodePackage(raw)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(code))
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewReader(z)
	h, err := files.Next()
	if err != nil || h.Name != "connection.json" {
		t.Fatalf("%+v, %v", h, err)
	}
	content, err := io.ReadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseConnection(content); err != nil {
		t.Error(err)
	}
}
