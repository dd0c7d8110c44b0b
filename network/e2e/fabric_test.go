package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// TestFabric runs the scripts, the comparison with the embedded ledger and the faults on a real Fabric network of four
// organisations: Raft with the Fabric that the checkout builds, and BFT, with a few of the faults, where ZL_FABRIC_BIN names
// a Fabric 3.
// Everything on one network runs one after the other, so that a fault's blame is clear and two processors suffice.
func TestFabric(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: a real Fabric network")
	}
	t.Parallel()
	t.Run("Raft", func(t *testing.T) {
		bin, err := raftPrograms(t)
		if err != nil {
			t.Fatal(err)
		}
		onFabric(t, fabric.Spec{Consensus: fabric.Raft, Bin: bin}, faults)
	})
	t.Run("BFT", func(t *testing.T) {
		bin := os.Getenv("ZL_FABRIC_BIN")
		if bin == "" {
			t.Skip("left out: BFT orderers need Fabric 3; name the folder of its programs in ZL_FABRIC_BIN")
		}
		version, err := exec.Command(filepath.Join(bin, "peer"), "version").Output()
		if err != nil {
			t.Fatalf("ZL_FABRIC_BIN: %v", err)
		}
		if !isThree.Match(version) {
			t.Skipf("left out: BFT orderers need Fabric 3; ZL_FABRIC_BIN names %s", version)
		}
		onFabric(t, fabric.Spec{Consensus: fabric.BFT, Bin: bin}, bftFaults)
	})
}

var isThree = regexp.MustCompile(`(?m)^\s*Version:\s*v?3\.`)

// script is a test on a consortium that is there already.
type script struct {
	name string
	run  func(*testing.T, *consortium)
}

// onFabric brings a network up and runs the scripts and then some on it.
func onFabric(t *testing.T, spec fabric.Spec, more []script) {
	began := time.Now()
	c := newFabric(t, spec)
	t.Logf("Fabric %s is up after %v", c.fabric.FabricVersion(), time.Since(began).Round(time.Millisecond))
	all := []script{{"BothLedgersAgree", bothLedgersAgree}} // first: it counts from the first block
	for _, s := range append(append(all, scripts...), more...) {
		t.Run(s.name, func(t *testing.T) {
			begun := time.Now()
			c.lend(t)
			s.run(t, c)
			t.Logf("%v", time.Since(begun).Round(time.Millisecond))
		})
	}
	t.Logf("the Fabric part took %v", time.Since(began).Round(time.Second))
}

// raftPrograms are Fabric's programs, built once for the checkout.
func raftPrograms(t *testing.T) (string, error) {
	checkout, err := fabric.Checkout()
	if err != nil {
		return "", err
	}
	bin := fabric.Cache(checkout)
	began := time.Now()
	err = fabric.Build(context.Background(), checkout, bin, nil, nil)
	t.Logf("Fabric's programs were there or built within %v", time.Since(began).Round(time.Second))
	return bin, err
}

// contractProgram is zl-chaincode: beside a program that was given, or built.
var contractProgram = sync.OnceValues(func() (string, error) {
	if os.Getenv("ZL_PROGRAM") != "" {
		beside := filepath.Join(filepath.Dir(program), "zl-chaincode")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	out := filepath.Join(workshop, "zl-chaincode")
	return out, compile(out, "github.com/zhenglian/zhenglian/chaincode/cmd/zl-chaincode")
})

// newFabric brings up a network of four organisations and starts their nodes. It ends with the test.
func newFabric(t testing.TB, spec fabric.Spec) *consortium {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	chaincode, err := contractProgram()
	if err != nil {
		t.Fatal(err)
	}
	spec.Dir = filepath.Join(workshop, "fabric-"+string(spec.Consensus))
	spec.Orgs, spec.Program, spec.Chaincode, spec.Builder = 4, program, chaincode, exe
	spec.Idle, spec.Attached = true, true
	spec.Snapshot = 256 << 10 // or every other restart of an orderer would hang (Fabric 2.5.0)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	net, err := fabric.Up(ctx, spec, func(s fabric.Step) {
		t.Logf("%-20s %6.1f s %s", s.Name, s.Took.Seconds(), s.Note)
	})
	if net != nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if t.Failed() {
				t.Logf("the network: %+v", net.Status(ctx))
				for _, p := range net.Processes() {
					t.Logf("%s:\n%s", p.Name, last(p.Log(), 800))
				}
			}
			if err := net.Down(ctx, true); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &consortium{t: t, dir: spec.Dir, fabric: net, nodes: map[string]*node{}}
	for _, f := range net.Nodes() {
		n := newNode(t, f.Org, homes[f.Org], f.Dir, f.URL[len("http://"):], f.AdminURL[len("http://"):], f.Keys)
		n.pristine = filepath.Join(t.TempDir(), f.Org)
		copyTree(t, n.dir, n.pristine)
		c.nodes[n.name] = n
	}
	c.start(memberNames...)
	return c
}

// lend gives the consortium to a part of the test: what goes wrong is that part's fault, and what it finds in the log
// begins where the log stands. Whatever it did to the processes is undone before the next.
func (c *consortium) lend(t *testing.T) {
	t.Helper()
	owner := c.t
	bind := func(t testing.TB) {
		c.t = t
		for _, n := range c.nodes {
			n.t = t
			if n.p != nil {
				n.p.t = t
			}
		}
	}
	bind(t)
	c.whole()
	c.began = c.nodes["beijing"].at().Position
	t.Cleanup(func() {
		if t.Failed() {
			for name, n := range c.nodes {
				t.Logf("%s printed last:\n%s", name, n.p.out.tail(3000))
			}
		}
		bind(owner)
	})
}

// whole waits until every process of the network runs and every node has all that there is.
func (c *consortium) whole() {
	c.t.Helper()
	ctx := background(c.t)
	restarted := false
	for _, p := range c.fabric.Processes() {
		if p.Kind == fabric.KindNode || c.ended(p) {
			continue
		}
		if p.Alive() {
			_ = p.Signal(syscall.SIGCONT) // a test that failed may have left it frozen
			continue
		}
		c.restart(p)
		restarted = restarted || p.Kind == fabric.KindOrderer
	}
	if restarted {
		c.cure()
	}
	c.start(memberNames...)
	var heights []uint64
	eventually(c.t, time.Minute, "the peers are equally far", func() bool {
		heights = heights[:0]
		for _, p := range c.fabric.Peers() {
			h, err := p.Height(ctx)
			if err != nil {
				return false
			}
			heights = append(heights, h)
		}
		for _, h := range heights {
			if h != heights[0] {
				return false
			}
		}
		return true
	})
	for _, name := range memberNames {
		n := c.nodes[name]
		n.ready()
		eventually(c.t, time.Minute, fmt.Sprintf("%s has %d blocks", name, heights[0]), func() bool { return n.at().Height >= heights[0] })
	}
}

// ended tells whether a process was ended for good by a later version of the contract.
func (c *consortium) ended(p *fabric.Process) bool {
	for _, s := range c.fabric.Services() {
		if s.Process == p {
			return s.Ended
		}
	}
	return false
}

// stopped copies what the peers keep, each while it is stopped, and returns the copies.
func (c *consortium) stopped() (dirs []string) {
	c.t.Helper()
	for _, p := range c.fabric.Peers() {
		if err := p.Stop(background(c.t), 20*time.Second); err != nil {
			c.t.Fatal(err)
		}
		dir := filepath.Join(c.t.TempDir(), p.Org)
		copyTree(c.t, filepath.Join(c.dir, "peers", p.Org, "data"), dir)
		if err := p.Start(); err != nil {
			c.t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func last(path string, n int) []byte {
	raw, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return raw[max(0, len(raw)-n):]
}
