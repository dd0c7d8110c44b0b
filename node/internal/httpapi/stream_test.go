package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// follow opens a stream of events; its lines come through next, which fails the test when none comes.
func follow(t *testing.T, s *site, path string, headers ...string) (next func() string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.keys[auth.Auditor])
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	lines := bufio.NewScanner(res.Body)
	return func() string {
			t.Helper()
			for lines.Scan() {
				if lines.Text() != "" {
					return lines.Text()
				}
			}
			t.Fatalf("the stream ended: %v", lines.Err())
			return ""
		}, func() {
			cancel()
			res.Body.Close()
		}
}

func TestEventStream(t *testing.T) {
	s := open(t)
	for range 3 {
		s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	}
	next, stop := follow(t, s, "/v1/events?from=0")
	defer stop()
	for _, want := range []string{"retry: 1000", "id: 0", "id: 1", `data: {"kind":"licence","record":"bj-scjg.2"`, "id: 2", `data: {"kind":"licence","record":"bj-scjg.3"`, ": still here"} {
		if got := next(); !strings.HasPrefix(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	s.ask(t, auth.Drafter, "POST", "/v1/operations", `{"type":"registry.propose","kind":"proposal","body":{}}`)
	for got := next(); got != "id: 3"; got = next() {
		if got != ": still here" {
			t.Fatalf("%q", got)
		}
	}
	if got := next(); !strings.Contains(got, `"kind":"proposal"`) || !strings.Contains(got, `"position":3`) {
		t.Errorf("%q", got)
	}

	// The header comes before the parameter, as a browser that reconnects has both.
	next, stop = follow(t, s, "/v1/events?from=-1&kind=licence", "Last-Event-ID", "1")
	defer stop()
	next()
	next()
	if got := next(); got != "id: 2" {
		t.Errorf("%q", got)
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	s := open(t, func(c *httpapi.Config, _ *auth.Rates) { c.MaxStreams = 2 })
	var stops []func()
	for range 2 {
		_, stop := follow(t, s, "/v1/events")
		stops = append(stops, stop)
	}
	s.refused(t, auth.Auditor, "GET", "/v1/events", "", model.CodeRateLimited)
	for _, stop := range stops {
		stop()
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // a place is free again once the node has seen the client go
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		refused := false
		c := s.client(auth.Auditor)
		c.Attempts = 1
		for _, err := range c.Events(ctx, sdk.FromNow, "") {
			refused = errors.Is(err, model.E(model.CodeRateLimited))
		}
		cancel()
		if !refused {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no place became free")
		}
	}
}

// A server that shuts down does not wait for streams.
func TestEventStreamsEndWithTheServer(t *testing.T) {
	s := open(t)
	_, stop := follow(t, s, "/v1/events")
	defer stop()
	// The site's own end shuts the server down and fails the test if that takes 10 s.
}

func TestReadiness(t *testing.T) {
	s := open(t)
	admin := s.api.Admin(s.registry, nil)
	word := func() (int, string) {
		status, _, raw := s.ask(t, "", "GET", "/readyz", "")
		return status, strings.TrimSpace(string(raw))
	}
	named := func() (int, string) {
		w := &recorder{header: http.Header{}}
		req, err := http.NewRequest("GET", "/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		admin.ServeHTTP(w, req)
		return w.status, w.body.String()
	}
	for _, tt := range []struct {
		components []sdk.Component
		status     int
		word       string
	}{
		{[]sdk.Component{{Name: "ledger", Status: sdk.OK}}, 200, `{"status":"ok"}`},
		{[]sdk.Component{{Name: "ledger", Status: sdk.Degraded, Code: model.CodeLedgerUnavailable}, {Name: "records", Status: sdk.OK}}, 200, `{"status":"degraded"}`},
		{[]sdk.Component{{Name: "follower", Status: sdk.Failed, Code: model.CodeFollowerStopped}, {Name: "ledger", Status: sdk.Degraded}}, 503, `{"status":"failed"}`},
		{[]sdk.Component{{Name: "follower", Status: "odd"}}, 503, `{"status":"failed"}`},
	} {
		s.node.mu.Lock()
		s.node.components = tt.components
		s.node.mu.Unlock()
		if status, got := word(); status != tt.status || got != tt.word {
			t.Errorf("%v: %d %s", tt.components, status, got)
		}
		status, got := named()
		if status != tt.status || !strings.Contains(got, `"name":"`+tt.components[0].Name+`"`) || !strings.Contains(got, string(tt.components[0].Code)) {
			t.Errorf("%v: admin %d %s", tt.components, status, got)
		}
	}
	// On the API's listener there are no metrics.
	s.refused(t, auth.SystemAdmin, "GET", "/metrics", "", model.CodeNotFound)
}

type recorder struct {
	header http.Header
	status int
	body   strings.Builder
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// The page loads nothing from anywhere and its policy lets only its own script run.
func TestPage(t *testing.T) {
	s := open(t)
	_, h, raw := s.ask(t, "", "GET", "/", "")
	page := string(raw)
	if h.Get("Content-Type") != "text/html; charset=utf-8" || strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "src=") {
		t.Errorf("the page loads from elsewhere")
	}
	for _, want := range []string{"证照核验", "Licence check", `lang="zh-CN"`, "public/verify", "aria-live"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if csp := h.Get("Content-Security-Policy"); strings.Count(csp, "'sha256-") != 2 || !strings.Contains(csp, "connect-src 'self'") {
		t.Errorf("policy %q", csp)
	}
	s.refused(t, auth.Auditor, "GET", "/index.html", "", model.CodeNotFound)
}

// The document of metrics lists what is registered, no more and no less.
func TestMetricsAreDocumented(t *testing.T) {
	s := open(t)
	s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	s.refused(t, "", "GET", "/v1/records/licence/bj-scjg.1", "", model.CodeUnauthenticated)
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var registered []string
	for _, f := range families {
		registered = append(registered, f.GetName())
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if v := l.GetValue(); strings.Contains(v, "bj-scjg") {
					t.Errorf("%s has a label of a request: %q", f.GetName(), v)
				}
			}
		}
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "ops", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(zhenglian_http_[a-z_]+)`").FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(documented)
	if !slices.Equal(registered, documented) {
		t.Errorf("registered %v\ndocumented %v", registered, documented)
	}
}

// TestRevokedKeyEndsItsStream: a stream lasts no longer than the right to read it.
func TestRevokedKeyEndsItsStream(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.keys[auth.Auditor])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for _, e := range s.people.Keys() {
		if err := s.people.Revoke(e.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Errorf("the stream went on: %v", err)
	}
}
