package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/backup"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
	"github.com/zhenglian/zhenglian/node/internal/intake"
	"github.com/zhenglian/zhenglian/sdk"
)

// inboxDir is where what waits for a second person lies in a node's folder.
const inboxDir = "inbox"

func (n *Node) openInbox() (err error) {
	n.inbox, err = inbox.Open(n.path(inboxDir), inbox.Config{Policy: n.cfg.Approval.policy(), Full: n.outbox.Full, Logger: n.log.With("part", "inbox")})
	if err != nil {
		return err
	}
	n.opened(n.inbox.Close)
	n.keepFirst(inboxDir, func(t *backup.Writer) error { return t.Database(inboxDir, n.inbox.Copy) })
	n.metrics.MustRegister(n.inbox.Collectors()...)
	if p := n.inbox.Policy(); len(p.Off) > 0 {
		n.log.Warn("the two-person rule is off", "rules", p.Off, "reason", p.Reason)
	}
	return nil
}

// approval is the component that an operator sees while something about approvals is odd.
func (n *Node) approval() *sdk.Component {
	if n.inbox == nil {
		return nil
	}
	var odd []string
	if p := n.inbox.Policy(); len(p.Off) > 0 {
		odd = append(odd, fmt.Sprintf("two-person rule off: %v (%s)", p.Off, p.Reason))
	}
	if by := n.inbox.Jumped(); by != 0 {
		odd = append(odd, fmt.Sprintf("the clock was set by %s; drafts do not expire until it has run steadily for an hour", by.Round(time.Second)))
	}
	if odd == nil {
		return nil
	}
	return &sdk.Component{Name: "approval", Status: sdk.Degraded, Detail: strings.Join(odd, "; ")}
}

// desk is where requests come in: those that need a second person go to the inbox, all others to intake.
type desk struct{ n *Node }

func personOf(s *httpapi.Submission) inbox.Person {
	return inbox.Person{Principal: s.Principal, Pseudonym: s.Person, Name: s.Name, Agency: s.Agency, Source: s.Source}
}

func callerOf(p *inbox.Person) intake.Caller {
	return intake.Caller{Principal: p.Principal, Agency: p.Agency, Person: p.Pseudonym, Source: p.Source}
}

// accept is the way of every request to write. A request that is repeated under its key is what it was the first
// time, whatever the rules say by now.
func (d desk) accept(ctx context.Context, s httpapi.Submission) ([]model.OpID, int, error) {
	n, who := d.n, personOf(&s)
	h, err := n.inbox.Known(&who, s.Key, s.Digest)
	if err != nil {
		return nil, -1, err
	}
	if h != nil {
		return d.again(h)
	}
	policy := n.inbox.Policy()
	fixed, takes, err := n.intake.Takes(s.Drafts)
	if err != nil {
		return nil, -1, err
	}
	falls := policy.Falls(s.Drafts, takes)
	if len(falls) == 0 && s.Batch == "" { // nearly all that ever comes
		return n.intake.Accept(ctx, callerOf(&who), s.Key, s.Digest, fixed)
	}
	if ids, ok, err := n.intake.Known(callerOf(&who), s.Key, s.Digest); err != nil || ok {
		return ids, -1, err
	}
	if s.Batch != "" {
		var ids []model.OpID
		index := -1
		err := n.inbox.Under(s.Batch, who, s.Key, s.Drafts, registry{n}.Below, func() (err error) {
			ids, index, err = n.intake.Accept(ctx, callerOf(&who), s.Key, s.Digest, s.Drafts)
			return err
		})
		return ids, index, err
	}
	rules := policy.InForce(falls)
	if len(rules) == 0 {
		if err := d.alone(s.Principal, s.Drafts); err != nil {
			return nil, -1, err
		}
		return n.intake.Accept(ctx, callerOf(&who), s.Key, s.Digest, s.Drafts)
	}
	ops, index, err := n.intake.Try(ctx, callerOf(&who), s.Drafts)
	if err != nil {
		return nil, index, err
	}
	if i, err := n.foresee(ops); err != nil {
		return nil, i, err
	}
	drafts, versions := make([]model.Draft, len(ops)), make([]uint64, len(ops))
	for i := range ops {
		drafts[i] = s.Drafts[i]
		drafts[i].Kind = ops[i].Kind
		if !creates(&ops[i]) {
			versions[i] = ops[i].Version
		}
	}
	h, err = n.inbox.Hold(inbox.Request{Drafter: who, Writers: s.Writers, Key: s.Key, Digest: s.Digest, Rules: rules, Drafts: drafts, Versions: versions, Same: sameOf(drafts, versions)})
	if err != nil {
		return nil, -1, err
	}
	return nil, -1, &httpapi.Held{Draft: wire(h)}
}

// sameOf is a digest of acts on records, versions included; zero where one of them makes a record, since two of those are two.
func sameOf(drafts []model.Draft, versions []uint64) model.Digest {
	same := slices.Clone(drafts)
	for i := range same {
		if same[i].Record == "" {
			return model.Digest{}
		}
		if i < len(versions) && versions[i] != 0 { // whether the caller named it or not
			same[i].Version = versions[i]
		}
	}
	raw, err := json.Marshal(same)
	if err != nil {
		return model.Digest{}
	}
	return model.DigestOf(raw)
}

// creates reports whether an operation makes a record whose id the node gives when it accepts.
func creates(op *model.Operation) bool {
	_, _, serial := op.Record.Serial()
	return serial && op.Version == 1 && model.Machines[op.Kind].Creates(op.Type)
}

// again answers a request that is repeated.
func (d desk) again(h *inbox.Held) ([]model.OpID, int, error) {
	switch {
	case h.Sent:
		return h.IDs(), -1, nil
	case h.Problem != nil:
		index := -1
		if h.Problem.Index != nil {
			index = *h.Problem.Index
		}
		return nil, index, h.Problem.Error()
	}
	return nil, -1, orHeld(h, nil)
}

// alone holds who acts without a second person, where the rule is off, to that person's right as well.
func (d desk) alone(principal string, drafts []model.Draft) error {
	p := d.n.people.Find(principal)
	for i := range drafts {
		if p == nil || !p.Decide(httpapi.ApprovalAction(drafts[i].Type), drafts[i].Agency).Allowed {
			return model.E(model.CodeForbidden)
		}
	}
	return nil
}

// foresee runs the contract on this node's records: what it refuses for good need not wait for anybody. A version that
// is ahead of the records is another operation's, still on its way.
func (n *Node) foresee(ops []model.Operation) (int, error) {
	now := time.Now()
	args := make([][]byte, 0, len(ops))
	at := make([]int, 0, len(ops)) // of each argument among the operations
	for i := range ops {
		op := ops[i]
		if op.Body == nil {
			continue // a key that is yet to be drawn
		}
		op.Time = model.TimeOf(now)
		args, at = append(args, op.Encode()), append(at, i)
	}
	if len(args) == 0 {
		return -1, nil
	}
	s := n.records.Snapshot()
	defer s.Release()
	x, err := n.contract.Execute(s, model.Call{Function: model.FunctionApply, Args: args, Msp: n.cfg.Msp, CommonName: string(n.cfg.Node), Time: now})
	if err != nil {
		return -1, err
	}
	var r model.Response
	if err := json.Unmarshal(x.Response, &r); err != nil {
		return -1, model.AsError(err)
	}
	for _, refused := range r.Refused {
		if refused.Code != model.CodeVersionConflict && refused.Index < len(at) {
			return at[refused.Index], &model.Error{Code: refused.Code, Field: refused.Field}
		}
	}
	return -1, nil
}

// send hands an approved draft to intake, under the person who drafted it: see the crash argument of inbox.Approve. It
// is called by who approved, and by sendApproved for what a crash or a full outbox left behind.
func (d desk) send(ctx context.Context, h *inbox.Held) (*inbox.Held, error) {
	index, err := d.submit(ctx, h)
	if err == nil {
		return d.n.inbox.Sent(h.ID, nil)
	}
	e := model.AsError(err)
	switch e.Kind() {
	case model.Unavailable, model.Unknown, model.Limited, model.Internal:
		return h, err // it stays among the unsent
	}
	p := e.Problem()
	if index >= 0 && h.Operations > 1 {
		p.Index = &index
	}
	return d.n.inbox.Sent(h.ID, p)
}

func (d desk) submit(ctx context.Context, h *inbox.Held) (index int, err error) {
	n := d.n
	if aboutPeople(h) {
		if h.Restored {
			return -1, errRestored
		}
		return -1, roster{n}.apply(h)
	}
	if n.importing() {
		return -1, model.E(model.CodeImportOpen)
	}
	if _, ok, err := n.intake.Known(callerOf(&h.Drafter), h.Key, h.Request); err != nil || ok {
		return -1, err
	}
	// A node that was restored from a backup may find it on the ledger already.
	if _, ok, err := n.submit.Outcome(h.IDs()[0]); err != nil || ok {
		return -1, err
	}
	if h.Restored {
		return -1, errRestored
	}
	ops, err := n.inbox.Operations(h, false)
	if err != nil {
		return -1, err
	}
	// What the drafter may no longer do nobody does in his name.
	p := n.people.Find(h.Drafter.Principal)
	for i := range ops {
		if p == nil || !p.Decide(string(ops[i].Type), ops[i].Agency).Allowed {
			return i, model.E(model.CodeForbidden)
		}
	}
	_, index, err = n.intake.Accept(ctx, callerOf(&h.Drafter), h.Key, h.Request, ops)
	return index, err
}

// errRestored is of a draft that a restore has ended (inbox.Restored).
var errRestored = model.E(model.CodeNotApproved).With("the node was restored from a backup in between: ask for it again")

// sendApproved sends what was approved and has not reached intake. It begins when this node knows all that the ledger
// held when it started: what stands there is not sent again.
func (n *Node) sendApproved(ctx context.Context) {
	if err := n.follower.AtHead(ctx, n.started); err != nil {
		return
	}
	for {
		for _, id := range n.inbox.Unsent() {
			h, err := n.inbox.Get(id)
			if err == nil {
				_, err = desk{n}.send(ctx, h)
			}
			if err != nil && ctx.Err() == nil {
				n.log.Warn("an approved draft could not be sent yet", "draft", id, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
		}
	}
}

// Drafts lists drafts.
func (d desk) Drafts(_ context.Context, q httpapi.DraftQuery) ([]sdk.HeldDraft, string, error) {
	list, next, err := d.n.inbox.List(inbox.Query{
		State: inbox.State(q.State), Drafter: q.Drafter, After: q.After, Limit: q.Limit,
		Visible: func(h *inbox.Held) bool {
			w := wire(h)
			return q.Visible(&w)
		},
	})
	out := make([]sdk.HeldDraft, len(list))
	for i, h := range list {
		out[i] = wire(h)
	}
	return out, next, err
}

// Draft finds one with its operations.
func (d desk) Draft(_ context.Context, id string) (sdk.HeldDraft, []model.Draft, error) {
	h, err := d.n.inbox.Get(id)
	if err != nil {
		return sdk.HeldDraft{}, nil, err
	}
	if h.Erased {
		return wire(h), nil, nil
	}
	ops, err := d.n.inbox.Operations(h, false)
	return wire(h), ops, err
}

// Again finds a draft's operations as they were asked for.
func (d desk) Again(_ context.Context, id string) ([]model.Draft, []string, error) {
	h, err := d.n.inbox.Get(id)
	if err != nil {
		return nil, nil, err
	}
	ops, err := d.n.inbox.Operations(h, true)
	return ops, h.Writers, err
}

// Decide approves, rejects or withdraws. Who has decided so already, and whose answer was lost, is answered alike.
func (d desk) Decide(ctx context.Context, by httpapi.Caller, id string, to sdk.DraftState, content model.Digest, reason string) (sdk.HeldDraft, error) {
	who := inbox.Person{Principal: by.ID(), Pseudonym: by.Person(), Name: by.Name(), Agency: by.Agency()}
	var h *inbox.Held
	var err error
	switch to {
	case sdk.DraftApproved:
		h, err = d.n.inbox.Approve(id, who, content)
	case sdk.DraftRejected:
		h, err = d.n.inbox.Reject(id, who, reason)
	case sdk.DraftWithdrawn:
		h, err = d.withdraw(id, who)
	default:
		err = model.E(model.CodeBadValue, "state")
	}
	if errors.Is(err, model.E(model.CodeAlreadyDecided)) && h != nil {
		if h.State != inbox.State(to) || h.Decision.By.Principal != who.Principal || (to == sdk.DraftApproved && h.Content != content) {
			w := wire(h)
			return w, model.E(model.CodeAlreadyDecided).With("%s", w.En)
		}
		err = nil
	}
	if err != nil {
		return sdk.HeldDraft{}, err
	}
	if h.State == inbox.Approved && h.Batch == nil && !h.Sent && h.Problem == nil {
		// Approved it is, whether or not it can be sent now.
		sent, err := d.send(context.WithoutCancel(ctx), h)
		if err != nil {
			d.n.log.Warn("an approved draft could not be sent yet", "draft", id, "error", err)
		}
		if sent != nil {
			h = sent
		}
	}
	return wire(h), nil
}

// Register makes a batch, or the draft that asks for it.
func (d desk) Register(_ context.Context, s httpapi.Submission, t sdk.BatchTerms) (sdk.HeldBatch, error) {
	n, who := d.n, personOf(&s)
	terms := inbox.Terms{Name: t.Name, File: t.File, Rows: t.Rows, Type: t.Type, Agency: t.Agency, Records: t.Records}
	if err := terms.Check(); err != nil {
		return sdk.HeldBatch{}, err
	}
	h, err := n.inbox.Known(&who, s.Key, s.Digest)
	if err != nil {
		return sdk.HeldBatch{}, err
	}
	policy := n.inbox.Policy()
	falls := policy.FallsBatch(&terms)
	rules := policy.InForce(falls)
	if h == nil && len(rules) == 0 {
		if len(falls) > 0 {
			if err := d.alone(s.Principal, []model.Draft{{Type: t.Type, Agency: t.Agency}}); err != nil {
				return sdk.HeldBatch{}, err
			}
		}
		b, err := n.inbox.Admit(who, s.Key, s.Digest, terms)
		if err != nil {
			return sdk.HeldBatch{}, err
		}
		return sdk.HeldBatch{Batch: d.batch(b)}, nil
	}
	if h == nil {
		if h, err = n.inbox.Hold(inbox.Request{Drafter: who, Key: s.Key, Digest: s.Digest, Rules: rules, Batch: &terms}); err != nil {
			return sdk.HeldBatch{}, err
		}
	}
	out, _, err := d.Batch(context.Background(), h.ID)
	return out, err
}

// Batch finds one.
func (d desk) Batch(_ context.Context, id string) (sdk.HeldBatch, string, error) {
	b, h, err := d.n.inbox.FindBatch(id)
	if err != nil {
		return sdk.HeldBatch{}, "", err
	}
	if b != nil {
		return sdk.HeldBatch{Batch: d.batch(b)}, b.Person.Principal, nil
	}
	w, state := wire(h), sdk.BatchPending
	if h.State != inbox.Pending {
		state = sdk.BatchClosed
	}
	return sdk.HeldBatch{Batch: sdk.Batch{ID: h.ID, State: state, BatchTerms: *w.Batch}, Draft: &w}, h.Drafter.Principal, nil
}

func (d desk) batch(b *inbox.Batch) sdk.Batch {
	state := sdk.BatchClosed
	if b.Open(time.Now()) {
		state = sdk.BatchOpen
	}
	return sdk.Batch{ID: b.ID, State: state, BatchTerms: termsOf(&b.Terms), Used: b.Used, Until: b.Until}
}

func termsOf(t *inbox.Terms) sdk.BatchTerms {
	return sdk.BatchTerms{Name: t.Name, File: t.File, Rows: t.Rows, Type: t.Type, Agency: t.Agency}
}

func personWire(p *inbox.Person) sdk.DraftPerson {
	return sdk.DraftPerson{Principal: p.Principal, Person: p.Pseudonym, Name: p.Name, Agency: p.Agency}
}

// wire is a draft as the API shows it.
func wire(h *inbox.Held) (w sdk.HeldDraft) {
	w = sdk.HeldDraft{
		ID: h.ID, State: sdk.DraftState(h.State), Operations: h.Operations, Agencies: h.Agencies, Types: h.Types,
		Drafter: personWire(&h.Drafter), Content: h.Content, Created: h.Created, Expires: h.Expires,
		Sent: h.Sent, Problem: h.Problem, Erased: h.Erased, Rules: []string{}, Writers: h.Writers,
	}
	var zh, en []string
	for _, r := range h.Rules {
		w.Rules = append(w.Rules, string(r))
		zh, en = append(zh, inbox.Rules[r].Zh), append(en, inbox.Rules[r].En)
	}
	if h.Batch != nil {
		t := termsOf(h.Batch)
		w.Batch = &t
	} else if !aboutPeople(h) { // those are no operations
		w.OperationIDs = h.IDs()
	}
	defer func() {
		if s := strings.Split(h.Drafter.Source, "/"); len(s) == 4 { // push:MSP/node/folder/name
			s := s[2] + "/" + s[3]
			w.Zh, w.En = w.Zh+"；由来源 "+s+" 送来", w.En+"; it came by the source "+s
		}
	}()
	if h.Decision != nil {
		w.Decision = &sdk.DraftDecision{At: h.Decision.At, Reason: h.Decision.Reason}
		if h.Decision.By.Principal != "" {
			by := personWire(&h.Decision.By)
			w.Decision.By = &by
		}
	}
	at := func(t model.Time) string { return t.Time().In(model.Shanghai).Format("2006-01-02 15:04") }
	w.Zh, w.En = inbox.StateText[h.State].Zh, inbox.StateText[h.State].En
	switch {
	case h.State == inbox.Pending:
		w.Zh = fmt.Sprintf("待另一人复核（%s），%s 前有效", strings.Join(zh, "、"), at(h.Expires))
		w.En = fmt.Sprintf("waits for another person's approval (%s) until %s", strings.Join(en, ", "), at(h.Expires))
		if h.Types[httpapi.IssueKey] > 0 {
			zh, en := halvesOf(h)
			w.Zh, w.En = w.Zh+"；同意后"+zh, w.En+"; then "+en
		}
	case h.State == inbox.Expired && h.Restored:
		w.Zh, w.En = w.Zh+"：节点由备份恢复，仍需办理的请重新提交", w.En+": the node was restored from a backup; what is still wanted is asked for again"
	case h.Problem != nil:
		w.Zh += "，但未被受理：" + h.Problem.Zh
		w.En += ", but refused: " + h.Problem.Title
	case h.State == inbox.Approved && h.Batch != nil:
		w.Zh, w.En = w.Zh+"，批次可以使用", w.En+": the batch is open"
	case h.State == inbox.Approved && h.Sent && h.Types[httpapi.IssueKey] > 0 && h.Restored:
		w.Zh, w.En = w.Zh+"；节点由备份恢复，尚未领取的密钥须重新申请", w.En+"; the node was restored from a backup, and a key that was not drawn is asked for again"
	case h.State == inbox.Approved && h.Sent && h.Types[httpapi.IssueKey] > 0:
		zh, en := halvesOf(h)
		w.Zh, w.En = w.Zh+"，"+zh, w.En+": "+en
	case h.State == inbox.Approved && h.Sent && aboutPeople(h):
		w.Zh, w.En = w.Zh+"，已生效", w.En+" and in force"
	case h.State == inbox.Approved && h.Sent:
		w.Zh, w.En = w.Zh+"，已受理", w.En+" and accepted"
	case h.State == inbox.Approved:
		w.Zh, w.En = w.Zh+"，即将提交", w.En+" and on its way"
	}
	if d := w.Decision; d != nil && h.State != inbox.Pending {
		by := ""
		if d.By != nil {
			by = firstOf(d.By.Name, d.By.Principal) + "，"
		}
		w.Zh += fmt.Sprintf("（%s%s）", by, at(d.At))
		w.En += fmt.Sprintf(" (%s%s)", strings.ReplaceAll(by, "，", ", "), at(d.At))
		if d.Reason != "" {
			w.Zh, w.En = w.Zh+"："+d.Reason, w.En+": "+d.Reason
		}
	}
	return w
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
