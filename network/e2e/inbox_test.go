package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// as is a client of the node in a role.
func (n *node) as(role string) *sdk.Client { return &sdk.Client{BaseURL: n.url, Key: n.keys[role]} }

// agreed has the approver of the drafter's node agree to what waits for a second person; what does not wait is passed on.
func agreed(ctx context.Context, nodes map[string]*node, out model.Outcome, err error) (model.Outcome, error) {
	held, ok := sdk.Held(err)
	if !ok {
		return out, err
	}
	for name, home := range homes {
		if string(held.Drafter.Agency) != home {
			continue
		}
		d, err := nodes[name].as("approver").ApproveDraft(ctx, held.ID, held.Content, sdk.Write{})
		if err != nil {
			return out, err
		}
		if len(d.Outcomes) != 1 {
			return out, fmt.Errorf("%d outcomes of one operation", len(d.Outcomes))
		}
		return d.Outcomes[0], nil
	}
	return out, err
}

// codeOf is an error's code, "" for none.
func codeOf(err error) model.Code {
	if err == nil {
		return ""
	}
	return model.AsError(err).Code
}

func ending(number string) sdk.LicenceAct {
	return sdk.LicenceAct{Effective: "2026-02-03", Reason: "closed", Decision: model.Decision{Number: number, Date: "2026-02-03"}}
}

// issued has the drafter issue licences.
func (n *node) issued(name string, count int) (records []model.RecordID) {
	n.t.Helper()
	var drafts []model.Draft
	for i := range count {
		drafts = append(drafts, issueDraft(n.t, n.agency, fmt.Sprintf("%s-%d", name, i), 5000+i))
	}
	out, err := n.as("drafter").Submit(background(n.t), drafts, sdk.Write{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, o := range out {
		records = append(records, o.Record)
	}
	return records
}

// held expects a write to wait for a second person.
func held(t testing.TB, out model.Outcome, err error) sdk.HeldDraft {
	t.Helper()
	d, ok := sdk.Held(err)
	if !ok {
		t.Fatalf("it does not wait for a second person: %+v %v", out, err)
	}
	return d
}

// endings counts the endings of each record in the log.
func endings(events []sdk.Event) map[model.RecordID]int {
	out := map[model.RecordID]int{}
	for _, e := range events {
		if e.Type == model.LicenceCancel {
			out[e.Record]++
		}
	}
	return out
}

// TestKilledBetweenApprovalAndAcceptance: the outbox is full while somebody approves, so the decision is on the disk and
// the operation is not accepted; then the node is killed. The next run sends it, once, under the id that it always had.
func TestKilledBetweenApprovalAndAcceptance(t *testing.T) {
	t.Parallel()
	c := newConsortium(t)
	n := c.nodes["beijing"]
	n.configure(func(m map[string]any) { m["outbox_limit"] = 3 })
	c.start("beijing")
	ctx := background(t)
	records := n.issued("between", 3)
	c.ledger.p.stop()
	a, err := n.post("/v1/operations?wait=accepted", encodeDrafts(t,
		suspendDraft(t, n.agency, records[0], "1"), suspendDraft(t, n.agency, records[1], "2"), issueDraft(t, n.agency, "between-fills", 99)))
	if err != nil || a.status != http.StatusAccepted {
		t.Fatalf("filling the outbox: %d %s %v", a.status, a.body, err)
	}
	out, err := n.as("drafter").Act(ctx, records[2], model.LicenceCancel, ending("注销1号"), sdk.Write{IdempotencyKey: "the-ending"})
	d := held(t, out, err)
	after, err := n.as("approver").ApproveDraft(ctx, d.ID, d.Content, sdk.Write{NoWait: true})
	if err != nil || after.Draft.State != sdk.DraftApproved || after.Draft.Sent || after.Draft.Problem != nil {
		t.Fatalf("approved while the outbox is full: %+v %v", after, err)
	}
	if m := n.metric("zhenglian_inbox_unsent"); m != 1 {
		t.Errorf("zhenglian_inbox_unsent is %v", m)
	}
	n.p.kill()
	n.configure(func(m map[string]any) { delete(m, "outbox_limit") })
	c.ledger.start()
	n.start()

	settled, err := n.as("drafter").WaitDraft(ctx, d.ID)
	if err != nil || !settled.Sent || !slices.Equal(settled.OperationIDs, d.OperationIDs) {
		t.Fatalf("after the kill: %+v %v", settled, err)
	}
	// Who drafted asks again under his key and hears of the same operation; who approved is answered as the first time.
	out, err = n.as("drafter").Act(ctx, records[2], model.LicenceCancel, ending("注销1号"), sdk.Write{IdempotencyKey: "the-ending"})
	if err != nil || out.Status != model.Committed || out.Operation != d.OperationIDs[0] {
		t.Errorf("the drafter asks again: %+v %v", out, err)
	}
	after, err = n.as("approver").ApproveDraft(ctx, d.ID, d.Content, sdk.Write{})
	if err != nil || len(after.Outcomes) != 1 || after.Outcomes[0].Operation != d.OperationIDs[0] {
		t.Errorf("the approver asks again: %+v %v", after, err)
	}
	n.p.kill()
	n.start()
	if e := endings(n.logFrom(c.began)); len(e) != 1 || e[records[2]] != 1 {
		t.Errorf("endings in the log: %v", e)
	}
}

// TestKillWhileApproving kills a node again and again while one person drafts endings and another approves them. In the
// end every licence has ended once, and nothing that was answered is gone.
func TestKillWhileApproving(t *testing.T) {
	t.Parallel()
	n := solo(t, t.TempDir())
	n.start()
	count := 60
	records := n.issued("killed", count)
	ctx := background(t)
	var mu sync.Mutex
	drafted, approved := map[model.RecordID]string{}, map[string]bool{}
	progress := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(drafted) + len(approved)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i, r := range records {
			for ctx.Err() == nil {
				_, err := n.as("drafter").Act(ctx, r, model.LicenceCancel, ending("注销"), sdk.Write{IdempotencyKey: fmt.Sprint("end-", i)})
				if d, ok := sdk.Held(err); ok {
					mu.Lock()
					drafted[r] = d.ID
					mu.Unlock()
					break
				} else if err == nil { // approved before its first answer came through
					mu.Lock()
					drafted[r] = ""
					mu.Unlock()
					break
				}
			}
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			page, err := n.as("approver").Drafts(ctx, sdk.DraftQuery{State: sdk.DraftPending})
			if err != nil {
				continue
			}
			for _, d := range page.Drafts {
				out, err := n.as("approver").ApproveDraft(ctx, d.ID, d.Content, sdk.Write{NoWait: true})
				if err == nil && out.Draft.State == sdk.DraftApproved {
					mu.Lock()
					approved[d.ID] = true
					mu.Unlock()
				}
			}
			mu.Lock()
			done := len(approved) == count
			mu.Unlock()
			if done {
				return
			}
		}
	})
	for round := range 2 * kills() {
		before := progress()
		eventually(t, 30*time.Second, "drafting and approving get on", func() bool { return progress() > before+10 || progress() >= 2*count })
		blow(n.p, round)
		n.start()
	}
	wg.Wait()
	var all []sdk.HeldDraft
	eventually(t, 30*time.Second, "every approved draft is sent", func() bool {
		all = nil
		for after := ""; ; {
			page, err := n.as("auditor").Drafts(ctx, sdk.DraftQuery{After: after})
			if err != nil {
				return false
			}
			if all = append(all, page.Drafts...); page.Next == "" {
				break
			}
			after = page.Next
		}
		return !slices.ContainsFunc(all, func(d sdk.HeldDraft) bool { return !d.Sent })
	})
	if len(all) != count {
		t.Errorf("%d drafts of %d requests", len(all), count)
	}
	for _, d := range all {
		if d.State != sdk.DraftApproved || d.Problem != nil {
			t.Errorf("%+v", d)
		}
		for _, id := range d.OperationIDs {
			if o, err := n.as("auditor").Settle(ctx, id); err != nil || o.Status != model.Committed {
				t.Errorf("%s: %+v %v", d.ID, o, err)
			}
		}
		delete(approved, d.ID)
	}
	if len(approved) > 0 {
		t.Errorf("approved, and no longer there: %v", approved)
	}
	ended := endings(n.logFrom(0))
	for _, r := range records {
		if ended[r] != 1 {
			t.Errorf("%s has ended %d times", r, ended[r])
		}
	}
}

// TestMeanwhile: what has changed between drafting and approving is said plainly, to who approves and in the draft.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	n := solo(t, t.TempDir())
	n.start()
	ctx := background(t)
	records := n.issued("meanwhile", 3)
	drafter, approver := n.as("drafter"), n.as("approver")
	draft := func(r model.RecordID, number string) sdk.HeldDraft {
		t.Helper()
		out, err := drafter.Act(ctx, r, model.LicenceCancel, ending(number), sdk.Write{})
		return held(t, out, err)
	}
	// The licence has ended by another draft.
	first, second := draft(records[0], "1"), draft(records[0], "2")
	if _, err := approver.ApproveDraft(ctx, first.ID, first.Content, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	shown, err := approver.Draft(ctx, second.ID, 0)
	if err != nil || len(shown.Rows) != 1 || !shown.Rows[0].Moved || shown.Rows[0].Record.State != model.Cancelled {
		t.Errorf("what the approver sees: %+v %v", shown, err)
	}
	if _, err := approver.ApproveDraft(ctx, second.ID, second.Content, sdk.Write{}); codeOf(err) != model.CodeVersionConflict {
		t.Errorf("approving the second: %v", err)
	}
	again, err := drafter.Draft(ctx, second.ID, 0)
	if err != nil || again.Draft.State != sdk.DraftApproved || again.Draft.Sent || again.Draft.Problem == nil || again.Draft.Problem.Code != model.CodeVersionConflict || again.Draft.Zh == "" {
		t.Errorf("the second draft: %+v %v", again.Draft, err)
	}
	if _, err := drafter.ResendDraft(ctx, second.ID); codeOf(err) != model.CodeTransition {
		t.Errorf("sent once more: %v", err)
	}
	// Another approver comes too late, a role without the right never comes to it.
	status, out, errOut := command(t, "keys", "issue", "--dir", n.dir, "--agency", n.agency, "--role", "approver", "--name", "second approver", "--json")
	if status != 0 {
		t.Fatalf("keys issue: %s%s", out, errOut)
	}
	var key struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(out, &key); err != nil || key.Key == "" {
		t.Fatalf("%s", out)
	}
	other := &sdk.Client{BaseURL: n.url, Key: key.Key}
	var late error
	eventually(t, 10*time.Second, "the node knows the new key", func() bool {
		_, late = other.ApproveDraft(ctx, first.ID, first.Content, sdk.Write{})
		return codeOf(late) != model.CodeUnauthenticated
	})
	if e := model.AsError(late); e.Code != model.CodeAlreadyDecided || !strings.Contains(e.Detail, "approved") {
		t.Errorf("the second approver: %v", late)
	}
	third := draft(records[1], "3")
	// The drafter's key is revoked: nobody does in his name what he may no longer do.
	if status, out, errOut := command(t, "keys", "revoke", "--dir", n.dir, third.Drafter.Principal); status != 0 {
		t.Fatalf("keys revoke: %s%s", out, errOut)
	}
	eventually(t, 10*time.Second, "the node knows that the key is revoked", func() bool {
		_, err := drafter.Drafts(ctx, sdk.DraftQuery{})
		return codeOf(err) == model.CodeUnauthenticated
	})
	if _, err := approver.ApproveDraft(ctx, third.ID, third.Content, sdk.Write{}); codeOf(err) != model.CodeForbidden {
		t.Errorf("approving what a dismissed drafter left: %v", err)
	}
	if d, err := approver.Draft(ctx, third.ID, 0); err != nil || d.Draft.Problem == nil || d.Draft.Problem.Code != model.CodeForbidden {
		t.Errorf("%+v %v", d.Draft, err)
	}
	if e := endings(n.logFrom(0)); len(e) != 1 || e[records[0]] != 1 {
		t.Errorf("endings in the log: %v", e)
	}
}

// TestRuleOff: an operator may switch a rule off, with a reason; the node says so for as long as it is off, and who acts
// alone needs both rights.
func TestRuleOff(t *testing.T) {
	t.Parallel()
	n := solo(t, t.TempDir())
	n.configure(func(m map[string]any) {
		m["approval"] = map[string]any{"off": []string{"endings"}, "reason": "值班只有一人"}
	})
	n.launch()
	eventually(t, 60*time.Second, "the node says that the rule is off", func() bool {
		r, err := n.readiness()
		if err != nil || r.Status != sdk.Degraded {
			return false
		}
		return slices.ContainsFunc(r.Components, func(c sdk.Component) bool {
			return c.Name == "approval" && strings.Contains(c.Detail, "two-person rule off: [endings] (值班只有一人)")
		})
	})
	if status, out, _ := command(t, "doctor", "--dir", n.dir, "--lang", "en"); status != 1 || !strings.Contains(string(out), "two-person rule off") {
		t.Errorf("doctor: status %d\n%s", status, out)
	}
	ctx := background(t)
	records := n.issued("off", 1)
	if _, err := n.as("drafter").Act(ctx, records[0], model.LicenceCancel, ending("1"), sdk.Write{}); codeOf(err) != model.CodeForbidden {
		t.Errorf("a drafter alone: %v", err)
	}
	if out, err := n.as("approver").Act(ctx, records[0], model.LicenceCancel, ending("1"), sdk.Write{}); err != nil || out.Status != model.Committed {
		t.Errorf("an approver alone: %+v %v", out, err)
	}
	// The others are in force.
	_, err := n.as("security-admin").RotateKey(ctx, model.AgencyID(n.agency), sdk.NewKey{}, sdk.Write{})
	d := held(t, model.Outcome{}, err)
	if _, err := n.as("security-admin").ApproveDraft(ctx, d.ID, d.Content, sdk.Write{}); codeOf(err) != model.CodeOwnDraft {
		t.Errorf("the security administrator alone: %v", err)
	}
	if out, err := n.as("system-admin").ApproveDraft(ctx, d.ID, d.Content, sdk.Write{}); err != nil || len(out.Outcomes) != 1 || out.Outcomes[0].Status != model.Committed {
		t.Errorf("approved by the system administrator: %+v %v", out, err)
	}
}

// TestLargeBatch: an array above the limit waits, and so does a batch; once it is approved its pieces do not.
func TestLargeBatch(t *testing.T) {
	t.Parallel()
	n := solo(t, t.TempDir())
	n.start()
	ctx := background(t)
	drafter, approver := n.as("drafter"), n.as("approver")
	piece := func(name string, count int) (out []model.Draft) {
		for i := range count {
			out = append(out, issueDraft(t, n.agency, fmt.Sprintf("%s-%d", name, i), 7000+i))
		}
		return out
	}
	if _, err := drafter.Submit(ctx, piece("few", 200), sdk.Write{}); err != nil {
		t.Fatalf("200 at once: %v", err)
	}
	_, err := drafter.Submit(ctx, piece("many", 201), sdk.Write{IdempotencyKey: "many"})
	d := held(t, model.Outcome{}, err)
	if !slices.Equal(d.Rules, []string{"batches"}) || d.Operations != 201 {
		t.Errorf("%+v", d)
	}
	if out, err := approver.ApproveDraft(ctx, d.ID, d.Content, sdk.Write{}); err != nil || len(out.Outcomes) != 201 || out.Outcomes[200].Status != model.Committed {
		t.Errorf("%d outcomes, %v", len(out.Outcomes), err)
	}
	if out, err := drafter.Submit(ctx, piece("many", 201), sdk.Write{IdempotencyKey: "many"}); err != nil || len(out) != 201 || out[0].Operation != d.OperationIDs[0] {
		t.Errorf("the same request again: %d outcomes, %v", len(out), err)
	}

	terms := sdk.BatchTerms{Name: "三月补录", File: model.DigestOf([]byte("file")), Rows: 400, Type: model.LicenceIssue}
	b, err := drafter.RegisterBatch(ctx, terms, "batch")
	if err != nil || b.Batch.State != sdk.BatchPending || b.Draft == nil {
		t.Fatalf("%+v %v", b, err)
	}
	write := func(name string) sdk.Write { return sdk.Write{IdempotencyKey: name, Batch: b.Batch.ID} }
	if _, err := drafter.Submit(ctx, piece("early", 250), write("early")); codeOf(err) != model.CodeBatchNotOpen {
		t.Errorf("before it is approved: %v", err)
	}
	if _, err := approver.ApproveDraft(ctx, b.Draft.ID, b.Draft.Content, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	if out, err := drafter.Submit(ctx, piece("first", 250), write("first")); err != nil || out[249].Status != model.Committed {
		t.Errorf("the first piece: %v", err)
	}
	n.p.kill()
	n.start()
	if _, err := drafter.Submit(ctx, piece("first", 250), write("first")); err != nil {
		t.Errorf("the first piece again: %v", err)
	}
	if _, err := drafter.Submit(ctx, piece("second", 151), write("second")); codeOf(err) != model.CodeBatchExhausted {
		t.Errorf("one row too many: %v", err)
	}
	if _, err := approver.Submit(ctx, piece("other", 10), write("other")); codeOf(err) != model.CodeBatchNotOpen {
		t.Errorf("another person's: %v", err)
	}
	if again, err := drafter.RegisterBatch(ctx, terms, "batch"); err != nil || again.Batch.ID != b.Batch.ID || again.Batch.State != sdk.BatchOpen || again.Batch.Used != 250 {
		t.Errorf("registered again: %+v %v", again, err)
	}
	// To undo it needs one approval, not one a record.
	undo := sdk.BatchTerms{Name: "撤销补录", File: terms.File, Rows: 2, Type: model.LicenceRescind}
	if _, err := drafter.RegisterBatch(ctx, undo, ""); codeOf(err) != model.CodeMissingField {
		t.Errorf("endings of whatever: %v", err)
	}
	var rescind []model.Draft
	body, err := model.Canonical(model.ActBody{Act: model.Act{Decision: model.Decision{Number: "1", Date: "2026-02-03"}, Effective: "2026-02-03", Reason: "import-undone"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range n.logFrom(0) {
		if e.Type == model.LicenceIssue && len(rescind) < 3 {
			rescind = append(rescind, model.Draft{Agency: model.AgencyID(n.agency), Type: model.LicenceRescind, Record: e.Record, Body: body})
		}
	}
	undo.Records = []model.RecordID{rescind[0].Record, rescind[1].Record}
	u, err := drafter.RegisterBatch(ctx, undo, "")
	if err != nil || u.Draft == nil || !slices.Equal(u.Draft.Rules, []string{"endings"}) {
		t.Fatalf("%+v %v", u, err)
	}
	shown, err := approver.Draft(ctx, u.Draft.ID, 1)
	if err != nil || len(shown.Rows) != 1 || shown.Rows[0].Operation.Record != undo.Records[1] || shown.Rows[0].Record == nil || shown.Rows[0].Moved {
		t.Errorf("what the approver sees: %+v %v", shown, err)
	}
	if _, err := approver.ApproveDraft(ctx, u.Draft.ID, u.Draft.Content, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	if _, err := drafter.Submit(ctx, rescind[1:], sdk.Write{IdempotencyKey: "another", Batch: u.Batch.ID}); codeOf(err) != model.CodeBatchNotOpen {
		t.Errorf("a record that nobody approved: %v", err)
	}
	if out, err := drafter.Submit(ctx, rescind[:2], sdk.Write{IdempotencyKey: "undo", Batch: u.Batch.ID}); err != nil || out[1].Status != model.Committed {
		t.Errorf("undone: %+v %v", out, err)
	}
}

// made runs a command that prints JSON and takes one member of it.
func made(t *testing.T, member string, args ...string) string {
	t.Helper()
	status, out, errOut := command(t, args...)
	var v map[string]any
	if err := json.Unmarshal(out, &v); status != 0 || err != nil {
		t.Fatalf("%v: status %d\n%s%s", args, status, out, errOut)
	}
	if user, ok := v["user"].(map[string]any); ok {
		v = user
	}
	s, _ := v[member].(string)
	if s == "" {
		t.Fatalf("%v: no %s in %s", args, member, out)
	}
	return s
}

// TestPersonsNotKeys: it is persons who are two. Two keys of one user are one; and a user who loses the role while a draft
// waits no longer approves it.
func TestPersonsNotKeys(t *testing.T) {
	t.Parallel()
	n := solo(t, t.TempDir())
	n.start()
	ctx := background(t)
	records := n.issued("persons", 2)
	user := func(name string, roles ...string) (id string, keys [2]*sdk.Client) {
		t.Helper()
		args := []string{"people", "add", "--dir", n.dir, "--name", name, "--agency", n.agency, "--json"}
		for _, r := range roles {
			args = append(args, "--role", r)
		}
		id = made(t, "id", args...)
		for i := range keys {
			keys[i] = &sdk.Client{BaseURL: n.url, Key: made(t, "key", "keys", "issue", "--dir", n.dir, "--user", id, "--name", fmt.Sprint(name, i), "--json")}
			eventually(t, 10*time.Second, "the node knows the key", func() bool {
				_, err := keys[i].Drafts(ctx, sdk.DraftQuery{})
				return err == nil
			})
		}
		return id, keys
	}
	_, wang := user("王芳", "drafter", "approver")
	liID, li := user("李伟", "approver")
	out, err := wang[0].Act(ctx, records[0], model.LicenceCancel, ending("1"), sdk.Write{})
	d := held(t, out, err)
	if d.Drafter.Name != "王芳" {
		t.Errorf("drafted by %+v", d.Drafter)
	}
	for i, c := range wang {
		if _, err := c.ApproveDraft(ctx, d.ID, d.Content, sdk.Write{}); codeOf(err) != model.CodeOwnDraft {
			t.Errorf("her key %d: %v", i, err)
		}
	}
	other, err := wang[1].WithdrawDraft(ctx, cancelDraft(t, wang[0], records[1]).ID)
	if err != nil || other.State != sdk.DraftWithdrawn {
		t.Errorf("withdrawn with her other key: %+v %v", other, err)
	}
	if status, o, e := command(t, "people", "change", liID, "--dir", n.dir, "--role", "verifier"); status != 0 {
		t.Fatalf("people change: %s%s", o, e)
	}
	eventually(t, 10*time.Second, "the node knows of the change", func() bool {
		_, err := li[0].Drafts(ctx, sdk.DraftQuery{})
		return codeOf(err) == model.CodeForbidden
	})
	if _, err := li[0].ApproveDraft(ctx, d.ID, d.Content, sdk.Write{}); codeOf(err) != model.CodeForbidden {
		t.Errorf("approved by who is a verifier by now: %v", err)
	}
	if now, err := wang[0].Draft(ctx, d.ID, 0); err != nil || now.Draft.State != sdk.DraftPending {
		t.Errorf("%+v %v", now.Draft, err)
	}
	if done, err := n.as("approver").ApproveDraft(ctx, d.ID, d.Content, sdk.Write{}); err != nil || len(done.Outcomes) != 1 || done.Outcomes[0].Status != model.Committed {
		t.Errorf("approved by somebody else: %+v %v", done, err)
	}
}

// cancelDraft has a licence's ending drafted.
func cancelDraft(t *testing.T, by *sdk.Client, r model.RecordID) sdk.HeldDraft {
	t.Helper()
	out, err := by.Act(background(t), r, model.LicenceCancel, ending("2"), sdk.Write{})
	return held(t, out, err)
}
