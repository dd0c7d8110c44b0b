package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
)

// everyRoute asks for each documented route as it stands in the document, with ids that parse.
func everyRoute(t testing.TB, s *site) (out []struct{ method, path, action string }) {
	t.Helper()
	for _, r := range httpapi.Routes() {
		path := strings.NewReplacer("{id}", "bj-scjg.1", "{kind}", "licence", "{act}", "suspend", "{$}", "").Replace(r.Path)
		if strings.Contains(r.Path, "/registry/{kind}") {
			path = strings.Replace(strings.Replace(r.Path, "{kind}", "agency", 1), "{id}", "bj-scjg", 1)
		}
		if strings.HasPrefix(r.Path, "/v1/operations/") {
			path = "/v1/operations/" + strings.Repeat("0", 32)
		}
		out = append(out, struct{ method, path, action string }{r.Method, path, r.Action})
	}
	return out
}

// Every route but the open ones says 401 to who is not signed in, whatever else is wrong, and nothing more.
func TestUnauthenticated(t *testing.T) {
	s := open(t)
	openRoutes := map[string]bool{"/": true, "/healthz": true, "/readyz": true, "/openapi.json": true, "/public/verify": true, "/join": true, "/auth/login": true, "/auth/callback": true}
	for _, r := range everyRoute(t, s) {
		if openRoutes[r.path] {
			if status, _, _ := s.ask(t, "", r.method, r.path, ""); status == 401 {
				t.Errorf("%s %s is not open", r.method, r.path)
			}
			continue
		}
		if strings.HasPrefix(r.path, "/elssp/") { // in its own envelope
			if status, _, raw := s.ask(t, "", r.method, r.path, "{"); status != 401 || string(raw) != `{"status":"1","code":"unauthenticated","message":"未登录或密钥无效"}`+"\n" {
				t.Errorf("%s: %d %s", r.path, status, raw)
			}
			continue
		}
		for _, h := range []string{"", "Bearer zlk_" + strings.Repeat("A", 43), "Basic eA=="} {
			p := s.refused(t, "", r.method, r.path, "{", model.CodeUnauthenticated, "Authorization", h)
			if p.Field != "" || p.Detail != "" {
				t.Errorf("%s %s: %+v", r.method, r.path, p)
			}
		}
	}
	for _, path := range []string{"/v1/nothing", "/metrics", "/debug/pprof/", "/v1/records", "/admin"} {
		s.refused(t, "", "GET", path, "", model.CodeUnauthenticated)
	}
}

// The table of rights holds on every route and for every operation: what a role may not do is 403 and says
// nothing more; what it may do is not.
func TestRights(t *testing.T) {
	s := open(t)
	s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	policies, err := auth.OpenPolicies("")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, a := range auth.Actions {
		known[a.Name] = true
	}
	routes := everyRoute(t, s)
	owners := map[auth.Relation]string{auth.Own: "bj-scjg", auth.BelowOwn: "bj-scjg-cy", auth.Other: "tj-scjg"}
	for _, role := range auth.Roles {
		may := func(action string, relation auth.Relation) bool {
			return policies.Decide([]auth.Role{role}, action, relation).Allowed
		}
		for _, r := range routes {
			action := r.action
			switch {
			case strings.HasSuffix(r.path, "/suspend"):
				action = "licence.suspend"
			case strings.HasSuffix(r.path, "/enact"):
				action = "registry.admit"
			case action == "" || r.path == "/v1/events": // by the body, tested below; a stream does not end
				continue
			}
			if !known[action] {
				t.Errorf("%s %s needs %q, which no role can hold", r.method, r.path, action)
			}
			status, _, raw := s.ask(t, role, r.method, r.path, "{")
			if forbidden := status == http.StatusForbidden; forbidden == may(action, auth.Own) {
				t.Errorf("%s, %s %s: %d %s", role, r.method, r.path, status, raw)
			}
		}
		for typ := range model.Types {
			for relation, agency := range owners {
				body := `{"agency":"` + agency + `","type":"` + string(typ) + `","body":{}}`
				before := s.accepted()
				status, _, raw := s.ask(t, role, "POST", "/v1/operations", body)
				if may(string(typ), relation) {
					if status != 200 {
						t.Errorf("%s × %s × %s: %d %s", role, typ, relation, status, raw)
					}
					continue
				}
				p := s.refused(t, role, "POST", "/v1/operations", body, model.CodeForbidden)
				if p.Field != "" || p.Detail != "" || s.accepted() != before {
					t.Errorf("%s × %s × %s: %+v", role, typ, relation, p)
				}
			}
		}
	}
	// One operation without the right, and none of the array is accepted.
	before := s.accepted()
	p := s.refused(t, auth.Drafter, "POST", "/v1/operations", "["+draft+`,{"type":"registry.close","body":{}}]`, model.CodeForbidden)
	if p.Index == nil || *p.Index != 1 || s.accepted() != before {
		t.Errorf("%+v", p)
	}
	s.refused(t, auth.Verifier, "GET", "/v1/events", "", model.CodeForbidden)
}

func TestRateLimits(t *testing.T) {
	s := open(t, func(_ *httpapi.Config, r *auth.Rates) {
		*r = auth.Rates{PrincipalPerSecond: 0.01, PrincipalBurst: 2, AddressPerSecond: 0.01, AddressBurst: 3}
	})
	get := func(as auth.Role, path string, h ...string) (int, string) {
		status, header, _ := s.ask(t, as, "GET", path, "", h...)
		return status, header.Get("Retry-After")
	}
	for range 2 {
		if status, _ := get(auth.Auditor, "/v1/registry/agency"); status != 200 {
			t.Errorf("%d", status)
		}
	}
	if status, after := get(auth.Auditor, "/v1/registry/agency"); status != 429 || after != "100" {
		t.Errorf("%d, Retry-After %q", status, after)
	}
	if status, _ := get(auth.Drafter, "/v1/registry/agency"); status != 200 {
		t.Errorf("another principal: %d", status)
	}
	for range 3 {
		if status, _ := get("", "/v1/registry/agency", "Authorization", "Bearer guess"); status != 401 {
			t.Errorf("%d", status)
		}
	}
	if status, _ := get("", "/v1/registry/agency", "Authorization", "Bearer guess"); status != 429 {
		t.Errorf("guessing goes on: %d", status)
	}
	if status, _ := get(auth.Verifier, "/v1/registry/agency"); status != 200 {
		t.Errorf("who is signed in is not held to the address's budget: %d", status)
	}
	// Neither guessing nor one open route shuts the others for who has the same address; the probe is never shut.
	for range 3 {
		if status, _ := get("", "/readyz"); status != 200 {
			t.Errorf("open route: %d", status)
		}
	}
	if status, _ := get("", "/readyz"); status != 429 {
		t.Errorf("an open route without end: %d", status)
	}
	if status, _ := get("", "/openapi.json"); status != 200 {
		t.Errorf("another open route: %d", status)
	}
	for range 10 {
		if status, _ := get("", "/healthz"); status != 200 {
			t.Errorf("healthz: %d", status)
		}
	}
}

// Behind a reverse proxy each caller is counted for himself, by what the proxy has written and not he.
func TestRateLimitsBehindAProxy(t *testing.T) {
	proxies, err := auth.ParseProxies([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, func(_ *httpapi.Config, r *auth.Rates) {
		*r = auth.Rates{AddressPerSecond: 0.01, AddressBurst: 2, Proxies: proxies}
	})
	for n, tt := range []struct {
		forwarded string
		want      int
	}{
		{"192.0.2.1", 401}, {"192.0.2.9, 192.0.2.1", 401}, {"192.0.2.8, 192.0.2.1", 429},
		{"192.0.2.2", 401}, {"192.0.2.1, 192.0.2.2", 401}, {"192.0.2.1", 429}, {"192.0.2.3", 401},
	} {
		status, _, _ := s.ask(t, "", "GET", "/v1/registry/agency", "", "Authorization", "Bearer guess", "X-Forwarded-For", tt.forwarded)
		if status != tt.want {
			t.Errorf("request %d, of %s: %d, want %d", n, tt.forwarded, status, tt.want)
		}
	}
}

// Who has failed too often is told so before a signature is verified for him; cheap ways go on.
func TestNoSignatureForWhoMustWait(t *testing.T) {
	s := open(t, func(_ *httpapi.Config, r *auth.Rates) { *r = auth.Rates{AddressPerSecond: 0.01, AddressBurst: 3} })
	issuers, err := auth.NewIssuers(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.signIn.Issuers = issuers
	before := tokensLookedAt.Load()
	for n, want := range []int{401, 401, 401, 429, 429, 429} {
		status, h, _ := s.ask(t, "", "GET", "/v1/registry/agency", "", "Authorization", fmt.Sprint("Bearer eyJ", n))
		if status != want || (h.Get("Retry-After") != "") != (want == 429) {
			t.Errorf("request %d: %d, Retry-After %q", n, status, h.Get("Retry-After"))
		}
	}
	if n := tokensLookedAt.Load() - before; n != 3 {
		t.Errorf("%d tokens were looked at", n)
	}
	if status, _, _ := s.ask(t, auth.Verifier, "GET", "/v1/registry/agency", ""); status != 200 {
		t.Errorf("a key: %d", status)
	}
}

func TestHeaders(t *testing.T) {
	s := open(t)
	ids := map[string]bool{}
	for _, path := range []string{"/", "/healthz", "/openapi.json", "/v1/nothing", "/v1/registry/agency"} {
		_, h, _ := s.ask(t, auth.Auditor, "GET", path, "")
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		ids[h.Get("X-Request-Id")] = true
	}
	if len(ids) != 5 || ids[""] {
		t.Errorf("request ids %v", ids)
	}
}

// Every route that writes, with a body that is in order, for the caller's own agency, one below it and another: what the
// policies deny is forbidden before anything is accepted, and nothing else is.
func TestRightsOfRoutes(t *testing.T) {
	s := open(t)
	s.node.mu.Lock()
	s.node.views[model.KindProposal] = map[model.RecordID]model.View{"bj-scjg.900": { // no proposal made here takes its place
		Kind: model.KindProposal, ID: "bj-scjg.900", Header: model.Header{Version: 1},
		Public: []byte(`{"action":"registry.admit","kind":"agency","record":"bj-new","value":{},"version":1}`),
	}}
	s.node.history[model.KindProposal] = map[model.RecordID][]model.HistoryEntry{}
	s.node.mu.Unlock()
	policies, err := auth.OpenPolicies("")
	if err != nil {
		t.Fatal(err)
	}
	const uscc = "91110000600037341L"
	bodies := map[string]struct{ path, action, body string }{ // by the route's pattern; $A is the agency
		"POST /v1/operations":                      {"/v1/operations", "licence.issue", `{"agency":"$A","type":"licence.issue","body":{}}`},
		"POST /v1/licences":                        {"/v1/licences", "licence.issue", `{"agency":"$A","type":"11100000MB0143028R001","number":"n","holder":{"code":"` + uscc + `","name":"甲"}}`},
		"POST /v1/licences/{id}/{act}":             {"/v1/licences/bj-scjg.1/suspend", "licence.suspend", `{"agency":"$A","version":2,"decision":{"number":"京市监〔2026〕1号","date":"2026-03-01"},"effective":"2026-03-01","reason":"甲"}`},
		"POST /v1/registry/proposals":              {"/v1/registry/proposals", "registry.propose", `{"agency":"$A","action":"registry.admit","kind":"agency","record":"bj-new","value":{}}`},
		"POST /v1/registry/proposals/{id}/approve": {"/v1/registry/proposals/bj-scjg.900/approve", "registry.approve", `{"agency":"$A","content":"` + strings.Repeat("ab", 32) + `","registry":1}`},
		"POST /v1/registry/proposals/{id}/enact":   {"/v1/registry/proposals/bj-scjg.900/enact", "registry.admit", `{"agency":"$A"}`},
		"POST /v1/registry/proposals/{id}/close":   {"/v1/registry/proposals/bj-scjg.900/close", "registry.close", `{"agency":"$A"}`},
		"POST /v1/registry/delegations":            {"/v1/registry/delegations", "registry.delegate", `{"agency":"$A","value":{"from":"$A","to":"bj-scjg-cy","region":"110000","type":"11100000MB0143028R001","window":{"from":"2026-01-01","until":""}}}`},
		"POST /v1/registry/delegations/{id}/end":   {"/v1/registry/delegations/bj-scjg.1/end", "registry.end-delegation", `{"agency":"$A","version":2}`},
		"POST /v1/registry/parties":                {"/v1/registry/parties", "registry.host-party", `{"agency":"$A","value":{"uscc":"` + uscc + `","host":"$A","name_zh":"甲","trades":[]}}`},
		"POST /v1/registry/parties/{id}/release":   {"/v1/registry/parties/" + uscc + "/release", "registry.release-party", `{"agency":"$A","version":2}`},
		"POST /v1/registry/agencies/{id}/keys":     {"/v1/registry/agencies/$A/keys", "registry.rotate-key", `{}`},
		"PUT /v1/registry/agencies/{id}/endpoint":  {"/v1/registry/agencies/$A/endpoint", "registry.set-endpoint", `{"endpoint":"https://node.example.gov.cn"}`},
	}
	for _, r := range httpapi.Routes() {
		pattern := r.Method + " " + r.Path
		writes := r.Method != "GET" && strings.HasPrefix(r.Path, "/v1/") && r.Path != "/v1/verify"
		if _, ok := bodies[pattern]; !ok && writes && (strings.HasPrefix(r.Path, "/v1/registry/") || strings.HasPrefix(r.Path, "/v1/licences")) {
			t.Errorf("%s is not tried for another agency", pattern)
		}
	}
	for relation, agency := range map[auth.Relation]string{auth.Own: "bj-scjg", auth.BelowOwn: "bj-scjg-cy", auth.Other: "tj-scjg"} {
		for _, role := range auth.Roles {
			for pattern, try := range bodies {
				method, _, _ := strings.Cut(pattern, " ")
				put := strings.NewReplacer("$A", agency).Replace
				before := s.accepted()
				status, _, raw := s.ask(t, role, method, put(try.path), put(try.body))
				allowed := policies.Decide([]auth.Role{role}, try.action, relation).Allowed
				if (status == http.StatusForbidden) == allowed || (status != http.StatusForbidden && status != http.StatusOK) {
					t.Errorf("%s × %s × %s: %d %s", role, pattern, relation, status, raw)
				}
				if accepted := s.accepted() != before; accepted != allowed {
					t.Errorf("%s × %s × %s: accepted %v", role, pattern, relation, accepted)
				}
			}
		}
	}
}
