package httpapi_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// tokensLookedAt counts sign-ins by token.
var tokensLookedAt atomic.Int64

// gate joins package auth to the API as the node does.
type gate struct {
	signIn *auth.SignIn
	limits *auth.Limits
}

func (g gate) SignIn(r *http.Request) (httpapi.Caller, error) {
	if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer eyJ") {
		tokensLookedAt.Add(1)
	}
	p, err := g.signIn.Find(r)
	if err != nil {
		return nil, err
	}
	return p, nil
}
func (g gate) TakeCaller(id string) time.Duration                   { return g.limits.Principal(id) }
func (g gate) TakeOpen(r *http.Request, route string) time.Duration { return g.limits.Open(r, route) }
func (g gate) TakeFailed(r *http.Request) time.Duration             { return g.limits.Failed(r) }

func (g gate) Wait(r *http.Request) time.Duration {
	if !g.signIn.Costly(r) {
		return 0
	}
	return g.limits.FailedWait(r)
}

// fakeRegistry has a tree in which bj-scjg-… stands below bj-scjg, and nothing else.
type fakeRegistry struct{}

func (fakeRegistry) Below(agency, above model.AgencyID) bool {
	return strings.HasPrefix(string(agency), string(above)+"-")
}
func (fakeRegistry) Hosts(model.USCC) bool  { return true }
func (fakeRegistry) Tops() []model.AgencyID { return []model.AgencyID{"bj-scjg"} }

const hostedParty = model.USCC("91110000600037341L")

func (fakeRegistry) Host(p model.USCC) model.AgencyID {
	if p == hostedParty {
		return "bj-scjg-cy"
	}
	return ""
}

// fakeNode is a whole node in memory: what it accepts it commits at once, unless told otherwise.
type fakeNode struct {
	mu       sync.Mutex
	requests map[string]fakeRequest // by principal and key
	outcomes map[model.OpID]model.Outcome
	views    map[model.Kind]map[model.RecordID]model.View
	history  map[model.Kind]map[model.RecordID][]model.HistoryEntry
	log      []sdk.Event
	grown    chan struct{}
	drafts   []model.Draft // every one accepted
	people   []model.Pseudonym

	acceptErr   error // Accept fails, having written nothing
	acceptIndex int
	refuse      *model.Error // every operation is refused with it
	hold        bool         // operations stay pending
	waitErr     error
	components  []sdk.Component
	verdict     model.Verdict // answers every query, if it has a word
	queries     []model.Query
}

type fakeRequest struct {
	digest model.Digest
	ids    []model.OpID
}

func newFakeNode() *fakeNode {
	return &fakeNode{
		requests: map[string]fakeRequest{}, outcomes: map[model.OpID]model.Outcome{},
		views: map[model.Kind]map[model.RecordID]model.View{}, history: map[model.Kind]map[model.RecordID][]model.HistoryEntry{},
		grown: make(chan struct{}), components: []sdk.Component{{Name: "ledger", Status: sdk.OK}},
	}
}

func (n *fakeNode) Accept(_ context.Context, s httpapi.Submission) ([]model.OpID, int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.acceptErr != nil {
		return nil, n.acceptIndex, n.acceptErr
	}
	if r, ok := n.requests[s.Principal+" "+s.Key]; ok && s.Key != "" {
		if r.digest != s.Digest {
			return nil, -1, model.E(model.CodeIdempotencyMismatch)
		}
		return r.ids, -1, nil
	}
	var ids []model.OpID
	for _, d := range s.Drafts {
		id := model.NewOpID()
		ids = append(ids, id)
		n.drafts = append(n.drafts, d)
		n.people = append(n.people, s.Person)
		if d.Record == "" {
			d.Record = model.NewRecordID(d.Agency, uint64(len(n.drafts)))
		}
		if d.Kind == "" {
			d.Kind = model.KindLicence
		}
		if d.Version == 0 {
			d.Version = n.views[d.Kind][d.Record].Version + 1
		}
		o := model.Outcome{Operation: id, Status: model.Pending, Kind: d.Kind, Record: d.Record, Version: d.Version}
		switch {
		case n.refuse != nil:
			o.Status, o.Problem = model.Rejected, n.refuse.Problem()
		case !n.hold:
			n.commit(&o, d, s.Person)
		}
		n.outcomes[id] = o
	}
	if s.Key != "" {
		n.requests[s.Principal+" "+s.Key] = fakeRequest{s.Digest, ids}
	}
	return ids, -1, nil
}

// commit is called with mu held.
func (n *fakeNode) commit(o *model.Outcome, d model.Draft, person model.Pseudonym) {
	position := uint64(len(n.log))
	var body struct {
		Value model.RawValue `json:"value"`
	}
	_ = json.Unmarshal(d.Body, &body)
	h := model.Header{Version: o.Version, State: model.InForce, Owner: d.Agency, Value: model.DigestOf(body.Value), Op: o.Operation}
	if d.Type == model.LicenceSuspend {
		h.State = model.Suspended
	}
	view := model.View{Kind: o.Kind, ID: o.Record, Header: h, Public: body.Value, Position: position, Leaf: model.DigestOf(d.Body)}
	entry := model.HistoryEntry{
		Position: position, Version: o.Version, Operation: o.Operation, Type: d.Type, Agency: d.Agency, Msp: "BeijingMSP", Person: person,
		Time: model.TimeOf(time.Unix(1_790_000_000, 0)), State: h.State, Block: position / 10, Tx: strings.Repeat("ab", 32), Body: d.Body,
	}
	o.Status = model.Committed
	o.Receipt = &model.Receipt{Operation: o.Operation, Kind: o.Kind, Record: o.Record, Version: o.Version, State: h.State,
		Position: position, Block: entry.Block, Tx: entry.Tx, Time: entry.Time}
	if n.views[o.Kind] == nil {
		n.views[o.Kind] = map[model.RecordID]model.View{}
		n.history[o.Kind] = map[model.RecordID][]model.HistoryEntry{}
	}
	if body.Value == nil {
		view.Public = n.views[o.Kind][o.Record].Public
	}
	n.views[o.Kind][o.Record] = view
	n.history[o.Kind][o.Record] = append(n.history[o.Kind][o.Record], entry)
	n.log = append(n.log, sdk.Event{Kind: o.Kind, Record: o.Record, Leaf: view.Leaf, HistoryEntry: entry})
	close(n.grown)
	n.grown = make(chan struct{})
}

// release commits what was held back.
func (n *fakeNode) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hold = false
	for id, o := range n.outcomes {
		if o.Status == model.Pending {
			n.commit(&o, model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Body: []byte(`{"value":{}}`)}, "")
			n.outcomes[id] = o
		}
	}
}

func (n *fakeNode) Wait(ctx context.Context, ids []model.OpID) ([]model.Outcome, error) {
	for {
		n.mu.Lock()
		out := make([]model.Outcome, 0, len(ids))
		pending := false
		for _, id := range ids {
			out = append(out, n.outcomes[id])
			pending = pending || n.outcomes[id].Status == model.Pending
		}
		err, grown := n.waitErr, n.grown
		n.mu.Unlock()
		if err != nil {
			return nil, err
		}
		if !pending {
			return out, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return out, nil
		}
	}
}

func (n *fakeNode) Outcome(_ context.Context, id model.OpID) (model.Outcome, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o, ok := n.outcomes[id]
	if !ok {
		return o, model.E(model.CodeNotFound, "id")
	}
	return o, nil
}

func (n *fakeNode) reflects() sdk.Reflects {
	return sdk.Reflects{Position: uint64(len(n.log)), Height: 7, Registry: 3, AgeMS: 12}
}

func (n *fakeNode) View(_ context.Context, kind model.Kind, id model.RecordID) (model.View, sdk.Reflects, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v, ok := n.views[kind][id]
	if !ok {
		return v, n.reflects(), model.E(model.CodeNotFound, "id")
	}
	return v, n.reflects(), nil
}

func (n *fakeNode) History(_ context.Context, kind model.Kind, id model.RecordID, after int64, limit int) ([]model.HistoryEntry, sdk.Reflects, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, ok := n.history[kind][id]
	if !ok {
		return nil, n.reflects(), model.E(model.CodeNotFound, "id")
	}
	var out []model.HistoryEntry
	for _, e := range all {
		if int64(e.Position) > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, n.reflects(), nil
}

func (n *fakeNode) List(_ context.Context, kind model.Kind, after model.RecordID, limit int) ([]model.View, sdk.Reflects, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []model.View
	for id, v := range n.views[kind] {
		if id > after {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b model.View) int { return cmp.Compare(a.ID, b.ID) })
	return out[:min(limit, len(out))], n.reflects(), nil
}

func (n *fakeNode) Entries(_ context.Context, after int64, limit int) ([]sdk.Event, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	from := min(int(after+1), len(n.log))
	return slices.Clone(n.log[from:min(len(n.log), from+limit)]), nil
}

func (n *fakeNode) Head() (int64, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return int64(len(n.log)) - 1, n.grown
}

func (n *fakeNode) Verify(_ context.Context, queries []model.Query) []model.Verdict {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]model.Verdict, len(queries))
	n.queries = append(n.queries, queries...)
	for i, q := range queries {
		if n.verdict.Verdict != "" {
			out[i] = n.verdict
			continue
		}
		r := model.ReasonNotFound
		v := model.Verdict{Verdict: model.NotValid, At: "2026-03-01", KnownAt: "2026-03-01", Height: 7}
		if view, ok := n.views[model.KindLicence][q.Record]; ok {
			r = model.ReasonInForce
			v.Verdict, v.Record, v.History = model.Valid, &view, n.history[model.KindLicence][q.Record]
		}
		v.Reason, v.Check, v.Zh, v.En = r, r.Check(), r.Zh(), r.En()
		out[i] = v
	}
	return out
}

func (n *fakeNode) Components() []sdk.Component {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.components
}

// site is a node whose API listens, with one key for each role.
type site struct {
	node     *fakeNode
	inbox    *fakeInbox
	api      *httpapi.API
	url      string
	keys     map[auth.Role]string
	people   *auth.Directory
	signIn   *auth.SignIn
	registry *prometheus.Registry
}

type option func(*httpapi.Config, *auth.Rates)

func open(t testing.TB, opts ...option) *site {
	t.Helper()
	s, stop, err := start(t.TempDir(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// start runs a site whose keys lie in a folder.
func start(dir string, opts ...option) (s *site, stop func() error, err error) {
	if err := auth.CreateDirectory(dir); err != nil {
		return nil, nil, err
	}
	policies, err := auth.OpenPolicies("")
	if err != nil {
		return nil, nil, err
	}
	people, err := auth.OpenDirectory(dir, make([]byte, 32), policies, fakeRegistry{})
	if err != nil {
		return nil, nil, err
	}
	s = &site{node: newFakeNode(), keys: map[auth.Role]string{}, people: people, signIn: &auth.SignIn{People: people}, registry: prometheus.NewRegistry()}
	for _, r := range auth.Roles {
		if s.keys[r], _, err = people.Issue(auth.Grant{Name: string(r), Agency: "bj-scjg", Roles: []auth.Role{r}}); err != nil {
			return nil, nil, err
		}
	}
	n := s.node
	s.inbox = &fakeInbox{node: n, drafts: map[string]*fakeDraft{}}
	c := httpapi.Config{Agencies: fakeRegistry{}, Inbox: s.inbox, Batches: s.inbox, Intake: s.inbox, Records: n, Log: n, Verifier: n, Health: n, Version: "test", Registerer: s.registry,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Heartbeat: 50 * time.Millisecond}
	rates := auth.Rates{AddressPerSecond: 1e6, AddressBurst: 1e6}
	for _, o := range opts {
		o(&c, &rates)
	}
	c.Gate = gate{s.signIn, auth.NewLimits(rates)}
	if s.api, err = httpapi.New(c); err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	s.url = "http://" + l.Addr().String()
	server := s.api.NewServer()
	document, err := contractOf(s.api)
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	var broken error
	if flag.Lookup("test.bench").Value.String() == "" { // measuring what is measured
		server.Handler = document.watch(server.Handler, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			broken = errors.Join(broken, err)
		})
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return s, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		mu.Lock()
		defer mu.Unlock()
		err = errors.Join(err, broken)
		if e := <-done; e != http.ErrServerClosed {
			err = errors.Join(err, e)
		}
		return err
	}, nil
}

// ask sends one request as a role ("" for nobody) and returns status, headers and body.
func (s *site) ask(t testing.TB, as auth.Role, method, path, body string, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if as != "" {
		req.Header.Set("Authorization", "Bearer "+s.keys[as])
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, raw
}

// refused asks and expects a problem of a code.
func (s *site) refused(t testing.TB, as auth.Role, method, path, body string, want model.Code, headers ...string) model.Problem {
	t.Helper()
	status, h, raw := s.ask(t, as, method, path, body, headers...)
	var p model.Problem
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Errorf("%s %s: %d %q is no problem", method, path, status, raw)
		return p
	}
	if p.Code != want || status != model.E(want).Status() || p.Status != status || h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s %s: %d %s %s, want %s", method, path, status, h.Get("Content-Type"), raw, want)
	}
	return p
}
