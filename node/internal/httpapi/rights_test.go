package httpapi_test

import (
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
	// Failed sign-ins and open routes share the address's budget.
	if status, _ := get("", "/healthz"); status != 200 {
		t.Errorf("%d", status)
	}
	for range 2 {
		if status, _ := get("", "/v1/registry/agency", "Authorization", "Bearer guess"); status != 401 {
			t.Errorf("%d", status)
		}
	}
	if status, _ := get("", "/v1/registry/agency", "Authorization", "Bearer guess"); status != 429 {
		t.Errorf("guessing goes on: %d", status)
	}
	if status, _ := get("", "/readyz"); status != 429 {
		t.Errorf("open route: %d", status)
	}
	if status, _ := get(auth.Verifier, "/v1/registry/agency"); status != 200 {
		t.Errorf("who is signed in is not held to the address's budget: %d", status)
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

// Who is signed in writes for its own agency and those below it; for any other the request ends before intake.
func TestForAnotherAgency(t *testing.T) {
	s := open(t)
	for agency, want := range map[string]bool{"bj-scjg": true, "bj-scjg-cy": true, "bj-gov": false, "tj-scjg": false} {
		before := s.accepted()
		body := `{"agency":"` + agency + `","type":"licence.issue","body":{}}`
		if want {
			if status, _, raw := s.ask(t, auth.Drafter, "POST", "/v1/operations", body); status != 200 || s.accepted() != before+1 {
				t.Errorf("%s: %d %s", agency, status, raw)
			}
			continue
		}
		s.refused(t, auth.Drafter, "POST", "/v1/operations", body, model.CodeForbidden)
		s.refused(t, auth.SecurityAdmin, "POST", "/v1/registry/agencies/"+agency+"/keys", `{"alg":"ES256"}`, model.CodeForbidden)
		if s.accepted() != before {
			t.Errorf("%s: accepted", agency)
		}
	}
}
