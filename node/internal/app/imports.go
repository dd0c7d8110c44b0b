package app

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/backup"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/node/internal/imports"
	"github.com/zhenglian/zhenglian/sdk"
)

// importsDir is where uploads lie in a node's folder. What an import has issued is on the ledger; the folder serves to
// go on, and to show what was rejected.
const importsDir = "imports"

func (n *Node) openImports() (err error) {
	n.imports, err = imports.Open(imports.Config{
		Dir: n.path(importsDir), Logger: n.log.With("part", "imports"), Keep: n.cfg.ImportsKeep,
		Full: func() bool { return n.outbox.Full() || littleRoom(n.cfg.dir) },
		Node: func(principal string) importer.Node { return inside{n, principal} },
		Pending: func(draft string) bool {
			h, _, err := desk{n}.Draft(context.Background(), draft)
			return err == nil && h.State == sdk.DraftPending
		},
		Withdraw: func(draft string) error {
			h, err := n.inbox.Get(draft)
			if err == nil {
				_, err = n.inbox.Withdraw(draft, h.Drafter)
			}
			return err
		},
	})
	if err != nil {
		return err
	}
	n.metrics.MustRegister(n.imports.Collectors()...)
	n.keepFirst(importsDir, func(t *backup.Writer) error { return addTree(t, n.cfg.dir, importsDir) })
	return nil
}

// uploads gives the API the imports.
type uploads struct{ n *Node }

func (u uploads) Create(r httpapi.ImportRequest, file io.Reader) (sdk.Import, error) {
	if u.n.outbox.Full() {
		return sdk.Import{}, model.E(model.CodeStorageFull)
	}
	encoding, err := importer.ParseEncoding(r.Encoding)
	if err != nil {
		return sdk.Import{}, model.E(model.CodeBadValue, "encoding").With("%s", err)
	}
	return u.n.imports.Create(imports.Request{
		Principal: r.Principal, Agency: r.Agency, By: r.By, Name: r.Name, MapName: r.MapName, Map: r.Map,
		Encoding: encoding, Sheet: r.Sheet, Cached: r.Cached, Legacy: r.Legacy, CheckOnly: r.CheckOnly,
	}, file)
}

func (u uploads) Get(id string) (sdk.Import, <-chan struct{}, error) { return u.n.imports.Get(id) }
func (u uploads) List() []sdk.Import                                 { return u.n.imports.List() }
func (u uploads) Cancel(id string) (sdk.Import, error)               { return u.n.imports.Cancel(id) }
func (u uploads) Undo(id string, r httpapi.ImportUndoing) (sdk.Import, error) {
	return u.n.imports.Undo(id, imports.UndoRequest{Principal: r.Principal, By: r.By, UndoImport: r.UndoImport})
}
func (u uploads) Rejects(id string) (io.ReadCloser, string, error) {
	f, name, err := u.n.imports.Rejects(id)
	if err != nil {
		return nil, "", err
	}
	return f, name, nil
}

// inside is this node as somebody may use it, without HTTP: rights, the two-person rule and idempotency keys are those
// of a request of his own.
type inside struct {
	n         *Node
	principal string
}

// caller is who imports, as he is now: what he may no longer do nobody does in his name.
func (i inside) caller() (httpapi.Caller, error) {
	if i.n.records.Position() == 0 || i.n.age() == math.MaxInt64 {
		return nil, model.E(model.CodeLedgerUnavailable).With("this node has not been at the ledger's head since it started")
	}
	p := i.n.people.Find(i.principal)
	if p == nil {
		return nil, model.E(model.CodeForbidden).With("who made the import may no longer sign in")
	}
	return p, nil
}

func (i inside) submission(c httpapi.Caller, key, what string, v any) (httpapi.Submission, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return httpapi.Submission{}, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "zhenglian:import:v1\n%s\n%d\n", what, len(raw))
	h.Write(raw)
	return httpapi.Submission{
		Principal: c.ID(), Agency: c.Agency(), Person: c.Person(), Name: c.Name(), Key: key, Digest: model.Digest(h.Sum(nil)),
	}, nil
}

// Submit acknowledges nothing that is not in the access log on the disk. A kill before that leaves the importer without
// an answer: it sends the same under its key again, which is the same request and is taken down then.
func (i inside) Submit(ctx context.Context, key, batch string, drafts []model.Draft) ([]model.Outcome, error) {
	c, err := i.caller()
	if err != nil {
		return nil, err
	}
	if err := i.n.access.Ready(); err != nil { // nothing is written unlogged
		return nil, err
	}
	var by auth.Decision
	for k := range drafts {
		if by = c.Decide(string(drafts[k].Type), drafts[k].Agency); !by.Allowed {
			if err := i.n.access.Append(i.entry(c, by, string(drafts[k].Type), http.StatusForbidden, 1)); err != nil {
				return nil, err
			}
			return nil, &importer.Refusal{Index: k, Err: model.E(model.CodeForbidden)}
		}
	}
	s, err := i.submission(c, key, "submit", drafts)
	if err != nil {
		return nil, err
	}
	s.Batch, s.Drafts = batch, append([]model.Draft(nil), drafts...)
	w := writing{i.n}
	ids, index, err := w.Accept(ctx, s)
	e := i.entry(c, by, string(drafts[0].Type), http.StatusAccepted, len(drafts))
	var held *httpapi.Held
	switch {
	case errors.As(err, &held):
		e.Records = []sdk.AccessRecord{{Kind: kindDraft, ID: held.Draft.ID}}
		if err := i.durably(e)(); err != nil {
			return nil, err
		}
		return nil, &importer.NeedsApproval{Draft: held.Draft}
	case err != nil:
		e.Status = model.AsError(err).Status()
		if failed := i.n.access.Append(e); failed != nil {
			return nil, failed
		}
		if index >= 0 {
			return nil, &importer.Refusal{Index: index, Err: model.AsError(err)}
		}
		return nil, err
	}
	for _, id := range ids {
		if o, err := w.Outcome(ctx, id); err == nil && o.Record != "" {
			e.Records = append(e.Records, sdk.AccessRecord{Kind: o.Kind, ID: string(o.Record)})
		}
	}
	logged := i.durably(e) // written while the operations are on their way
	patience, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := w.Wait(patience, ids)
	if failed := logged(); failed != nil {
		return nil, failed
	}
	return out, err
}

// kindDraft and kindBatch stand in the access log for what waits for a second person, and for a batch.
const (
	kindDraft model.Kind = "draft"
	kindBatch model.Kind = "batch"
)

// entry is what the access log takes down, as the route would that one would have asked.
func (i inside) entry(c httpapi.Caller, by auth.Decision, action string, status, count int) *sdk.AccessEntry {
	return &sdk.AccessEntry{
		Time: model.TimeOf(time.Now()), Person: c.ID(), Name: c.Name(), Pseudonym: c.Person(), Agency: c.Agency(),
		Action: action, Route: routeImport, Allowed: by.Allowed, Policy: by.Policy, Status: status, Count: uint64(count),
	}
}

// routeImport stands in the access log where an import of the node did what it was uploaded for.
const routeImport = "import"

// durably has an entry written; what it returns waits until it is on the disk, though the import be stopped.
func (i inside) durably(e *sdk.AccessEntry) func() error {
	wait, err := i.n.access.Begin(e)
	return func() error {
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return wait(ctx)
	}
}

func (i inside) Register(ctx context.Context, key string, t sdk.BatchTerms) (sdk.HeldBatch, error) {
	c, err := i.caller()
	if err != nil {
		return sdk.HeldBatch{}, err
	}
	if t.Agency == "" {
		t.Agency = c.Agency()
	}
	by := c.Decide(string(t.Type), t.Agency)
	e := i.entry(c, by, string(t.Type), http.StatusForbidden, 1)
	if !by.Allowed {
		if err := i.n.access.Append(e); err != nil {
			return sdk.HeldBatch{}, err
		}
		return sdk.HeldBatch{}, model.E(model.CodeForbidden)
	}
	s, err := i.submission(c, key, "register", t)
	if err != nil {
		return sdk.HeldBatch{}, err
	}
	out, err := desk{i.n}.Register(ctx, s, t)
	if err != nil {
		e.Status = model.AsError(err).Status()
		if failed := i.n.access.Append(e); failed != nil {
			return sdk.HeldBatch{}, failed
		}
		return out, err
	}
	e.Status, e.Records = http.StatusOK, []sdk.AccessRecord{{Kind: kindBatch, ID: out.Batch.ID}}
	if out.Draft != nil {
		e.Status, e.Records = http.StatusAccepted, []sdk.AccessRecord{{Kind: kindDraft, ID: out.Draft.ID}}
	}
	return out, i.durably(e)()
}

// may holds a look at this node's records to the right that its route needs, and takes down who looked.
func (i inside) may(action string, count int, records []sdk.AccessRecord) error {
	p := i.n.people.Find(i.principal)
	if p == nil {
		return model.E(model.CodeForbidden).With("who made the import may no longer sign in")
	}
	status, by := http.StatusOK, p.Decide(action, "")
	if !by.Allowed {
		status, records = http.StatusForbidden, nil
	}
	e := i.entry(p, by, action, status, count)
	e.Records = records
	if err := i.n.access.Append(e); err != nil {
		return err
	}
	if !by.Allowed {
		return model.E(model.CodeForbidden)
	}
	return nil
}

func (i inside) Verify(ctx context.Context, queries []model.Query) ([]model.Verdict, error) {
	out := i.n.verifier.Verify(ctx, queries)
	var records []sdk.AccessRecord
	for k := range out {
		if r := out[k].Record; r != nil {
			records = append(records, sdk.AccessRecord{Kind: r.Kind, ID: string(r.ID)})
		}
	}
	if err := i.may(httpapi.ActionVerify, len(queries), records); err != nil {
		return nil, err
	}
	return out, nil
}

func (i inside) Entry(ctx context.Context, kind model.Kind, id model.RecordID) (model.View, error) {
	if err := i.may(httpapi.ActionReadRegistry, 1, []sdk.AccessRecord{{Kind: kind, ID: string(id)}}); err != nil {
		return model.View{}, err
	}
	v, _, err := reading{i.n, i.n.records}.View(ctx, kind, id)
	return v, err
}

func (i inside) Entries(ctx context.Context, kind model.Kind, f func(model.View) error) error {
	if err := i.may(httpapi.ActionReadRegistry, 1, []sdk.AccessRecord{{Kind: kind, ID: "*"}}); err != nil {
		return err
	}
	const page = 500
	for after := model.RecordID(""); ; {
		list, _, err := reading{i.n, i.n.records}.List(ctx, kind, after, page)
		if err != nil {
			return err
		}
		for _, v := range list {
			if err := f(v); err != nil {
				return err
			}
			after = v.ID
		}
		if len(list) < page {
			return nil
		}
	}
}
