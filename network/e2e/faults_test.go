package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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
	{"GatewayPeerKilled", func(t *testing.T, c *consortium) { c.outage(c.fabric.Peer("beijing").Process) }},
	{"EndorsingPeerKilled", func(t *testing.T, c *consortium) { c.outage(c.fabric.Peer("hebei").Process) }},
	{"ContractKilled", func(t *testing.T, c *consortium) { c.outage(c.fabric.Service(fabric.Contract, "beijing").Process) }},
	{"NodeKilled", nodeKilled},
	{"PeerFrozen", peerFrozen},
	{"OrderersDown", orderersDown},
	{"Renewal", renewal},
	{"LyingPeer", lyingPeer},
	{"Upgrade", upgrade},
}

// outageFor is how long something stays away.
func outageFor() time.Duration {
	if soak() {
		return time.Minute
	}
	return 10 * time.Second
}

// resumption is the target for writes after the loss of a Raft leader; hang the bound beyond which nothing will come.
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

// resumes says how long after an instant a write has come through that was made after it.
func (l *load) resumes(at string, since time.Time) time.Duration {
	t, n := l.c.t, l.c.nodes[at]
	t.Helper()
	l.next++
	number := fmt.Sprintf("%s-probe-%d", l.b.name, l.next)
	r := &request{node: n, key: number, numbers: []string{number}, body: encodeDrafts(t, issueDraft(t, n.agency, number, l.next))}
	l.b.mu.Lock()
	l.b.requests = append(l.b.requests, r)
	l.b.mu.Unlock()
	eventually(t, hang, "a write is accepted", func() bool { _, ok := l.b.send(r, false); return ok })
	eventually(t, hang, "writes resume", func() bool {
		a, err := n.send(context.Background(), http.MethodGet, n.url+"/v1/operations/"+r.ids[0].String(), n.keys["auditor"], nil)
		var o model.Outcome
		return err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, &o) == nil && o.Status == model.Committed
	})
	return time.Since(since).Round(10 * time.Millisecond)
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
	c.t.Logf("%s killed: a write through beijing came through %v later, one through tianjin %v", p.Name, l.resumes("beijing", since), l.resumes("tianjin", since))
	time.Sleep(time.Until(since.Add(outageFor())))
	before := l.b.accepted()
	pause(l.b, before) // writes go on without it
	c.restart(p)
	l.settle()
}

func leaderKilled(t *testing.T, c *consortium) {
	leader := c.fabric.Leader(background(t))
	if leader == nil {
		t.Fatal("no leader")
	}
	l := c.load()
	c.kill(leader.Process)
	since := time.Now()
	took := l.resumes("beijing", since)
	t.Logf("%s, the leader, killed: writes resumed after %v (target %v)", leader.Name, took, resumption)
	if took > hang {
		t.Errorf("writes resumed only after %v", took)
	}
	time.Sleep(time.Until(since.Add(outageFor())))
	c.restart(leader.Process)
	l.settle()
}

func followerKilled(t *testing.T, c *consortium) {
	leader := c.fabric.Leader(background(t))
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
	t.Logf("%s frozen: a write through beijing came through %v later, one through tianjin %v", p.Name, l.resumes("beijing", since), l.resumes("tianjin", since))
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
	for _, o := range c.fabric.Orderers() {
		c.kill(o.Process)
	}
	since := time.Now()
	// What was ordered before may still come; then nothing does.
	var height uint64
	eventually(t, 30*time.Second, "the blocks end at all peers alike", func() bool {
		for _, p := range c.fabric.Peers() {
			h, err := p.Height(background(t))
			if err != nil || h != c.fabricHeight() {
				return false
			}
			height = h
		}
		return n.at().Height == height
	})
	for i := range 20 {
		number := fmt.Sprintf("%s-down-%d", b.name, i)
		r := &request{node: n, key: number, numbers: []string{number}, body: encodeDrafts(t, issueDraft(t, n.agency, number, i))}
		b.mu.Lock()
		b.requests = append(b.requests, r)
		b.mu.Unlock()
		outcomes, ok := b.send(r, false)
		if !ok || outcomes[0].Status != model.Pending {
			t.Fatalf("write %d without orderers: %v %+v", i, b.failures, outcomes)
		}
	}
	number := b.name + "-waited"
	r := &request{node: n, key: number, numbers: []string{number}, body: encodeDrafts(t, issueDraft(t, n.agency, number, 99))}
	b.mu.Lock()
	b.requests = append(b.requests, r)
	b.mu.Unlock()
	begun := time.Now()
	outcomes, ok := b.send(r, true)
	if !ok || outcomes[0].Status != model.Pending || time.Since(begun) > 20*time.Second {
		t.Errorf("waiting for a commit without orderers: %v %+v after %v", ok, outcomes, time.Since(begun))
	}
	var cause sdk.Component
	var ready sdk.Readiness
	defer func() {
		if t.Failed() {
			t.Logf("readiness without orderers: %+v", ready)
		}
	}()
	eventually(t, 30*time.Second, "readiness names the cause", func() bool {
		var err error
		if ready, err = n.readiness(); err != nil || ready.Status != sdk.Degraded {
			return false
		}
		for _, part := range ready.Components {
			if part.Name == "writes" && part.Status == sdk.Degraded && part.Code == model.CodeLedgerUnavailable {
				cause = part
				return strings.Contains(strings.ToLower(part.Detail), "order")
			}
		}
		return false
	})
	if a, err := n.get(n.url + "/readyz"); err != nil || a.status != http.StatusOK || string(a.body) != "{\"status\":\"degraded\"}\n" {
		t.Errorf("public readiness: %d %q %v", a.status, a.body, err)
	}
	at := n.at()
	if height = c.fabricHeight(); at.Height != height || at.AgeMS < 0 {
		t.Errorf("reads are as of %+v; the blocks ended at %d", at, height)
	}
	events := n.logFrom(c.began)
	for i := range events {
		if e := &events[i]; e.Kind == model.KindLicence && e.Version == 1 && string(e.Record[:8]) == "bj-scjg." {
			var v model.Verdict
			n.mustPost("/v1/verify", model.Query{Record: e.Record}, &v)
			if v.Verdict == "" || v.AgeMS < 0 {
				t.Errorf("a verdict without orderers: %+v", v)
			}
			break
		}
	}
	t.Logf("without orderers: reads as of block %d, %d ms old; readiness: %s", at.Height, at.AgeMS, cause.Detail)
	time.Sleep(time.Until(since.Add(outageFor())))
	for _, o := range c.fabric.Orderers() {
		c.restart(o.Process)
	}
	up := time.Now()
	c.cure()
	t.Logf("%v after the orderers were back a write came through", l.resumes("beijing", up))
	l.settle()
	n.ready()
}
