package inbox

import (
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// A draft expires, leaves a trace, keeps its content for a while, can be read again to be sent again, and goes at last.
func TestExpiryAndErasure(t *testing.T) {
	r := newRig(t)
	h := r.hold(request(ann, "k", cancel("bj-scjg.1")))
	r.settle()
	r.pass(7*24*time.Hour - r.now.Sub(h.Created.Time()) - time.Second)
	if err := r.Tick(); err != nil || r.get(h.ID).State != Pending {
		t.Fatalf("a second before: %+v, %v", r.get(h.ID), err)
	}
	r.pass(time.Second)
	if _, err := r.Approve(h.ID, bob, h.Content); code(err) != model.CodeAlreadyDecided {
		t.Errorf("approved at the last moment: %v", err)
	}
	if err := r.Tick(); err != nil {
		t.Fatal(err)
	}
	if h = r.get(h.ID); h.State != Expired || h.Decision.By.Principal != "" {
		t.Fatalf("%+v", h)
	}
	days := func(n int) {
		t.Helper()
		r.pass(time.Duration(n) * 24 * time.Hour)
		if err := r.Tick(); err != nil {
			t.Fatal(err)
		}
	}
	days(6)
	if ops, err := r.Operations(r.get(h.ID), true); err != nil || len(ops) != 1 {
		t.Errorf("6 days after: %v %v", ops, err)
	}
	days(2) // longer than it has waited
	if h = r.get(h.ID); !h.Erased || h.Content.IsZero() {
		t.Errorf("8 days after: %+v", h)
	}
	if _, err := r.Operations(h, false); code(err) != model.CodeNotFound {
		t.Errorf("erased: %v", err)
	}
	if raw, err := r.db.Get(numberKey('c', h.number()), nil); err == nil {
		t.Errorf("the content is still there: %s", raw)
	}
	days(83)
	if _, err := r.Get(h.ID); code(err) != model.CodeNotFound {
		t.Errorf("91 days after: %v", err)
	}
	it := r.db.NewIterator(nil, nil)
	defer it.Release()
	for it.Next() {
		if string(it.Key()) != "f" {
			t.Errorf("left behind: %q", it.Key())
		}
	}
	if next := r.hold(request(ann, "k", cancel("bj-scjg.1"))); next.ID == h.ID {
		t.Error("an id is given twice")
	}
}

// What somebody else has rejected is there for a month, to be sent again.
func TestRejectedKeepsItsContent(t *testing.T) {
	r := newRig(t)
	h := r.hold(request(ann, "k", cancel("bj-scjg.1")))
	if _, err := r.Reject(h.ID, bob, "no"); err != nil {
		t.Fatal(err)
	}
	r.settle()
	for _, tt := range []struct {
		days   int
		erased bool
	}{{29, false}, {31, true}} {
		if err := r.erase(h.Created.Time().AddDate(0, 0, tt.days)); err != nil || r.get(h.ID).Erased != tt.erased {
			t.Errorf("%d days after: %+v, %v", tt.days, r.get(h.ID), err)
		}
	}
	if ops, err := r.Operations(r.get(h.ID), true); code(err) != model.CodeNotFound {
		t.Errorf("a month after: %v, %v", ops, err)
	}
}

// A clock that is wrong by hours or years and put right within the hour expires and erases nothing; one that stays is
// believed after an hour, with a trace.
func TestClockMoved(t *testing.T) {
	for _, by := range []time.Duration{11 * time.Minute, 9 * 24 * time.Hour, 20 * 365 * 24 * time.Hour, -9 * 24 * time.Hour} {
		r := newRig(t)
		old := r.hold(request(ann, "old", cancel("bj-scjg.1")))
		if _, err := r.Reject(old.ID, bob, "no"); err != nil {
			t.Fatal(err)
		}
		h := r.hold(request(ann, "k", cancel("bj-scjg.2")))
		r.settle()
		r.now = r.now.Add(by)
		for range 59 {
			r.pass(time.Minute)
			if err := r.Tick(); err != nil {
				t.Fatal(err)
			}
		}
		if r.get(h.ID).State != Pending || r.get(old.ID).Erased || r.Jumped().Round(time.Minute) != by {
			t.Errorf("by %s: %+v, said to have been set by %s", by, r.get(h.ID), r.Jumped())
		}
		// It can still be decided.
		if by == 9*24*time.Hour {
			if _, err := r.Approve(h.ID, bob, h.Content); err != nil {
				t.Errorf("by %s: %v", by, err)
			}
			continue
		}
		r.pass(2 * time.Minute)
		if err := r.Tick(); err != nil {
			t.Fatal(err)
		}
		want := Pending
		if by > 7*24*time.Hour {
			want = Expired
		}
		if r.get(h.ID).State != want || r.Jumped() != 0 {
			t.Errorf("by %s, an hour later: %+v, set by %s", by, r.get(h.ID), r.Jumped())
		}
	}
}

// A start is no reason to believe the clock either.
func TestClockWrongAtTheStart(t *testing.T) {
	r := newRig(t)
	h := r.hold(request(ann, "k", cancel("bj-scjg.2")))
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r.now = r.now.AddDate(0, 1, 0)
	r.open()
	r.pass(9 * time.Minute)
	if err := r.Tick(); err != nil || r.get(h.ID).State != Pending {
		t.Errorf("%+v, %v", r.get(h.ID), err)
	}
	r.settle()
	if r.get(h.ID).State != Expired {
		t.Errorf("%+v", r.get(h.ID))
	}
}
