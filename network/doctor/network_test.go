package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// TestFaults makes a real network, breaks it in one way after the other, and expects of the command exactly the code
// of the fault and exit status 1; then it runs the cure that the command printed and expects health.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: a real Fabric network")
	}
	r := newRig(t, "--orgs 3")
	t.Run("metrics of the fault table", r.metrics)
	for _, name := range runbooks {
		if !t.Run("runbook "+name, func(t *testing.T) { r.runbook(t, name) }) {
			return
		}
	}
	for _, f := range []fault{
		{"a stranger holds a peer's port", r.squat, []Code{PortTaken}, nil},
		{"a peer was killed", r.kill("peer-hebei"), []Code{PeerDown}, nil},
		{"a peer is frozen", r.freeze("peer-tianjin"), []Code{PeerDown}, nil},
		{"an orderer was killed", r.kill("orderer-2"), []Code{OrdererDown}, nil},
		{"too few orderers", r.kill("orderer-1", "orderer-3"), []Code{OrdererDown, NoLeader}, nil},
		{"every orderer was killed", r.kill("orderer-1", "orderer-2", "orderer-3"), []Code{OrdererDown, NoLeader}, nil},
		{"a contract service was killed", r.kill(serviceOf + "tianjin"), []Code{ChaincodeGone}, nil},
		{"a contract service is frozen", r.freeze(serviceOf + "hebei"), []Code{ChaincodeGone}, nil},
		{"a node was killed", r.kill("node-beijing"), []Code{NodeDown}, nil},
		{"a node has no peer", r.strand, []Code{NodeNotReady}, r.lead},
		{"a follower stopped at a finding", r.finding, []Code{NodeFinding}, nil},
		{"a node's certificate ends soon", r.renew("node-tianjin", "480h"), []Code{CertificateExpiring}, nil},
		{"a node's certificate has ended", r.renew("node-tianjin", "2s"), []Code{CertificateExpired}, nil},
		{"a service's certificate has ended", r.renew("chaincode-hebei", "2s"), []Code{CertificateExpired}, nil},
		{"an administrator's certificate has ended", r.renew("admin-hebei", "2s"), []Code{CertificateExpired}, nil},
		{"a peer gets no blocks", r.cutOff, []Code{PeerBehind}, nil},
		{"a service runs another program", r.otherProgram, []Code{ChaincodeMixed}, nil},
		{"an organisation approved another package", r.otherPackage, []Code{ChaincodeMixed}, nil},
		{"all must endorse and one is down", r.allMust, []Code{PeerDown, PolicyUnsatisfiable}, nil},
	} {
		if !t.Run(f.name, func(t *testing.T) { r.suffer(t, f) }) {
			return // what follows would only tell of this one
		}
	}
	t.Run("this machine's clock is wrong", r.clock)
	t.Run("the disk is nearly full", r.disk)
	t.Run("an orderer hangs", r.hang)
	t.Run("the network is down", r.down)
}

// TestFaultsBFT does it with what is another on BFT orderers: one may be gone, with two nothing is ordered.
func TestFaultsBFT(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: a real Fabric network")
	}
	bin := os.Getenv("ZL_FABRIC_BIN")
	if bin == "" {
		t.Skip("left out: BFT orderers need Fabric 3; name the folder of its programs in ZL_FABRIC_BIN")
	}
	if v, err := fabric.FabricVersion(t.Context(), bin); err != nil || !strings.HasPrefix(v, "3.") {
		t.Skipf("left out: BFT orderers need Fabric 3; ZL_FABRIC_BIN names %s (%v)", v, err)
	}
	r := newRig(t, "--orgs 4 --consensus bft")
	t.Run("metrics of the fault table", r.metrics)
	for _, f := range []fault{
		{"an orderer was killed", r.kill("orderer-2"), []Code{OrdererDown}, nil},
		{"too few orderers", r.kill("orderer-1", "orderer-3"), []Code{OrdererDown, NoLeader}, nil},
		{"too few orderers, as one is frozen", func(t *testing.T) { r.kill("orderer-4")(t); r.freeze("orderer-2")(t) }, []Code{OrdererDown, NoLeader}, nil},
		{"every orderer was killed", r.kill("orderer-1", "orderer-2", "orderer-3", "orderer-4"), []Code{OrdererDown, NoLeader}, nil},
	} {
		if !t.Run(f.name, func(t *testing.T) { r.suffer(t, f) }) {
			return
		}
	}
}

type fault struct {
	name  string
	cause func(*testing.T)
	want  []Code
	after func(*testing.T) // what no command can do, before the cure
}

type rig struct {
	base string // where runbooks are run: they speak of out/network
	dir  string // the network's
	bin  string // the programs'
	net  *fabric.Network
}

func newRig(t *testing.T, flags string) *rig {
	t.Helper()
	base := t.TempDir()
	r := &rig{base: base, dir: filepath.Join(base, "out", "network"), bin: filepath.Join(base, "bin")}
	checkout, err := fabric.Checkout()
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", r.bin+"/", "./node/cmd/zhenglian", "./chaincode/cmd/zl-chaincode", "./network/cmd/zl-network")
	build.Dir = checkout
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := r.shell("zl-network status --dir " + r.dir)
			t.Logf("%s", out)
		}
		if out, err := r.shell("zl-network down --purge --dir " + r.dir); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	command := "zl-network up " + flags + " --tick 100ms --dir " + r.dir
	if bin := os.Getenv("ZL_FABRIC_BIN"); bin != "" {
		command += " --fabric-bin " + bin
	}
	if out, err := r.shell(command); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r.net, err = fabric.Open(r.dir); err != nil {
		t.Fatal(err)
	}
	r.healthy(t)
	return r
}

// shell runs a command line as an operator would paste it.
func (r *rig) shell(line string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+r.bin+":"+os.Getenv("PATH"))
	var out bytes.Buffer // a file would be inherited by the network's processes
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	return out.Bytes(), err
}

// doctor runs the command and returns what it printed and its exit status.
func (r *rig) doctor(t *testing.T) (Report, int) {
	t.Helper()
	out, err := r.shell("zl-network doctor --json --dir " + r.dir)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if report.Seconds > 10 {
		t.Errorf("it took %.1f s", report.Seconds)
	}
	status := 0
	if exit != nil {
		status = exit.ExitCode()
	}
	return report, status
}

// patience is how long a fault may take to show everywhere, and a cure to work everywhere.
const patience = 60 * time.Second

// expect runs the doctor until it finds exactly the given codes.
func (r *rig) expect(t *testing.T, want []Code) Report {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		report, status := r.doctor(t)
		if slices.Equal(report.Codes(), want) {
			wanted := 1
			if len(want) == 0 {
				wanted = 0
			}
			if status != wanted || report.Healthy != (len(want) == 0) {
				t.Fatalf("exit status %d, healthy %v with %v", status, report.Healthy, want)
			}
			return report
		}
		if time.Now().After(deadline) {
			raw, _ := json.MarshalIndent(report, "", "  ")
			t.Fatalf("found %v, want %v\n%s", report.Codes(), want, raw)
		}
	}
}

func (r *rig) healthy(t *testing.T) { t.Helper(); r.expect(t, nil) }

// suffer breaks the network, sees the fault, applies the cures and sees health.
func (r *rig) suffer(t *testing.T, f fault) {
	began := time.Now()
	f.cause(t)
	report := r.expect(t, f.want)
	if f.after != nil {
		f.after(t)
	}
	var done []string
	for _, found := range report.Findings {
		if len(found.Evidence) == 0 || found.What.Zh == "" || found.What.En == "" || found.Cure.Zh == "" || found.Cure.En == "" {
			t.Errorf("incomplete: %+v", found)
		}
		if slices.Contains(done, found.Cure.Command) {
			continue
		}
		done = append(done, found.Cure.Command)
		if out, err := r.shell(found.Cure.Command); err != nil {
			t.Fatalf("%s: %v\n%s", found.Cure.Command, err, out)
		}
	}
	r.healthy(t)
	t.Logf("%v: %v; %s", time.Since(began).Round(time.Second), report.Codes(), strings.Join(done, "; "))
}

func (r *rig) process(t *testing.T, name string) *fabric.Process {
	t.Helper()
	n, err := fabric.Open(r.dir) // as it is now: versions come and go
	if err != nil {
		t.Fatal(err)
	}
	if org, ok := strings.CutPrefix(name, serviceOf); ok {
		return n.Service(fabric.Contract, org).Process
	}
	p := n.Process(name)
	if p == nil {
		t.Fatalf("no process %s", name)
	}
	return p
}

// serviceOf begins the name of an organisation's contract service, whatever version it is of by now.
const serviceOf = "service of "

func (r *rig) kill(names ...string) func(*testing.T) {
	return func(t *testing.T) {
		for _, name := range names {
			if err := r.process(t, name).Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (r *rig) freeze(name string) func(*testing.T) {
	return func(t *testing.T) {
		if err := r.process(t, name).Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) renew(name, life string) func(*testing.T) {
	return func(t *testing.T) {
		if out, err := r.shell(fmt.Sprintf("zl-network renew %s --life %s --dir %s", name, life, r.dir)); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// squat stops a peer and lets a stranger take its port.
func (r *rig) squat(t *testing.T) {
	p := r.net.Peer("tianjin")
	if err := p.Stop(context.Background(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "squat", p.Address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	listens := make(chan error, 1)
	go func() {
		_, err := out.Read(make([]byte, 1))
		listens <- err
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	if err := <-listens; err != nil {
		t.Fatal(err)
	}
}

// strand leaves a node with gateways that do not exist.
func (r *rig) strand(t *testing.T) {
	r.gateways(t, strings.NewReplacer("address: 127.0.0.1:", "address: 127.0.0.2:"))
}

// lead gives the node its gateways back.
func (r *rig) lead(t *testing.T) {
	r.edit(t, strings.NewReplacer("address: 127.0.0.2:", "address: 127.0.0.1:"))
}

func (r *rig) edit(t *testing.T, change *strings.Replacer) {
	t.Helper()
	path := filepath.Join(r.net.Node("hebei").Dir, "zhenglian.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := change.Replace(string(raw))
	if changed == string(raw) {
		t.Fatalf("nothing to change in\n%s", raw)
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) gateways(t *testing.T, change *strings.Replacer) {
	r.edit(t, change)
	if err := r.process(t, "node-hebei").Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// finding leaves a node what a follower keeps when it meets a block that does not check.
func (r *rig) finding(t *testing.T) {
	path := filepath.Join(r.net.Node("tianjin").Dir, "finding.json")
	if err := os.WriteFile(path, []byte(`{"code":"state.differs","block":1,"tx":0,"en":"the write set is another","zh":"写集不一致"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.process(t, "node-tianjin").Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// cutOff lets a peer look for its orderers where there are none, and the others go on.
func (r *rig) cutOff(t *testing.T) {
	path := filepath.Join(r.dir, "peers", "hebei", "core.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overrides := "  deliveryclient:\n    addressOverrides:\n"
	for _, o := range r.net.Orderers() {
		overrides += fmt.Sprintf("      - {from: %q, to: \"127.0.0.2:1\", caCertsFile: %q}\n", o.Address, o.TLSRoots())
	}
	changed := strings.Replace(string(raw), "  deliveryclient:\n", overrides, 1)
	if changed == string(raw) {
		t.Fatal("core.yaml has no deliveryclient")
	}
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.process(t, "peer-hebei").Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.order(t)
}

// order has a transaction ordered that changes nothing that counts: an approval of a definition to come.
func (r *rig) order(t *testing.T) {
	r.approve(t, "beijing", 1, fmt.Sprintf("t%d", time.Now().UnixNano()%1e9), "")
}

// approve approves the contract for an organisation, at the committed sequence or some after it.
func (r *rig) approve(t *testing.T, org string, after int64, version, packageID string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	for {
		err := r.approval(ctx, org, after, version, packageID)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *rig) approval(ctx context.Context, org string, after int64, version, packageID string) error {
	p := r.net.Peer(org)
	d, err := p.Definition(ctx, fabric.Contract)
	if err != nil {
		return err
	}
	if version == "" {
		version = d.Version
	}
	var orgs []string
	for _, o := range r.net.Orgs() {
		orgs = append(orgs, "'"+o.MSP+".peer'")
	}
	policy, err := chaincode.NewApplicationPolicy(fmt.Sprintf("OutOf(%d, %s)", d.Policy, strings.Join(orgs, ", ")), "")
	if err != nil {
		return err
	}
	id, err := p.Admin().Signer()
	if err != nil {
		return err
	}
	conn, err := p.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return chaincode.NewGateway(conn, id).Approve(ctx, &chaincode.Definition{
		ChannelName: fabric.Channel, Name: fabric.Contract, Version: version, Sequence: d.Sequence + after,
		PackageID: packageID, ApplicationPolicy: policy,
	})
}

// otherProgram puts a program of other bytes in the place of the contract's and restarts one service.
func (r *rig) otherProgram(t *testing.T) {
	d, err := r.net.Peer("beijing").Definition(context.Background(), fabric.Contract)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir, "contracts", fabric.Contract+"-"+d.Version, "zl-chaincode")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // the others keep the one that they run
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(raw, "another build"...), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := r.process(t, fabric.Contract+"-"+d.Version+"-tianjin").Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) otherPackage(t *testing.T) {
	r.approve(t, "hebei", 0, "", "zhenglian_0:"+strings.Repeat("ab", 32))
}

// allMust asks every organisation to endorse, and takes one away.
func (r *rig) allMust(t *testing.T) {
	if out, err := r.shell("zl-network upgrade --policy 3 --dir " + r.dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.kill("peer-tianjin")(t)
}

func (r *rig) clock(t *testing.T) {
	report := Examine(context.Background(), r.net, Options{Now: func() time.Time { return time.Now().Add(10 * time.Minute) }})
	if !slices.Equal(report.Codes(), []Code{ClockSkew}) || len(report.Findings) != 1 || report.Findings[0].Subject != "this machine" || report.Exit() != 1 {
		t.Errorf("%+v", report)
	}
	r.healthy(t)
}

func (r *rig) disk(t *testing.T) {
	report := Examine(context.Background(), r.net, Options{MinFree: 1 << 60})
	if !slices.Equal(report.Codes(), []Code{DiskNearlyFull}) || report.Exit() != 1 {
		t.Errorf("%+v", report)
	}
}

// hang kills and starts orderers until one falls into the deadlock of Fabric 2.5.0. The longer their log, the likelier: with
// a few blocks never, with a few dozen nearly always, and then no restart cures it any more. So the log grows by a block a
// try. Whether it is seen is chance, so what must hold is asserted of a stand-in (TestHungOrderer), and this test is
// skipped, and says so, when it saw nothing or no restart cured.
func (r *rig) hang(t *testing.T) {
	if v := r.net.FabricVersion(); v != "2.5.0" && v != "2.5.1" && v != "2.5.2" {
		t.Skipf("left out: Fabric %s does not hang", v)
	}
	tries := 12
	if os.Getenv("ZL_SOAK") != "" {
		tries = 60
	}
	for i := range tries {
		r.order(t)
		o := r.net.Orderers()[i%3]
		if err := o.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := o.Start(); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(30 * time.Second)
		for {
			report, _ := r.doctor(t)
			if slices.Equal(report.Codes(), []Code{OrdererHung}) {
				r.unhang(t, i+1, report.Findings[0])
				return
			}
			if report.Healthy {
				break
			}
			if time.Now().After(deadline) {
				if !slices.Equal(report.Codes(), []Code{NoLeader}) {
					t.Fatalf("restart %d: %+v", i+1, report)
				}
				r.unhang(t, i+1, report.Findings[0]) // one had hung before, unseen, and with this one the majority is gone
				return
			}
		}
	}
	t.Skipf("none of %d restarts hung: nothing was seen this time", tries)
}

// unhang applies the cure, again if need be, as it says.
func (r *rig) unhang(t *testing.T, tries int, f Finding) {
	t.Logf("hung at restart %d: %q", tries, f.Evidence)
	for range 3 {
		out, err := r.shell(f.Cure.Command)
		if err == nil {
			r.healthy(t)
			return
		}
		if !strings.Contains(string(out), "run Fabric 2.5.3 or newer") {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("every restart hung: only a newer Fabric helps")
	}
	t.Skip("found, and not cured by restarts")
}

// down: a network that was stopped is down as a whole, and the command still comes to its end; a folder without a
// network is status 2.
func (r *rig) down(t *testing.T) {
	if out, err := r.shell("zl-network down --dir " + r.dir); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r.expect(t, []Code{OrdererDown, NoLeader, PeerDown, ChaincodeGone, NodeDown})
	for _, line := range []string{"zl-network doctor --dir " + t.TempDir(), "zl-network doctor --lang de --dir " + r.dir, "zl-network doctor --unknown"} {
		out, err := r.shell(line)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || len(out) == 0 {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
	}
}
