package e2e

import (
	"bufio"
	"bytes"
	"context"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var documented = regexp.MustCompile("(?m)^\\| `(zhenglian_[a-z0-9_]+)` \\| ([a-z]+) \\|([^|]*)\\| [^|]+ \\|$")

// TestMetricsDocumented asks a node with its ledger inside, whose metrics it shows too.
func TestMetricsDocumented(t *testing.T) {
	t.Parallel()
	n := solo(t, t.TempDir())
	n.configure(func(m map[string]any) { // nobody answers there, which stops nothing
		m["oidc"] = []any{map[string]any{"issuer": "http://" + free(t), "client_id": "zhenglian"}}
	})
	n.start()
	n.documented(func(name string) bool { return !configured(name) })
}

// metricsDocumented asks a node whose ledger is elsewhere.
func metricsDocumented(_ *testing.T, c *consortium) {
	c.start("beijing")
	c.nodes["beijing"].documented(func(name string) bool {
		return !strings.HasPrefix(name, "zhenglian_ledger_") && name != "zhenglian_signin_issuer_unreachable" && !configured(name)
	})
}

// configured reports whether a metric is that of a part which is only there when it is configured; its own tests hold
// it to the page.
func configured(name string) bool {
	return strings.HasPrefix(name, "zhenglian_push_") || strings.HasPrefix(name, "zhenglian_webhook_") || strings.HasPrefix(name, "zhenglian_telemetry_")
}

// documented holds those of docs/ops/metrics.md that the node should have and the running node to one another: names,
// kinds and labels.
func (n *node) documented(should func(name string) bool) {
	t := n.t
	t.Helper()
	// What is labelled shows only once it has happened.
	n.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, n.agency, "metrics", 1)), nil)
	if a, err := n.send(context.Background(), http.MethodGet, n.url+"/v1/events", "", nil); err != nil || a.status != http.StatusUnauthorized {
		t.Fatalf("%d %v", a.status, err)
	}
	a, err := n.get(n.admin + "/metrics")
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("metrics: %d %v", a.status, err)
	}
	kinds, labels, help := map[string]string{}, map[string]map[string]bool{}, map[string]bool{}
	sample := regexp.MustCompile(`^(zhenglian_[a-z0-9_]+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? `)
	label := regexp.MustCompile(`([a-z]+)="`)
	lines := bufio.NewScanner(bytes.NewReader(a.body))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) > 3 && f[1] == "HELP":
			help[f[2]] = true
		case len(f) == 4 && f[1] == "TYPE" && strings.HasPrefix(f[2], "zhenglian_"):
			kinds[f[2]], labels[f[2]] = f[3], map[string]bool{}
		}
		if m := sample.FindStringSubmatch(lines.Text()); m != nil {
			name := m[1]
			if kinds[name] == "" { // a name that ends like a part of a histogram
				name = strings.Fields(strings.SplitN(lines.Text(), "{", 2)[0])[0]
			}
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "le" && labels[name] != nil {
					labels[name][l[1]] = true
				}
			}
		}
	}
	told := map[string]bool{}
	for _, row := range documented.FindAllStringSubmatch(string(mustRead(t, filepath.Join("..", "..", "docs", "ops", "metrics.md"))), -1) {
		name := row[1]
		if !should(name) {
			continue
		}
		told[name] = true
		if kinds[name] != row[2] {
			t.Errorf("%s is documented as a %s; the node says %q", name, row[2], kinds[name])
		}
		want := map[string]bool{}
		for _, l := range strings.FieldsFunc(row[3], func(r rune) bool { return r == ' ' || r == ',' || r == '`' }) {
			want[l] = true
		}
		if !maps.Equal(want, labels[name]) {
			t.Errorf("%s has labels %v, documented are %v", name, slices.Collect(maps.Keys(labels[name])), row[3])
		}
	}
	for name := range kinds {
		if !told[name] {
			t.Errorf("%s stands nowhere in docs/ops/metrics.md", name)
		}
		if !help[name] {
			t.Errorf("%s has no help", name)
		}
	}
	if len(told) < 20 {
		t.Errorf("only %d metrics are documented", len(told))
	}
	if a, err := n.get(n.url + "/metrics"); err != nil || a.status == http.StatusOK {
		t.Errorf("metrics on the API's listener: %d %v", a.status, err)
	}
}
