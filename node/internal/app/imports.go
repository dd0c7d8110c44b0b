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
			if err := i.logged(c, by, http.StatusForbidden, drafts[k:k+1], nil); err != nil {
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
	var held *httpapi.Held
	switch {
	case errors.As(err, &held):
		return nil, &importer.NeedsApproval{Draft: held.Draft}
	case err != nil && index >= 0:
		return nil, &importer.Refusal{Index: index, Err: model.AsError(err)}
	case err != nil:
		return nil, err
	}
	patience, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := w.Wait(patience, ids)
	if err := i.logged(c, by, http.StatusAccepted, drafts, out); err != nil {
		return nil, err // sent again under its key it is the same request, and is logged then
	}
	return out, err
}

// logged takes what was sent into the access log, as the route does that one would have sent it to.
func (i inside) logged(c httpapi.Caller, by auth.Decision, status int, drafts []model.Draft, out []model.Outcome) error {
	e := sdk.AccessEntry{
		Time: model.TimeOf(time.Now()), Person: c.ID(), Name: c.Name(), Pseudonym: c.Person(), Agency: c.Agency(),
		Action: string(drafts[0].Type), Route: "import", Allowed: by.Allowed, Policy: by.Policy, Status: status, Count: uint64(len(drafts)),
	}
	for k := range out {
		if out[k].Record != "" {
			e.Records = append(e.Records, sdk.AccessRecord{Kind: model.KindLicence, ID: string(out[k].Record)})
		}
	}
	return i.n.access.Append(&e)
}

func (i inside) Register(ctx context.Context, key string, t sdk.BatchTerms) (sdk.HeldBatch, error) {
	c, err := i.caller()
	if err != nil {
		return sdk.HeldBatch{}, err
	}
	if t.Agency == "" {
		t.Agency = c.Agency()
	}
	if !c.Decide(string(t.Type), t.Agency).Allowed {
		return sdk.HeldBatch{}, model.E(model.CodeForbidden)
	}
	s, err := i.submission(c, key, "register", t)
	if err != nil {
		return sdk.HeldBatch{}, err
	}
	return desk{i.n}.Register(ctx, s, t)
}

func (i inside) Verify(ctx context.Context, queries []model.Query) ([]model.Verdict, error) {
	return i.n.verifier.Verify(ctx, queries), nil
}

func (i inside) Entry(ctx context.Context, kind model.Kind, id model.RecordID) (model.View, error) {
	v, _, err := reading{i.n, i.n.records}.View(ctx, kind, id)
	return v, err
}

func (i inside) Entries(ctx context.Context, kind model.Kind, f func(model.View) error) error {
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
