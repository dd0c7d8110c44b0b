package deploy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The package is what Fabric's builder for chaincode as a service expects, names the address under which the
// manifests serve the contract, and has the same id each time.
func TestPackage(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t)
	cert, key := a.server("peers")
	for name, body := range map[string]string{"ca.crt": a.pem, "c.crt": strings.ReplaceAll(cert, "\n", "\r\n"), "c.key": key, "no.pem": "nothing"} {
		write(t, filepath.Join(dir, name), body)
	}
	script, err := filepath.Abs("package/package.sh")
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		cmd := exec.Command("sh", append([]string{script}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	const address = "zl-chaincode:9999"
	id, err := run("zhenglian_1", address, "ca.crt", "c.crt", "c.key", "one.tgz")
	if err != nil {
		t.Fatalf("%v\n%s", err, id)
	}
	again, err := run("zhenglian_1", address, "ca.crt", "c.crt", "c.key", "two.tgz")
	if err != nil || again != id {
		t.Errorf("the same input gives %s, then %s (%v)", id, again, err)
	}
	if next, err := run("zhenglian_1", "zl-chaincode-next:9999", "ca.crt", "c.crt", "c.key", "next.tgz"); err != nil || next == id {
		t.Errorf("another address gives the same package: %s (%v)", next, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "one.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("zhenglian_1:%x", sha256.Sum256(raw)); id != want {
		t.Errorf("says %s, Fabric will say %s", id, want)
	}
	outer := unpack(t, raw)
	if got := string(outer["metadata.json"]); got != `{"type":"ccaas","label":"zhenglian_1"}`+"\n" || len(outer) != 2 {
		t.Errorf("metadata.json: %s", got)
	}
	var connection struct {
		Address     string `json:"address"`
		DialTimeout string `json:"dial_timeout"`
		TLS         bool   `json:"tls_required"`
		ClientAuth  bool   `json:"client_auth_required"`
		Root        string `json:"root_cert"`
		Cert        string `json:"client_cert"`
		Key         string `json:"client_key"`
	}
	d := json.NewDecoder(bytes.NewReader(unpack(t, outer["code.tar.gz"])["connection.json"]))
	d.DisallowUnknownFields()
	if err := d.Decode(&connection); err != nil {
		t.Fatal(err)
	}
	if connection.Address != address || !connection.TLS || !connection.ClientAuth || connection.Root != a.pem {
		t.Errorf("connection.json: %+v", connection)
	}
	if _, err := tls.X509KeyPair([]byte(connection.Cert), []byte(connection.Key)); err != nil {
		t.Errorf("connection.json: %v", err)
	}
	m := render(t, "kustomize/overlays/base")
	host, port, _ := strings.Cut(address, ":")
	if s := m.services[host]; s == nil || fmt.Sprint(s.Spec.Ports[0].Port) != port {
		t.Errorf("nothing is served at %s", address)
	}
	if _, ok := example(t).Services[host]; !ok {
		t.Errorf("Compose serves nothing at %s", address)
	}

	for name, args := range map[string][]string{
		"overwrites":      {"zhenglian_1", address, "ca.crt", "c.crt", "c.key", "one.tgz"},
		"label":           {"zheng/lian", address, "ca.crt", "c.crt", "c.key", "x.tgz"},
		"address":         {"zhenglian_1", "zl-chaincode", "ca.crt", "c.crt", "c.key", "x.tgz"},
		"address quote":   {"zhenglian_1", `a":"b:1`, "ca.crt", "c.crt", "c.key", "x.tgz"},
		"no certificate":  {"zhenglian_1", address, "no.pem", "c.crt", "c.key", "x.tgz"},
		"no file":         {"zhenglian_1", address, "ca.crt", "c.crt", "none", "x.tgz"},
		"too few":         {"zhenglian_1"},
		"no address port": {"zhenglian_1", "zl-chaincode:", "ca.crt", "c.crt", "c.key", "x.tgz"},
	} {
		if out, err := run(args...); err == nil || out == "" {
			t.Errorf("%s: accepted, or refused without a word: %s", name, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "x.tgz")); err == nil {
			t.Errorf("%s: left a package", name)
		}
	}
}

func unpack(t *testing.T, raw []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(io.LimitReader(r, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
}
