package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestSecondProcess: whoever comes second to a folder ends at once, names the folder, and does not disturb
// the first.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	c := newConsortium(t)
	c.start("beijing")
	n := c.nodes["beijing"]
	b := c.book()
	stop := b.writers(n, 2)
	pause(b, 2)

	// On other ports, so that it is the folder that is in the way.
	twin := filepath.Join(t.TempDir(), "ledger-service")
	copyTree(t, c.ledger.service, twin)
	edit(t, filepath.Join(twin, "ledger.yaml"), func(m map[string]any) {
		m["listen"], m["dir"] = free(t), c.ledger.dir
	})
	n.configure(func(m map[string]any) { m["listen"], m["admin"] = free(t), free(t) })
	for _, tt := range []struct {
		dir  string
		args []string
	}{
		{n.dir, []string{"serve", "--dir", n.dir}},
		{c.ledger.dir, []string{"ledger", "serve", "--dir", twin}},
		{c.ledger.dir, []string{"ledger", "fsck", "--dir", c.ledger.dir}},
		{n.dir, []string{"reindex", "--dir", n.dir}},
	} {
		p := start(t, tt.args...)
		status := p.wait(stopLimit)
		text := string(p.out.bytes())
		if status == 0 || !strings.Contains(text, tt.dir) || !strings.Contains(text, "in use") {
			t.Errorf("zhenglian %q: status %d, %q, want a failure that says that %s is in use", tt.args, status, text, tt.dir)
		}
		if strings.Contains(text, "panic") || len(text) > 600 {
			t.Errorf("zhenglian %q is not plain: %s", tt.args, text)
		}
	}
	pause(b, b.accepted())
	stop()
	b.settle(n)
	if n.p.ended() || c.ledger.p.ended() {
		t.Error("the first process did not survive the second")
	}
	n.p.stop()
	c.ledger.p.stop()
	fsck(t, c.ledger.dir)
	n.reindex()
}
