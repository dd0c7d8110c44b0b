package deploy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// program builds one of the project's programs, once.
var program = func() func(t *testing.T, pkg string) string {
	var mu sync.Mutex
	built := map[string]string{}
	return func(t *testing.T, pkg string) string {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if built[pkg] == "" {
			path := filepath.Join(programs, filepath.Base(pkg))
			cmd := exec.Command("go", "build", "-C", "../..", "-o", path, pkg)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("go build %s: %v\n%s", pkg, err, out)
			}
			built[pkg] = path
		}
		return built[pkg]
	}
}()

var programs string // folder of what program builds

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "deploy"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := os.Chmod(programs, 0o755); err != nil { // other users run them too
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

// A process of a test is ended with it; its output is shown if the test fails.
type process struct {
	cmd  *exec.Cmd
	out  *bytes.Buffer
	done chan error
}

// start runs a program, as another user where one is given.
func start(t *testing.T, as *syscall.Credential, env map[string]string, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), out: new(bytes.Buffer), done: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if as != nil {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	}
	p.cmd.Dir = "/"
	p.cmd.Env = os.Environ()
	for k, v := range env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.cmd.Wait() }()
	t.Cleanup(func() {
		select {
		case <-p.done:
		default:
			_ = p.cmd.Process.Kill()
			<-p.done
		}
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(name), p.out)
		}
	})
	return p
}

// stop asks the process to end, as a container runtime does, and wants an orderly end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-p.done:
		if err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
		p.done <- nil
	case <-time.After(30 * time.Second):
		t.Error("does not stop on SIGTERM")
	}
}

// ask polls a URL as a probe does until it answers at all, and returns the status.
func (p *process) ask(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r, err := client.Get(url)
		if err == nil {
			defer r.Body.Close()
			body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
			return r.StatusCode, string(body)
		}
		select {
		case err := <-p.done:
			p.done <- err
			t.Fatalf("ended before it answered %s: %v", url, err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", url, err)
		}
	}
}

// free finds a port that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func swap(t *testing.T, path, old, new string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), old) {
		t.Fatalf("%s says nothing of %q", path, old)
	}
	write(t, path, strings.ReplaceAll(string(raw), old, new))
}

func runOut(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		var stderr []byte
		if e, ok := err.(*exec.ExitError); ok {
			stderr = e.Stderr
		}
		t.Fatalf("%s %v: %v\n%s%s", filepath.Base(name), args, err, out, stderr)
	}
	return out
}

const nobody = "0000000000000000000000000000000000000000000000000000000000000001"

// The node takes the configuration that the manifests carry, with the files where they mount them, and answers
// the probes. Its folder is made as the guide says.
func TestNodeRuns(t *testing.T) {
	zhenglian := program(t, "./node/cmd/zhenglian")
	run := func(t *testing.T, dir string, more ...func(admin string)) {
		m := render(t, dir)
		pod := m.sets["zhenglian"].Spec.Template
		file := parse[nodeFile](t, m.config("zhenglian-config").Data["zhenglian.yaml"])
		root := t.TempDir()
		runNode(t, zhenglian, root, pod.Spec, file, func() {
			var roots []string
			for _, g := range file.Ledger.Gateways {
				roots = append(roots, filepath.Base(g.TLSRoots))
			}
			layOut(t, root, m, pod.Spec, secrets(t, file.Node, roots))
		}, pod.Spec.Containers[0].Args, more...)
	}
	for _, dir := range overlays {
		t.Run(filepath.Base(dir), func(t *testing.T) { run(t, dir) })
		t.Run(filepath.Base(dir)+" moved", func(t *testing.T) {
			run(t, moved(t, dir), func(admin string) { // it waits for the pilot's operations, and founds no ledger of its own
				r, err := http.Get("http://" + admin + "/readyz")
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), `"import"`) {
					t.Errorf("/readyz says nothing of an import: %s (%v)", body, err)
				}
			})
		})
	}
}

// moved is an overlay of an organisation whose ledger took over a pilot's: what the values show for it is taken in.
func moved(t *testing.T, overlay string) (dir string) {
	t.Helper()
	return variant(t, overlay, func(dir string) {
		for _, name := range []string{"zhenglian.yaml", "zl-chaincode.yaml"} {
			swap(t, filepath.Join(dir, "values", name), "# import_from: "+nobody, "import_from: "+nobody)
		}
	})
}

// runNode prepares and joins a node in root/var/lib/zhenglian, lets mount put the manifest's files over it, and
// runs it with the container's arguments.
func runNode(t *testing.T, zhenglian, root string, pod corev1.PodSpec, file nodeFile, mount func(), args []string, more ...func(admin string)) {
	t.Helper()
	folder := filepath.Join(root, "var/lib/zhenglian")
	digest := prepare(t, zhenglian, root, folder, file)
	mount()
	config := filepath.Join(folder, "zhenglian.yaml")
	api, admin := free(t), free(t)
	swap(t, config, "genesis_digest: "+nobody, "genesis_digest: "+digest)
	swap(t, config, "0.0.0.0:8801", api)
	swap(t, config, "127.0.0.1:9801", admin)
	args = slices.Clone(args)
	for i, a := range args {
		args[i] = rooted(root, a)
	}
	p := start(t, handOver(t, root, pod), nil, zhenglian, args...)
	if status, _ := p.ask(t, "https://"+api+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d", status)
	}
	// The gateways are not there, so it is not ready; the admin listener says why.
	if status, _ := p.ask(t, "https://"+api+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", status)
	}
	var ready struct{ Components []struct{ Name string } }
	if _, body := p.ask(t, "http://"+admin+"/readyz"); json.Unmarshal([]byte(body), &ready) != nil || len(ready.Components) == 0 {
		t.Errorf("admin /readyz: %s", body)
	}
	for _, f := range more {
		f(admin)
	}
	p.stop(t)
}

// prepare makes a node's folder and returns the genesis digest.
func prepare(t *testing.T, zhenglian, root, folder string, file nodeFile) string {
	t.Helper()
	a := newAuthority(t)
	cert, key := a.identity(file.Node, "client")
	at := func(name, body string) string {
		path := filepath.Join(root, "made", name)
		write(t, path, body)
		return path
	}
	uscc := "11110000X000100145"
	plan := fmt.Sprintf(`{"id":%q,"msp":%q,"name_zh":"样例","name_en":"Sample","listen":"127.0.0.1:1","admin":"127.0.0.1:2","home":"bj-scjg",
		"agencies":[{"id":"bj-scjg","name_zh":"样例局","name_en":"Sample bureau","region":"110000","uscc":%q,"roles":["issuer"],"alg":"ES256"}]}`, file.Node, file.Msp, uscc)
	runOut(t, zhenglian, "consortium", "prepare", "--dir", folder, "--plan", at("plan.json", plan), "--cert", at("id.crt", cert), "--key", at("id.key", key), "--json")
	var made struct {
		Digest string `json:"genesis_digest"`
	}
	genesis := filepath.Join(root, "made", "genesis.json")
	out := runOut(t, zhenglian, "consortium", "genesis", "--out", genesis, "--member", filepath.Join(folder, "member.json"), "--types", at("types.json", "[]"), "--json")
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	runOut(t, zhenglian, "consortium", "join", "--dir", folder, "--genesis", genesis, "--digest", made.Digest, "--genesis-block", nobody,
		"--gateway", "peer0:7051,"+at("ca.pem", a.pem))
	return made.Digest
}

// The contract's server takes its configuration and answers the probes, also beside another.
func TestChaincodeRuns(t *testing.T) {
	for _, dir := range overlays {
		t.Run(filepath.Base(dir), func(t *testing.T) { runContracts(t, render(t, dir), 1) })
		t.Run(filepath.Base(dir)+" moved", func(t *testing.T) { runContracts(t, render(t, moved(t, dir)), 1) })
		t.Run(filepath.Base(dir)+" upgrading", func(t *testing.T) { runContracts(t, render(t, upgrading(t, dir)), 2) })
	}
}

// runContracts runs a manifest's contracts side by side. Peers are admitted at each under the address in its package.
func runContracts(t *testing.T, m *manifest, want int) {
	t.Helper()
	if len(m.deployed) != want {
		t.Fatalf("%d contracts, want %d", len(m.deployed), want)
	}
	server := program(t, "./chaincode/cmd/zl-chaincode")
	all := secrets(t, "x", nil)
	peers, err := tls.X509KeyPair([]byte(all["peer0-tls"]["tls.crt"]), []byte(all["peer0-tls"]["tls.key"]))
	if err != nil {
		t.Fatal(err)
	}
	type contract struct {
		*process
		admin, listen string
	}
	running := map[string]contract{}
	for name, d := range m.deployed {
		pod, root := d.Spec.Template.Spec, t.TempDir()
		layOut(t, root, m, pod, all)
		config := filepath.Join(root, "etc/zhenglian/zl-chaincode.yaml")
		c := contract{admin: free(t), listen: free(t)}
		swap(t, config, "0.0.0.0:9999", c.listen)
		// Beyond loopback the admin listener speaks TLS; every address of this machine is near enough.
		_, port, _ := net.SplitHostPort(c.admin)
		swap(t, config, "0.0.0.0:9998", "0.0.0.0:"+port)
		c.process = start(t, handOver(t, root, pod), nil, server, "--config", rooted(root, pod.Containers[0].Args[1]))
		c.ask(t, "https://"+c.admin+"/healthz") // its ports are taken
		running[name] = c
	}
	for name, c := range running {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			if status, body := c.ask(t, "https://"+c.admin+path); status != http.StatusOK {
				t.Errorf("%s: %s: %d %s", name, path, status, body)
			}
		}
		if err := signIn(name, c.listen, all["zl-chaincode-tls"]["ca.crt"], peers); err != nil {
			t.Errorf("%s: a peer is not admitted: %v", name, err)
		}
		if err := signIn(name, c.listen, all["zl-chaincode-tls"]["ca.crt"]); err == nil {
			t.Errorf("%s: somebody without a certificate is admitted", name)
		}
	}
	for _, c := range running {
		c.stop(t)
	}
}

// signIn connects as the chaincode package says: the server is known by the name in the package's address.
func signIn(name, address, root string, certs ...tls.Certificate) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(root))
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: name, NextProtos: []string{"h2"}, Certificates: certs})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1)) // the server's settings, or its refusal
	return err
}

// The same under Compose: its services mount the same files at the same places as the pods, from folders of
// secrets. The health checks run as they stand, with the probe that the images hold.
func TestComposeProgramsRun(t *testing.T) {
	project, m := upgradingCompose(t), render(t, "kustomize/overlays/beijing")
	probe := filepath.Join(programs, "zl-probe")
	if out, err := exec.Command("go", "build", "-o", probe, "./zl-probe").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pods := map[string]corev1.PodSpec{
		"zhenglian": m.sets["zhenglian"].Spec.Template.Spec, "zl-chaincode": m.deployed["zl-chaincode"].Spec.Template.Spec,
		"peer0": m.sets["peer0"].Spec.Template.Spec, "orderer": m.sets["orderer"].Spec.Template.Spec,
	}
	pods["zl-chaincode-next"] = pods["zl-chaincode"]
	for name, pod := range pods {
		var want, got []string
		for _, mount := range pod.Containers[0].VolumeMounts {
			if v := volumeOf(pod, mount.Name); v != nil && v.Secret != nil {
				want = append(want, mount.MountPath)
			}
		}
		for _, v := range project.Services[name].Volumes {
			if strings.HasPrefix(v.Source, "/etc/zhenglian/secrets/") {
				got = append(got, v.Target)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: secrets at %v, in its pod at %v", name, got, want)
		}
	}
	all := secrets(t, "beijing", []string{"own.pem", "tianjin.pem", "hebei.pem"})
	// place puts a service's files where Compose mounts them and returns the file of its configuration.
	place := func(root, service, target string) string {
		layOut(t, root, m, pods[service], all)
		raw, err := os.ReadFile(mounted(t, project, service, target))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, target), rooted(root, string(raw)))
		return filepath.Join(root, target)
	}
	// check runs a service's health check, with another port.
	check := func(service, was, is string) (string, error) {
		test := project.Services[service].HealthCheck.Test
		out, err := exec.Command(probe, strings.Replace(test[2], was, is, 1)).CombinedOutput()
		return string(out), err
	}

	for _, service := range []string{"zl-chaincode", "zl-chaincode-next"} {
		root := t.TempDir()
		config := place(root, service, "/etc/zhenglian/zl-chaincode.yaml")
		admin := free(t)
		swap(t, config, "0.0.0.0:9999", free(t))
		swap(t, config, "127.0.0.1:9998", admin)
		p := start(t, handOver(t, root, pods[service]), nil, program(t, "./chaincode/cmd/zl-chaincode"), "--config", config)
		defer p.stop(t) // side by side
		p.ask(t, "http://"+admin+"/healthz")
		if out, err := check(service, "127.0.0.1:9998", admin); err != nil {
			t.Errorf("%s: %v\n%s", service, err, out)
		}
	}

	root := t.TempDir()
	raw, err := os.ReadFile(mounted(t, project, "zhenglian", "/var/lib/zhenglian/zhenglian.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	runNode(t, program(t, "./node/cmd/zhenglian"), root, pods["zhenglian"], parse[nodeFile](t, string(raw)),
		func() { place(root, "zhenglian", "/var/lib/zhenglian/zhenglian.yaml") }, project.Services["zhenglian"].Command,
		func(admin string) {
			if out, err := check("zhenglian", "127.0.0.1:9801", admin); err == nil || !strings.Contains(out, `"components"`) {
				t.Errorf("zhenglian, without its gateways: %v\n%s", err, out)
			}
		})
}
