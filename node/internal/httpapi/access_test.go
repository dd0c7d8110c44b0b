package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// fakeLog is an access log in memory that can fail.
type fakeLog struct {
	mu       sync.Mutex
	entries  []sdk.AccessEntry
	durable  map[uint64]bool // those that were waited for
	counts   map[int]int
	notReady bool
	full     bool // entries are not taken
	lost     bool // entries are taken and do not reach the disk
	asked    []httpapi.AccessQuery
}

var errNoLog = model.E(model.CodeAccessLogUnavailable)

func (l *fakeLog) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.notReady {
		return errNoLog
	}
	return nil
}

func (l *fakeLog) Append(e *sdk.AccessEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full {
		return errNoLog
	}
	e.Sequence = uint64(len(l.entries) + 1)
	c := *e
	c.Records = slices.Clone(e.Records)
	l.entries = append(l.entries, c)
	return nil
}

func (l *fakeLog) Begin(e *sdk.AccessEntry) (func(context.Context) error, error) {
	if err := l.Append(e); err != nil {
		return nil, err
	}
	seq := e.Sequence
	return func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.lost {
			return errNoLog
		}
		l.durable[seq] = true
		return nil
	}, nil
}

func (l *fakeLog) Count(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[status]++
}

func (l *fakeLog) Read(_ context.Context, q httpapi.AccessQuery) (sdk.AccessPage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, q)
	p := sdk.AccessPage{Entries: []sdk.AccessEntry{}}
	for _, e := range l.entries {
		if q.Sees(e.Agency) {
			p.Entries = append(p.Entries, e)
		}
	}
	return p, nil
}

func (l *fakeLog) Clerk(name string) model.Pseudonym {
	return model.Pseudonym(fmt.Sprintf("%032x", len(name)))
}

// since returns what was added after n entries.
func (l *fakeLog) since(n int) []sdk.AccessEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries[n:])
}

func (l *fakeLog) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries)
}

func (l *fakeLog) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

func logged(t *testing.T) (*site, *fakeLog) {
	l := &fakeLog{durable: map[uint64]bool{}, counts: map[int]int{}}
	return open(t, func(c *httpapi.Config, _ *auth.Rates) { c.Access, c.AccessReader = l, l }), l
}

// Every route that is not open leaves exactly one entry for each signed-in request, refused ones included; it names the
// caller, the action, the policy that decided and the answer's status.
func TestEveryRouteIsLogged(t *testing.T) {
	s, l := logged(t)
	s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	open := map[string]bool{}
	for _, r := range httpapi.Routes() {
		open[r.Method+" "+strings.NewReplacer("{$}", "").Replace(r.Path)] = r.Open
	}
	for _, role := range []auth.Role{auth.Drafter, auth.Verifier, auth.Auditor, auth.SystemAdmin} {
		for _, r := range everyRoute(t, s) {
			if r.path == "/v1/events" {
				continue // a stream does not end; below
			}
			before := l.len()
			status, h, _ := s.ask(t, role, r.method, r.path, "{")
			got := l.since(before)
			if open[r.method+" "+r.path] {
				if len(got) != 0 {
					t.Errorf("%s %s is open and logged", r.method, r.path)
				}
				continue
			}
			if len(got) != 1 {
				t.Errorf("%s, %s %s: %d entries", role, r.method, r.path, len(got))
				continue
			}
			e := got[0]
			if e.Person == "" || e.Name != string(role) || e.Agency != "bj-scjg" || len(e.Pseudonym) != 32 || e.Status != status || e.Request != h.Get("X-Request-Id") || e.Route == "" || e.Time.IsZero() {
				t.Errorf("%s, %s %s: %d %+v", role, r.method, r.path, status, e)
			}
			if (status == 403) != (e.Policy == auth.DefaultDeny) || status == 403 && e.Allowed || status == 200 && (!e.Allowed || e.Policy == "") {
				t.Errorf("%s, %s %s: %d, %v by %q", role, r.method, r.path, status, e.Allowed, e.Policy)
			}
			if strings.Contains(r.path, "bj-scjg.1") && (len(e.Records) != 1 || e.Records[0].ID != "bj-scjg.1") && !strings.Contains(r.path, "parties") {
				t.Errorf("%s %s: records %v", r.method, r.path, e.Records)
			}
		}
	}
	before := l.len()
	s.ask(t, auth.Verifier, "GET", "/v1/nothing", "")
	if got := l.since(before); len(got) != 1 || got[0].Status != 404 {
		t.Errorf("an unknown path: %+v", got)
	}
	s.ask(t, "", "GET", "/v1/nothing", "")
	s.ask(t, "", "GET", "/v1/nothing", "", "Authorization", "Bearer zlk_"+strings.Repeat("A", 43))
	if l.len() != before+1 || l.counts[401] != 2 {
		t.Errorf("failed sign-ins: %d entries, counted %v", l.len()-before, l.counts)
	}
}

func TestWhatIsLogged(t *testing.T) {
	s, l := logged(t)
	records := func(ids ...string) (out []sdk.AccessRecord) {
		for _, id := range ids {
			kind, id, _ := strings.Cut(id, "/")
			out = append(out, sdk.AccessRecord{Kind: model.Kind(kind), ID: id})
		}
		return out
	}
	one := func(as auth.Role, method, path, body string, want sdk.AccessEntry) {
		t.Helper()
		before := l.len()
		s.ask(t, as, method, path, body)
		got := l.since(before)
		if len(got) != 1 {
			t.Errorf("%s %s: %d entries", method, path, len(got))
			return
		}
		e := got[0]
		if e.Action != want.Action || e.Status != want.Status || e.Allowed != want.Allowed || e.Count != want.Count || !slices.Equal(e.Records, want.Records) {
			t.Errorf("%s %s:\n%+v\nwant\n%+v", method, path, e, want)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if writes := method != "GET" && path != "/v1/verify"; l.durable[e.Sequence] != (writes && e.Status < 300) {
			t.Errorf("%s %s: awaited %v", method, path, l.durable[e.Sequence])
		}
	}
	one(auth.Drafter, "POST", "/v1/operations", draft, sdk.AccessEntry{Action: "licence.issue", Status: 202, Allowed: true, Count: 1, Records: records("licence/bj-scjg.1")})
	one(auth.Drafter, "POST", "/v1/operations", "["+draft+","+draft+"]", sdk.AccessEntry{Action: "licence.issue", Status: 202, Allowed: true, Count: 2, Records: records("licence/bj-scjg.2", "licence/bj-scjg.3")})
	one(auth.Verifier, "POST", "/v1/operations", draft, sdk.AccessEntry{Action: "licence.issue", Status: 403, Count: 1})
	one(auth.Drafter, "POST", "/v1/operations", "{", sdk.AccessEntry{Status: 400, Count: 1})
	one(auth.Drafter, "GET", "/v1/licences/bj-scjg.1", "", sdk.AccessEntry{Action: "record.read", Status: 200, Allowed: true, Count: 1, Records: records("licence/bj-scjg.1")})
	one(auth.Drafter, "GET", "/v1/records/licence/bj-scjg.77/history", "", sdk.AccessEntry{Action: "record.read", Status: 404, Allowed: true, Count: 1, Records: records("licence/bj-scjg.77")})
	one(auth.Drafter, "GET", "/v1/registry/agencies", "", sdk.AccessEntry{Action: "registry.read", Status: 200, Allowed: true, Count: 1, Records: records("agency/*")})
	one(auth.Verifier, "GET", "/v1/events", "", sdk.AccessEntry{Action: "event.read", Status: 403, Count: 1, Records: records("*/*")})
	one(auth.Auditor, "GET", "/v1/access?record=licence/bj-scjg.1", "", sdk.AccessEntry{Action: "access.read", Status: 200, Allowed: true, Count: 1, Records: records("licence/bj-scjg.1")})
	one(auth.Verifier, "POST", "/v1/verify", `[{"record":"bj-scjg.1"},{"record":"bj-scjg.9"},{"record":"bj-scjg.2"}]`,
		sdk.AccessEntry{Action: "verify", Status: 200, Allowed: true, Count: 3, Records: records("licence/bj-scjg.1", "licence/bj-scjg.2")})

	// The uses that a request states: an entry for each run of one.
	before := l.len()
	use := `"use":{"purpose":"办理","orgName":"甲","username":"张三","itemName":"设立","itemCode":"1","businessCode":"2"}`
	if status, _, raw := s.ask(t, auth.Verifier, "POST", "/v1/verify", `[{"record":"bj-scjg.1",`+use+`},{"record":"bj-scjg.2",`+use+`},{"record":"bj-scjg.3"}]`); status != 200 {
		t.Errorf("%d %s", status, raw)
	}
	got := l.since(before)
	if len(got) != 2 || got[0].Count != 2 || got[1].Count != 1 || got[1].Use != nil || got[0].Use == nil ||
		*got[0].Use != (sdk.AccessUse{Purpose: "办理", OrgName: "甲", User: l.Clerk("张三"), ItemName: "设立", ItemCode: "1", BusinessCode: "2"}) {
		t.Errorf("%+v", got)
	}
	if raw, err := json.Marshal(got); err != nil || strings.Contains(string(raw), "张三") {
		t.Errorf("the clerk's name is in the log: %v", err)
	}
	s.refused(t, auth.Verifier, "POST", "/v1/verify", `{"record":"bj-scjg.1","use":{"purpose":"`+strings.Repeat("字", 201)+`"}}`, model.CodeTooLong)
	s.refused(t, auth.Verifier, "POST", "/v1/verify", `{"record":"bj-scjg.1","use":{"purpos":""}}`, model.CodeUnknownField)

	// A stream is logged when it begins.
	before = l.len()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", s.url+"/v1/events?kind=licence", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.keys[auth.Auditor])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := l.since(before); len(got) != 1 || got[0].Action != "event.read" || !slices.Equal(got[0].Records, records("licence/*")) {
		t.Errorf("%+v", got)
	}
}

// While entries cannot be taken, nobody who has to sign in is answered, and nothing is done; what had been done is not said
// to be undone.
func TestNothingIsAnsweredUnlogged(t *testing.T) {
	s, l := logged(t)
	s.ask(t, auth.Drafter, "POST", "/v1/operations", draft)
	reads := []struct{ method, path, body string }{
		{"GET", "/v1/licences/bj-scjg.1", ""}, {"POST", "/v1/verify", `{"record":"bj-scjg.1"}`}, {"GET", "/v1/registry/agencies", ""},
		{"GET", "/v1/events", ""}, {"GET", "/v1/nothing", ""}, {"GET", "/v1/operations/" + strings.Repeat("0", 32), ""},
	}
	for name, broken := range map[string]*bool{"not ready": &l.notReady, "full": &l.full} {
		l.set(func() { *broken = true })
		for _, r := range reads {
			p := s.refused(t, auth.Auditor, r.method, r.path, r.body, model.CodeAccessLogUnavailable)
			if p.Written != "nothing" {
				t.Errorf("%s: %+v", name, p)
			}
		}
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/openapi.json": 200} {
			if status, _, _ := s.ask(t, "", "GET", path, ""); status != want {
				t.Errorf("%s, %s: %d", name, path, status)
			}
		}
		l.set(func() { *broken = false })
	}
	before := s.accepted()
	l.set(func() { l.notReady = true })
	s.refused(t, auth.Drafter, "POST", "/v1/operations", draft, model.CodeAccessLogUnavailable)
	if s.accepted() != before {
		t.Error("accepted while nothing can be logged")
	}
	l.set(func() { l.notReady, l.full = false, true }) // it fails after acceptance
	p := s.refused(t, auth.Drafter, "POST", "/v1/operations", draft, model.CodeOutcomeUnknown)
	l.set(func() { l.full, l.lost = false, true })
	q := s.refused(t, auth.Drafter, "POST", "/v1/operations", draft, model.CodeOutcomeUnknown)
	if p.Written != "perhaps" || q.Written != "perhaps" || s.accepted() != before+2 {
		t.Errorf("%+v %+v, %d accepted", p, q, s.accepted()-before)
	}
}

// Who reads the access log sees the entries of people whose agency he may audit; others may not read it at all.
func TestReadingTheAccessLog(t *testing.T) {
	s, l := logged(t)
	l.entries = []sdk.AccessEntry{{Sequence: 1, Agency: "bj-scjg"}, {Sequence: 2, Agency: "tj-scjg"}, {Sequence: 3, Agency: "bj-dc-scjg"}, {Sequence: 4}}
	status, _, raw := s.ask(t, auth.AuditAdmin, "GET", "/v1/access?person=key-1&agency=bj-scjg&from=2026-11-01&until=2026-11-02&after=7&limit=3", "")
	var p sdk.AccessPage
	if err := json.Unmarshal(raw, &p); err != nil || status != 200 {
		t.Fatalf("%d %s", status, raw)
	}
	var seen []uint64
	for _, e := range p.Entries {
		seen = append(seen, e.Sequence)
	}
	if slices.Contains(seen, 2) || !slices.Contains(seen, 1) || !slices.Contains(seen, 4) {
		t.Errorf("%v", seen)
	}
	q := l.asked[0]
	if q.Person != "key-1" || q.Agency != "bj-scjg" || q.After != 7 || q.Limit != 3 || q.From.UTC().String() != "2026-10-31 16:00:00 +0000 UTC" || q.Until.Sub(q.From).Hours() != 48 {
		t.Errorf("%+v", q)
	}
	for _, role := range []auth.Role{auth.Drafter, auth.Approver, auth.Verifier, auth.SystemAdmin, auth.SecurityAdmin} {
		s.refused(t, role, "GET", "/v1/access", "", model.CodeForbidden)
	}
	for query, code := range map[string]model.Code{
		"record=licence": model.CodeBadValue, "record=licence/a.b": model.CodeBadID, "from=2026-02-30": model.CodeBadDate, "until=x": model.CodeBadDate,
		"agency=A": model.CodeBadID, "limit=0": model.CodeBadValue, "nonsense=1": model.CodeUnknownField, "person=" + strings.Repeat("x", 129): model.CodeTooLong,
	} {
		s.refused(t, auth.Auditor, "GET", "/v1/access?"+query, "", code)
	}
}
