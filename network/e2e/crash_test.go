package e2e

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// kills is how often each of the crash tests ends a process: six in all normally, sixty in a soak.
func kills() int {
	if soak() {
		return 20
	}
	return 2
}

// pause lets the writers work for a random while: when the blow falls is the point of these tests.
func pause(b *book, before int) {
	eventually(b.t, 30*time.Second, "the writers get on", func() bool { return b.accepted() > before })
	time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
}

// blows are SIGKILL mostly, and every third time SIGTERM.
func blow(p *process, round int) {
	if round%3 == 1 {
		p.stop()
		return
	}
	p.kill()
}

// TestKillNode ends a node with its ledger inside, under load.
func TestKillNode(t *testing.T) {
	t.Parallel()
	n := solo(t, t.TempDir())
	n.start()
	b := newBook(t)
	for round := range kills() {
		before := b.accepted()
		stop := b.writers(n, 4)
		pause(b, before)
		blow(n.p, round)
		stop()
		fsck(t, n.ledgerDir())
		n.start()
		b.complete(n, false)
		if t.Failed() {
			return
		}
	}
	events := b.settle(n)
	n.p.stop()
	fsck(t, n.ledgerDir())
	r := n.reindex()
	if r.Position != uint64(len(events)) {
		t.Errorf("reindexed to position %d, the log has %d", r.Position, len(events))
	}
	t.Logf("%d kills, %d requests, %d events", kills(), len(b.requests), len(events))
}

// TestKillLedger ends a ledger's own process under a node that writes. The node stays up, goes on accepting
// what need not wait, and gets on by itself when the ledger is back.
func TestKillLedger(t *testing.T) {
	t.Parallel()
	c := newConsortium(t)
	c.start("beijing", "tianjin")
	n, other := c.nodes["beijing"], c.nodes["tianjin"]
	b := newBook(t)
	for round := range kills() {
		before := b.accepted()
		stop, stopOther := b.writers(n, 3), b.writers(other, 1)
		pause(b, before)
		blow(c.ledger.p, round)
		fsck(t, c.ledger.dir)
		c.ledger.start()
		stop()
		stopOther()
		b.complete(n, false)
		if t.Failed() {
			return
		}
	}
	events := b.settle(n)
	c.sameLog(n.name, other.name)
	n.p.stop()
	other.p.stop()
	c.ledger.p.stop()
	fsck(t, c.ledger.dir)
	if a, z := n.reindex(), other.reindex(); a.After != z.After {
		t.Errorf("%s and %s have other records: %+v, %+v", n.name, other.name, a, z)
	}
	t.Logf("%d kills, %d requests, %d events", kills(), len(b.requests), len(events))
}

// killNode ends a node whose ledger is elsewhere, while another node goes on writing.
func killNode(t *testing.T, c *consortium) {
	c.start("beijing", "hebei")
	n, other := c.nodes["beijing"], c.nodes["hebei"]
	b := c.book()
	stopOther := b.writers(other, 1)
	for round := range kills() {
		before := b.accepted()
		stop := b.writers(n, 3)
		pause(b, before)
		blow(n.p, round)
		stop()
		n.start()
	}
	stopOther()
	events := b.settle(n)
	c.sameLog(n.name, other.name)
	c.sound(n.name, other.name)
	t.Logf("%d kills, %d requests, %d events", kills(), len(b.requests), len(events))
}

// TestGraceful asks a busy node to end: it does so in time with status 0, says nothing of which the outcome
// is unknown, and what it has acknowledged is there when it is back.
func TestGraceful(t *testing.T) {
	t.Parallel()
	n := solo(t, t.TempDir())
	n.start()
	b := newBook(t)
	stop := b.writers(n, 8)
	pause(b, 0)
	asked := time.Now()
	n.p.signal(syscall.SIGTERM)
	if status := n.p.wait(stopLimit); status != 0 {
		t.Errorf("status %d:\n%s", status, n.p.out.tail(2000))
	}
	t.Logf("ended after %v with %d requests accepted", time.Since(asked).Round(time.Millisecond), b.accepted())
	stop()
	fsck(t, n.ledgerDir())
	n.reindex() // after a clean stop the records are whole
	n.start()
	b.settle(n)
}
