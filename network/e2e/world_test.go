package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/sdk"
)

// scripts are the tests that know nothing of the ledger beneath. They run on both. On Fabric they share one network,
// one after the other: each writes under numbers of its own and judges what it wrote.
var scripts = []script{
	{"FourNodes", fourNodes},
	{"Idempotency", idempotency},
	{"HostileClients", hostileClients},
	{"ForeignCertificate", foreignCertificate},
	{"GenesisPinned", genesisPinned},
	{"MetricsDocumented", metricsDocumented},
	{"Confidential", confidential},
	{"KillNode", killNode},
}

// TestEmbedded runs the scripts on the embedded ledger, each on a consortium of its own.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			s.run(t, newConsortium(t))
		})
	}
}

// book is for writers whose operations this test judges.
func (c *consortium) book() *book {
	b := newBook(c.t)
	b.from, b.shared = c.began, c.fabric != nil
	return b
}

// sameLog waits until nodes have applied equally much and expects the same leaves at all of them.
func (c *consortium) sameLog(names ...string) {
	c.t.Helper()
	first := c.nodes[names[0]].logFrom(c.began)
	for _, name := range names[1:] {
		n := c.nodes[name]
		var events []sdk.Event
		eventually(c.t, 60*time.Second, name+" has the log of "+names[0], func() bool {
			if n.at().Position < c.began+uint64(len(first)) {
				return false
			}
			events = n.logFrom(c.began)
			return true
		})
		if len(events) != len(first) {
			c.t.Fatalf("%s has %d leaves, %s has %d", name, len(events), names[0], len(first))
		}
		for i := range events {
			if events[i].Leaf != first[i].Leaf || events[i].Operation != first[i].Operation {
				c.t.Fatalf("position %d: %s has leaf %s, %s has %s", events[i].Position, name, events[i].Leaf, names[0], first[i].Leaf)
			}
		}
	}
}

// sound stops nodes, has them rebuild their records from their archives and expects that to change nothing and to
// give all of them the same. The embedded ledger is stopped and checked too; on Fabric the nodes go on afterwards.
func (c *consortium) sound(names ...string) {
	c.t.Helper()
	digests := map[string][]string{}
	for _, name := range names {
		c.nodes[name].p.stop()
	}
	for _, name := range names {
		r := fmt.Sprintf("%+v", c.nodes[name].reindex())
		digests[r] = append(digests[r], name)
	}
	if len(digests) != 1 {
		c.t.Errorf("the nodes' records differ: %v", digests)
	}
	if c.ledger != nil {
		c.ledger.p.stop()
		fsck(c.t, c.ledger.dir)
		return
	}
	c.start(names...)
}

// twin is another node with the identity of one of the consortium's, on a folder and ports of its own that nothing was
// written to yet.
func (c *consortium) twin(name string) *node {
	c.t.Helper()
	of := c.nodes[name]
	n := newNode(c.t, name, of.agency, filepath.Join(c.t.TempDir(), name), free(c.t), free(c.t), of.keys)
	copyTree(c.t, of.pristine, n.dir)
	n.configure(func(m map[string]any) {
		m["listen"], m["admin"] = n.url[len("http://"):], n.admin[len("http://"):]
		if c.ledger != nil {
			dial(m, c.ledger.address)
		}
	})
	return n
}

// drained waits until nothing waits in the nodes' outboxes.
func (c *consortium) drained(names ...string) {
	c.t.Helper()
	for _, name := range names {
		n := c.nodes[name]
		eventually(c.t, 90*time.Second, name+"'s outbox is empty", func() bool { return n.metric("zhenglian_outbox_operations") == 0 })
	}
}

// caughtUp waits until all nodes have applied as much as one.
func (c *consortium) caughtUp(with string, names ...string) {
	c.t.Helper()
	position := c.nodes[with].at().Position
	for _, name := range names {
		eventually(c.t, 60*time.Second, name+" has caught up with "+with, func() bool { return c.nodes[name].at().Position >= position })
	}
}

// background is for what a test asks of a network.
func background(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
