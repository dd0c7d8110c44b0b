package imports

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// undoNode is a fakeNode that rescinds what it has issued, once a second person has agreed.
type undoNode struct {
	*fakeNode
	mu        sync.Mutex
	approved  bool
	withdrawn []string
	keys      map[string]bool // of batches that were asked for
	rescinded map[model.RecordID]model.HistoryEntry
	amended   model.RecordID
	by        []string // principals that the node was asked for
}

func (n *undoNode) Register(_ context.Context, key string, t sdk.BatchTerms) (sdk.HeldBatch, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t.Type != model.LicenceRescind {
		return sdk.HeldBatch{Batch: sdk.Batch{ID: key, State: sdk.BatchOpen}}, nil
	}
	n.keys[key] = true
	if n.approved {
		return sdk.HeldBatch{Batch: sdk.Batch{ID: key, State: sdk.BatchOpen}}, nil
	}
	return sdk.HeldBatch{Batch: sdk.Batch{ID: key, State: sdk.BatchPending}, Draft: &sdk.HeldDraft{ID: key, State: sdk.DraftPending}}, nil
}

func (n *undoNode) Submit(ctx context.Context, key, batch string, drafts []model.Draft) ([]model.Outcome, error) {
	if drafts[0].Type != model.LicenceRescind {
		return n.fakeNode.Submit(ctx, key, batch, drafts)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]model.Outcome, len(drafts))
	for i, d := range drafts {
		if _, twice := n.rescinded[d.Record]; twice {
			return nil, errors.New("rescinded twice")
		}
		n.rescinded[d.Record] = model.HistoryEntry{Type: d.Type, Body: d.Body}
		out[i] = model.Outcome{Status: model.Committed, Record: d.Record}
	}
	return out, nil
}

func (n *undoNode) Verify(_ context.Context, queries []model.Query) ([]model.Verdict, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]model.Verdict, len(queries))
	for i, q := range queries {
		v := &model.View{Kind: model.KindLicence, ID: q.Record, Header: model.Header{Owner: "bj-scjg", State: model.InForce, Version: 1}}
		out[i].Record = v
		if q.Record == n.amended {
			v.Version = 2
		}
		if h, ok := n.rescinded[q.Record]; ok {
			v.State, out[i].History = model.Rescinded, []model.HistoryEntry{h}
		}
	}
	return out, nil
}

func (n *undoNode) agree(yes bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.approved = yes
}

func (n *undoNode) open(t *testing.T, dir string) *Imports {
	return open(t, dir, n.fakeNode, func(c *Config) {
		c.Node = func(principal string) importer.Node {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.by = append(n.by, principal)
			return n
		}
		c.Pending = func(draft string) bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return !n.approved && strings.HasPrefix(draft, "import-batch-")
		}
		c.Withdraw = func(draft string) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.withdrawn = append(n.withdrawn, draft)
			return nil
		}
	})
}

func newUndoNode() *undoNode {
	return &undoNode{fakeNode: &fakeNode{known: map[string][]model.Outcome{}}, keys: map[string]bool{}, rescinded: map[model.RecordID]model.HistoryEntry{}}
}

// What the node has imported it undoes: when asked, in the name of who asks, after a second person, over a restart, each
// licence once.
func TestUndoOfAnImport(t *testing.T) {
	n, dir := newUndoNode(), t.TempDir()
	m := n.open(t, dir)
	only := until(t, m, create(t, m, Request{CheckOnly: true}, file(t, 3)).ID, final)
	i := until(t, m, create(t, m, Request{}, file(t, 450)).ID, final)
	n.amended = model.NewRecordID("bj-scjg", 7)
	ask := UndoRequest{Principal: "other", By: "别人", UndoImport: sdk.UndoImport{Reason: "wrong-list"}}
	refused := func(id string, r UndoRequest, want model.Code) {
		t.Helper()
		if _, err := m.Undo(id, r); !errors.Is(err, model.E(want)) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused("none", ask, model.CodeNotFound)
	refused(only.ID, ask, model.CodeTransition) // it has issued nothing
	refused(i.ID, UndoRequest{Principal: "other"}, model.CodeMissingField)
	refused(i.ID, UndoRequest{Principal: "other", UndoImport: sdk.UndoImport{Reason: "Wrong list"}}, model.CodeBadValue)

	awaiting := func(i sdk.Import) bool { return i.Undo.State == sdk.ImportAwaiting && i.Undo.Draft != "" }
	if out, err := m.Undo(i.ID, ask); err != nil || out.Undo.By != "别人" || out.State != sdk.ImportDone || out.Ended() {
		t.Fatalf("%+v, %v", out, err)
	}
	until(t, m, i.ID, awaiting)
	if len(n.rescinded) > 0 {
		t.Fatal("something was rescinded before the approval")
	}
	if again, err := m.Undo(i.ID, ask); err != nil || again.Undo.State != sdk.ImportAwaiting {
		t.Fatal(again, err)
	}
	refused(i.ID, UndoRequest{Principal: "third", UndoImport: ask.UndoImport}, model.CodeTransition)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = n.open(t, dir)
	until(t, m, i.ID, awaiting)
	n.agree(true)
	ended := func(i sdk.Import) bool { return i.Ended() }
	done := until(t, m, i.ID, ended)
	if u := done.Undo; u.State != sdk.ImportDone || u.Rescinded != 449 || u.AmendedSince != 1 || len(u.Left) != 1 || u.Left[0].Record != n.amended || u.Left[0].Code != sdk.LeftAmended || u.Draft != "" || u.Finished == nil || done.State != sdk.ImportDone {
		t.Fatalf("%+v", done.Undo)
	}
	if len(n.rescinded) != 449 || len(n.keys) != 1 {
		t.Fatal(len(n.rescinded), n.keys)
	}
	if last := n.by[len(n.by)-1]; last != "other" {
		t.Fatal(last)
	}
	// Once more, with what was acted on since.
	ask.ForceAmended = true
	if _, err := m.Undo(i.ID, ask); err != nil {
		t.Fatal(err)
	}
	if u := until(t, m, i.ID, ended).Undo; u.Rescinded != 450 || u.AmendedSince != 0 || len(n.rescinded) != 450 {
		t.Fatalf("%+v", u)
	}
}

// Who cancels what waits for a second person takes the draft back: approved later, it would be a batch open to anything.
func TestCancelWithdrawsTheDraft(t *testing.T) {
	n := newUndoNode()
	m := n.open(t, t.TempDir())
	i := until(t, m, create(t, m, Request{}, file(t, 3)).ID, final)
	ask := UndoRequest{Principal: "other", UndoImport: sdk.UndoImport{Reason: "wrong-list"}}
	if _, err := m.Undo(i.ID, ask); err != nil {
		t.Fatal(err)
	}
	waits := until(t, m, i.ID, func(i sdk.Import) bool { return i.Undo.State == sdk.ImportAwaiting })
	if out, err := m.Cancel(i.ID); err != nil || out.State != sdk.ImportDone {
		t.Fatal(out, err)
	}
	if out := until(t, m, i.ID, func(i sdk.Import) bool { return i.Ended() }); out.Undo.State != sdk.ImportCancelled || out.State != sdk.ImportDone {
		t.Fatalf("%+v", out.Undo)
	}
	if len(n.withdrawn) != 1 || n.withdrawn[0] != waits.Undo.Draft {
		t.Fatal(n.withdrawn, waits.Undo.Draft)
	}
	// Asked again it is another draft, not the one that was withdrawn.
	if _, err := m.Undo(i.ID, ask); err != nil {
		t.Fatal(err)
	}
	until(t, m, i.ID, func(i sdk.Import) bool {
		return i.Undo.State == sdk.ImportAwaiting && i.Undo.Draft != waits.Undo.Draft
	})

	// The same of an import.
	n.fakeNode.draft = "import-batch-issue"
	held := &fakeNode{known: map[string][]model.Outcome{}, draft: "import-batch-issue"}
	m = open(t, t.TempDir(), held, func(c *Config) {
		c.Withdraw = func(draft string) error { n.withdrawn = append(n.withdrawn, draft); return nil }
	})
	i = create(t, m, Request{}, file(t, 300))
	until(t, m, i.ID, func(i sdk.Import) bool { return i.State == sdk.ImportAwaiting })
	if _, err := m.Cancel(i.ID); err != nil {
		t.Fatal(err)
	}
	until(t, m, i.ID, func(i sdk.Import) bool { return i.State == sdk.ImportCancelled })
	if n.withdrawn[len(n.withdrawn)-1] != "import-batch-issue" {
		t.Fatal(n.withdrawn)
	}
}

// A file that somebody has left among the imports is no import, and stops nothing.
func TestStrayFileIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := open(t, dir, &fakeNode{known: map[string][]model.Outcome{}}, nil)
	if len(m.List()) != 0 {
		t.Fatal(m.List())
	}
	if _, err := os.Stat(filepath.Join(dir, "notes.txt")); err != nil {
		t.Fatal(err)
	}
}
