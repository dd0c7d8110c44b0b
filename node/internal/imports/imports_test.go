package imports

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// fakeNode is a node of one agency that knows what it was sent by key.
type fakeNode struct {
	mu     sync.Mutex
	known  map[string][]model.Outcome
	issued int
	calls  int
	hold   chan struct{} // nil: answer at once; else a request waits for it or its context
	draft  string        // of a batch that waits, "" for none
	err    error
}

func (n *fakeNode) Submit(ctx context.Context, key, _ string, drafts []model.Draft) ([]model.Outcome, error) {
	n.mu.Lock()
	hold, err := n.hold, n.err
	n.calls++
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if out := n.known[key]; out != nil {
		return out, nil
	}
	out := make([]model.Outcome, len(drafts))
	for i := range out {
		n.issued++
		id := model.NewRecordID(drafts[i].Agency, uint64(n.issued))
		out[i] = model.Outcome{Status: model.Committed, Record: id, Receipt: &model.Receipt{Record: id, Time: model.TimeOf(time.Now())}}
	}
	n.known[key] = out
	return out, nil
}

func (n *fakeNode) Register(_ context.Context, key string, t sdk.BatchTerms) (sdk.HeldBatch, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.draft != "" {
		return sdk.HeldBatch{Batch: sdk.Batch{ID: n.draft, State: sdk.BatchPending}, Draft: &sdk.HeldDraft{ID: n.draft, State: sdk.DraftPending}}, nil
	}
	return sdk.HeldBatch{Batch: sdk.Batch{ID: key, State: sdk.BatchOpen}}, nil
}

func (n *fakeNode) Verify(_ context.Context, q []model.Query) ([]model.Verdict, error) {
	return make([]model.Verdict, len(q)), nil
}

func (n *fakeNode) Entry(_ context.Context, kind model.Kind, id model.RecordID) (model.View, error) {
	var v any
	switch kind {
	case model.KindAgency:
		v = model.Agency{ID: "bj-scjg", Node: "beijing", Region: "110000", Roles: []model.Role{model.RoleIssuer}}
	case model.KindLicenceType:
		v = model.LicenceType{Code: "11100000MB0143028R001", Issuers: map[model.AgencyID]model.Region{"bj-scjg": "110000"}, HolderKinds: []model.HolderKind{model.HolderEnterprise}}
	default:
		return model.View{}, model.E(model.CodeNotFound)
	}
	raw, err := json.Marshal(v)
	return model.View{Kind: kind, ID: id, Header: model.Header{State: model.Active}, Public: raw}, err
}

func (n *fakeNode) Entries(context.Context, model.Kind, func(model.View) error) error { return nil }

const mapping = `name: test
type: 11100000MB0143028R001
fields:
  number: {template: "{uscc}"}
  holder_code: {column: uscc}
  holder_name: {column: name}
  valid_from: {column: registration_date}
agency: {const: bj-scjg}
`

func file(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := importer.Generate(&b, n, 5); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func open(t *testing.T, dir string, n *fakeNode, change func(*Config)) *Imports {
	t.Helper()
	cfg := Config{Dir: dir, Node: func(string) importer.Node { return n }, Pending: func(string) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.draft != ""
	}}
	if change != nil {
		change(&cfg)
	}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.Start()
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// until waits for an import to be as f says.
func until(t *testing.T, m *Imports, id string, f func(sdk.Import) bool) sdk.Import {
	t.Helper()
	end := time.After(30 * time.Second)
	last := int64(0)
	for {
		i, changed, err := m.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if i.Event < last {
			t.Fatalf("event %d after %d", i.Event, last)
		}
		last = i.Event
		if f(i) {
			return i
		}
		select {
		case <-changed:
		case <-end:
			t.Fatalf("%+v, undo %+v", i, i.Undo)
		}
	}
}

func final(i sdk.Import) bool { return i.State.Final() }

func create(t *testing.T, m *Imports, r Request, f []byte) sdk.Import {
	t.Helper()
	r.Principal, r.Agency, r.Name = "someone", "bj-scjg", "list.csv"
	if r.MapName == "" {
		r.Map = []byte(mapping)
	}
	i, err := m.Create(r, bytes.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestImportIsRunAndRejectsAreKept(t *testing.T) {
	n, dir := &fakeNode{known: map[string][]model.Outcome{}}, t.TempDir()
	m := open(t, dir, n, nil)
	bad := append(file(t, 450), "甲,91110105000000000X,2020-01-01,北京,东城\n"...)
	i := until(t, m, create(t, m, Request{}, bad).ID, final)
	if i.State != sdk.ImportDone || i.Rows != 451 || i.Good != 450 || i.Bad != 1 || i.Issued != 450 || i.Rejected != 1 || n.issued != 450 || len(i.Faults) != 1 || i.Faults[0].Code != model.CodeBadUSCC {
		t.Fatalf("%+v", i)
	}
	f, name, err := m.Rejects(i.ID)
	if err != nil || name != "rejects.csv" {
		t.Fatal(name, err)
	}
	raw, _ := io.ReadAll(f)
	f.Close()
	if !bytes.Contains(raw, []byte("bad_uscc")) {
		t.Fatalf("%s", raw)
	}
	_ = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a file that was about to take another's place
			return nil
		}
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm()&0o077 != 0 && path != dir {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return nil
	})
	// What was only checked is not sent.
	if i := until(t, m, create(t, m, Request{CheckOnly: true}, bad).ID, final); i.State != sdk.ImportDone || i.Issued != 0 || i.Rejects == "" || n.issued != 450 {
		t.Fatalf("%+v", i)
	}
	if _, err := m.Create(Request{MapName: "nothing"}, nil); !errors.Is(err, model.E(model.CodeBadValue)) {
		t.Fatal(err)
	}
	if i := until(t, m, create(t, m, Request{}, nil).ID, final); i.State != sdk.ImportFailed || i.Problem == nil || i.Problem.Code != CodeBadFile || i.Problem.Zh == "" {
		t.Fatalf("%+v", i)
	}
	if list := m.List(); len(list) != 3 || list[0].ID < list[1].ID {
		t.Fatalf("%+v", list)
	}
}

// An import that a stop of the node cuts off goes on at the next start, and every row is issued once.
func TestImportGoesOnAfterARestart(t *testing.T) {
	n, dir := &fakeNode{known: map[string][]model.Outcome{}}, t.TempDir()
	m := open(t, dir, n, nil)
	n.hold = make(chan struct{}, 3)
	n.hold <- struct{}{}
	n.hold <- struct{}{}
	i := create(t, m, Request{}, file(t, 2000))
	until(t, m, i.ID, func(i sdk.Import) bool { return i.Issued > 0 })
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if n.issued == 0 || n.issued == 2000 {
		t.Fatalf("%d were issued before the restart", n.issued)
	}
	n.hold = nil
	again := open(t, dir, n, nil)
	if i := until(t, again, i.ID, final); i.State != sdk.ImportDone || i.Issued != 2000 || n.issued != 2000 {
		t.Fatalf("%+v, %d were issued", i, n.issued)
	}
	// A folder without job.json is an upload that was cut off.
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "cut-off"), 0o700); err != nil {
		t.Fatal(err)
	}
	third := open(t, dir, n, nil)
	if _, err := os.Stat(filepath.Join(dir, "cut-off")); !errors.Is(err, os.ErrNotExist) || len(third.List()) != 1 {
		t.Fatal(err)
	}
}

func TestImportWaitsForTheSecondPerson(t *testing.T) {
	n := &fakeNode{known: map[string][]model.Outcome{}, draft: "7-abc"}
	m := open(t, t.TempDir(), n, nil)
	i := create(t, m, Request{}, file(t, 300))
	until(t, m, i.ID, func(i sdk.Import) bool { return i.State == sdk.ImportAwaiting && i.Draft == "7-abc" })
	if n.calls != 0 {
		t.Fatal("something was sent before the approval")
	}
	n.mu.Lock()
	n.draft = ""
	n.mu.Unlock()
	if i := until(t, m, i.ID, final); i.State != sdk.ImportDone || i.Issued != 300 || i.Draft != "" {
		t.Fatalf("%+v", i)
	}
}

func TestImportIsCancelledRefusedAndErased(t *testing.T) {
	n := &fakeNode{known: map[string][]model.Outcome{}, hold: make(chan struct{})}
	now := time.Now()
	var mu sync.Mutex
	dir := t.TempDir()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	m := open(t, dir, n, func(c *Config) { c.Clock, c.Running = clock, 1 })
	first, second := create(t, m, Request{}, file(t, 300)), create(t, m, Request{}, file(t, 301))
	until(t, m, first.ID, func(i sdk.Import) bool { return i.State == sdk.ImportIssuing })
	for _, id := range []string{second.ID, first.ID} { // one that waits, and one under way
		if _, err := m.Cancel(id); err != nil {
			t.Fatal(err)
		}
		if i := until(t, m, id, final); i.State != sdk.ImportCancelled {
			t.Fatalf("%+v", i)
		}
	}
	n.mu.Lock()
	n.hold, n.err = nil, model.E(model.CodeForbidden)
	n.mu.Unlock()
	refused := until(t, m, create(t, m, Request{}, file(t, 3)).ID, final)
	if refused.State != sdk.ImportFailed || refused.Problem.Code != model.CodeForbidden {
		t.Fatalf("%+v", refused)
	}
	mu.Lock()
	now = now.Add(8 * 24 * time.Hour)
	mu.Unlock()
	m.erase()
	if i, _, _ := m.Get(first.ID); !i.Erased {
		t.Fatalf("%+v", i)
	}
	if _, err := os.Stat(filepath.Join(dir, first.ID, "file")); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("the file is still there", err)
	}
	n.mu.Lock()
	n.err, n.hold = nil, make(chan struct{})
	n.mu.Unlock()
	for range MaxEach {
		create(t, m, Request{}, file(t, 2))
	}
	if _, err := m.Create(Request{Principal: "someone", Map: []byte(mapping)}, strings.NewReader("x")); !errors.Is(err, model.E(model.CodeImportsFull)) {
		t.Fatal(err)
	}
}

// An import in whose runs the node is killed is not begun for ever, and takes no other along.
func TestImportThatKillsTheNodeIsGivenUp(t *testing.T) {
	n, dir := &fakeNode{known: map[string][]model.Outcome{}, hold: make(chan struct{})}, t.TempDir()
	m := open(t, dir, n, nil)
	job := filepath.Join(dir, create(t, m, Request{}, file(t, 2)).ID, "job.json")
	begun := func() int {
		raw, err := os.ReadFile(job)
		var j struct{ Begun int }
		if err := errors.Join(err, json.Unmarshal(raw, &j)); err != nil {
			t.Fatal(err)
		}
		return j.Begun
	}
	id := filepath.Base(filepath.Dir(job))
	issuing := func(i sdk.Import) bool { return i.State == sdk.ImportIssuing }
	until(t, m, id, issuing)
	if begun() != 1 {
		t.Fatal("a run is not written down before it begins")
	}
	during, err := os.ReadFile(job) // as a kill leaves it
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil || begun() != 0 {
		t.Fatal("a stop in order counts as a kill", begun(), err)
	}
	for range maxBegun - 1 {
		if err := os.WriteFile(job, during, 0o600); err != nil {
			t.Fatal(err)
		}
		m = open(t, dir, n, nil)
		// Another waits as long as that one runs.
		other := create(t, m, Request{}, file(t, 3))
		until(t, m, id, issuing)
		m.begin()
		if i, _, _ := m.Get(other.ID); i.State != sdk.ImportQueued {
			t.Fatal("an import runs beside one that has killed the node", i.State)
		}
		if during, err = os.ReadFile(job); err != nil {
			t.Fatal(err)
		}
		_ = m.Close()
		if err := os.RemoveAll(filepath.Join(dir, other.ID)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(job, during, 0o600); err != nil {
		t.Fatal(err)
	}
	n.hold = nil
	m = open(t, dir, n, nil)
	i := until(t, m, id, final)
	if i.State != sdk.ImportFailed || i.Problem == nil || i.Problem.Code != CodeKilledNode || i.Problem.Zh == "" || i.Problem.En == "" {
		t.Fatalf("%+v", i)
	}
	if i := until(t, m, create(t, m, Request{}, file(t, 3)).ID, final); i.State != sdk.ImportDone {
		t.Fatalf("%+v", i)
	}
}

// A panic ends one import, not the node.
func TestImportThatPanicsHasFailed(t *testing.T) {
	n := &fakeNode{known: map[string][]model.Outcome{}}
	panics := true
	m := open(t, t.TempDir(), n, func(c *Config) {
		c.Running = 1
		c.Node = func(string) importer.Node {
			if panics {
				panics = false
				panic("of the test")
			}
			return n
		}
	})
	if i := until(t, m, create(t, m, Request{}, file(t, 2)).ID, final); i.State != sdk.ImportFailed || i.Problem == nil || i.Problem.Code != model.CodeInternal {
		t.Fatalf("%+v", i)
	}
	if i := until(t, m, create(t, m, Request{}, file(t, 2)).ID, final); i.State != sdk.ImportDone {
		t.Fatalf("%+v", i)
	}
}
