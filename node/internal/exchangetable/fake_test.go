package exchangetable

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

// fakeNode is a node in memory: what it accepts is committed at once, unless told otherwise. It outlives the tables
// that use it, as an outbox does.
type fakeNode struct {
	mu       sync.Mutex
	caller   push.Caller
	ids      map[string][]model.OpID // by source and key
	drafts   map[model.OpID]model.Draft
	order    []model.OpID
	inbox    map[string]heldDraft
	rejected map[string]bool

	signIns       int // one a round
	held, pending bool
	refuse        *model.Error
	acceptErr     error
	acceptIndex   int
	signInErr     error
	stop          func(applied bool) bool // the process ends in Accept
}

type heldDraft struct {
	source, key string
	drafts      []model.Draft
}

func newFakeNode() *fakeNode {
	return &fakeNode{
		caller: push.Caller{Principal: "key-1", Agency: "bj-scjg"}, ids: map[string][]model.OpID{}, drafts: map[model.OpID]model.Draft{},
		inbox: map[string]heldDraft{}, rejected: map[string]bool{},
	}
}

func (n *fakeNode) set(f func(*fakeNode)) { n.mu.Lock(); defer n.mu.Unlock(); f(n) }

func (n *fakeNode) accepted() int { n.mu.Lock(); defer n.mu.Unlock(); return len(n.order) }
func (n *fakeNode) requests() int { n.mu.Lock(); defer n.mu.Unlock(); return len(n.ids) }
func (n *fakeNode) last() model.Draft {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.drafts[n.order[len(n.order)-1]]
}

// decide approves a draft, or rejects it.
func (n *fakeNode) decide(draft string, yes bool) {
	n.set(func(n *fakeNode) {
		if h := n.inbox[draft]; yes {
			n.accept(h.source, h.key, h.drafts)
		} else {
			n.rejected[draft] = true
		}
	})
}

func (n *fakeNode) SignIn() (push.Caller, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signIns++
	return n.caller, n.signInErr
}

func (n *fakeNode) Accept(ctx context.Context, source, key string, _ model.Digest, drafts []model.Draft) (string, int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stop != nil && n.stop(false) {
		return "", -1, context.Canceled
	}
	if n.acceptErr != nil {
		return "", n.acceptIndex, n.acceptErr
	}
	name := source + " " + key
	if n.held && n.ids[name] == nil {
		n.inbox["draft-"+key] = heldDraft{source, key, drafts}
		return "draft-" + key, -1, nil
	}
	n.accept(source, key, drafts)
	if n.stop != nil && n.stop(true) {
		return "", -1, context.Canceled
	}
	return "", -1, nil
}

// accept is called with mu held.
func (n *fakeNode) accept(source, key string, drafts []model.Draft) {
	name := source + " " + key
	if n.ids[name] != nil {
		return
	}
	for i, d := range drafts {
		id := model.DeriveOpID("", source, key, i)
		n.ids[name] = append(n.ids[name], id)
		n.drafts[id] = d
		n.order = append(n.order, id)
	}
}

func (n *fakeNode) Outcomes(ctx context.Context, ids []model.OpID) ([]model.Outcome, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]model.Outcome, len(ids))
	for i, id := range ids {
		o := model.Outcome{Operation: id, Status: model.Pending, Kind: model.KindLicence, Record: "bj-scjg.1", Version: 1}
		switch {
		case n.pending:
		case n.refuse != nil:
			o.Status, o.Problem = model.Rejected, n.refuse.Problem()
		default:
			o.Status, o.Receipt = model.Committed, &model.Receipt{Position: uint64(i), Time: model.TimeOf(timeOfTest)}
		}
		out[i] = o
	}
	return out, nil
}

func (n *fakeNode) Known(_ context.Context, id model.OpID) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.drafts[id]
	return ok, nil
}

func (n *fakeNode) Recovered(context.Context, string, model.AgencyID, []model.Draft, []model.OpID) error {
	return nil
}

func (n *fakeNode) Refusal(_ context.Context, id string) (*model.Error, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.rejected[id] {
		return model.E(model.CodeNotApproved), nil
	}
	return nil, nil
}

func (n *fakeNode) Identifier(model.Kind, model.RecordID) string {
	return fmt.Sprint("1.2.156.3005.2.", 1)
}

var timeOfTest = time.Unix(1_790_000_000, 0)
