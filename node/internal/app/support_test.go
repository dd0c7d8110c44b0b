package app

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestScrub(t *testing.T) {
	for _, s := range []string{
		"张三", "欧阳·阿不都", "11010519491231002X", "110105491231002", "91110108X8T0000028", "13800138000", "zlk_c1jLJDJqBInf76LSAPGzpy2bIUl5AmrcHp9fL2bReMk",
		"zhang.san@example.com", "Bearer abc.def", "eyJhbGciOi.eyJzdWIi.sig", "postgres://user:pass@db/x", "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----", "E12345678", "E1234567", "EA1234567", "h1234567", "JY11101081234567",
	} {
		for _, in := range []string{s, "failed: " + s, "holder=" + s + ": no", `bad value "` + s + `" in x`} {
			if out := scrub(in); strings.Contains(out, s) || strings.Contains(out, "MIG") || strings.Contains(out, "pass") {
				t.Errorf("%q leaves %q", in, out)
			}
		}
	}
	for _, s := range []string{"connection refused: 127.0.0.1:7051", "embedded: the folder holds no ledger", "block 1234567"} {
		if out := scrub(s); out != s {
			t.Errorf("%q became %q", s, out)
		}
	}
}

func TestMaskConfig(t *testing.T) {
	raw, err := maskConfig([]byte("node: beijing # 张三's\ntls_key: tls.key\noidc:\n  - issuer: https://sso.example\n    client_secret: hunter2\npush:\n  - dsn: postgres://u:hunter2@h/x\n    url: https://a:hunter2@h/\n    password: {file: hunter2}\nx: user:hunter2@tcp(h)/db\n" +
		"approval: {off: [endings], reason: Wang Xiaoming is ill, batch_over: 50}\ntrusted_proxies: [10.1.2.3]\noutbox_limit: 200000\nphone: 13800138000\n"))
	for _, gone := range []string{"Xiaoming is", "13800138000"} {
		if strings.Contains(string(raw), gone) {
			t.Errorf("%s stands in it: %s", gone, raw)
		}
	}
	for _, kept := range []string{"endings", "batch_over: 50", "10.1.2.3", "200000"} {
		if !strings.Contains(string(raw), kept) {
			t.Errorf("%s is hidden: %s", kept, raw)
		}
	}
	if err != nil || strings.Contains(string(raw), "hunter2") || strings.Contains(string(raw), "张三") || !strings.Contains(string(raw), "tls.key") || !strings.Contains(string(raw), "https://sso.example") {
		t.Errorf("%s %v", raw, err)
	}
}

// What a node's folder and log hold of people and keys is in no bundle.
func TestSupportBundle(t *testing.T) {
	f, err := Found(t.TempDir(), onePlan())
	if err != nil {
		t.Fatal(err)
	}
	dir := f.Nodes[0].Dir
	cfg, err := LoadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.Admin = free(t), free(t)
	if err := rewrite(filepath.Join(dir, ConfigFile), cfg); err != nil {
		t.Fatal(err)
	}
	n := newNode(cfg, quiet)
	if err := n.open(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.serve(ctx) }()
	planted := []string{"王小明", "11010519491231002X", "13911112222"}
	n.log.Warn("planted", "error", errors.New("holder 王小明 11010519491231002X"), "name", "王小明", "why", "open /data/in/wang_xiaoming.xlsx: permission denied", slog.Group("g", "phone", "13911112222"), "token", f.Nodes[0].Keys["drafter"])
	for _, k := range f.Nodes[0].Keys {
		planted = append(planted, k)
	}
	for _, name := range []string{"identity.key", "authority/ca.key", operatorFile, "api-keys.json"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(raw), "\n") {
			if line = strings.Trim(line, ` ",`); len(line) > 30 && !strings.HasPrefix(line, "-----") {
				planted = append(planted, line)
			}
		}
	}
	// Who drops files into a watched folder, or leaves one in the node's, names them as he likes.
	for _, name := range []string{"dropped/Wang-Xiaoming-licence.json", "wang_xiaoming.xlsx"} {
		planted = append(planted, strings.TrimSuffix(filepath.Base(name), filepath.Ext(name)))
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "bundle.zip")
	var missing []string
	await(t, func() bool {
		_ = os.Remove(out)
		missing, err = SupportBundle(t.Context(), dir, out)
		return err == nil && len(missing) == 0
	})
	z, err := zip.OpenReader(out)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	have := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		have[f.Name] = string(raw)
		for _, p := range planted {
			if strings.Contains(string(raw), p) {
				t.Errorf("%s holds %q", f.Name, p)
			}
		}
	}
	for name, want := range map[string]string{
		"about.json": "linux", ConfigFile: "node: beijing", "doctor.json": `"findings"`, "files.txt": "vault", storesFile: `"outbox"`,
		"status.json": `"blocks"`, "metrics.txt": "zhenglian_follow_height_blocks", "goroutines.txt": "goroutine profile", "log.txt": `"msg":"planted"`,
	} {
		if !strings.Contains(have[name], want) {
			t.Errorf("%s: %.200q", name, have[name])
		}
	}
	stop()
	if err := errors.Join(<-ended, n.close()); err != nil {
		t.Error(err)
	}
	// Of a node that does not run there is less, and it says so.
	missing, err = SupportBundle(t.Context(), dir, out+"2")
	if err != nil || len(missing) != 4 {
		t.Error(missing, err)
	}
	if _, err := SupportBundle(t.Context(), dir, out); err == nil {
		t.Error("a bundle was overwritten")
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("timed out")
		}
	}
}
