package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// held answers a write that waits for another person: where, and until when.
func (a *API) held(x *exchange, h *Held) error {
	d := h.Draft
	x.judge(&d)
	x.Header()["Location"] = []string{"/v1/drafts/" + d.ID}
	return x.answerValue(http.StatusAccepted, sdk.DecidedDraft{Draft: d})
}

// asHeld finds in an error that a request waits for another person.
func asHeld(err error) (held *Held, ok bool) {
	ok = errors.As(err, &held)
	return held, ok
}

// ApprovalAction is the right that approving an operation of a type needs.
func ApprovalAction(t model.Type) string {
	switch area, _, _ := strings.Cut(string(t), "."); {
	case t == model.RotateKey, t == model.SetEndpoint:
		return ActionApproveKey
	case AboutPeople(t): // another who might have asked for it himself
		return ActionChangePeople
	case area == "licence":
		return ActionApproveLicence
	case area == "registry":
		return ActionApproveRegistry
	}
	return ActionApproveKey
}

// judge says what the draft is to who asks.
func (x *exchange) judge(d *sdk.HeldDraft) {
	c := x.caller
	d.Mine = d.Drafter.Principal == c.ID()
	d.MayDecide = !x.drafted(d) && decides(d, c.Decide).Allowed
}

// drafted reports whether a draft is the caller's, or may be: he can write to the source that it was pushed by.
func (x *exchange) drafted(d *sdk.HeldDraft) bool {
	c := x.caller
	return d.Drafter.Principal == c.ID() || d.Drafter.Person == c.Person() || slices.Contains(d.Writers, c.ID())
}

// decides says whether somebody has the right of approving all that a draft asks for; of a denial the first.
func decides(d *sdk.HeldDraft, decide func(action string, owner model.AgencyID) Decision) (last Decision) {
	for t := range d.Types {
		for _, agency := range d.Agencies {
			if last = decide(ApprovalAction(t), agency); !last.Allowed {
				return last
			}
		}
	}
	return last
}

// sees reports whether the caller may see a draft, which judge has looked at: his own, what he has the right to decide, and what is
// about records that he may read.
func (x *exchange) sees(d *sdk.HeldDraft) bool {
	if d.Mine || decides(d, x.caller.Decide).Allowed {
		return true
	}
	reads := ActionReadRecord
	if changesPeople(d) {
		reads = ActionReadPeople
	}
	for _, agency := range d.Agencies {
		if !x.caller.Decide(ActionReadDraft, agency).Allowed || !x.caller.Decide(reads, agency).Allowed {
			return false
		}
	}
	return len(d.Agencies) > 0
}

// parameters reads a query strictly: the names given and no others, each once.
func (x *exchange) parameters(names ...string) (url.Values, error) {
	q, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return nil, model.E(model.CodeBadValue, "query")
	}
next:
	for name, values := range q {
		for _, n := range names {
			if n == name && len(values) == 1 {
				continue next
			}
		}
		return nil, model.E(model.CodeUnknownField, "query")
	}
	return q, nil
}

// number reads an integer parameter within bounds.
func number(q url.Values, name string, least, most, missing int) (int, error) {
	if !q.Has(name) {
		return missing, nil
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < least || n > most {
		return 0, model.E(model.CodeBadValue, name).With("%d–%d", least, most)
	}
	return n, nil
}

func (a *API) getDrafts(x *exchange) error {
	q, err := x.parameters("state", "mine", "after", "limit")
	if err != nil {
		return err
	}
	limit, err := number(q, "limit", 1, 500, 100)
	if err != nil {
		return err
	}
	query := DraftQuery{State: sdk.DraftState(q.Get("state")), After: q.Get("after"), Limit: limit, Visible: func(d *sdk.HeldDraft) bool {
		x.judge(d)
		return x.sees(d)
	}}
	switch q.Get("mine") {
	case "true":
		query.Drafter = x.caller.ID()
	case "", "false":
	default:
		return model.E(model.CodeBadValue, "mine").OneOf("true", "false")
	}
	drafts, next, err := a.inbox.Drafts(x.r.Context(), query)
	if err != nil {
		return err
	}
	for i := range drafts {
		x.judge(&drafts[i])
		x.touched(kindDraft, drafts[i].ID)
	}
	if drafts == nil {
		drafts = []sdk.HeldDraft{}
	}
	return x.answerValue(http.StatusOK, sdk.DraftPage{Drafts: drafts, Next: next})
}

// draft finds the draft of the path as the caller may see it; to everybody else there is none.
func (a *API) draft(x *exchange) (sdk.HeldDraft, []model.Draft, error) {
	d, ops, err := a.inbox.Draft(x.r.Context(), x.r.PathValue("id"))
	if err != nil {
		return d, nil, err
	}
	x.touched(kindDraft, d.ID)
	if x.judge(&d); !x.sees(&d) {
		return d, nil, model.E(model.CodeNotFound, "id")
	}
	return d, ops, nil
}

// about tells the access log of the record that an operation of a draft acts on.
func (x *exchange) about(op *model.Draft) {
	if op.Kind != "" && op.Record != "" {
		x.touched(op.Kind, string(op.Record))
	}
}

// ownDraft is the policy that the access log names when somebody decides on what he drafted himself.
const ownDraft = "own-draft"

const (
	defaultRows = 100
	mostRows    = 500
	mostNamed   = 100_000 // records of a batch of endings
)

func (a *API) getDraft(x *exchange) error {
	q, err := x.parameters("from", "limit")
	if err != nil {
		return err
	}
	limit, err := number(q, "limit", 1, mostRows, defaultRows)
	if err != nil {
		return err
	}
	from, err := number(q, "from", 0, mostNamed, 0)
	if err != nil {
		return err
	}
	d, ops, err := a.draft(x)
	if err != nil {
		return err
	}
	out := sdk.DraftContent{Draft: d, Rows: []sdk.DraftRow{}}
	for i := min(from, len(ops)); i < min(len(ops), from+limit); i++ {
		x.about(&ops[i])
		out.Rows = append(out.Rows, a.row(x.r.Context(), &d, i, ops[i]))
	}
	if n := from + limit; n < len(ops) {
		out.Next = &n
	}
	return x.answerValue(http.StatusOK, out)
}

// row shows an operation to who may see its draft.
func (a *API) row(ctx context.Context, d *sdk.HeldDraft, i int, op model.Draft) sdk.DraftRow {
	r := sdk.DraftRow{Index: i, Operation: op}
	if !d.Mine && !d.MayDecide {
		r.Operation.Confidential = nil
	}
	if AboutPeople(op.Type) {
		r.Zh, r.En, r.Moved = a.people.Words(&op)
		if r.Moved = r.Moved && d.State == sdk.DraftPending; r.Moved {
			r.Zh, r.En = r.Zh+"（该用户已有变动，同意后将不被受理）", r.En+" (the user has been changed since: approving will be refused)"
		}
		return r
	}
	var public []byte
	if op.Record != "" {
		if view, _, err := a.records.View(ctx, op.Kind, op.Record); err == nil {
			r.Record = &sdk.RowRecord{Version: view.Version, State: view.State}
			public = view.Public
			r.Moved = d.State == sdk.DraftPending && op.Version != 0 && op.Version != view.Version+1
		}
	}
	rule := model.Types[op.Type]
	what := string(op.Record)
	if what == "" {
		what = string(op.Kind)
	}
	r.Zh, r.En = fmt.Sprintf("%s：%s", rule.Zh, what), fmt.Sprintf("%s: %s", rule.En, what)
	var act struct {
		Decision model.Decision `json:"decision"`
		Reason   string         `json:"reason"`
		Value    struct {
			Number string `json:"number"`
		} `json:"value"`
	}
	if json.Unmarshal(op.Body, &act) == nil {
		for _, s := range []string{act.Value.Number, act.Decision.Number, act.Reason} {
			if s != "" {
				r.Zh, r.En = r.Zh+"，"+s, r.En+", "+s
			}
		}
	}
	zh, en := changed(&op, public)
	r.Zh, r.En = r.Zh+zh, r.En+en
	if r.Moved {
		r.Zh, r.En = r.Zh+"（记录已有变动，同意后将不被受理）", r.En+" (the record has moved on: approving will be refused)"
	}
	return r
}

// changed says what a change of a key or an endpoint puts in the place of what, public being the agency as it stands.
func changed(op *model.Draft, public []byte) (zh, en string) {
	var was model.Agency
	if (op.Type != model.RotateKey && op.Type != model.SetEndpoint) || json.Unmarshal(public, &was) != nil {
		return "", ""
	}
	if op.Type == model.SetEndpoint {
		var to model.EndpointBody
		if json.Unmarshal(op.Body, &to) != nil {
			return "", ""
		}
		return fmt.Sprintf("，由 %q 改为 %q", was.Endpoint, to.Endpoint), fmt.Sprintf(", from %q to %q", was.Endpoint, to.Endpoint)
	}
	var old []string
	for _, k := range was.Keys {
		if !k.Retired {
			old = append(old, k.ID+" ("+k.Alg+")")
		}
	}
	var to struct {
		Alg string    `json:"alg"`
		New model.Key `json:"new"`
	}
	if json.Unmarshal(op.Body, &to) != nil {
		return "", ""
	}
	keys := strings.Join(old, ", ")
	if to.New.ID != "" {
		return fmt.Sprintf("，现用密钥 %s，改为 %s (%s)", keys, to.New.ID, to.New.Alg), fmt.Sprintf(", key in use %s, new key %s (%s)", keys, to.New.ID, to.New.Alg)
	}
	return fmt.Sprintf("，现用密钥 %s；新密钥 %s 在同意后由节点生成", keys, to.Alg), fmt.Sprintf(", key in use %s; the node draws the new one, %s, once this is approved", keys, to.Alg)
}

// postApproveDraft lets a draft go, and answers like the write that it was.
func (a *API) postApproveDraft(x *exchange) error {
	wait, err := waits(x.r.URL.RawQuery)
	if err != nil {
		return err
	}
	var in sdk.DraftApproval
	if _, err := x.decode(&in); err != nil {
		return err
	}
	if in.Content == nil {
		return model.E(model.CodeMissingField, "content")
	}
	d, err := a.decideDraft(x, sdk.DraftApproved, *in.Content, "")
	if err != nil {
		return err
	}
	if d.Problem != nil {
		e := d.Problem.Error()
		if d.Problem.Index != nil {
			return &elementError{*d.Problem.Index, e}
		}
		return e
	}
	out := sdk.DecidedDraft{Draft: d}
	if !d.Sent { // a batch, or the node cannot accept at this moment and will
		status := http.StatusOK
		if d.Batch == nil {
			status = http.StatusAccepted
		}
		return x.answerValue(status, out)
	}
	if changesPeople(&d) {
		return x.answerValue(http.StatusOK, out)
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), patience)
	defer cancel()
	if !wait {
		cancel()
	}
	if out.Outcomes, err = a.intake.Wait(ctx, d.OperationIDs); err != nil {
		return model.E(model.CodeOutcomeUnknown).Because(err)
	}
	for i := range out.Outcomes {
		out.Outcomes[i].Presentation = nil // it is for who asked for the licence
	}
	single := len(out.Outcomes) == 1
	status := statusOf(out.Outcomes, single)
	if single && out.Outcomes[0].Status == model.Rejected && out.Outcomes[0].Problem != nil {
		x.Header()[headerOperation] = []string{d.OperationIDs[0].String()}
		return out.Outcomes[0].Problem.Error()
	}
	return x.answerValue(status, out)
}

// decideDraft approves or rejects for who may.
func (a *API) decideDraft(x *exchange, to sdk.DraftState, content model.Digest, reason string) (sdk.HeldDraft, error) {
	d, ops, err := a.draft(x)
	if err != nil {
		return d, err
	}
	for i := range ops {
		x.about(&ops[i])
	}
	if x.drafted(&d) {
		for t := range d.Types {
			x.asked(ApprovalAction(t))
		}
		x.decision = Decision{Policy: ownDraft}
		return d, model.E(model.CodeOwnDraft)
	}
	for t := range d.Types {
		for _, agency := range d.Agencies {
			if err := x.decide(ApprovalAction(t), agency); err != nil {
				return d, err
			}
		}
	}
	d, err = a.inbox.Decide(x.r.Context(), x.caller, d.ID, to, content, reason)
	x.judge(&d)
	return d, err
}

func (a *API) postRejectDraft(x *exchange) error {
	var in sdk.DraftReason
	if _, err := x.decode(&in); err != nil {
		return err
	}
	if strings.TrimSpace(in.Reason) == "" {
		return model.E(model.CodeMissingField, "reason")
	}
	d, err := a.decideDraft(x, sdk.DraftRejected, model.Digest{}, in.Reason)
	if err != nil {
		return err
	}
	return x.answerValue(http.StatusOK, sdk.DecidedDraft{Draft: d})
}

// nothing is the body of a request that says all in its route: {}.
type nothing struct{}

// own finds the caller's own draft of the path; of another's he hears nothing more than he may.
func (a *API) own(x *exchange) (sdk.HeldDraft, error) {
	if _, err := x.decode(&nothing{}); err != nil {
		return sdk.HeldDraft{}, err
	}
	d, _, err := a.draft(x)
	if err == nil && !d.Mine {
		err = model.E(model.CodeForbidden)
	}
	return d, err
}

func (a *API) postWithdrawDraft(x *exchange) error {
	d, err := a.own(x)
	if err != nil {
		return err
	}
	if d, err = a.inbox.Decide(x.r.Context(), x.caller, d.ID, sdk.DraftWithdrawn, model.Digest{}, ""); err != nil {
		return err
	}
	x.judge(&d)
	return x.answerValue(http.StatusOK, sdk.DecidedDraft{Draft: d})
}

// postResendDraft sends a draft's content as a request of its own: rights, checks and rules are looked at anew.
func (a *API) postResendDraft(x *exchange) error {
	d, err := a.own(x)
	if err != nil {
		return err
	}
	if d.State == sdk.DraftPending || (d.State == sdk.DraftApproved && d.Problem == nil) {
		return model.E(model.CodeAlreadyDecided).With("%s", d.State)
	}
	if d.Batch != nil {
		return model.E(model.CodeBadValue, "id").With("register the batch again")
	}
	if changesPeople(&d) {
		return model.E(model.CodeBadValue, "id").With("ask for the change again")
	}
	ops, writers, err := a.inbox.Again(x.r.Context(), d.ID)
	if err != nil {
		return err
	}
	for i := range ops {
		if err := x.decide(string(ops[i].Type), ops[i].Agency); err != nil {
			return err
		}
	}
	ids, index, err := a.intake.Accept(x.r.Context(), Submission{
		Principal: x.caller.ID(), Agency: x.caller.Agency(), Person: x.caller.Person(), Name: x.caller.Name(),
		Writers: writers, Key: "resend-" + d.ID, Digest: d.Content, Drafts: ops,
	})
	held, waits := asHeld(err)
	switch {
	case waits:
		return a.held(x, held)
	case err != nil && index >= 0:
		return &elementError{index, err}
	case err != nil:
		return err
	}
	// The rule is off by now: the operations are on their way.
	return x.answerValue(http.StatusAccepted, sdk.DecidedDraft{Draft: sdk.HeldDraft{ID: d.ID, State: sdk.DraftApproved, Sent: true, OperationIDs: ids}})
}

func (a *API) postBatch(x *exchange) error {
	var in sdk.BatchTerms
	body, err := x.decode(&in)
	if err != nil {
		return err
	}
	key := x.r.Header.Get("Idempotency-Key")
	if !validKey(key) {
		return model.E(model.CodeBadValue, "Idempotency-Key").With("1 to 128 visible ASCII characters")
	}
	if in.Agency == "" {
		in.Agency = x.caller.Agency()
	}
	if err := x.decide(string(in.Type), in.Agency); err != nil {
		return err
	}
	out, err := a.batches.Register(x.r.Context(), Submission{
		Principal: x.caller.ID(), Agency: x.caller.Agency(), Person: x.caller.Person(), Name: x.caller.Name(),
		Key: key, Digest: requestDigest(x.r, body),
	}, in)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if out.Draft != nil {
		status = http.StatusAccepted
		x.judge(out.Draft)
	}
	x.Header()["Location"] = []string{"/v1/batches/" + out.Batch.ID}
	return x.answerValue(status, out)
}

func (a *API) getBatch(x *exchange) error {
	out, principal, err := a.batches.Batch(x.r.Context(), x.r.PathValue("id"))
	if err != nil {
		return err
	}
	mine := principal == x.caller.ID()
	if out.Draft != nil {
		x.judge(out.Draft)
	}
	if !mine && (out.Draft == nil || !x.sees(out.Draft)) && !x.caller.Decide(ActionReadRecord, out.Batch.Agency).Allowed {
		return model.E(model.CodeNotFound, "id")
	}
	return x.answerValue(http.StatusOK, out)
}

// inboxRoutes documents the routes of the inbox.
func (d *document) inboxRoutes() {
	decided := d.schema(sdk.DecidedDraft{})
	key := &huma.Param{Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString}, Description: "1 to 128 visible ASCII characters."}
	for _, w := range []written{
		{routeApproveDraft, d.schema(sdk.DraftApproval{}), decided, "By another person than who drafted it, who may approve each of its operations. `content` is the digest that the draft showed. Waits as a write does."},
		{routeRejectDraft, d.schema(sdk.DraftReason{}), decided, "By who might approve it."},
		{routeWithdrawDraft, d.schema(nothing{}), decided, "By who drafted it, while it waits. What grants an API key also later, until both halves of the key are drawn."},
		{routeResendDraft, d.schema(nothing{}), decided, "By who drafted it, of a draft that was rejected, expired or refused: the answer is the new draft."},
		{routeRegisterBatch, d.schema(sdk.BatchTerms{}), d.schema(sdk.HeldBatch{}), "Needs the right named as the operations' type. A batch of endings names in `records` what it ends, and ends nothing else; what it names are the rows of its draft."},
	} {
		op := d.body(w)
		if w.rt != routeRejectDraft && w.rt != routeWithdrawDraft {
			op.Responses["202"] = &huma.Response{Description: "Not all is done yet: operations are pending, or another person must approve", Content: content("application/json", w.out)}
		}
		op.Parameters = append(op.Parameters, key)
		if w.rt == routeApproveDraft {
			op.Parameters = append(op.Parameters, &huma.Param{Name: "wait", In: "query",
				Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"committed", "accepted"}, Default: "committed"}, Description: "As of a write."})
		}
		d.config.AddOperation(op)
	}
	text := func(name, in, doc string) *huma.Param {
		return &huma.Param{Name: name, In: in, Required: in == "path", Schema: &huma.Schema{Type: huma.TypeString}, Description: doc}
	}
	for _, r := range []struct {
		rt     *route
		out    any
		params []*huma.Param
	}{
		{routeDrafts, sdk.DraftPage{}, []*huma.Param{
			text("state", "query", "pending, approved, rejected, withdrawn or expired."), text("mine", "query", "true: only what the caller drafted."),
			text("after", "query", "Only drafts that came after this one."), text("limit", "query", "At most so many, up to 500.")}},
		{routeDraft, sdk.DraftContent{}, []*huma.Param{
			text("id", "path", "The draft's id."), text("from", "query", "The first operation to show."), text("limit", "query", "At most so many operations, up to 500.")}},
		{routeBatch, sdk.HeldBatch{}, []*huma.Param{text("id", "path", "The batch's id.")}},
	} {
		op := d.operation(r.rt)
		op.Parameters = r.params
		op.Responses["200"] = &huma.Response{Description: "OK", Content: content("application/json", d.schema(r.out))}
		d.config.AddOperation(&op)
	}
}
