package httpapi_test

import (
	"context"
	"slices"
	"sync"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// fakeInbox keeps drafts in memory and sends what is approved to the fake node.
type fakeInbox struct {
	node *fakeNode

	mu     sync.Mutex
	order  []string
	drafts map[string]*fakeDraft
	holds  bool // every submission waits
}

type fakeDraft struct {
	sdk.HeldDraft
	sub httpapi.Submission
}

// Accept holds what is sent, where the test says so.
func (f *fakeInbox) Accept(ctx context.Context, s httpapi.Submission) ([]model.OpID, int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.holds {
		return f.node.Accept(ctx, s)
	}
	d := &fakeDraft{sub: s, HeldDraft: sdk.HeldDraft{
		ID: string(rune('1'+len(f.order))) + "-abcdefgh", State: sdk.DraftPending, Rules: []string{"endings"}, Operations: len(s.Drafts), Types: map[model.Type]int{},
		Drafter: sdk.DraftPerson{Principal: s.Principal, Person: s.Person, Name: s.Name, Agency: s.Agency}, Content: model.DigestOf([]byte(s.Key + "x")),
	}}
	for _, x := range s.Drafts {
		d.Types[x.Type]++
		if !slices.Contains(d.Agencies, x.Agency) {
			d.Agencies = append(d.Agencies, x.Agency)
		}
	}
	f.order = append(f.order, d.ID)
	f.drafts[d.ID] = d
	return nil, -1, &httpapi.Held{Draft: d.HeldDraft}
}

func (f *fakeInbox) Wait(ctx context.Context, ids []model.OpID) ([]model.Outcome, error) {
	return f.node.Wait(ctx, ids)
}

func (f *fakeInbox) Outcome(ctx context.Context, id model.OpID) (model.Outcome, error) {
	return f.node.Outcome(ctx, id)
}

func (f *fakeInbox) Drafts(_ context.Context, q httpapi.DraftQuery) (out []sdk.HeldDraft, next string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range f.order {
		d := f.drafts[id].HeldDraft
		if id > q.After && (q.State == "" || d.State == q.State) && (q.Drafter == "" || d.Drafter.Principal == q.Drafter) && q.Visible(&d) {
			if len(out) == q.Limit {
				return out, out[len(out)-1].ID, nil
			}
			out = append(out, d)
		}
	}
	return out, "", nil
}

func (f *fakeInbox) Draft(_ context.Context, id string) (sdk.HeldDraft, []model.Draft, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.drafts[id]
	if !ok {
		return sdk.HeldDraft{}, nil, model.E(model.CodeNotFound, "id")
	}
	return d.HeldDraft, slices.Clone(d.sub.Drafts), nil
}

func (f *fakeInbox) Decide(ctx context.Context, by httpapi.Caller, id string, to sdk.DraftState, content model.Digest, reason string) (sdk.HeldDraft, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.drafts[id]
	if d.State != sdk.DraftPending {
		return d.HeldDraft, model.E(model.CodeAlreadyDecided)
	}
	if to == sdk.DraftApproved && content != d.Content {
		return d.HeldDraft, model.E(model.CodeDraftChanged)
	}
	d.State, d.Decision = to, &sdk.DraftDecision{By: &sdk.DraftPerson{Principal: by.ID()}, Reason: reason}
	if to == sdk.DraftApproved {
		ids, _, err := f.node.Accept(ctx, d.sub)
		if err != nil {
			d.Problem = model.AsError(err).Problem()
		} else {
			d.Sent, d.OperationIDs = true, ids
		}
	}
	return d.HeldDraft, nil
}

func (f *fakeInbox) Again(_ context.Context, id string) ([]model.Draft, []string, error) {
	_, ops, err := f.Draft(context.Background(), id)
	return ops, nil, err
}

func (f *fakeInbox) Register(_ context.Context, _ httpapi.Submission, t sdk.BatchTerms) (sdk.HeldBatch, error) {
	return sdk.HeldBatch{Batch: sdk.Batch{ID: "9-abcdefgh", State: sdk.BatchOpen, BatchTerms: t}}, nil
}

func (f *fakeInbox) Batch(_ context.Context, id string) (sdk.HeldBatch, string, error) {
	if id == "9-abcdefgh" {
		return sdk.HeldBatch{Batch: sdk.Batch{ID: id, State: sdk.BatchOpen, BatchTerms: sdk.BatchTerms{Agency: "bj-scjg"}}}, "", nil
	}
	return sdk.HeldBatch{}, "", model.E(model.CodeNotFound, "id")
}
