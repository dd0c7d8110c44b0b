package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// sameLog waits until nodes have applied equally much and expects the same leaves at all of them.
func (c *consortium) sameLog(names ...string) {
	c.t.Helper()
	first := c.nodes[names[0]].log()
	for _, name := range names[1:] {
		n := c.nodes[name]
		var events []sdk.Event
		eventually(c.t, 30*time.Second, name+" has the log of "+names[0], func() bool {
			if n.at().Position < uint64(len(first)) {
				return false
			}
			events = n.log()
			return true
		})
		if len(events) != len(first) {
			c.t.Fatalf("%s has %d leaves, %s has %d", name, len(events), names[0], len(first))
		}
		for i := range events {
			if events[i].Leaf != first[i].Leaf || events[i].Operation != first[i].Operation {
				c.t.Fatalf("position %d: %s has leaf %s, %s has %s", i, name, events[i].Leaf, names[0], first[i].Leaf)
			}
		}
	}
}

// TestFourNodes writes at every node that issues; all four come to hold the same.
func TestFourNodes(t *testing.T) {
	t.Parallel()
	c := newConsortium(t)
	c.start(memberNames...)
	b := newBook(t)
	var stops []func()
	for _, name := range memberNames[:3] {
		stops = append(stops, b.writers(c.nodes[name], 2))
	}
	eventually(t, 30*time.Second, "sixty requests are accepted", func() bool { return b.accepted() >= 60 })
	for _, stop := range stops {
		stop()
	}
	b.settle(c.nodes["customs"])
	c.sameLog("customs", "beijing", "tianjin", "hebei")
	c.foreignRefused()

	digests := map[string]bool{}
	for _, name := range memberNames {
		c.nodes[name].p.stop()
		digests[fmt.Sprint(c.nodes[name].reindex())] = true
	}
	if len(digests) != 1 {
		t.Errorf("the nodes' records differ: %v", digests)
	}
	c.ledger.p.stop()
	fsck(t, c.ledger.dir)
}

// foreignRefused has Hebei act on Beijing's licence and in Beijing's name: refused, with nothing written.
func (c *consortium) foreignRefused() {
	t := c.t
	t.Helper()
	beijing, hebei := c.nodes["beijing"], c.nodes["hebei"]
	var issued []model.Outcome
	beijing.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, "bj-scjg", "foreign-1", 1)), &issued)
	record := issued[0].Record
	eventually(t, 10*time.Second, "Hebei sees Beijing's licence", func() bool {
		a, err := hebei.send(context.Background(), http.MethodGet, hebei.url+"/v1/licences/"+string(record), hebei.keys["auditor"], nil)
		return err == nil && a.status == http.StatusOK
	})
	before := hebei.at().Position
	act := []byte(`{"decision":{"date":"2026-02-03","number":"冀市监〔2026〕1号"},"effective":"2026-02-03","reason":"inspection"}`)
	a, err := hebei.post("/v1/licences/"+string(record)+"/cancel", act)
	if p := a.problem(); err != nil || a.status/100 != 4 || p.Code != model.CodeNotOwner || p.Zh == "" {
		t.Errorf("Hebei cancels Beijing's licence: %d %.300s %v", a.status, a.body, err)
	}
	a, err = hebei.post("/v1/operations", encodeDrafts(t, issueDraft(t, "bj-scjg", "foreign-2", 2)))
	if p := a.problem(); err != nil || p.Code != model.CodeNotActingFor || p.Index == nil {
		t.Errorf("Hebei issues as Beijing: %d %.300s %v", a.status, a.body, err)
	}
	a, err = beijing.send(context.Background(), http.MethodPost, beijing.url+"/v1/operations", hebei.keys["approver"], encodeDrafts(t, issueDraft(t, "bj-scjg", "foreign-3", 3)))
	if err != nil || a.status != http.StatusUnauthorized {
		t.Errorf("Hebei's key at Beijing's node: %d %.300s %v", a.status, a.body, err)
	}
	if after := hebei.at().Position; after != before {
		t.Errorf("refusals moved the log from %d to %d", before, after)
	}
}

// TestForeignCertificate gives Tianjin's node an identity that Hebei's authority issued. It may not write,
// and the others do not notice.
func TestForeignCertificate(t *testing.T) {
	t.Parallel()
	c := newConsortium(t)
	tianjin, hebei := c.nodes["tianjin"], c.nodes["hebei"]
	for _, name := range []string{"identity.crt", "identity.key"} {
		if err := os.WriteFile(filepath.Join(tianjin.dir, name), mustRead(t, filepath.Join(hebei.dir, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.start("beijing")
	tianjin.launch()
	eventually(t, 15*time.Second, "the node says what is wrong with its certificate", func() bool {
		if tianjin.p.ended() {
			t.Fatal("the node ended")
		}
		r, err := tianjin.readiness()
		if err != nil {
			return false
		}
		for _, c := range r.Components {
			if c.Name == "follower" && strings.Contains(c.Detail, "certificate") && strings.Contains(c.Detail, "TianjinMSP") {
				return r.Status == sdk.Failed && c.Code == model.CodeLedgerUnavailable
			}
		}
		return false
	})
	a, err := tianjin.post("/v1/operations?wait=accepted", encodeDrafts(t, issueDraft(t, "tj-scjg", "foreign", 1)))
	if err != nil || a.status/100 == 2 {
		t.Errorf("a node under a foreign certificate takes a write: %d %.300s %v", a.status, a.body, err)
	}
	tianjin.p.stop()
	b := newBook(t)
	stop := b.writers(c.nodes["beijing"], 1)
	pause(b, 3)
	stop()
	b.settle(c.nodes["beijing"])
}

// TestGenesisPinned: a node with another genesis digest does not start, one with another genesis block stops
// following with a finding.
func TestGenesisPinned(t *testing.T) {
	t.Parallel()
	c := newConsortium(t)
	c.start("beijing")
	tianjin := c.nodes["tianjin"]
	var digest string
	tianjin.configure(func(m map[string]any) {
		digest = m["genesis_digest"].(string)
		m["genesis_digest"] = fmt.Sprintf("%x", sha256.Sum256([]byte("another")))
	})
	tianjin.launch()
	if status := tianjin.p.wait(stopLimit); status == 0 {
		t.Error("status 0 with a wrong genesis_digest")
	}
	if out := string(tianjin.p.out.bytes()); !strings.Contains(out, "genesis_digest") || !strings.Contains(out, digest) {
		t.Errorf("the message names neither setting nor digest: %s", out)
	}

	tianjin.configure(func(m map[string]any) {
		m["genesis_digest"] = digest
		m["genesis_block"] = fmt.Sprintf("%x", sha256.Sum256([]byte("another")))
	})
	tianjin.launch()
	tianjin.stopsFollowing("chain.genesis")
	tianjin.p.stop()
	tianjin.launch() // the finding outlives the process
	tianjin.stopsFollowing("chain.genesis")
}

// stopsFollowing waits for a finding and expects the node to name it to its operators and nobody else.
func (n *node) stopsFollowing(finding string) {
	n.t.Helper()
	eventually(n.t, 20*time.Second, n.name+" stops with "+finding, func() bool {
		if n.p.ended() {
			n.t.Fatalf("%s ended:\n%s", n.name, n.p.out.tail(4000))
		}
		r, err := n.readiness()
		if err != nil {
			return false
		}
		for _, c := range r.Components {
			if c.Name == "follower" && c.Code == model.CodeFollowerStopped && strings.HasPrefix(c.Detail, finding) {
				return r.Status == sdk.Failed
			}
		}
		return false
	})
	a, err := n.get(n.url + "/readyz")
	if err != nil || a.status != http.StatusServiceUnavailable || strings.Contains(string(a.body), finding) {
		n.t.Errorf("public readiness: %d %s %v", a.status, a.body, err)
	}
}
