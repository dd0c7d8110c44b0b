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

// fourNodes writes at every node that issues; all four come to hold the same.
func fourNodes(t *testing.T, c *consortium) {
	c.start(memberNames...)
	b := c.book()
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

	c.sound(memberNames...)
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
	if p := a.problem(); err != nil || p.Code != model.CodeForbidden || p.Index == nil {
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

// foreignCertificate gives a node of Tianjin's an identity that Hebei's authority issued. It may not write, and the
// others do not notice.
func foreignCertificate(t *testing.T, c *consortium) {
	tianjin, hebei := c.twin("tianjin"), c.nodes["hebei"]
	for _, name := range []string{"identity.crt", "identity.key"} {
		if err := os.WriteFile(filepath.Join(tianjin.dir, name), mustRead(t, filepath.Join(hebei.dir, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A certificate of another name than the node's does not even start.
	tianjin.launch()
	if status := tianjin.p.wait(stopLimit); status == 0 || !strings.Contains(string(tianjin.p.out.bytes()), `common name is "hebei"`) {
		t.Errorf("a node under another's certificate: status %d\n%s", status, tianjin.p.out.tail(600))
	}
	tianjin.configure(func(m map[string]any) { m["node"] = "hebei" })
	c.start("beijing")
	tianjin.launch()
	eventually(t, 20*time.Second, "the node says what is wrong with its certificate", func() bool {
		if tianjin.p.ended() {
			t.Fatalf("the node ended:\n%s", tianjin.p.out.tail(2000))
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
	b := c.book()
	stop := b.writers(c.nodes["beijing"], 1)
	pause(b, 3)
	stop()
	b.settle(c.nodes["beijing"])
}

// genesisPinned: a node with another genesis digest does not start, one with another genesis block stops following
// with a finding.
func genesisPinned(t *testing.T, c *consortium) {
	c.start("beijing")
	tianjin := c.twin("tianjin")
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
