package inbox

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func terms(rows int) Terms {
	return Terms{Name: "三月补录", File: model.DigestOf([]byte("file")), Rows: rows, Type: model.LicenceIssue, Agency: "bj-scjg"}
}

func issues(n int, agency model.AgencyID) []model.Draft {
	return slices.Repeat([]model.Draft{{Agency: agency, Type: model.LicenceIssue}}, n)
}

func below(agency, above model.AgencyID) bool {
	return strings.HasPrefix(string(agency), string(above)+"-")
}

// approved is an open batch that somebody else has agreed to.
func (r *rig) approved(rows int) *Held {
	r.t.Helper()
	t := terms(rows)
	h := r.hold(Request{Drafter: ann, Key: fmt.Sprint("batch", rows), Digest: model.DigestOf(nil), Rules: r.Policy().FallsBatch(&t), Batch: &t})
	if _, err := r.Approve(h.ID, bob, h.Content); err != nil {
		r.t.Fatal(err)
	}
	return h
}

func TestBatchTerms(t *testing.T) {
	p := Policy{BatchOver: 200}
	few, many, end := terms(200), terms(201), terms(1)
	end.Type, end.Records = model.LicenceRescind, []model.RecordID{"bj-scjg.1"}
	if err := end.Check(); err != nil {
		t.Error(err)
	}
	if f, m, e := p.FallsBatch(&few), p.FallsBatch(&many), p.FallsBatch(&end); f != nil || !slices.Equal(m, []Rule{Batches}) || !slices.Equal(e, []Rule{Endings}) {
		t.Errorf("%v %v %v", f, m, e)
	}
	for _, spoil := range []func(*Terms){
		func(x *Terms) { x.Name = "" }, func(x *Terms) { x.Name = strings.Repeat("x", 300) }, func(x *Terms) { x.Rows = 0 },
		func(x *Terms) { x.Rows = MaxRows + 1 }, func(x *Terms) { x.Type = "licence.give" }, func(x *Terms) { x.Type = model.Genesis },
		func(x *Terms) { x.File = model.Digest{} }, func(x *Terms) { x.Type = "" },
		func(x *Terms) { x.Type = model.LicenceAmend }, func(x *Terms) { x.Type = model.LicenceTransfer }, func(x *Terms) { x.Type = model.LicenceSuspend }, func(x *Terms) { *x = end; x.Type = model.LicenceRevoke },
		func(x *Terms) { x.Type = model.LicenceRescind }, func(x *Terms) { *x = end; x.Rows = 2 }, func(x *Terms) { *x = end; x.Records = []model.RecordID{"x"} },
		func(x *Terms) { x.Records = end.Records }, func(x *Terms) { x.Type = model.RotateKey }, func(x *Terms) { *x = end; x.Type = model.Delegate },
		func(x *Terms) { *x = end; x.Rows, x.Records = 2, []model.RecordID{"bj-scjg.1", "bj-scjg.1"} },
	} {
		x := terms(1)
		if spoil(&x); x.Check() == nil {
			t.Errorf("%+v is accepted", x)
		}
	}
}

// A batch is used by who registered it, for what it was approved for, until it ends.
func TestUnderBatch(t *testing.T) {
	r := newRig(t)
	h := r.approved(300)
	accepted := 0
	accept := func() error { accepted++; return nil }
	for _, tt := range []struct {
		name   string
		id     string
		who    Person
		key    string
		drafts []model.Draft
		want   model.Code
	}{
		{"more than an array may have alone", h.ID, ann, "1", issues(250, "bj-scjg-cy"), ""},
		{"the same again", h.ID, ann, "1", issues(250, "bj-scjg-cy"), ""},
		{"more than are left", h.ID, ann, "2", issues(51, "bj-scjg"), model.CodeBatchExhausted},
		{"what is left", h.ID, ann, "3", issues(50, "bj-scjg"), ""},
		{"nothing is left", h.ID, ann, "4", issues(1, "bj-scjg"), model.CodeBatchExhausted},
		{"another person", h.ID, bob, "5", issues(1, "bj-scjg"), model.CodeBatchNotOpen},
		{"another agency", h.ID, ann, "6", issues(1, "tj-scjg"), model.CodeBatchNotOpen},
		{"another type", h.ID, ann, "7", []model.Draft{cancel("bj-scjg.1")}, model.CodeBatchNotOpen},
		{"no key", h.ID, ann, "", issues(1, "bj-scjg"), model.CodeMissingField},
		{"another batch", "9-aaaaaaaa", ann, "8", issues(1, "bj-scjg"), model.CodeBatchNotOpen},
		{"no batch", "x", ann, "8", issues(1, "bj-scjg"), model.CodeBatchNotOpen},
	} {
		was := accepted
		err := r.Under(tt.id, tt.who, tt.key, tt.drafts, below, accept)
		if code(err) != tt.want || (accepted > was) != (tt.want == "") {
			t.Errorf("%s: %v, accepted %v", tt.name, err, accepted > was)
		}
		r.reopen()
	}
	if b, _, err := r.FindBatch(h.ID); err != nil || b.Used != 300 {
		t.Errorf("%+v %v", b, err)
	}
	r.pass(7*24*time.Hour + time.Second)
	if err := r.Under(h.ID, ann, "1", issues(250, "bj-scjg-cy"), below, accept); code(err) != model.CodeBatchNotOpen {
		t.Errorf("after its end: %v", err)
	}
}

// Who approves a batch of endings sees which, and these it ends: after a restart, without an approval where the rule is
// off, and long after the draft's own content is erased.
func TestBatchOfEndings(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Expires = MaxExpires })
	end := terms(2)
	end.Type, end.Records = model.LicenceCancel, []model.RecordID{"bj-scjg.7", "bj-scjg.2"}
	h := r.hold(Request{Drafter: ann, Key: "e", Digest: model.DigestOf(nil), Rules: []Rule{Endings}, Batch: &end})
	r.reopen()
	ops, err := r.Operations(h, false)
	if err != nil || len(ops) != 2 || ops[0].Record != "bj-scjg.7" || ops[1].Record != "bj-scjg.2" || ops[0].Type != end.Type || ops[0].Agency != end.Agency {
		t.Fatalf("shown: %+v %v", ops, err)
	}
	if _, err := r.Approve(h.ID, bob, h.Content); err != nil {
		t.Fatal(err)
	}
	open, err := r.Admit(cyd, "k", model.DigestOf(nil), end)
	if err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.pass(40 * 24 * time.Hour)
	r.settle()
	r.reopen()
	if h := r.get(h.ID); !h.Erased {
		t.Errorf("%+v", h)
	}
	for i, tt := range []struct {
		id     string
		who    Person
		record model.RecordID
		want   model.Code
	}{
		{h.ID, ann, "bj-scjg.2", ""}, {h.ID, ann, "bj-scjg.3", model.CodeBatchNotOpen}, {h.ID, ann, "bj-scjg.22", model.CodeBatchNotOpen},
		{h.ID, ann, "", model.CodeBatchNotOpen}, {open.ID, cyd, "bj-scjg.7", ""}, {open.ID, cyd, "bj-scjg.1", model.CodeBatchNotOpen},
	} {
		if err := r.Under(tt.id, tt.who, fmt.Sprint(i), []model.Draft{cancel(tt.record)}, below, func() error { return nil }); code(err) != tt.want {
			t.Errorf("%s: %v", tt.record, err)
		}
	}
	// One that was approved before batches named records opens nothing.
	old := terms(5)
	old.Type = model.LicenceCancel
	was := r.hold(Request{Drafter: ann, Key: "old", Digest: model.DigestOf(nil), Rules: []Rule{Endings}, Batch: &old})
	if _, err := r.Approve(was.ID, bob, was.Content); err != nil {
		t.Fatal(err)
	}
	if err := r.Under(was.ID, ann, "o", []model.Draft{cancel("bj-scjg.1")}, below, func() error { return nil }); code(err) != model.CodeBatchNotOpen {
		t.Error(err)
	}
	for range 100 {
		r.pass(3 * 24 * time.Hour)
		if err := r.Tick(); err != nil {
			t.Fatal(err)
		}
	}
	n, _ := parseID(h.ID)
	if ok, err := r.named(n, "bj-scjg.2"); ok || err != nil {
		t.Errorf("its list is kept for ever: %v", err)
	}
}

// What intake refuses does not count; what perhaps was accepted does, once.
func TestBatchCounts(t *testing.T) {
	r := newRig(t)
	h := r.approved(250)
	used := func() int {
		t.Helper()
		b, _, err := r.FindBatch(h.ID)
		if err != nil {
			t.Fatal(err)
		}
		return b.Used
	}
	for i, refusal := range []model.Code{model.CodeNumberTaken, model.CodeOutboxFull, model.CodeOutcomeUnknown, ""} {
		err := r.Under(h.ID, ann, "k", issues(100, "bj-scjg"), below, func() error {
			if refusal == "" {
				return nil
			}
			return model.E(refusal)
		})
		want := 0
		if i >= 2 {
			want = 100
		}
		if code(err) != refusal || used() != want {
			t.Errorf("%q: %v, %d used", refusal, err, used())
		}
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_ = r.Under(h.ID, ann, fmt.Sprint("w", i), issues(40, "bj-scjg"), below, func() error { return nil })
		})
	}
	wg.Wait()
	if n := used(); n != 220 {
		t.Errorf("%d used of 250 in pieces of 40 after 100", n)
	}
}

func TestSmallBatchNeedsNobody(t *testing.T) {
	r := newRig(t)
	a, err := r.Admit(ann, "k", model.DigestOf(nil), terms(10))
	if err != nil || !a.Open(r.now) {
		t.Fatal(a, err)
	}
	if b, err := r.Admit(ann, "k", model.DigestOf(nil), terms(10)); err != nil || b.ID != a.ID {
		t.Errorf("the same key: %+v %v", b, err)
	}
	if _, err := r.Admit(ann, "k", model.DigestOf([]byte("x")), terms(11)); code(err) != model.CodeIdempotencyMismatch {
		t.Errorf("another content: %v", err)
	}
	r.settle()
	for range 100 {
		r.pass(24 * time.Hour)
		if err := r.Tick(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.FindBatch(a.ID); code(err) != model.CodeNotFound {
		t.Errorf("long after its end: %v", err)
	}
}

// A key under which operations were counted passes these again, and nothing else.
func TestBatchCountIsOfItsOperations(t *testing.T) {
	r := newRig(t)
	h := r.approved(250)
	accepted := 0
	under := func(drafts []model.Draft, err error) error {
		return r.Under(h.ID, ann, "k", drafts, below, func() error { accepted++; return err })
	}
	if err := under(issues(1, "bj-scjg"), model.E(model.CodeOutcomeUnknown)); code(err) != model.CodeOutcomeUnknown {
		t.Fatal(err)
	}
	other := issues(1, "bj-scjg")
	other[0].Body = []byte(`{"other":true}`)
	for _, drafts := range [][]model.Draft{issues(5000, "bj-scjg"), other} {
		if err := under(drafts, nil); code(err) != model.CodeIdempotencyMismatch || accepted != 1 {
			t.Errorf("%d operations: %v", len(drafts), err)
		}
	}
	if err := under(issues(1, "bj-scjg"), nil); err != nil || accepted != 2 {
		t.Error(err)
	}
}
