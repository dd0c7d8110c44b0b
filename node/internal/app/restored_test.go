package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/doctor"
	"github.com/zhenglian/zhenglian/node/internal/invite"
	"github.com/zhenglian/zhenglian/sdk"
)

// A key that was revoked after the backup opens nothing at the restored node, nor does any other of the backup, nor an
// invitation; doctor names the restore until the operator confirms it.
func TestRestoredRights(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	agency := model.RecordID(organisations[0].agency)
	asks := func() error {
		c := w.client("beijing", "verifier")
		c.Attempts = 1
		_, err := c.Record(t.Context(), model.KindAgency, agency)
		return err
	}
	stop := w.serve("beijing")
	w.until("the node answers", func() bool { return asks() == nil })
	invitations := invite.Store{Dir: filepath.Join(w.node("beijing"), "invitations")}
	if _, _, err := invitations.New(invite.Record{Node: "harbour", Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	terms := sdk.BatchTerms{Name: "补录", File: model.DigestOf(nil), Rows: 10, Type: model.LicenceIssue}
	if b, err := w.client("beijing", "drafter").RegisterBatch(t.Context(), terms, "batch"); err != nil || b.Batch.State != sdk.BatchOpen {
		t.Fatalf("%+v, %v", b, err)
	}
	file := filepath.Join(w.dir, "beijing.backup")
	if _, err := app.Backup(t.Context(), w.config("beijing"), file, phrase(t), nil, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	p, err := app.People(w.config("beijing"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range p.Keys() {
		if strings.Contains(k.Name, "verifier") {
			if err := p.Revoke(k.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.until("the key is refused", func() bool { return errors.Is(asks(), model.E(model.CodeUnauthenticated)) })
	stop()

	dir := filepath.Join(w.dir, "ended")
	r, err := app.Restore(t.Context(), file, phrase(t), dir, app.RestoreOptions{Listen: w.config("beijing").Listen, Admin: w.config("beijing").Admin, Progress: func(uint64, uint64) {}})
	if err != nil || r.KeysEnded == 0 || r.Invitations != 1 || r.Batches != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := errors.Join(os.Rename(w.node("beijing"), w.node("beijing")+".lost"), os.Rename(dir, w.node("beijing"))); err != nil {
		t.Fatal(err)
	}
	if p, err = app.People(w.config("beijing")); err != nil || slices.ContainsFunc(p.Keys(), func(k auth.Entry) bool { return k.Revoked.IsZero() }) {
		t.Fatalf("%+v, %v", p.Keys(), err)
	}
	if list, err := invitations.List(); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	page, err := accesslog.Search(t.Context(), filepath.Join(w.node("beijing"), app.AccessLogDir), accesslog.Query{Limit: 1000})
	if err != nil || !slices.ContainsFunc(page.Entries, func(e sdk.AccessEntry) bool {
		return e.Action == app.ActionRestored && e.Count == uint64(r.KeysEnded)
	}) {
		t.Errorf("the access log does not tell: %v", err)
	}
	unconfirmed := func() bool {
		return slices.ContainsFunc(app.Examine(t.Context(), w.node("beijing")).Findings, func(f doctor.Finding) bool { return f.Code == doctor.RestoreUnconfirmed })
	}
	w.serve("beijing")
	w.until("the node answers", func() bool { err := asks(); return errors.Is(err, model.E(model.CodeUnauthenticated)) })
	if !unconfirmed() {
		t.Error("doctor says nothing")
	}
	if err := app.ConfirmRestored(w.config("beijing")); err != nil || unconfirmed() {
		t.Errorf("still unconfirmed: %v", err)
	}
	if err := app.ConfirmRestored(w.config("tianjin")); err == nil {
		t.Error("a node that was never restored")
	}
}

// A change that waits in the backup, or a key that was granted and not drawn, may have been rejected or revoked after it:
// after a restore nobody approves the one or draws the other, and both can be asked for again.
func TestRestoredDrafts(t *testing.T) {
	o := newOffice(t)
	ann, _ := o.key("安", "bj-scjg", auth.SecurityAdmin)
	bob, bobID := o.key("波", "bj-scjg", auth.SecurityAdmin)
	o.start()
	ctx := t.Context()
	spec := sdk.UserSpec{Name: "王芳", Agency: "bj-scjg", Roles: []string{"drafter"}}
	add := sdk.Write{IdempotencyKey: "wang"}
	_, err := ann.AddUser(ctx, spec, add)
	user := heldBy(t, err, bob)
	_, err = ann.IssueAPIKey(ctx, sdk.NewAPIKey{Name: "窗口", User: bobID.ID, Expires: model.TimeOf(time.Now().AddDate(1, 0, 0))}, sdk.Write{})
	key := heldBy(t, err, bob)
	if _, err := bob.ApproveDraft(ctx, key.Draft.ID, key.Draft.Content, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	cfg, err := app.LoadConfig(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup")
	if _, err := app.Backup(ctx, cfg, file, phrase(t), nil, func(int64) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.RejectDraft(ctx, user.Draft.ID, "材料不齐"); err != nil {
		t.Fatal(err)
	}
	o.running()
	o.dir = filepath.Join(t.TempDir(), "restored")
	r, err := app.Restore(ctx, file, phrase(t), o.dir, app.RestoreOptions{KeepKeys: true, Progress: func(uint64, uint64) {}})
	if err != nil || r.Drafts != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	o.start()
	if d, err := bob.ApproveDraft(ctx, user.Draft.ID, user.Draft.Content, sdk.Write{}); !is(err, model.CodeAlreadyDecided) {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := bob.Draft(ctx, user.Draft.ID, 0); err != nil || d.Draft.State != sdk.DraftExpired || !strings.Contains(d.Draft.Zh, "由备份恢复") {
		t.Errorf("%+v, %v", d.Draft, err)
	}
	if _, err := ann.AddUser(ctx, spec, add); !is(err, model.CodeNotApproved) {
		t.Errorf("under the key of before: %v", err)
	}
	if made, err := ann.DrawAPIKey(ctx, key.Draft.ID); !is(err, model.CodeNotApproved) {
		t.Errorf("%+v, %v", made.Key, err)
	}
	_, err = ann.AddUser(ctx, spec, sdk.Write{IdempotencyKey: "anew"})
	again := heldBy(t, err, bob)
	if _, err := bob.ApproveDraft(ctx, again.Draft.ID, again.Draft.Content, sdk.Write{}); err != nil {
		t.Error(err)
	}
}
