package importer

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

const businessLicence = "11100000MB0143028R001"

// fakeLedger is what fake nodes share: the registry, and the licences that stand.
type fakeLedger struct {
	mu      sync.Mutex
	entries map[model.Kind]map[model.RecordID]model.View // guarded by mu
	numbers map[string]*model.View                       // by number; guarded by mu
	issued  map[model.AgencyID]int                       // guarded by mu
	times   map[string]model.Time                        // when a number was issued; guarded by mu
	now     time.Time
}

// fakeNode is a node in memory with the rules that the importer relies on: all or nothing, idempotency
// keys, unique numbers, agencies that it acts for. fail is asked before and after each submission.
type fakeNode struct {
	name   model.NodeID
	ledger *fakeLedger
	mu     sync.Mutex
	known  map[string][]model.Outcome // by key; guarded by mu
	bodies map[string]string          // by key; guarded by mu
	calls  int                        // guarded by mu
	fail   func(call int, applied bool) error
	refuse func(d *model.Draft) *model.Error
	reject func(d *model.Draft) *model.Error
	over   int                       // rows of a batch that need a second person; 0: none
	drafts map[string]sdk.DraftState // of batches, by key; guarded by mu
	slow   int                       // answers pending this many times before the outcome
}

func (n *fakeNode) Submit(ctx context.Context, key, batch string, drafts []model.Draft) ([]model.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	raw, _ := json.Marshal(drafts)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	if n.fail != nil {
		if err := n.fail(n.calls, false); err != nil {
			return nil, err
		}
	}
	out, ok := n.known[key]
	if ok && n.bodies[key] != string(raw) {
		return nil, model.E(model.CodeIdempotencyMismatch)
	}
	if !ok {
		var err error
		if out, err = n.accept(drafts); err != nil {
			return nil, err
		}
		n.known[key], n.bodies[key] = out, string(raw)
		if n.slow > 0 {
			pending := slices.Clone(out)
			for i := range pending {
				pending[i].Status, pending[i].Receipt = model.Pending, nil
			}
			return pending, nil
		}
	}
	if n.fail != nil {
		if err := n.fail(n.calls, true); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Register opens batches of up to over rows, and keeps others waiting until they are approved.
func (n *fakeNode) Register(_ context.Context, key string, t sdk.BatchTerms) (sdk.HeldBatch, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := sdk.HeldBatch{Batch: sdk.Batch{ID: "b-" + key, State: sdk.BatchOpen, BatchTerms: t}}
	if n.over > 0 && t.Rows > n.over {
		if n.drafts == nil {
			n.drafts = map[string]sdk.DraftState{}
		}
		if n.drafts[key] == "" {
			n.drafts[key] = sdk.DraftPending
		}
		state := n.drafts[key]
		if state != sdk.DraftApproved {
			b.Draft = &sdk.HeldDraft{ID: "d-" + key, State: state}
			b.Batch.State = sdk.BatchClosed
			if state == sdk.DraftPending {
				b.Batch.State = sdk.BatchPending
			}
		}
	}
	return b, nil
}

func (n *fakeNode) accept(drafts []model.Draft) ([]model.Outcome, error) {
	l := n.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	values := make([]model.Licence, len(drafts))
	taken := map[string]bool{}
	for i := range drafts {
		d := &drafts[i]
		refuse := func(code model.Code) ([]model.Outcome, error) { return nil, &Refusal{i, model.E(code)} }
		var a model.Agency
		if json.Unmarshal(l.entries[model.KindAgency][model.RecordID(d.Agency)].Public, &a) != nil {
			return refuse(model.CodeAgencyUnknown)
		}
		if a.Node != n.name {
			return refuse(model.CodeNotActingFor)
		}
		if n.refuse != nil {
			if e := n.refuse(d); e != nil {
				return nil, &Refusal{i, e}
			}
		}
		var b model.IssueBody
		if err := model.DecodeCanonical(d.Body, &b); err != nil {
			return nil, &Refusal{i, model.AsError(err)}
		}
		if v := l.numbers[b.Value.Number]; v != nil && !v.State.Ended() || taken[b.Value.Number] {
			return refuse(model.CodeNumberTaken)
		}
		taken[b.Value.Number] = true
		values[i] = b.Value
	}
	out := make([]model.Outcome, len(drafts))
	for i := range drafts {
		d := &drafts[i]
		if n.reject != nil {
			if e := n.reject(d); e != nil {
				out[i] = model.Outcome{Status: model.Rejected, Problem: e.Problem()}
				continue
			}
		}
		l.issued[d.Agency]++
		id := model.NewRecordID(d.Agency, uint64(l.issued[d.Agency]))
		public, _ := json.Marshal(values[i])
		l.numbers[values[i].Number] = &model.View{Kind: model.KindLicence, ID: id, Header: model.Header{Owner: d.Agency, State: model.InForce}, Public: public}
		at := model.TimeOf(l.now)
		l.times[values[i].Number] = at
		out[i] = model.Outcome{Status: model.Committed, Record: id, Receipt: &model.Receipt{Record: id, Time: at}}
		if d.Confidential != nil {
			out[i].Presentation = model.Presentation{model.FieldHolderCode: {Salt: model.NewSalt(), Value: d.Confidential.HolderCode}}
		}
	}
	return out, nil
}

func (n *fakeNode) Verify(_ context.Context, queries []model.Query) ([]model.Verdict, error) {
	l := n.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(queries) > model.MaxQueries {
		return nil, model.E(model.CodeTooMany)
	}
	out := make([]model.Verdict, len(queries))
	for i, q := range queries {
		out[i] = model.Verdict{Verdict: model.NotValid, Reason: model.ReasonNotFound}
		for n, v := range l.numbers {
			if q.Record != "" && v.ID == q.Record {
				q.Number, q.Type = n, businessLicence
			}
		}
		if v := l.numbers[q.Number]; v != nil && q.Type == businessLicence {
			out[i] = model.Verdict{Verdict: model.Valid, Reason: model.ReasonInForce, Record: v, History: []model.HistoryEntry{{Time: l.times[q.Number]}}}
		}
	}
	return out, nil
}

func (n *fakeNode) Entry(_ context.Context, kind model.Kind, id model.RecordID) (model.View, error) {
	n.ledger.mu.Lock()
	defer n.ledger.mu.Unlock()
	v, ok := n.ledger.entries[kind][id]
	if !ok {
		return v, model.E(model.CodeNotFound)
	}
	return v, nil
}

func (n *fakeNode) Entries(_ context.Context, kind model.Kind, f func(model.View) error) error {
	n.ledger.mu.Lock()
	defer n.ledger.mu.Unlock()
	for _, v := range n.ledger.entries[kind] {
		if err := f(v); err != nil {
			return err
		}
	}
	return nil
}

func (l *fakeLedger) put(t testing.TB, kind model.Kind, id string, value any) {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if l.entries[kind] == nil {
		l.entries[kind] = map[model.RecordID]model.View{}
	}
	l.entries[kind][model.RecordID(id)] = model.View{Kind: kind, ID: model.RecordID(id), Header: model.Header{Version: 1, State: model.Active}, Public: raw}
}

var today = time.Date(2026, 6, 1, 4, 0, 0, 0, time.UTC)

// newLedger has the agencies of the demo.
func newLedger(t testing.TB) *fakeLedger {
	l := &fakeLedger{entries: map[model.Kind]map[model.RecordID]model.View{}, numbers: map[string]*model.View{},
		issued: map[model.AgencyID]int{}, times: map[string]model.Time{}, now: today}
	agencies := []struct{ id, node, region, parent string }{
		{"bj-scjg", "beijing", "110000", ""}, {"bj-scjg-dc", "beijing", "110101", "bj-scjg"}, {"bj-scjg-xc", "beijing", "110102", "bj-scjg"},
		{"bj-scjg-cy", "beijing", "110105", "bj-scjg"}, {"bj-scjg-hd", "beijing", "110108", "bj-scjg"},
		{"tj-scjg", "tianjin", "120000", ""}, {"tj-scjg-hp", "tianjin", "120101", "tj-scjg"}, {"tj-scjg-bh", "tianjin", "120116", "tj-scjg"},
		{"he-scjg", "hebei", "130000", ""}, {"he-scjg-sjz", "hebei", "130100", "he-scjg"}, {"he-scjg-lf", "hebei", "131000", "he-scjg"},
	}
	issuers := map[model.AgencyID]model.Region{}
	for i, a := range agencies {
		l.put(t, model.KindAgency, a.id, model.Agency{ID: model.AgencyID(a.id), Node: model.NodeID(a.node), Region: model.Region(a.region), Roles: []model.Role{model.RoleIssuer}})
		if a.parent == "" {
			issuers[model.AgencyID(a.id)] = model.Region(a.region)
			continue
		}
		l.put(t, model.KindDelegation, a.parent+"."+string(rune('1'+i%9)), model.Delegation{
			From: model.AgencyID(a.parent), To: model.AgencyID(a.id), Region: model.Region(a.region), Type: businessLicence, Window: model.Window{From: "2020-01-01"},
		})
	}
	l.put(t, model.KindLicenceType, businessLicence, model.LicenceType{
		Code: businessLicence, Issuers: issuers, HolderKinds: []model.HolderKind{model.HolderEnterprise, model.HolderPerson},
		Face: map[string]model.FaceField{
			"capital": {Type: "integer", Title: "注册资本", Visibility: model.Public},
			"scope":   {Type: "string", Title: "经营范围", MaxLength: 10, Visibility: model.Public},
			"branch":  {Type: "boolean", Title: "分支机构", Visibility: model.Public},
			"founded": {Type: "string", Format: "date", Title: "成立日期", Visibility: model.Public},
			"legal":   {Type: "string", Title: "法定代表人", Visibility: model.Confidential},
		},
	})
	return l
}

func (l *fakeLedger) node(name model.NodeID) *fakeNode {
	return &fakeNode{name: name, ledger: l, known: map[string][]model.Outcome{}, bodies: map[string]string{}}
}

func (l *fakeLedger) targets(names ...model.NodeID) (out []Target) {
	for _, n := range names {
		out = append(out, Target{n, l.node(n)})
	}
	return out
}

func (l *fakeLedger) total() int { return len(l.numbers) }

// flaky fails some calls before and some after the node has applied them.
func flaky(r *rand.Rand, perMille int) func(int, bool) error {
	return func(int, bool) error {
		if r.IntN(1000) >= perMille {
			return nil
		}
		switch r.IntN(3) {
		case 0:
			return model.E(model.CodeOutboxFull)
		case 1:
			return model.E(model.CodeOutcomeUnknown)
		}
		return errors.New("connection reset by peer")
	}
}
