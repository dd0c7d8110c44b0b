package app_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/sdk"
)

// A draft of several operations of which one cannot be accepted any more when it is approved is refused whole, and who drafted
// it sends the same once more: it waits again, of the licences as they are by then, and goes through.
func TestRefusedDraftIsSentAgain(t *testing.T) {
	o := newOffice(t)
	o.start()
	ctx := t.Context()
	drafter, approver := o.as(o.keys["drafter"]), o.as(o.keys["approver"])
	today := model.DateOf(time.Now())
	act := sdk.LicenceAct{Decision: model.Decision{Number: "京市监〔2026〕1号", Date: today}, Effective: today, Reason: "holder-request"}
	var records []model.RecordID
	var ends []model.Draft
	for n := range 2 {
		uscc, err := model.InventUSCC("91110105X", 600+n)
		if err != nil {
			t.Fatal(err)
		}
		out, err := drafter.Issue(ctx, sdk.NewLicence{Type: demo.BusinessLicence, Number: fmt.Sprint("R-", n), Holder: sdk.Holder{Code: string(uscc), Name: "样例有限公司"}}, sdk.Write{})
		if err != nil || out.Status != model.Committed {
			t.Fatal(out, err)
		}
		d, err := act.Draft(model.LicenceCancel, out.Record)
		if err != nil {
			t.Fatal(err)
		}
		records, ends = append(records, out.Record), append(ends, d)
	}
	_, err := drafter.Submit(ctx, ends, sdk.Write{})
	var held *sdk.HeldError
	if !errors.As(err, &held) {
		t.Fatal(err)
	}
	first := held.Draft
	if out, err := drafter.Act(ctx, records[1], model.LicenceSuspend, act, sdk.Write{}); err != nil || out.Status != model.Committed {
		t.Fatal(out, err)
	}
	if _, err := approver.ApproveDraft(ctx, first.ID, first.Content, sdk.Write{}); !is(err, model.CodeVersionConflict) {
		t.Fatalf("of a licence that has moved: %v", err)
	}
	state := func(want ...model.State) {
		t.Helper()
		for i, id := range records {
			if r, err := drafter.Record(ctx, model.KindLicence, id); err != nil || r.Record.State != want[i] {
				t.Errorf("%s: %+v, %v", id, r.Record.State, err)
			}
		}
	}
	state(model.InForce, model.Suspended)
	again, err := drafter.ResendDraft(ctx, first.ID)
	if err != nil || again.ID == first.ID || again.State != sdk.DraftPending || again.Operations != 2 {
		t.Fatalf("%+v, %v", again, err)
	}
	if twice, err := drafter.ResendDraft(ctx, first.ID); err != nil || twice.ID != again.ID {
		t.Errorf("its answer was lost: %+v, %v", twice, err)
	}
	done, err := approver.ApproveDraft(ctx, again.ID, again.Content, sdk.Write{})
	if err != nil || !done.Draft.Sent || len(done.Outcomes) != 2 || done.Outcomes[1].Version != 3 {
		t.Fatalf("%+v, %v", done, err)
	}
	state(model.Cancelled, model.Cancelled)
}
