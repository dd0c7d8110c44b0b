package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// The install tests put the packages into a fresh root and use them there, cut off from every network: in a network
// namespace of its own, with a loopback and nothing else. They run as root, with debootstrap and rpm.

const insideNamespace = "ZL_INSTALL_INSIDE"

// leaveOut says why a test cannot run; with ZL_STRICT that is a failure.
func leaveOut(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("ZL_STRICT") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// isolated runs the test that calls it once more, in a network namespace of its own; false in the first run.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideNamespace) != "" {
		raiseLoopback(t)
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "-test.run", "^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), insideNamespace+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

func raiseLoopback(t *testing.T) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	var r struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(r.name[:], "lo")
	r.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&r))); e != 0 {
		t.Fatal(e)
	}
	if c, err := net.DialTimeout("tcp", "192.0.2.1:80", time.Second); err == nil {
		c.Close()
		t.Fatal("there is a network")
	}
}

// root makes a fresh Debian of this machine's release, from a copy that is kept in the user's cache.
func root(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		leaveOut(t, "installing into a fresh root needs root")
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		leaveOut(t, "no debootstrap: apt-get install debootstrap")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	osRelease, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VERSION_CODENAME="?(\w+)`).FindSubmatch(osRelease)
	if m == nil {
		leaveOut(t, "this is no Debian")
	}
	suite := string(m[1])
	base := filepath.Join(cache, "zhenglian", "debian-"+suite+"-"+runtimeArch(t)+".tar")
	if _, err := os.Stat(base); err != nil {
		mirror, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages", "Codename: "+suite).Output()
		if err != nil || len(mirror) == 0 {
			leaveOut(t, "apt has no source of %s: %v", suite, err)
		}
		fresh := filepath.Join(t.TempDir(), "base")
		out, err := exec.Command("debootstrap", "--variant=minbase", suite, fresh, strings.Fields(string(mirror))[0]).CombinedOutput()
		if err != nil {
			leaveOut(t, "debootstrap: %v\n%s", err, tail(out))
		}
		if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
			t.Fatal(err)
		}
		part := base + "." + strconv.Itoa(os.Getpid())
		defer os.Remove(part)
		if out, err := exec.Command("tar", "cf", part, "-C", fresh, "--exclude=./var/cache/apt/archives/*.deb", ".").CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		if err := os.Rename(part, base); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if out, err := exec.Command("tar", "xpf", base, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, tail(out))
	}
	return dir
}

func runtimeArch(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("dpkg", "--print-architecture").Output()
	if err != nil {
		leaveOut(t, "no dpkg")
	}
	arch := strings.TrimSpace(string(out))
	if arch != "amd64" {
		leaveOut(t, "the release to check is for amd64, this machine is %s", arch)
	}
	return arch
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }

// in runs a command in a root; as a user of that root, or as its root ("").
func in(t *testing.T, root, as string, args ...string) (string, error) {
	t.Helper()
	c := command(t, root, as, args...)
	out, err := c.CombinedOutput()
	return string(out), err
}

func command(t *testing.T, root, as string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(filepath.Join(root, "usr/bin", args[0]))
	if err != nil {
		path = filepath.Join(root, "usr/sbin", args[0])
	}
	c := &exec.Cmd{Path: strings.TrimPrefix(path, root), Args: args, Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}}
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	if as != "" {
		uid, gid := ids(t, root, as)
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	return c
}

// ids finds a user in a root's own list.
func ids(t *testing.T, root, name string) (uid, gid uint32) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + `:[^:]*:(\d+):(\d+):[^:]*:([^:]*):([^:\n]*)$`).FindStringSubmatch(string(raw))
	if m == nil {
		t.Fatalf("there is no user %s", name)
	}
	u, _ := strconv.ParseUint(m[1], 10, 32)
	g, _ := strconv.ParseUint(m[2], 10, 32)
	if u == 0 || u >= 1000 || m[3] != "/var/lib/zhenglian" || m[4] != "/usr/sbin/nologin" {
		t.Errorf("the user is %q", m[0])
	}
	return uint32(u), uint32(g)
}

func must(t *testing.T, out string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func TestInstallDeb(t *testing.T) {
	release := made(t)
	if os.Getenv(insideNamespace) == "" {
		root(t) // the network is needed here, for the copy of Debian that is kept
	}
	if !isolated(t) {
		return
	}
	dir := root(t)
	copyFile(t, one(t, release, "*_amd64.deb"), filepath.Join(dir, "zhenglian.deb"))
	out := ""
	try := func(args ...string) string {
		t.Helper()
		var err error
		out, err = in(t, dir, "", args...)
		return must(t, out, err)
	}
	try("dpkg", "-i", "/zhenglian.deb")
	used(t, dir)

	// The same version once more stands for an upgrade: maintainer scripts run as in one. What the operator wrote and
	// what the node keeps are as they were.
	before := snapshot(t, dir)
	if len(before) < 10 {
		t.Fatalf("there is nothing to lose: %d files", len(before))
	}
	try("dpkg", "-i", "/zhenglian.deb")
	if !strings.Contains(out, "nothing to do") { // the folder fits, and that was looked at
		t.Errorf("an upgrade says %s", out)
	}
	same(t, before, snapshot(t, dir), "an upgrade")
	try("zhenglian", "version")

	try("dpkg", "-r", "zhenglian")
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/zhenglian")); err == nil {
		t.Error("the program is there after its removal")
	}
	same(t, before, snapshot(t, dir), "removal")
	try("dpkg", "--purge", "zhenglian")
	if !strings.Contains(out, "/var/lib/zhenglian") {
		t.Errorf("purge does not say that data is left: %s", out)
	}
	delete(before, "etc/zhenglian/service.env")
	same(t, before, snapshot(t, dir), "purge")
}

func TestInstallRPM(t *testing.T) {
	release := made(t)
	if _, err := exec.LookPath("rpm"); err != nil {
		leaveOut(t, "no rpm: apt-get install rpm")
	}
	if os.Getenv(insideNamespace) == "" {
		root(t)
	}
	if !isolated(t) {
		return
	}
	at := one(t, release, "*.x86_64.rpm")
	dir := root(t)
	rpm := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("rpm", args...).CombinedOutput()
		return must(t, string(out), err)
	}
	listed := strings.Fields(rpm("-qpl", at))
	for _, name := range []string{"/usr/bin/zhenglian", "/usr/bin/zl-chaincode", "/usr/lib/systemd/system/zhenglian.service", "/etc/zhenglian/service.env", "/usr/share/doc/zhenglian/sbom.cdx.json"} {
		if !slices.Contains(listed, name) {
			t.Errorf("%s is not in the rpm", name)
		}
	}
	if got := strings.Fields(rpm("-qpc", at)); !slices.Equal(got, []string{"/etc/zhenglian/service.env"}) {
		t.Errorf("configuration files %v", got)
	}
	// The root is a Debian, whose packages rpm does not know: a shell is there all the same.
	rpm("--root", dir, "--nodeps", "--nosignature", "-i", at)
	used(t, dir)
	before := snapshot(t, dir)
	rpm("--root", dir, "--nodeps", "--nosignature", "-U", "--force", at)
	same(t, before, snapshot(t, dir), "an upgrade")
	said := rpm("--root", dir, "--nodeps", "-e", "zhenglian")
	if !strings.Contains(said, "/var/lib/zhenglian") {
		t.Errorf("removal does not say that data is left: %s", said)
	}
	if _, err := os.Stat(filepath.Join(dir, "usr/bin/zhenglian")); err == nil {
		t.Error("the program is there after its removal")
	}
	after := snapshot(t, dir)
	if saved, ok := after["etc/zhenglian/service.env.rpmsave"]; ok { // rpm keeps a changed one under this name
		delete(after, "etc/zhenglian/service.env.rpmsave")
		after["etc/zhenglian/service.env"] = saved
	}
	same(t, before, after, "removal")
}

// used founds a node in a root where the package is installed, as the guide says, and runs it as the unit says.
func used(t *testing.T, dir string) {
	t.Helper()
	version, err := in(t, dir, "", "zhenglian", "version")
	if must(t, version, err); !strings.Contains(version, "linux/amd64") {
		t.Errorf("%s", version)
	}
	uid, _ := ids(t, dir, "zhenglian")
	home, err := os.Stat(filepath.Join(dir, "var/lib/zhenglian"))
	if err != nil || home.Mode().Perm() != 0o700 || home.Sys().(*syscall.Stat_t).Uid != uid {
		t.Fatalf("the folder of data: %v, %v", home, err)
	}
	verifyUnits(t, dir)

	out, err := in(t, dir, "zhenglian", "zhenglian", "init", "--dir", "/var/lib/zhenglian/pilot", "--msp", "BeijingMSP", "--node", "beijing", "--agency", "bj-scjg",
		"--name-zh", "北京市市场监督管理局", "--name-en", "Beijing AMR", "--region", "110000", "--uscc", "11110000X000100145", "--json")
	var made struct{ URL, Dir string }
	if err := json.Unmarshal([]byte(must(t, out, err)), &made); err != nil {
		t.Fatal(err)
	}
	env := filepath.Join(dir, "etc/zhenglian/service.env")
	raw, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	raw = regexp.MustCompile(`(?m)^ZL_NODE_DIR=.*$`).ReplaceAll(raw, []byte("ZL_NODE_DIR="+made.Dir))
	if err := os.WriteFile(env, raw, 0o644); err != nil {
		t.Fatal(err)
	}

	unit, err := os.ReadFile(filepath.Join(dir, "usr/lib/systemd/system/zhenglian.service"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindSubmatch(unit)
	args := strings.Fields(strings.ReplaceAll(string(line[1]), "${ZL_NODE_DIR}", made.Dir))
	socket := filepath.Join(dir, "notify")
	listen, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(socket)
	defer listen.Close()
	if err := os.Chmod(socket, 0o777); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := command(t, dir, "zhenglian", append([]string{filepath.Base(args[0])}, args[1:]...)...)
	c.Env = append(c.Env, "NOTIFY_SOCKET=/notify")
	c.Stderr = &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	told := func(what string) {
		t.Helper()
		buf := make([]byte, 4096)
		for deadline := time.Now().Add(time.Minute); ; {
			_ = listen.SetReadDeadline(deadline)
			n, err := listen.Read(buf)
			if err != nil {
				t.Fatalf("the service manager is not told %s: %v\n%s", what, err, &log)
			}
			if slices.Contains(strings.Split(string(buf[:n]), "\n"), what) {
				return
			}
		}
	}
	if bytes.Contains(unit, []byte("\nType=notify\n")) {
		told("READY=1")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", made.URL+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %d", res.StatusCode)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("a stopped node leaves with %v\n%s", err, &log)
	}
}

// verifyUnits lets systemd look at the units, where it is on this machine.
func verifyUnits(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("no systemd-analyze: the units were not verified")
		return
	}
	for _, name := range []string{"zhenglian.service", "zl-chaincode.service"} {
		unit := filepath.Join(dir, "usr/lib/systemd/system", name)
		// It says what it does not know on stderr and leaves with 0. Programs and documents are looked for on this
		// machine, not in the root, so the unit that it reads names those of the root.
		raw, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), name)
		raw = bytes.ReplaceAll(raw, []byte("ExecStart=/usr"), []byte("ExecStart="+dir+"/usr"))
		if err := os.WriteFile(copied, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", copied).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, name) {
				t.Errorf("systemd says: %s", line)
			}
		}
		if err != nil {
			t.Logf("systemd-analyze verify: %v\n%s", err, out)
		}
		// 0 is the most closed, 10 the most open; 2 leaves room for one relaxation that a site may need.
		out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", copied).CombinedOutput()
		if err != nil {
			t.Errorf("%s is more open than it has to be: %v\n%s", name, err, tail(out))
		}
	}
}

// snapshot is what an operator and a node keep: path → mode, owner and digest.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, top := range []string{"etc/zhenglian", "var/lib/zhenglian"} {
		err := filepath.WalkDir(filepath.Join(dir, top), func(at string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // what is gone is seen by its absence
			}
			raw, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, at)
			if err != nil {
				return err
			}
			out[rel] = fmt.Sprint(info.Mode(), info.Sys().(*syscall.Stat_t).Uid, len(raw), string(raw))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func same(t *testing.T, before, after map[string]string, what string) {
	t.Helper()
	for name, was := range before {
		switch is, ok := after[name]; {
		case !ok:
			t.Errorf("%s took %s away", what, name)
		case is != was:
			t.Errorf("%s changed %s", what, name)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}
