package app_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/node/internal/telemetry/telemetrytest"
	"github.com/zhenglian/zhenglian/sdk"
)

// get asks with headers, and returns status and body.
func (w *town) get(method, url string, headers map[string]string, body string) (int, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// An issue is followed from the request to the commit; nothing of a person, of a key or of an id is sent; without a
// collector the node goes on and says so.
func TestTelemetry(t *testing.T) {
	const (
		trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		citizen     = "110101199003077758"
		name        = "张三丰"
		number      = "JY-PLANTED-7781"
		key         = "planted-idempotency-key"
	)
	c := telemetrytest.Start(t, false)
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	w.configure("beijing", "telemetry: {otlp: \""+c.URL+"\", ratio: 1}\n")
	stop := w.serve("beijing")
	url, auditor, drafter := w.url["beijing"], w.client("beijing", "auditor"), w.client("beijing", "drafter")
	drafter.HTTP = &http.Client{Transport: withHeader{"Traceparent", "00-" + trace + "-" + span + "-01"}}
	w.until("a licence is issued", func() bool { // once the ledger has begun
		o, err := drafter.Issue(t.Context(), sdk.NewLicence{
			Type: demo.BusinessLicence, Number: number, Holder: sdk.Holder{Code: uscc(t, 7781), Name: name},
		}, sdk.Write{IdempotencyKey: key})
		return err == nil && o.Status == model.Committed
	})

	// Whatever a request can carry, planted.
	bearer := map[string]string{"Authorization": "Bearer " + auditor.Key, "Traceparent": "00-f" + citizen + "0000000000000-" + span + "-01", "Tracestate": "zl=" + citizen, "Baggage": "who=" + citizen}
	if status, _ := w.get("GET", url+"/v1/records/licence/planted."+citizen+"?who="+citizen, bearer, ""); status != 404 && status != 400 {
		t.Error(status)
	}
	w.get("GET", url+"/v1/search/licences?holder="+citizen, bearer, "")
	w.get("POST", url+"/public/verify", map[string]string{"Traceparent": "00-" + trace + "-" + span + "-01"}, `{"number":"`+number+`","holder":"`+citizen+`"}`)
	if status, _ := w.get("GET", url+"/v1/whoami", map[string]string{"Authorization": "Bearer planted-secret-" + citizen}, ""); status != 401 {
		t.Error(status)
	}
	w.get("M"+citizen, url+"/planted/"+citizen, map[string]string{"User-Agent": citizen}, citizen)
	if status, _ := w.get("GET", url+"/v1/operations/"+strings.Repeat("ab", 16), bearer, ""); status != 404 {
		t.Error(status)
	}

	one := func(name string, of func(telemetrytest.Span) bool) (found telemetrytest.Span) {
		t.Helper()
		w.until(name+" comes", func() bool {
			i := slices.IndexFunc(c.Spans(), func(s telemetrytest.Span) bool { return s.Name == name && of(s) })
			if i >= 0 {
				found = c.Spans()[i]
			}
			return i >= 0
		})
		return found
	}
	request := one("POST /v1/licences", func(s telemetrytest.Span) bool { return s.Attributes["http.response.status_code"] == "200" })
	within := func(above telemetrytest.Span) func(telemetrytest.Span) bool {
		return func(s telemetrytest.Span) bool {
			return s.Parent == above.ID && s.Trace == trace && !s.Start.Before(above.Start) && !s.End.Before(s.Start)
		}
	}
	if request.Trace != trace || request.Parent != span || request.Attributes["http.route"] != "/v1/licences" || request.Attributes["http.request.method"] != "POST" ||
		request.Attributes["zhenglian.request"] == "" || request.Attributes["error.type"] != "" ||
		request.Resource["service.name"] != "zhenglian" || request.Resource["service.instance.id"] != "beijing" || request.Resource["service.version"] != app.Version() {
		t.Errorf("%+v", request)
	}
	accept, tx := one("accept", within(request)), one("transaction", within(request))
	if accept.End.After(request.End) || tx.Attributes["zhenglian.result"] != "valid" || tx.Attributes["zhenglian.operations"] != "1" {
		t.Errorf("%+v %+v", accept, tx)
	}
	last := tx.Start
	for _, name := range []string{"propose", "store", "order", "commit"} {
		s := one(name, within(tx))
		if s.Start.Before(last) || s.End.After(tx.End) {
			t.Errorf("%s: %+v", name, s)
		}
		last = s.End
	}
	for route, code := range map[string]string{
		"GET /v1/operations/{id}": "not_found", "GET /v1/whoami": "unauthenticated", "/": "unauthenticated",
	} {
		s := one(route, func(telemetrytest.Span) bool { return true })
		if s.Attributes["error.type"] != code || s.Parent != "" {
			t.Errorf("%s: %+v", route, s)
		}
	}
	for _, open := range []string{"POST /public/verify", "GET /v1/records/{kind}/{id}", "GET /v1/search/licences"} {
		if s := one(open, func(telemetrytest.Span) bool { return true }); s.Parent != "" || s.Trace == trace {
			t.Errorf("who is not signed in, or what looks like a person, has a say: %+v", s)
		}
	}
	sent := c.Text()
	for _, planted := range []string{citizen, name, number, key, "planted", "PLANTED", auditor.Key, drafter.Key, uscc(t, 7781), "bj-scjg"} {
		if strings.Contains(sent, planted) {
			t.Errorf("%q was sent", planted)
		}
	}

	admin := "http://" + w.config("beijing").Admin
	_, shown := w.get("GET", admin+"/metrics", nil, "")
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "ops", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := func(pattern, text string) (out []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			out = append(out, m[1]+" "+m[2])
		}
		slices.Sort(out)
		return out
	}
	is, want := names(`(?m)^# TYPE (zhenglian_telemetry_\S+) (\w+)`, shown), names("(?m)^\\| `(zhenglian_telemetry_[a-z_]+)` \\| (\\w+)", string(page))
	if len(is) == 0 || !slices.Equal(is, want) {
		t.Errorf("shown %v\ndocumented %v", is, want)
	}
	if _, ready := w.get("GET", admin+"/readyz", nil, ""); !strings.Contains(ready, `{"name":"telemetry","status":"ok"}`) {
		t.Error(ready)
	}

	// The collector goes.
	c.Server.CloseClientConnections()
	c.Server.Close()
	for n := range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		o, err := drafter.Issue(ctx, sdk.NewLicence{Type: demo.BusinessLicence, Number: "after-" + string('a'+rune(n)), Holder: sdk.Holder{Code: uscc(t, 100+n), Name: name}}, sdk.Write{})
		cancel()
		if err != nil || o.Status != model.Committed {
			t.Error(o, err)
		}
	}
	w.until("readiness says so, and is ready", func() bool {
		status, ready := w.get("GET", admin+"/readyz", nil, "")
		return status == 200 && strings.Contains(ready, `{"name":"telemetry","status":"degraded","code":"target_unavailable"`) && !strings.Contains(ready, "failed")
	})
	_, shown = w.get("GET", admin+"/metrics", nil, "")
	if regexp.MustCompile(`(?m)^zhenglian_telemetry_spans_dropped_total [1-9]`).FindString(shown) == "" {
		t.Error("dropped spans are not counted")
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the node's end took %s", took)
	}
}

// Without configuration nothing of it runs, nobody is dialled, whatever the environment says, and readiness and metrics
// know nothing of it.
func TestNoTelemetry(t *testing.T) {
	c := telemetrytest.Start(t, false)
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		t.Setenv(name, c.URL)
	}
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	w.serve("beijing")
	w.until("a licence is accepted", func() bool { _, err := w.accept(w.client("beijing", "drafter"), 1); return err == nil })
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if i := bytes.Index(stacks, []byte("internal/telemetry.")); i >= 0 {
		t.Errorf("it runs: %s", stacks[max(0, i-200):min(len(stacks), i+200)])
	}
	if bytes.Contains(stacks, []byte("go.opentelemetry.io")) {
		t.Error("OpenTelemetry runs")
	}
	admin := "http://" + w.config("beijing").Admin
	for _, path := range []string{"/readyz", "/metrics"} {
		if _, text := w.get("GET", admin+path, nil, ""); strings.Contains(text, "telemetry") {
			t.Errorf("%s knows of it", path)
		}
	}
	if n := c.Connections(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// A configuration that cannot be right stops the node at its start, and says which key is meant.
func TestTelemetryConfig(t *testing.T) {
	w := newTown(t)
	path := filepath.Join(w.node("beijing"), app.ConfigFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for lines, want := range map[string]string{
		"telemetry: {otlp: \"http://collector.example:4318\"}":              "otlp: https only",
		"telemetry: {ratio: 0.5}":                                           "otlp:",
		"telemetry: {otlp: \"https://collector.example\", ratio: 2}":        "ratio:",
		"telemetry: {otlp: \"https://collector.example\", headers: {a: b}}": "headers",
	} {
		if err := os.WriteFile(path, append(slices.Clone(raw), lines+"\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := app.LoadConfig(w.node("beijing")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", lines, err)
		}
	}
	if err := os.WriteFile(path, append(raw, "telemetry: {otlp: \"https://collector.example\", ca_file: absent.pem}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := app.LoadConfig(w.node("beijing"))
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(t.Context(), cfg, quietLog); err == nil || !strings.Contains(err.Error(), "absent.pem") {
		t.Error(err)
	}
}

// withHeader adds a header to each request.
type withHeader struct{ name, value string }

func (h withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(h.name, h.value)
	return http.DefaultTransport.RoundTrip(r)
}

func uscc(t *testing.T, n int) string {
	t.Helper()
	code, err := model.InventUSCC("91110105X", n)
	if err != nil {
		t.Fatal(err)
	}
	return string(code)
}
