package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// monitored reads all expressions of the dashboard and of the alert rules, by where they stand.
func monitored(t *testing.T) map[string]string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "docs", "ops", "monitoring")
	out := map[string]string{}
	raw, err := os.ReadFile(filepath.Join(dir, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || (p.Type != "row" && len(p.Targets) == 0) {
			t.Errorf("panel %d %q", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, q := range p.Targets {
			out["panel "+p.Title+": "+q.Expr] = q.Expr
		}
	}
	raw, err = os.ReadFile(filepath.Join(dir, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		Kind string
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert, Expr, For    string
					Labels, Annotations map[string]string
				}
			}
		}
	}
	if err := yaml.Unmarshal(raw, &a); err != nil || a.Kind != "PrometheusRule" {
		t.Fatal(a.Kind, err)
	}
	for _, g := range a.Spec.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || !durations.MatchString(r.For) || !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) ||
				r.Annotations["summary"] == "" || r.Annotations["summary_zh"] == "" || r.Annotations["cure"] == "" {
				t.Errorf("%+v lacks something", r)
			}
			out["alert "+r.Alert] = r.Expr
		}
	}
	if len(out) < 40 {
		t.Fatalf("only %d expressions", len(out))
	}
	return out
}

var (
	durations = regexp.MustCompile(`^[0-9]+(s|m|h|d)$`)
	word      = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*`)
	number    = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?`)
	matchers  = regexp.MustCompile(`^[a-z_]+(=~|=|!=|!~)"[^"]*"(,[a-z_]+(=~|=|!=|!~)"[^"]*")*$`)
	functions = []string{"rate", "sum", "by", "histogram_quantile", "predict_linear", "time"}
)

// parse goes through an expression of the part of PromQL that the dashboard and the rules use, and returns the metrics
// that it names; wrong says what does not belong.
func parse(expr string) (metrics []string, wrong string) {
	var open []byte
	for s := expr; s != ""; {
		switch c := s[0]; {
		case c == ' ':
			s = s[1:]
		case c == '(':
			open, s = append(open, ')'), s[1:]
		case c == ')':
			if len(open) == 0 || open[len(open)-1] != c {
				return nil, "a bracket too many"
			}
			open, s = open[:len(open)-1], s[1:]
		case c == '{':
			in, rest, ok := strings.Cut(s[1:], "}")
			if !ok || !matchers.MatchString(in) {
				return nil, "labels {" + in
			}
			s = rest
		case c == '[':
			in, rest, ok := strings.Cut(s[1:], "]")
			if !ok || !durations.MatchString(in) {
				return nil, "a range [" + in
			}
			s = rest
		case strings.ContainsRune("+-*/<>=,", rune(c)):
			s = s[1:]
		case number.MatchString(s):
			s = s[len(number.FindString(s)):]
		case word.MatchString(s):
			w := word.FindString(s)
			s = s[len(w):]
			grouped := strings.HasSuffix(strings.TrimRight(expr[:len(expr)-len(s)-len(w)], "abcdefghijklmnopqrstuvwxyz_, "), "by (") || inBy(expr[:len(expr)-len(s)-len(w)])
			switch {
			case grouped:
			case slices.Contains(functions, w):
				if !strings.HasPrefix(strings.TrimLeft(s, " "), "(") && w != "sum" {
					return nil, w + " without its bracket"
				}
			default:
				metrics = append(metrics, w)
			}
		default:
			return nil, "what is " + s
		}
	}
	if len(open) > 0 {
		return nil, "a bracket is left open"
	}
	return metrics, ""
}

// inBy reports whether a text ends within the labels of a by clause.
func inBy(s string) bool {
	i := strings.LastIndex(s, "by (")
	return i >= 0 && !strings.Contains(s[i:], ")")
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"rate(x[5m)", "rate(x[5q])", "x{a=b}", "sum by (le (x)", "x))", "x ~ y", "rate x"} {
		if _, wrong := parse(bad); wrong == "" {
			t.Errorf("%q passes", bad)
		}
	}
}

// The dashboard and the alert rules ask for metrics that are documented and that a node really has.
func TestMonitoring(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "ops", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented, labelled := map[string]string{}, map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|").FindAllStringSubmatch(string(doc), -1) {
		documented[m[1]], labelled[m[1]] = m[2], strings.TrimSpace(m[3]) != ""
	}
	for where, expr := range monitored(t) {
		for _, job := range regexp.MustCompile(`job="([^"]*)"`).FindAllStringSubmatch(expr, -1) {
			if !strings.Contains(string(doc), "job_name: "+job[1]+"\n") {
				t.Errorf("%s: no example in docs/ops/metrics.md scrapes as the job %s", where, job[1])
			}
		}
	}
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	w.serve("beijing")
	w.until("the node accepts", func() bool { _, err := w.accept(w.client("beijing", "drafter"), 1); return err == nil })
	res, err := http.Get("http://" + w.config("beijing").Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	exposed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(string(raw), -1) {
		exposed[m[1]] = true
	}
	for where, expr := range monitored(t) {
		metrics, wrong := parse(expr)
		if wrong != "" || len(metrics) == 0 {
			t.Errorf("%s: %s", where, wrong)
		}
		for _, m := range metrics {
			base := strings.TrimSuffix(m, "_bucket")
			switch {
			case m == "up" || strings.HasPrefix(m, "go_") || strings.HasPrefix(m, "process_"):
			case documented[base] == "":
				t.Errorf("%s: %s is not in docs/ops/metrics.md", where, m)
				continue
			case (documented[base] == "histogram") != (base != m):
				t.Errorf("%s: %s is a %s", where, m, documented[base])
			}
			// Metrics with labels begin with their first sample; those of the embedded ledger are of its own process, and
			// those of back offices of a node that has some.
			if m != "up" && !exposed[base] && !labelled[base] && !strings.HasPrefix(base, "zhenglian_ledger_") && !strings.HasPrefix(base, "zhenglian_webhook_") {
				t.Errorf("%s: the node does not expose %s", where, m)
			}
		}
	}
	for m := range exposed {
		if strings.HasPrefix(m, "zhenglian_") && documented[m] == "" {
			t.Errorf("%s is exposed and not documented", m)
		}
	}
}
