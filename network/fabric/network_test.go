package fabric

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
)

// TestNetwork makes one real network and does to it what an operator does.
func TestNetwork(t *testing.T) {
	r := newRig(t, fabricPrograms)
	r.run(t, []part{
		{"interrupted anywhere", r.interrupted},
		{"up from nothing", r.fromNothing},
		{"a second up changes nothing", r.again},
		{"a call", r.call},
		{"block 0 is known by its hash", r.genesisHash},
		{"up repairs", r.repair},
		{"upgrade while calls go on", r.upgrade},
		{"another policy", r.policy},
		{"a network cannot become another", r.refused},
		{"down and up again", r.downAndUp},
		{"a healthy network has no hung orderer", r.hung},
		{"purge leaves nothing", r.purge},
	})
}

// TestBFT does the same with orderers that bear a traitor.
func TestBFT(t *testing.T) {
	bin := os.Getenv("ZL_FABRIC_BIN")
	if bin == "" {
		t.Skip("left out: BFT orderers need Fabric 3; name the folder of its programs in ZL_FABRIC_BIN")
	}
	if v, err := binaries(t.Context(), bin); err != nil || !v.atLeast(3, 0, 0) {
		t.Skipf("left out: BFT orderers need Fabric 3; ZL_FABRIC_BIN names %v (%v)", v, err)
	}
	r := newRig(t, func(*testing.T) string { return bin })
	r.spec.Consensus = BFT
	r.run(t, []part{
		{"up from nothing", r.fromNothing},
		{"a second up changes nothing", r.again},
		{"a call", r.call},
		{"block 0 is known by its hash", r.genesisHash},
		{"up repairs", r.repair},
		{"upgrade while calls go on", r.upgrade},
		{"down and up again", r.downAndUp},
		{"a healthy network has no hung orderer", r.hung},
		{"purge leaves nothing", r.purge},
	})
}

type rig struct {
	spec Spec
	n    *Network
}

type part struct {
	name string
	run  func(*testing.T)
}

// newRig describes a network of three organisations with the kv contract.
func newRig(t *testing.T, programs func(*testing.T) string) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short: a real Fabric network")
	}
	program, err := contractProgram()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{spec: Spec{
		Dir: filepath.Join(t.TempDir(), "net work"), // a blank in it, as folders of users have
		Bin: programs(t), Orgs: 3, Chaincode: program, Plain: true, Builder: exe, Attached: true,
	}}
	t.Cleanup(func() {
		if r.n != nil {
			if err := r.n.Down(context.Background(), false); err != nil {
				t.Error(err)
			}
		}
	})
	return r
}

func (r *rig) run(t *testing.T, parts []part) {
	for _, p := range parts {
		if !t.Run(p.name, p.run) {
			if r.n != nil {
				t.Logf("%+v", r.n.Status(context.Background()))
			}
			return
		}
	}
}

func (r *rig) up(t *testing.T, change func(*Spec)) error {
	t.Helper()
	spec := r.spec
	if change != nil {
		change(&spec)
	}
	n, err := Up(t.Context(), spec, func(s Step) { t.Logf("%-20s %6.2f s %s", s.Name, s.Took.Seconds(), s.Note) })
	if err == nil {
		r.n = n
	}
	return err
}

func (r *rig) pids() map[string]int {
	out := map[string]int{}
	for _, p := range r.n.Processes() {
		out[p.Name] = p.Pid()
	}
	return out
}

// interrupted stops `up` after each of its steps, and in the middle of the last; the next one goes on from there.
func (r *rig) interrupted(t *testing.T) {
	stopAt := func(step string, in time.Duration) bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		passed := false
		n, err := Up(ctx, r.spec, func(s Step) {
			if s.Name == step && s.Err == nil && !passed {
				passed = true
				time.AfterFunc(in, cancel)
			}
		})
		if n != nil {
			r.n = n
		}
		return passed && err != nil
	}
	for _, step := range []string{"keys", "channel", "orderers and peers", "leader", "· services", "· installation"} {
		if !stopAt(step, 0) {
			t.Errorf("was not interrupted at %s", step)
		}
	}
	stopAt("· installation", 300*time.Millisecond) // between approvals and commit, or thereabouts
	if err := r.up(t, nil); err != nil {
		t.Fatal(err)
	}
	if d, err := r.n.peers[0].Definition(t.Context(), Contract); err != nil || d.Sequence != 1 {
		t.Errorf("definition %+v, %v", d, err)
	}
	if err := r.n.Down(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	r.n = nil
}

func (r *rig) fromNothing(t *testing.T) {
	began := time.Now()
	if err := r.up(t, nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %v", time.Since(began).Round(time.Millisecond))
	for name, pid := range r.pids() {
		if pid == 0 {
			t.Errorf("%s does not run", name)
		}
	}
	s := r.n.Status(t.Context())
	if len(s.Contracts) != 1 || s.Contracts[0] != (ContractStatus{Contract, "1", 1, "2 of 3"}) || (s.Leader == "") != (r.spec.Consensus == BFT) {
		t.Errorf("status: %+v", s)
	}
	for _, p := range s.Processes {
		if p.State != "up" && p.State != "leader" && p.State != "ready" {
			t.Errorf("%s: %s", p.Name, p.State)
		}
	}
	err := filepath.WalkDir(r.n.path("crypto"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || (!strings.HasSuffix(path, ".key") && d.Name() != "priv_sk") {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s may be read by others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func (r *rig) again(t *testing.T) {
	before := r.pids()
	if err := r.up(t, nil); err != nil {
		t.Fatal(err)
	}
	for name, pid := range r.pids() {
		if before[name] != pid {
			t.Errorf("%s was %d, is %d", name, before[name], pid)
		}
	}
	if d, err := r.n.peers[0].Definition(t.Context(), Contract); err != nil || d.Sequence != 1 {
		t.Errorf("definition %+v, %v", d, err)
	}
	// A description of nothing but the folder is enough.
	if err := r.up(t, func(s *Spec) { *s = Spec{Dir: s.Dir, Attached: true} }); err != nil {
		t.Error(err)
	}
}

// caller is a plain Gateway client at an organisation's peer, with the organisation's node's identity.
func (r *rig) caller(t *testing.T, org int) *client.Contract {
	t.Helper()
	node := r.n.orgs[org].Node() // r.n is another after an upgrade, which calls outlast
	id, err := node.Signer()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.n.peers[org].Dial()
	if err != nil {
		t.Fatal(err)
	}
	g, err := client.Connect(gatewayID{id.MspID(), id.Credentials()}, client.WithSign(func(digest []byte) ([]byte, error) { return signDigest(node, digest) }),
		client.WithClientConnection(conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		conn.Close()
	})
	return g.GetNetwork(Channel).GetContract(Contract)
}

func (r *rig) call(t *testing.T) {
	if _, err := r.caller(t, 0).SubmitTransaction("put", "k", "v"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		v, err := r.caller(t, 2).EvaluateTransaction("get", "k")
		if err == nil && string(v) != "v" {
			err = fmt.Errorf("read %q", v)
		}
		return err
	})
}

func (r *rig) genesisHash(t *testing.T) {
	want, err := r.n.GenesisHash()
	if err != nil {
		t.Fatal(err)
	}
	// Block 1 names the hash of its predecessor.
	got, err := previousHash(t.Context(), r.n.peers[0], 1)
	if err != nil || got != want {
		t.Errorf("block 1 says %s, computed %s, %v", got, want, err)
	}
}

func (r *rig) repair(t *testing.T) {
	orderer := r.n.orderers[0]
	if l := r.n.Leader(t.Context()); l != nil {
		orderer = l
	}
	for _, p := range []*Process{orderer.Process, r.n.peers[1].Process, r.n.Service(Contract, "hebei").Process} {
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	before := r.pids()
	if err := r.up(t, nil); err != nil {
		t.Fatal(err)
	}
	for name, pid := range r.pids() {
		if pid == 0 || (before[name] != 0 && before[name] != pid) {
			t.Errorf("%s was %d, is %d", name, before[name], pid)
		}
	}
	r.call(t)
}

func (r *rig) upgrade(t *testing.T) {
	var stop atomic.Bool
	var wg sync.WaitGroup
	var reads, writes, refused atomic.Int64
	readFailures := make(chan error, 1)
	for org := range r.n.orgs {
		c := r.caller(t, org)
		wg.Go(func() {
			for !stop.Load() {
				if _, err := c.EvaluateTransaction("get", "k"); err != nil {
					select {
					case readFailures <- err:
					default:
					}
				}
				reads.Add(1)
			}
		})
	}
	writer := r.caller(t, 0)
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			// One endorsed before the definition changed and ordered after it is invalid, and sent again: as the node
			// does.
			for !stop.Load() {
				if _, err := writer.SubmitTransaction("put", fmt.Sprint("w", i), "x"); err == nil {
					writes.Add(1)
					break
				}
				refused.Add(1)
			}
		}
	})
	err := r.up(t, func(s *Spec) { s.Version = "2" })
	after := writes.Load()
	eventually(t, func() error {
		if writes.Load() < after+3 {
			return errors.New("writes do not go on after the upgrade")
		}
		return nil
	})
	stop.Store(true)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-readFailures:
		t.Errorf("a read failed during the upgrade: %v", err)
	default:
	}
	t.Logf("%d reads, %d writes, %d sent again", reads.Load(), writes.Load(), refused.Load())
	for _, p := range r.n.Services() {
		if want := p.Version == "2"; p.Alive() != want {
			t.Errorf("%s runs: %v", p.Name, p.Alive())
		}
	}
	id, err := r.caller(t, 1).EvaluateTransaction("id")
	if err != nil || string(id) != r.n.Service(Contract, "tianjin").PackageID {
		t.Errorf("%s answers, %v", id, err)
	}
}

func (r *rig) policy(t *testing.T) {
	before := r.pids()
	if err := r.up(t, func(s *Spec) { s.Version, s.Policy = "2", 3 }); err != nil {
		t.Fatal(err)
	}
	d, err := r.n.peers[2].Definition(t.Context(), Contract)
	if err != nil || d.Version != "2" || d.Sequence != 3 || d.Policy != 3 {
		t.Errorf("definition %+v, %v", d, err)
	}
	for name, pid := range r.pids() {
		if before[name] != pid {
			t.Errorf("%s was %d, is %d", name, before[name], pid)
		}
	}
}

func (r *rig) refused(t *testing.T) {
	for name, change := range map[string]func(*Spec){
		"another size":      func(s *Spec) { s.Orgs = 4 },
		"another batch":     func(s *Spec) { s.Batch.Messages = 7 },
		"other ports":       func(s *Spec) { s.BasePort = 21000 },
		"BFT":               func(s *Spec) { s.Consensus = BFT },
		"no such policy":    func(s *Spec) { s.Policy = 4 },
		"no such program":   func(s *Spec) { s.Chaincode = "/nonexistent" },
		"no Fabric":         func(s *Spec) { s.Bin = t.TempDir() },
		"a version of junk": func(s *Spec) { s.Version = "a/b" },
	} {
		var bad *SpecError
		if err := r.up(t, change); !errors.As(err, &bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unlock, err := lock(r.spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := r.up(t, nil); !errors.Is(err, errLocked) {
		t.Errorf("beside another command: %v", err)
	}
}

func (r *rig) downAndUp(t *testing.T) {
	ports := map[string]string{}
	for _, p := range r.n.peers {
		ports[p.Name] = p.Address
	}
	// A frozen process ends too.
	if err := r.n.peers[0].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := r.n.Down(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	t.Logf("down after %v", time.Since(began).Round(time.Millisecond))
	for name, pid := range r.pids() {
		if pid != 0 {
			t.Errorf("%s runs as %d", name, pid)
		}
	}
	again, err := Open(r.spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range again.peers {
		if p.Address != ports[p.Name] {
			t.Errorf("%s moved from %s to %s", p.Name, ports[p.Name], p.Address)
		}
	}
	for _, p := range again.Status(t.Context()).Processes {
		if p.State != "down" && p.State != "ended by a later version" {
			t.Errorf("%s: %s", p.Name, p.State)
		}
	}
	if err := r.up(t, nil); err != nil {
		t.Fatal(err)
	}
	r.call(t)
}

func (r *rig) hung(t *testing.T) {
	found, err := r.n.Hung(t.Context())
	if err != nil || len(found) != 0 {
		t.Errorf("hung: %s, %v", names(found), err)
	}
	for _, o := range r.n.orderers {
		if p := o.pulse(t.Context()); p.err != nil || !p.active || (p.beats <= 0 && r.spec.Consensus != BFT) {
			t.Errorf("%s: pulse %+v", o.Name, p)
		}
	}
	// A frozen orderer does not answer, and is not taken for one that hangs.
	o := r.n.orderers[0]
	if err := o.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	found, err = r.n.Hung(t.Context())
	if err != nil || len(found) != 0 {
		t.Errorf("frozen: hung: %s, %v", names(found), err)
	}
	if err := o.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) purge(t *testing.T) {
	pids := r.pids()
	if err := r.n.Down(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.spec.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	for name, pid := range pids {
		if pid != 0 {
			if _, err := startOf(pid); err == nil {
				t.Errorf("%s still runs as %d", name, pid)
			}
		}
	}
	r.n = nil
	if _, err := Open(r.spec.Dir); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("open: %v", err)
	}
}
