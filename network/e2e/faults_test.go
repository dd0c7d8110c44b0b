package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk"
)

// faults strike a Fabric network while two nodes write. Afterwards everything is counted.
var faults = []script{
	{"LeaderKilled", leaderKilled},
	{"FollowerKilled", followerKilled},
	{"GatewayPeerKilled", gatewayPeerKilled},
	{"EndorsingPeerKilled", func(t *testing.T, c *consortium) { c.outage(c.fabric.Peer("hebei").Process) }},
	{"ContractKilled", func(t *testing.T, c *consortium) { c.outage(c.fabric.Service(fabric.Contract, "beijing").Process) }},
	{"NodeKilled", nodeKilled},
	{"PeerFrozen", peerFrozen},
	{"OrderersDown", orderersDown},
	{"Renewal", renewal},
	{"LyingPeer", lyingPeer},
	{"Upgrade", upgrade},
}

// bftFaults are those that BFT orderers meet otherwise than Raft's, and one to compare with.
var bftFaults = []script{
	{"LeaderKilled", leaderKilled},
	{"GatewayPeerKilled", gatewayPeerKilled},
}

// outageFor is how long something stays away.
func outageFor() time.Duration {
	if soak() {
		return time.Minute
	}
	return 10 * time.Second
}

// resumption is the target for writes after the loss of the orderers' leader; hang the bound beyond which nothing will come.
const resumption, hang = 15 * time.Second, time.Minute

// load is two nodes' writers while something goes wrong.
type load struct {
	c    *consortium
	b    *book
	stop []func()
	next int
}

var loaded = []string{"beijing", "tianjin"}

func (c *consortium) load() *load {
	c.t.Helper()
	l := &load{c: c, b: c.book()}
	for _, name := range loaded {
		stop := l.b.writers(c.nodes[name], 2)
		l.stop = append(l.stop, stop)
		c.t.Cleanup(stop) // however the test ends
	}
	pause(l.b, 5)
	return l
}

// settle lets the writers go on for a moment, stops them, brings back what is missing and judges: what was accepted is
// committed, once; nothing waits; all nodes have the same leaves.
func (l *load) settle() {
	c := l.c
	c.t.Helper()
	c.cure() // while blocks still come: see there
	pause(l.b, l.b.accepted()+3)
	for _, stop := range l.stop {
		stop()
	}
	c.whole()
	events := l.b.settle(c.nodes["beijing"])
	c.drained(memberNames...)
	c.sameLog("beijing", "tianjin", "hebei", "customs")
	c.t.Logf("%d requests, %d accepted at once, %d leaves at all four nodes, none waiting", len(l.b.requests), l.b.accepted(), len(events))
}

// resumes is a caller that tries throughout: it gives each of the nodes one write after another, waiting for none, and asks
// what became of them. It says how long after an instant the first of each node's was committed.
func (l *load) resumes(since time.Time, names ...string) []time.Duration {
	t := l.c.t
	t.Helper()
	took := make([]time.Duration, len(names))
	accepted := make([][]model.OpID, len(names))
	for slices.Contains(took, 0) {
		for i, name := range names {
			if took[i] > 0 {
				continue
			}
			n := l.c.nodes[name]
			l.next++
			outcomes, ok := l.b.send(l.b.ask(n, fmt.Sprintf("%s-probe-%d", l.b.name, l.next), l.next), false)
			if ok {
				accepted[i] = append(accepted[i], outcomes[0].Operation)
			}
			if slices.ContainsFunc(accepted[i], n.committed) {
				took[i] = time.Since(since).Round(10 * time.Millisecond)
			}
		}
		if time.Since(since) > hang {
			t.Fatalf("writes do not resume within %v: through %v the first came after %v (0: never); accepted: %v", hang, names, took, accepted)
		}
		time.Sleep(200 * time.Millisecond)
	}
	return took
}

// committed asks whether an operation is.
func (n *node) committed(id model.OpID) bool {
	a, err := n.send(context.Background(), http.MethodGet, n.url+"/v1/operations/"+id.String(), n.keys["auditor"], nil)
	var o model.Outcome
	return err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, &o) == nil && o.Status == model.Committed
}

// cures counts orderers that hung after a restart (Fabric 2.5.0 to 2.5.2) and were restarted again.
var cures int

// cure restarts orderers that hang until none does. An orderer may hang at the same place of its log again and again;
// what is written meanwhile moves it past that.
func (c *consortium) cure() {
	c.t.Helper()
	ctx := background(c.t)
	for _, o := range c.fabric.Orderers() { // one that has just been started says nothing yet
		eventually(c.t, 30*time.Second, o.Name+" answers", func() bool { _, err := o.Membership(ctx); return err == nil })
	}
	for try := 1; ; try++ {
		cured, err := c.fabric.Cure(background(c.t))
		for _, o := range cured {
			cures++
			c.t.Logf("%s hung after its restart and was restarted until it did not: %d such in this run", o.Name, cures)
		}
		if err == nil {
			return
		}
		if try == 3 {
			c.t.Fatal(err)
		}
		c.t.Logf("again: %v", err)
		time.Sleep(2 * time.Second)
	}
}

func (c *consortium) kill(p *fabric.Process) {
	c.t.Helper()
	if err := p.Kill(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *consortium) restart(p *fabric.Process) {
	c.t.Helper()
	if err := p.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// outage kills a process under load, lets it stay away, and starts it again.
func (c *consortium) outage(p *fabric.Process) {
	c.t.Helper()
	l := c.load()
	c.kill(p)
	since := time.Now()
	c.t.Logf("%s killed: writes through %v came through %v later", p.Name, loaded, l.resumes(since, loaded...))
	time.Sleep(time.Until(since.Add(outageFor())))
	before := l.b.accepted()
	pause(l.b, before) // writes go on without it
	c.restart(p)
	l.settle()
}

func gatewayPeerKilled(_ *testing.T, c *consortium) { c.outage(c.fabric.Peer("beijing").Process) }

// leader is the orderer that leads, as it says itself; nil where none does. BFT orderers go by the last block.
func (c *consortium) leader() *fabric.Orderer {
	c.t.Helper()
	if c.fabric.Spec().Consensus == fabric.Raft {
		return c.fabric.Leader(background(c.t))
	}
	for _, o := range c.fabric.Orderers() {
		r, err := http.Get("http://" + o.Operations + "/metrics")
		if err != nil {
			continue
		}
		page, err := io.ReadAll(r.Body)
		if errors.Join(err, r.Body.Close()) == nil && bytes.Contains(page, []byte("\nconsensus_BFT_is_leader{channel=\""+fabric.Channel+"\"} 1\n")) {
			return o
		}
	}
	return nil
}

// leaderKilled: writes resume within the target, through every node that writes.
func leaderKilled(t *testing.T, c *consortium) {
	l := c.load()
	c.cure() // one that hangs since an earlier restart would take the majority away: another matter
	leader := c.leader()
	if leader == nil {
		t.Fatal("no leader")
	}
	c.kill(leader.Process)
	since := time.Now()
	took := l.resumes(since, loaded...)
	t.Logf("%s, the leader, killed: writes through %v resumed after %v (target %v)", leader.Name, loaded, took, resumption)
	if slices.Max(took) > resumption {
		t.Errorf("writes resumed only after %v, not within %v", took, resumption)
	}
	eventually(t, resumption, "another leads", func() bool { now := c.leader(); return now != nil && now != leader })
	time.Sleep(time.Until(since.Add(outageFor())))
	c.restart(leader.Process)
	l.settle()
}

func followerKilled(t *testing.T, c *consortium) {
	leader := c.leader()
	for _, o := range c.fabric.Orderers() {
		if o != leader {
			c.outage(o.Process)
			return
		}
	}
}

// nodeKilled ends the node that writes at random moments.
func nodeKilled(t *testing.T, c *consortium) {
	times := 3
	if soak() {
		times = 20
	}
	l := c.load()
	n := c.nodes["beijing"]
	for range times {
		pause(l.b, l.b.accepted()+2)
		n.p.kill()
		n.start()
	}
	l.settle()
}

// peerFrozen stops the gateway peer of a writing node: its connections stay, and nobody answers.
func peerFrozen(t *testing.T, c *consortium) {
	l := c.load()
	p := c.fabric.Peer("beijing")
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	t.Logf("%s frozen: writes through %v came through %v later", p.Name, loaded, l.resumes(since, loaded...))
	time.Sleep(time.Until(since.Add(outageFor())))
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l.settle()
}

// fabricHeight is that of the peer that is furthest.
func (c *consortium) fabricHeight() (most uint64) {
	for _, p := range c.fabric.Peers() {
		if h, err := p.Height(background(c.t)); err == nil {
			most = max(most, h)
		}
	}
	return most
}

// orderersDown: nothing can be ordered. Writes are accepted and wait, reads go on and say how old they are, readiness
// names the cause to operators, and everything drains when there are orderers again.
func orderersDown(t *testing.T, c *consortium) {
	n := c.nodes["beijing"]
	l := c.load()
	b := l.b
	var issued []model.Outcome
	n.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, n.agency, b.name+"-read", 1)), &issued)
	for _, o := range c.fabric.Orderers() {
		c.kill(o.Process)
	}
	since := time.Now()
	// What was ordered before may still come; then nothing does.
	eventually(t, 30*time.Second, "the blocks end at all peers alike", func() bool {
		height := c.fabricHeight()
		for _, p := range c.fabric.Peers() {
			if h, err := p.Height(background(t)); err != nil || h != height {
				return false
			}
		}
		return n.at().Height == height
	})
	for i := range 20 {
		outcomes, ok := b.send(b.ask(n, fmt.Sprintf("%s-down-%d", b.name, i), i), false)
		if !ok || outcomes[0].Status != model.Pending {
			t.Fatalf("write %d without orderers: %v %+v", i, b.failures, outcomes)
		}
	}
	begun := time.Now()
	outcomes, ok := b.send(b.ask(n, b.name+"-waited", 99), true)
	if !ok || outcomes[0].Status != model.Pending || time.Since(begun) > 20*time.Second {
		t.Errorf("waiting for a commit without orderers: %v %+v after %v", ok, outcomes, time.Since(begun))
	}
	cause := n.names("writes", model.CodeLedgerUnavailable, "order")
	if a, err := n.get(n.url + "/readyz"); err != nil || a.status != http.StatusOK || string(a.body) != "{\"status\":\"degraded\"}\n" {
		t.Errorf("public readiness: %d %q %v", a.status, a.body, err)
	}
	c.readsGoOn(n, issued[0].Record)
	t.Logf("without orderers readiness says: %s", cause)
	time.Sleep(time.Until(since.Add(outageFor())))
	for _, o := range c.fabric.Orderers() {
		c.restart(o.Process)
	}
	up := time.Now()
	c.cure()
	t.Logf("%v after the orderers were back writes through %v came through", l.resumes(up, loaded...), loaded)
	l.settle()
	n.ready()
}

// names waits until a node's readiness names a component and a code as what degrades it, with a word in the detail, which
// it returns.
func (n *node) names(component string, code model.Code, word string) (detail string) {
	n.t.Helper()
	var r sdk.Readiness
	defer func() {
		if n.t.Failed() {
			n.t.Logf("readiness: %+v", r)
		}
	}()
	eventually(n.t, 40*time.Second, "readiness names "+component, func() bool {
		var err error
		if r, err = n.readiness(); err != nil || r.Status != sdk.Degraded {
			return false
		}
		for _, part := range r.Components {
			if part.Name == component && part.Status == sdk.Degraded && part.Code == code {
				detail = part.Detail
				return strings.Contains(strings.ToLower(detail), word)
			}
		}
		return false
	})
	return detail
}

// readsGoOn reads a valid licence, and one that nobody issued, while no block comes. As long as peers answer, a node knows
// that it has all that there is. When they fall silent too, its age is that of the silence, and what is not there is not
// called absent any more (docs/spec/follow.md).
func (c *consortium) readsGoOn(n *node, record model.RecordID) {
	t := c.t
	t.Helper()
	const fresh = 10 * time.Second
	height, position := c.fabricHeight(), n.at().Position
	// look reads in three ways, each of which must say the last block and an age between the bounds.
	look := func(least, most time.Duration, absent model.Word, why model.Reason) {
		t.Helper()
		begun := time.Now()
		var v, none model.Verdict
		var page sdk.RecordPage
		for _, ask := range []struct {
			method, path string
			body         []byte
			into         any
		}{
			{http.MethodPost, "/v1/verify", mustJSON(t, model.Query{Record: record}), &v},
			{http.MethodPost, "/v1/verify", mustJSON(t, model.Query{Record: "bj-scjg.999999999"}), &none},
			{http.MethodGet, "/v1/registry/organisations?limit=1", nil, &page},
		} {
			a, err := n.send(context.Background(), ask.method, n.url+ask.path, n.keys["approver"], ask.body)
			n.decode(a, err, ask.into)
			if !bytes.Contains(a.body, []byte(`"age_ms":`)) {
				t.Errorf("an answer without its age: %s", a.body)
			}
		}
		most += time.Since(begun)
		if v.Verdict != model.Valid || v.Reason != model.ReasonInForce {
			t.Errorf("%s: %s (%s)", record, v.Verdict, v.Reason)
		}
		if none.Verdict != absent || none.Reason != why {
			t.Errorf("a licence that nobody issued: %s (%s), not %s (%s)", none.Verdict, none.Reason, absent, why)
		}
		for _, at := range []sdk.Reflects{page.At, {Position: v.Position, Height: v.Height, AgeMS: v.AgeMS}, {Position: none.Position, Height: none.Height, AgeMS: none.AgeMS}} {
			if age := time.Duration(at.AgeMS) * time.Millisecond; at.Height != height || at.Position != position || age < least || age > most {
				t.Errorf("a read is as of %+v; the blocks ended at %d, position %d, and the age is within %v and %v", at, height, position, least, most)
			}
		}
	}
	for range 5 {
		look(0, fresh, model.NotValid, model.ReasonNotFound)
		time.Sleep(500 * time.Millisecond)
	}
	for _, p := range c.fabric.Peers() {
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	silent := time.Now()
	n.names("follower", model.CodeLedgerUnavailable, "")
	for range 3 {
		time.Sleep(time.Second)
		lasts := time.Since(silent)
		look(lasts-100*time.Millisecond, lasts+fresh, model.Undetermined, model.ReasonBehind) // a signal takes a moment
	}
	t.Logf("reads as of block %d; after %v without any peer %d ms old", height, time.Since(silent).Round(time.Millisecond), n.at().AgeMS)
	for _, p := range c.fabric.Peers() {
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 30*time.Second, "the age is small again", func() bool { return n.at().AgeMS < fresh.Milliseconds() })
	look(0, fresh, model.NotValid, model.ReasonNotFound)
}
