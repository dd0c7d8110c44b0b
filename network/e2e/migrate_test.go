package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk"
)

// TestMigrate lets a pilot grow up: the demo's four organisations on their embedded ledger, with the story's records and
// some thousand more, move to a real Fabric network. Afterwards every leaf, every verdict and every answer is what it
// was, at every node, and what is written next stands at the next position.
func TestMigrate(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: a real Fabric network")
	}
	// Not beside the other tests: there is one Fabric network on a machine at a time.
	m := newMove(t)
	m.fill()
	m.freeze()
	m.note()
	m.plan()
	m.network()
	m.turn()
	m.imports()
	m.closes()
	m.goesOn()
}

// run runs a migration's command and decodes what it says.
func (m *move) run(into any, args ...string) {
	m.t.Helper()
	status, out, errOut := command(m.t, append([]string{"migrate"}, args...)...)
	if status != 0 {
		m.t.Fatalf("migrate %q: status %d\n%s%s", args, status, out, errOut)
	}
	if into != nil {
		if err := json.Unmarshal(out, into); err != nil {
			m.t.Fatalf("migrate %q: %v: %s", args, err, out)
		}
	}
}

// refused expects a command to fail with a word in what it says.
func (m *move) refused(word string, args ...string) {
	m.t.Helper()
	status, out, errOut := command(m.t, append([]string{"migrate"}, args...)...)
	if status != 1 || !strings.Contains(string(errOut), word) {
		m.t.Fatalf("migrate %q: status %d, not for %q\n%s%s", args, status, word, out, errOut)
	}
}

// freeze has the ledger take no more. What is accepted before it is said to wait, and goes on once it is thawed.
func (m *move) freeze() {
	t := m.t
	t.Helper()
	n := m.nodes["tianjin"]
	again := func(args ...string) {
		m.ledger.p.stop()
		m.run(nil, append([]string{"freeze", "--ledger", m.ledger.service}, args...)...)
		m.ledger.start()
	}
	again()
	a := asked{node: "tianjin", key: "late", body: encodeDrafts(t, issueDraft(t, n.agency, "late", 7))}
	ans, err := n.post("/v1/operations?wait=accepted", a.body, "Idempotency-Key", a.key)
	if err != nil || ans.status != http.StatusAccepted {
		t.Fatalf("%d %s %v", ans.status, ans.body, err)
	}
	before := n.at().Position
	n.p.stop()
	m.refused("accepted operations wait", "plan", "--from", n.dir)
	m.refused("outbox", "switch", "--dir", n.dir, "--gateway", "127.0.0.1:1,"+filepath.Join(m.ledger.service, "ca.crt"), "--genesis-block", strings.Repeat("0", 64))
	n.launch()
	eventually(t, 20*time.Second, "tianjin serves", func() bool {
		a, err := n.get(n.url + "/healthz")
		return err == nil && a.status == http.StatusOK
	})
	if after := n.at().Position; after != before {
		t.Fatalf("a frozen ledger has grown from %d to %d", before, after)
	}
	again("--undo")
	m.drained("tianjin")
	n.decode(mustPostAgain(t, n, a, &a.outcomes), nil, nil)
	m.asked = append(m.asked, a)
	again()
	m.caughtUp("tianjin", memberNames...)
	m.log = m.nodes["customs"].log()
}

// mustPostAgain repeats a request until it is committed.
func mustPostAgain(t *testing.T, n *node, a asked, outcomes *[]model.Outcome) (ans answer) {
	t.Helper()
	eventually(t, 20*time.Second, a.key+" is committed", func() bool {
		var err error
		ans, err = n.post("/v1/operations", a.body, "Idempotency-Key", a.key)
		return err == nil && ans.status == http.StatusOK && json.Unmarshal(ans.body, outcomes) == nil
	})
	return ans
}

// plan has every organisation and the ledger's operator look at what there is: all see the same. A damaged copy is
// refused.
func (m *move) plan() {
	t := m.t
	t.Helper()
	for _, name := range memberNames {
		m.nodes[name].p.stop()
	}
	m.ledger.p.stop()
	m.run(&m.end, "plan", "--from", m.ledger.service, "--json")
	for _, name := range memberNames {
		var p planned
		began := time.Now()
		m.run(&p, "plan", "--from", m.nodes[name].dir, "--json")
		if p != m.end {
			t.Fatalf("%s plans %+v, the ledger's operator %+v", name, p, m.end)
		}
		t.Logf("plan at %s: %v", name, time.Since(began).Round(time.Millisecond))
	}
	if m.end.Position != uint64(len(m.log)) {
		t.Fatalf("position %d, the log has %d", m.end.Position, len(m.log))
	}
	damaged := filepath.Join(t.TempDir(), "hebei")
	copyTree(t, m.nodes["hebei"].dir, damaged)
	flip(t, filepath.Join(damaged, "archive"))
	m.refused("does not check", "plan", "--from", damaged)
	service := filepath.Join(t.TempDir(), "service")
	copyTree(t, m.ledger.service, service)
	copyTree(t, m.ledger.dir, filepath.Join(filepath.Dir(service), "ledger"))
	flip(t, filepath.Join(filepath.Dir(service), "ledger", "blocks"))
	m.refused("does not check", "plan", "--from", service)
	t.Logf("%+v", m.end)
}

// flip changes one byte in the middle of a folder's largest file.
func flip(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var largest string
	var raw []byte
	for _, f := range files {
		if b := mustRead(t, f); len(b) > len(raw) {
			largest, raw = f, b
		}
	}
	raw[len(raw)/2] ^= 4
	if err := os.WriteFile(largest, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// network brings a fresh Fabric network up whose contract is to take the pilot over.
func (m *move) network() {
	t := m.t
	t.Helper()
	bin, err := raftPrograms(t)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	chaincode, err := contractProgram()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	began := time.Now()
	m.net, err = fabric.Up(ctx, fabric.Spec{
		Dir: filepath.Join(t.TempDir(), "net"), Bin: bin, Orgs: 4, Chaincode: chaincode, Builder: exe, Attached: true,
		GenesisDigest: m.end.GenesisDigest, ImportFrom: m.end.ImportFrom,
	}, nil)
	if m.net != nil {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if t.Failed() {
				for _, p := range m.net.Processes() {
					t.Logf("%s:\n%s", p.Name, last(p.Log(), 800))
				}
			}
			if err := m.net.Down(ctx, true); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("Fabric is up after %v", time.Since(began).Round(time.Millisecond))
}

// switchArgs are how a node is turned to the network.
func (m *move) switchArgs(name, identity string) []string {
	hash, err := m.net.GenesisHash()
	if err != nil {
		m.t.Fatal(err)
	}
	if name == "customs" { // whose gateways and certificate the network's own description names
		return []string{"switch", "--dir", m.nodes[name].dir, "--network", m.net.Description()}
	}
	args := []string{"switch", "--dir", m.nodes[name].dir, "--genesis-block", hash}
	for _, g := range m.net.Gateways(name) {
		args = append(args, "--gateway", g.Address+","+g.TLSRoots+","+g.ServerName)
	}
	for _, o := range m.net.Orgs() {
		if o.ID == identity {
			args = append(args, "--cert", o.Node().Cert, "--key", o.Node().Key)
		}
	}
	return args
}

// turn turns the nodes to the network, one of them there and back again first.
func (m *move) turn() {
	t := m.t
	t.Helper()
	hebei := m.nodes["hebei"]
	m.refused("common name", m.switchArgs("hebei", "tianjin")...)
	m.run(nil, m.switchArgs("hebei", "hebei")...)
	m.refused("switched already", m.switchArgs("hebei", "hebei")...)
	m.run(nil, "switch", "--dir", hebei.dir, "--undo")
	var p planned
	m.run(&p, "plan", "--from", hebei.dir, "--json")
	if p != m.end {
		t.Fatalf("after a switch was undone there is %+v, there was %+v", p, m.end)
	}
	for _, name := range memberNames {
		m.run(nil, m.switchArgs(name, name)...)
		for _, file := range []string{"api-keys.json", "genesis.json"} {
			if !bytes.Equal(m.files[name+"/"+file], mustRead(t, filepath.Join(m.nodes[name].dir, file))) {
				t.Errorf("%s of %s has changed", file, name)
			}
		}
	}
}

// imports hands the pilot over, killing whoever does so again and again, while a node serves.
func (m *move) imports() {
	t := m.t
	t.Helper()
	serving := m.nodes["tianjin"]
	serving.launch()
	rounds := 6
	if soak() {
		rounds = 40
	}
	began := time.Now()
	for round := range rounds {
		kills := []func(){m.importing([]string{"beijing", "hebei"}[round%2])}
		if round%3 == 2 { // two at once
			kills = append(kills, m.importing("customs"))
		}
		time.Sleep(time.Duration(200+rand.IntN(900)) * time.Millisecond)
		for _, kill := range kills {
			kill()
		}
	}
	first := slices.IndexFunc(m.log, func(e sdk.Event) bool { return e.Type == model.LicenceIssue })
	kill := m.importing("beijing")
	eventually(t, time.Minute, "tianjin has licences of the pilot", func() bool { return serving.at().Position > uint64(first) })
	kill()
	m.whileOpen(serving)
	var done struct {
		Blocks, Position, Imported uint64
		Chain                      string
		Seconds                    float64
	}
	m.run(&done, "import", "--dir", m.nodes["beijing"].dir, "--json")
	if done.Position != m.end.Position || done.Blocks != m.end.Blocks || done.Chain != m.end.Chain {
		t.Fatalf("imported %+v, planned was %+v", done, m.end)
	}
	t.Logf("%d kills in %v; the last run imported %d operations in %.1f s: %.0f/s", rounds, time.Since(began).Round(time.Millisecond), done.Imported, done.Seconds, float64(done.Imported)/done.Seconds)
	eventually(t, time.Minute, "tianjin has applied all that was imported", func() bool { return serving.at().Position == m.end.Position })
	serving.p.stop()
}

// importing starts an import of one block a call, each of which waits for a block of the network's: it is far from its end
// when it is killed. One that ended before its kill is a failure.
func (m *move) importing(name string) (kill func()) {
	m.t.Helper()
	cmd := exec.Command(program, "migrate", "import", "--dir", m.nodes[name].dir, "--batch-bytes", "1")
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	return func() {
		m.t.Helper()
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status >= 0 {
			m.t.Fatalf("an import at %s ended with %d before it was killed:\n%s", name, status, out.tail(2000))
		}
	}
}

// whileOpen looks at a node that serves while the import is open: it says so, takes nothing, and calls nothing valid or
// absent.
func (m *move) whileOpen(n *node) {
	t := m.t
	t.Helper()
	r, err := n.readiness()
	if err != nil || !slices.ContainsFunc(r.Components, func(c sdk.Component) bool { return c.Name == "import" && c.Code == model.CodeImportOpen }) {
		t.Errorf("readiness: %+v %v", r, err)
	}
	a, err := n.post("/v1/operations", encodeDrafts(t, issueDraft(t, n.agency, "too-early", 3)))
	if p := a.problem(); err != nil || a.status != http.StatusServiceUnavailable || p.Code != model.CodeImportOpen || p.Written != "nothing" {
		t.Errorf("a write: %d %s %v", a.status, a.body, err)
	}
	held := 0 // that would be valid
	for _, v := range m.verdicts("tianjin") {
		if v.Verdict != model.Stale && v.Verdict != model.Undetermined {
			t.Fatalf("a verdict while the import is open: %+v", v)
		}
		if v.Last != nil && v.Last.Verdict == model.Valid {
			held++
		}
	}
	if held == 0 || held >= len(m.issued) {
		t.Errorf("%d of %d licences would be valid here: that was not in the middle of the import", held, len(m.issued))
	}
	for _, path := range []string{"/v1/licences/tj-scjg.999999999", "/v1/operations/" + model.NewOpID().String()} {
		a, err := n.send(context.Background(), http.MethodGet, n.url+path, n.keys["auditor"], nil)
		if p := a.problem(); err != nil || p.Code != model.CodeImportOpen {
			t.Errorf("%s: %d %s %v", path, a.status, a.body, err)
		}
	}
	m.refused("migrate import", "compare", "--dir", m.nodes["customs"].dir)
	m.refused("migrate import", "close", "--dir", m.nodes["customs"].dir)
}

// closes compares at every organisation and closes at the third.
func (m *move) closes() {
	t := m.t
	t.Helper()
	type compared struct {
		Position, Leaves, Records uint64
		Chain                     string
		Differences               []any
		Approvals                 []string
		Needed                    int
		Closed                    bool
	}
	for i, name := range memberNames {
		var c compared
		began := time.Now()
		m.run(&c, "compare", "--dir", m.nodes[name].dir, "--json")
		if c.Position != m.end.Position || c.Chain != m.end.Chain || c.Leaves != m.end.Position || len(c.Differences) > 0 || c.Needed != 3 || len(c.Approvals) != min(i, 3) || c.Closed != (i == 3) {
			t.Fatalf("%s compares: %+v", name, c)
		}
		t.Logf("compare at %s: %d leaves, %d records in %v", name, c.Leaves, c.Records, time.Since(began).Round(time.Millisecond))
		m.run(&c, "close", "--dir", m.nodes[name].dir, "--json")
		if c.Closed != (i >= 2) || len(c.Approvals) != min(i+1, 3) {
			t.Fatalf("%s closes: %+v", name, c)
		}
	}
	m.refused("no way back", "switch", "--dir", m.nodes["beijing"].dir, "--undo")
	m.run(nil, "import", "--dir", m.nodes["hebei"].dir) // nothing to do
}

// goesOn starts the nodes and holds everything against what it was.
func (m *move) goesOn() {
	t := m.t
	t.Helper()
	m.consortium.ledger = nil
	m.start(memberNames...)
	for _, name := range memberNames {
		n := m.nodes[name]
		eventually(t, time.Minute, name+" has all", func() bool { return n.at().Position > m.end.Position })
		now := n.log()
		for i := range m.log {
			was, is := m.log[i], now[i]
			was.Block, was.Tx, is.Block, is.Tx = 0, "", 0, ""
			if was.Type == model.Genesis { // the genesis is whose Init was
				was.Msp, is.Msp = "", ""
			}
			a, b := mustJSON(t, was), mustJSON(t, is)
			if !bytes.Equal(a, b) {
				t.Fatalf("%s, position %d:\nwas %s\nis  %s", name, i, a, b)
			}
		}
		if closing := now[len(m.log)]; closing.Type != model.ImportClosed || closing.Position != m.end.Position {
			t.Fatalf("%s: %+v", name, closing)
		}
		for i, v := range m.verdicts(name) {
			if a, b := mustJSON(t, m.said[name][i]), mustJSON(t, v); !bytes.Equal(a, b) {
				t.Fatalf("%s: a verdict\nwas %s\nis  %s", name, a, b)
			}
		}
	}
	for id, was := range m.receipt {
		is, err := m.as("beijing", "auditor").Operation(background(t), id)
		if a, b := mustJSON(t, was), mustJSON(t, elsewhere(is)); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("operation %s: %v\nwas %s\nis  %s", id, err, a, b)
		}
	}
	for _, a := range m.asked {
		var now []model.Outcome
		ans, err := m.nodes[a.node].post("/v1/operations", a.body, "Idempotency-Key", a.key)
		m.nodes[a.node].decode(ans, err, &now)
		for i := range now {
			if x, y := mustJSON(t, elsewhere(a.outcomes[i])), mustJSON(t, elsewhere(now[i])); !bytes.Equal(x, y) {
				t.Fatalf("%s again:\nwas %s\nis  %s", a.key, x, y)
			}
		}
	}
	var after []model.Outcome
	m.nodes["beijing"].mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, "bj-scjg", "after", 5)), &after)
	if r := after[0].Receipt; r == nil || r.Position != m.end.Position+1 {
		t.Fatalf("the next operation: %+v", after)
	}
	// Writers go on where the pilot ended, on its records too.
	m.began = m.end.Position + 2
	b := m.book()
	b.shared = true
	stop := b.writers(m.nodes["hebei"], 2)
	pause(b, 5)
	stop()
	b.settle(m.nodes["hebei"])
	m.began = 0
	m.sameLog("hebei", "beijing", "tianjin", "customs") // hebei has all of it
	m.sound(memberNames...)
}
