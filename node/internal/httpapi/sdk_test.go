package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

func (s *site) client(as auth.Role) *sdk.Client { return &sdk.Client{BaseURL: s.url, Key: s.keys[as]} }

func newLicence(number string) sdk.NewLicence {
	uscc, err := model.InventUSCC("91110105X", 12345)
	if err != nil {
		panic(err)
	}
	code, err := model.USCCFrom("11100000000013338")
	if err != nil {
		panic(err)
	}
	return sdk.NewLicence{Type: model.TypeCode(code + "001"), Number: number, Holder: sdk.Holder{Code: string(uscc), Name: "北京某某食品店"}}
}

var act = sdk.LicenceAct{Decision: model.Decision{Date: "2026-03-01", Number: "京市监罚〔2026〕1号"}, Effective: "2026-03-02", Reason: "hygiene"}

func TestSDKLicenceStory(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	bj := s.client(auth.Drafter)
	o, err := bj.Issue(ctx, newLicence("京A1"), sdk.Write{})
	if err != nil || o.Status != model.Committed {
		t.Fatalf("%+v, %v", o, err)
	}
	if v, err := s.client(auth.Verifier).Verify(ctx, model.Query{Record: o.Record}); err != nil || v.Verdict != model.Valid {
		t.Errorf("%+v, %v", v, err)
	}
	if o, err = bj.Act(ctx, o.Record, model.LicenceSuspend, act, sdk.Write{}); err != nil || o.Version != 2 {
		t.Fatalf("%+v, %v", o, err)
	}
	if again, err := bj.Operation(ctx, o.Operation); err != nil || again.Status != model.Committed {
		t.Errorf("%+v, %v", again, err)
	}
	r, err := bj.Record(ctx, model.KindLicence, o.Record)
	if err != nil || r.Record.State != model.Suspended || r.At.Registry != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	var seen []model.Type
	for e, err := range bj.History(ctx, model.KindLicence, o.Record) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, e.Type)
	}
	if fmt.Sprint(seen) != "[licence.issue licence.suspend]" {
		t.Errorf("history %v", seen)
	}
	if st, err := bj.Ready(ctx); err != nil || st != sdk.OK {
		t.Errorf("%v, %v", st, err)
	}
	s.node.components = []sdk.Component{{Name: "ledger", Status: sdk.Failed, Code: model.CodeFollowerStopped}}
	if st, err := bj.Ready(ctx); err != nil || st != sdk.Failed {
		t.Errorf("%v, %v", st, err)
	}

	vs, err := s.client(auth.Verifier).VerifyAll(ctx, []model.Query{{Record: o.Record}, {Record: "bj-scjg.99"}})
	if err != nil || len(vs) != 2 || vs[1].Reason != model.ReasonNotFound {
		t.Errorf("%+v, %v", vs, err)
	}
	l := newLicence("")
	pv, err := (&sdk.Client{BaseURL: s.url}).VerifyPublic(ctx, sdk.PublicQuery{Number: "京A1", Type: l.Type})
	if err != nil || pv.Reason != model.ReasonNotFound {
		t.Errorf("%+v, %v", pv, err)
	}
}

// A person's code and name go to the confidential body, never to the public one.
func TestSDKIssueToPerson(t *testing.T) {
	s := open(t)
	l := newLicence("京B1")
	l.Holder = sdk.Holder{Kind: model.HolderPerson, Code: "11010519491231002X", Name: "某人"}
	l.ConfidentialFace = map[string]any{"birth": "1949-12-31"}
	if _, err := s.client(auth.Drafter).Issue(context.Background(), l, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	d := s.node.drafts[0]
	if d.Confidential == nil || d.Confidential.HolderCode != l.Holder.Code || d.Confidential.Face["birth"] != "1949-12-31" {
		t.Errorf("confidential %+v", d.Confidential)
	}
	if strings.Contains(string(d.Body), l.Holder.Code) || strings.Contains(string(d.Body), "某人") {
		t.Errorf("public body %s", d.Body)
	}
}

func TestSDKActs(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	c := s.client(auth.Approver)
	o, err := c.Issue(ctx, newLicence("京A1"), sdk.Write{})
	if err != nil {
		t.Fatal(err)
	}
	with := func(f func(*sdk.LicenceAct)) sdk.LicenceAct { a := act; f(&a); return a }
	value := model.RawValue(`{"holder_name":"新名"}`)
	for _, tt := range []struct {
		act  model.Type
		in   sdk.LicenceAct
		body string
		bad  string // the member that is refused
	}{
		{act: model.LicenceAmend, in: with(func(a *sdk.LicenceAct) { a.How, a.Value = model.Correct, value }), body: `"how":"correct","reason":"hygiene","value":{"holder_name":"新名"}}`},
		{act: model.LicenceRenew, in: with(func(a *sdk.LicenceAct) { a.Value = value }), body: `"how":"","reason":"hygiene","value":{"holder_name":"新名"}}`},
		{act: model.LicenceTransfer, in: with(func(a *sdk.LicenceAct) { a.To = "tj-scjg" }), body: `"to":"tj-scjg"}`},
		{act: model.LicenceRescind, in: with(func(a *sdk.LicenceAct) { a.FromStart = true }), body: `"from_start":true`},
		{act: model.LicenceWithdraw, in: act}, {act: model.LicenceRevoke, in: act}, {act: model.LicenceCancel, in: act},
		{act: model.LicenceVoidLost, in: act}, {act: model.LicenceDormant, in: act}, {act: model.LicenceResume, in: act}, {act: model.LicenceSuspend, in: act},
		{act: model.LicenceSuspend, in: with(func(a *sdk.LicenceAct) { a.FromStart = true }), bad: "from_start"},
		{act: model.LicenceSuspend, in: with(func(a *sdk.LicenceAct) { a.To = "tj-scjg" }), bad: "to"},
		{act: model.LicenceRenew, in: with(func(a *sdk.LicenceAct) { a.How = model.Correct }), bad: "how"},
		{act: model.LicenceCancel, in: with(func(a *sdk.LicenceAct) { a.Value = value }), bad: "value"},
	} {
		_, err := c.Act(ctx, o.Record, tt.act, tt.in, sdk.Write{})
		if tt.bad != "" {
			if !errors.Is(err, model.E(model.CodeUnknownField)) || model.AsError(err).Field != tt.bad {
				t.Errorf("%s: %v, want %s refused", tt.act, err, tt.bad)
			}
			continue
		}
		d := s.node.drafts[len(s.node.drafts)-1]
		if err != nil || d.Type != tt.act || d.Record != o.Record || !strings.Contains(string(d.Body), tt.body) || !model.IsCanonical(d.Body) {
			t.Errorf("%s: %v, draft %s %s", tt.act, err, d.Type, d.Body)
		}
	}
	if _, err := c.Act(ctx, o.Record, "licence.issue", act, sdk.Write{}); !errors.Is(err, model.E(model.CodeNotFound)) {
		t.Errorf("issue as an act: %v", err)
	}
	if _, err := c.Act(ctx, o.Record, "registry.admit", act, sdk.Write{}); !errors.Is(err, model.E(model.CodeUnknownOperation)) {
		t.Errorf("a registry act on a licence: %v", err)
	}
}

func TestSDKRegistry(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	c := s.client(auth.Approver)
	entry := model.RawValue(`{"approvals":2,"level":1}`)
	o, err := c.Propose(ctx, sdk.NewProposal{Action: model.Change, Kind: model.KindPolicy, Record: model.PolicyID, Version: 4, Value: entry}, sdk.Write{})
	if err != nil {
		t.Fatal(err)
	}
	if d := s.node.drafts[0]; string(d.Body) != `{"action":"registry.change","kind":"policy","record":"policy","value":{"approvals":2,"level":1},"version":4}` {
		t.Errorf("body %s", d.Body)
	}
	// The fake node keeps a body's value only; give it the proposal as a real one would show it.
	content := model.ContentDigest(model.Change, model.KindPolicy, model.PolicyID, 4, entry)
	p, err := model.Canonical(model.Proposal{Action: model.Change, Kind: model.KindPolicy, Record: model.PolicyID, Version: 4, Value: entry, Content: content, Approvals: []model.Approval{}})
	if err != nil {
		t.Fatal(err)
	}
	s.node.mu.Lock()
	v := s.node.views[model.KindProposal][o.Record]
	v.Public = p
	s.node.views[model.KindProposal][o.Record] = v
	s.node.mu.Unlock()

	r, err := c.Entry(ctx, model.KindProposal, o.Record)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := sdk.Seen(r)
	if err != nil || *seen.Content != content || *seen.Registry != 3 {
		t.Fatalf("%+v, %v", seen, err)
	}
	if _, err := c.Approve(ctx, o.Record, sdk.ProposalAct{Content: seen.Content}, sdk.Write{}); model.AsError(err).Field != "registry" {
		t.Errorf("approving without saying what was seen: %v", err)
	}
	if _, err := c.Enact(ctx, o.Record, sdk.ProposalAct{}, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	d := s.node.drafts[len(s.node.drafts)-1]
	if d.Type != model.Change || d.Kind != model.KindPolicy || d.Record != model.PolicyID || d.Version != 4 ||
		string(d.Body) != `{"proposal":"`+string(o.Record)+`","value":{"approvals":2,"level":1}}` {
		t.Errorf("enactment %+v %s", d, d.Body)
	}
	if _, err := c.Approve(ctx, o.Record, seen, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	if d := s.node.drafts[len(s.node.drafts)-1]; d.Type != model.Approve || string(d.Body) != `{"content":"`+content.String()+`","registry":3}` {
		t.Errorf("approval %+v %s", d, d.Body)
	}

	uscc := model.USCC(newLicence("").Holder.Code)
	for what, do := range map[string]func() (model.Outcome, error){
		"close":    func() (model.Outcome, error) { return c.CloseProposal(ctx, o.Record, sdk.ProposalAct{}, sdk.Write{}) },
		"delegate": func() (model.Outcome, error) { return c.Delegate(ctx, sdk.NewDelegation{}, sdk.Write{}) },
		"end":      func() (model.Outcome, error) { return c.EndDelegation(ctx, "bj-scjg.1", sdk.RecordAct{}, sdk.Write{}) },
		"host": func() (model.Outcome, error) {
			return c.HostParty(ctx, sdk.NewParty{Value: model.Party{USCC: uscc}}, sdk.Write{})
		},
		"release": func() (model.Outcome, error) { return c.ReleaseParty(ctx, uscc, sdk.RecordAct{}, sdk.Write{}) },
		"key": func() (model.Outcome, error) {
			return s.client(auth.SecurityAdmin).RotateKey(ctx, "bj-scjg", sdk.NewKey{Alg: "SM2"}, sdk.Write{})
		},
		"endpoint": func() (model.Outcome, error) {
			return s.client(auth.SystemAdmin).SetEndpoint(ctx, "bj-scjg", sdk.NewEndpoint{Endpoint: "https://bj.example"}, sdk.Write{})
		},
	} {
		if _, err := do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	n := 0
	for v, err := range c.Entries(ctx, model.KindAgency) {
		if err != nil || v.ID != "bj-scjg" {
			t.Errorf("%+v, %v", v, err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d agencies", n)
	}
}

// flaky loses requests and answers, and repeats none by itself.
type flaky struct {
	mu            sync.Mutex
	rand          *rand.Rand
	before, after int
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	n := f.rand.IntN(4)
	if n == 0 {
		f.before++
	}
	if n == 1 {
		f.after++
	}
	f.mu.Unlock()
	if n == 0 {
		return nil, errors.New("connection lost before")
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && n == 1 {
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		return nil, errors.New("connection lost after")
	}
	return res, err
}

// However the network fails, what was asked for once is done once.
func TestSDKWritesOnce(t *testing.T) {
	s := open(t)
	f := &flaky{rand: rand.New(rand.NewPCG(1, 2))}
	c := s.client(auth.Drafter)
	c.HTTP, c.Attempts = &http.Client{Transport: f}, 40
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 3 {
				out, err := c.Submit(context.Background(), []model.Draft{{Type: model.LicenceIssue, Body: []byte(`{"value":{}}`)}, {Type: model.LicenceIssue, Body: []byte(`{}`)}}, sdk.Write{})
				if err != nil || len(out) != 2 || out[1].Status != model.Committed {
					t.Errorf("%+v, %v", out, err)
				}
			}
		}()
	}
	wg.Wait()
	if n := s.accepted(); n != 48 {
		t.Errorf("%d operations accepted of 48", n)
	}
	if f.before == 0 || f.after == 0 {
		t.Errorf("the network never failed: %d, %d", f.before, f.after)
	}
}

func TestSDKKnowsWhatIsKnown(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	drafts := []model.Draft{{Type: model.LicenceIssue, Body: []byte(`{}`)}}
	lost := &sdk.Client{BaseURL: s.url, Key: s.keys[auth.Drafter], Attempts: 2, HTTP: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("reset") })}}
	if _, err := lost.Submit(ctx, drafts, sdk.Write{}); !sdk.IsUnknown(err) || !strings.Contains(err.Error(), "Idempotency-Key sdk-") {
		t.Errorf("after a lost connection: %v", err)
	}
	nobody := &sdk.Client{BaseURL: "http://127.0.0.1:1", Attempts: 2}
	if _, err := nobody.Submit(ctx, drafts, sdk.Write{}); sdk.IsUnknown(err) || model.AsError(err).Kind() != model.Unavailable {
		t.Errorf("without a connection: %v", err)
	}
	if _, err := lost.Verify(ctx, model.Query{Record: "bj-scjg.1"}); sdk.IsUnknown(err) || model.AsError(err).Kind() != model.Unavailable {
		t.Errorf("a read is never unknown: %v", err)
	}

	c := s.client(auth.Drafter)
	s.node.acceptErr, s.node.acceptIndex = model.E(model.CodeBadUSCC, "value.holder_code"), 1
	var at *sdk.ElementError
	if _, err := c.Submit(ctx, append(drafts, drafts...), sdk.Write{}); !errors.As(err, &at) || at.Index != 1 || !errors.Is(err, model.E(model.CodeBadUSCC)) || model.AsError(err).Field != "value.holder_code" {
		t.Errorf("element error: %v", err)
	}
	s.node.acceptErr = nil

	s.node.hold = true
	out, err := c.Submit(ctx, drafts, sdk.Write{NoWait: true})
	if err != nil || out[0].Status != model.Pending {
		t.Errorf("%+v, %v", out, err)
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := c.Submit(short, drafts, sdk.Write{IdempotencyKey: "mine"}); !sdk.IsUnknown(err) {
		t.Errorf("with the deadline past: %v", err)
	}
	settled := make(chan error, 1)
	go func() {
		o, err := c.Settle(ctx, out[0].Operation)
		if err == nil && o.Status != model.Committed {
			err = fmt.Errorf("settled as %s", o.Status)
		}
		settled <- err
	}()
	s.node.release()
	if err := <-settled; err != nil {
		t.Error(err)
	}
	if out, err := c.Submit(ctx, drafts, sdk.Write{IdempotencyKey: "mine"}); err != nil || out[0].Status != model.Committed {
		t.Errorf("later, under the same key: %+v, %v", out, err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A node that is busy is asked again, when it said.
func TestSDKRetries(t *testing.T) {
	s := open(t)
	var asked atomic.Int32
	c := s.client(auth.Verifier)
	c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if asked.Add(1) <= 2 {
			return &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {"0"}}, Body: io.NopCloser(strings.NewReader("<html>busy</html>")), Request: r}, nil
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	if v, err := c.Verify(context.Background(), model.Query{Record: "bj-scjg.1"}); err != nil || v.Verdict != model.NotValid || asked.Load() != 3 {
		t.Errorf("%+v, %v after %d", v, err, asked.Load())
	}
	asked.Store(0)
	c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		asked.Add(1)
		return http.DefaultTransport.RoundTrip(r)
	})}
	c.Key = "zlk_wrong"
	if _, err := c.Verify(context.Background(), model.Query{Record: "bj-scjg.1"}); !errors.Is(err, model.E(model.CodeUnauthenticated)) || asked.Load() != 1 {
		t.Errorf("%v after %d", err, asked.Load())
	}
}

func TestSDKEvents(t *testing.T) {
	s := open(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := s.client(auth.Drafter)
	write := func() {
		if _, err := w.Submit(ctx, []model.Draft{{Type: model.LicenceIssue, Body: []byte(`{"value":{}}`)}}, sdk.Write{}); err != nil {
			t.Error(err)
		}
	}
	for range 3 {
		write()
	}
	// Every connection breaks after some bytes; the reader sees each entry once, in order.
	c := s.client(auth.Auditor)
	c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		res, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			res.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(res.Body, 1500), res.Body}
		}
		return res, err
	})}
	next := uint64(1) // after position 0
	for e, err := range c.Events(ctx, 0, "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Position != next || e.Kind != model.KindLicence || e.Type != model.LicenceIssue {
			t.Fatalf("%+v, want position %d", e, next)
		}
		if next++; next == 8 {
			break
		}
		if next >= 3 {
			write()
		}
	}

	got := make(chan sdk.Event, 1)
	go func() {
		for e, err := range s.client(auth.Auditor).Events(ctx, sdk.FromNow, model.KindLicence) {
			if err != nil {
				t.Error(err)
			}
			got <- e
			return
		}
	}()
	for deadline := time.Now().Add(10 * time.Second); ; {
		write()
		select {
		case e := <-got:
			if e.Position < 8 {
				t.Errorf("from now gave position %d", e.Position)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("no event")
		}
	}
}

func TestSDKEventsEnd(t *testing.T) {
	s := open(t)
	n := 0
	for _, err := range s.client(auth.Verifier).Events(context.Background(), sdk.FromFirst, "") {
		if !errors.Is(err, model.E(model.CodeForbidden)) {
			t.Errorf("%v", err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d errors", n)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	for e, err := range s.client(auth.Auditor).Events(ctx, sdk.FromFirst, "") {
		t.Errorf("%+v, %v", e, err)
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "sdk-example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, stop, err := start(dir) // a node in memory; yours is at an address
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	ctx := context.Background()
	issuer := &sdk.Client{BaseURL: s.url, Key: s.keys[auth.Drafter]}
	verifier := &sdk.Client{BaseURL: s.url, Key: s.keys[auth.Verifier]}

	o, err := issuer.Issue(ctx, newLicence("京A1"), sdk.Write{IdempotencyKey: "order-4711"})
	if err != nil {
		log.Fatal(err)
	}
	v, err := verifier.Verify(ctx, model.Query{Record: o.Record})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(o.Status, o.Record, v.Verdict, v.Zh)
	// Output: committed bj-scjg.1 valid 证照有效
}
