package inbox

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// restore closes the inbox, ends what a restore ends, and opens it again.
func (r *rig) restore() Ended {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	out, err := Restored(r.dir, r.now, r.now)
	if err != nil {
		r.t.Fatal(err)
	}
	r.open()
	return out
}

// Batches of a restored inbox are closed as of the backup, whatever was left of them.
func TestRestoredBatches(t *testing.T) {
	r := newRig(t)
	h := r.approved(250)
	under := func(key string) error {
		return r.Under(h.ID, ann, key, issues(1, "bj-scjg"), below, func() error { return nil })
	}
	if err := under("a"); err != nil {
		t.Fatal(err)
	}
	if n := r.restore(); n != (Ended{Batches: 1}) {
		t.Fatal(n)
	}
	if n := r.restore(); n != (Ended{}) {
		t.Errorf("again: %+v", n)
	}
	for _, key := range []string{"a", "b"} {
		if err := under(key); code(err) != model.CodeBatchNotOpen {
			t.Errorf("key %s: %v", key, err)
		}
	}
	if b, _, err := r.FindBatch(h.ID); err != nil || b.Used != 1 || b.Open(r.now) {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := Restored(t.TempDir(), r.now, r.now); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// What waits in a backup may have been rejected after it: nobody approves it in the restored inbox, and it can be asked for
// again. What was approved and not sent is told from the rest; what was decided and carried out stays as it was.
func TestRestoredDrafts(t *testing.T) {
	r := newRig(t)
	approve := func(q Request) *Held {
		h, err := r.Approve(r.hold(q).ID, bob, r.get(r.hold(q).ID).Content)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	sent := func(h *Held) *Held {
		h, err := r.Sent(h.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	again := request(ann, "waits", cancel("bj-scjg.1"))
	again.Same = model.Digest{1}
	waits, unsent := r.hold(again), approve(request(ann, "unsent", cancel("bj-scjg.2")))
	done := sent(approve(request(ann, "done", cancel("bj-scjg.3"))))
	grant := request(ann, "grant", cancel("bj-scjg.4"))
	grant.Rules = []Rule{Keys}
	granted := sent(approve(grant))

	if n := r.restore(); n != (Ended{Drafts: 2}) {
		t.Fatal(n)
	}
	if h, err := r.Approve(waits.ID, bob, waits.Content); code(err) != model.CodeAlreadyDecided || h.State != Expired || !h.Restored {
		t.Errorf("%+v, %v", h, err)
	}
	for h, marked := range map[*Held]bool{unsent: true, done: false, granted: true} {
		if now := r.get(h.ID); now.State != Approved || now.Restored != marked {
			t.Errorf("%s: %+v", h.Key, now)
		}
	}
	if n, _ := r.Waiting(); n != 0 || !slices.Equal(r.Unsent(), []string{unsent.ID}) {
		t.Errorf("%d wait, unsent %v", n, r.Unsent())
	}
	for state, want := range map[State]int{Pending: 0, Expired: 1, Approved: 3} {
		if list, _, err := r.List(Query{State: state, Limit: 10}); err != nil || len(list) != want {
			t.Errorf("%s: %d, %v", state, len(list), err)
		}
	}
	again.Key, again.Digest = "anew", model.DigestOf([]byte("anew"))
	if h := r.hold(again); h.State != Pending || h.ID == waits.ID {
		t.Errorf("%+v", h)
	}
	if n := r.restore(); n != (Ended{Drafts: 2}) { // the new one, and what is still unsent
		t.Errorf("again: %+v", n)
	}
}
