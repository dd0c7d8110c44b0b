package inbox

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// kept is how many bytes of content the disk holds.
func (r *rig) kept() (n int) {
	r.t.Helper()
	err := r.Copy(func(k, v []byte) error {
		if k[0] == 'c' {
			n += len(v)
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func big(bytes int) model.Draft {
	d := cancel("bj-scjg.1")
	d.Body = []byte(`{"reason":"` + strings.Repeat("x", bytes) + `"}`)
	return d
}

// Who drafts and withdraws, or lets expire, again and again has no more on the disk than who waits.
func TestWithdrawnIsNotKept(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxBytes, c.Expires = 32<<10, time.Hour })
	var last *Held
	for i := range 50 {
		last = r.hold(request(ann, fmt.Sprint(i), big(4<<10)))
		if _, err := r.Withdraw(last.ID, ann); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.kept(); n != 0 {
		t.Errorf("%d bytes of what was withdrawn", n)
	}
	if h := r.get(last.ID); !h.Erased || h.Content.IsZero() || h.State != Withdrawn {
		t.Errorf("%+v", h)
	}
	if _, err := r.Operations(last, true); code(err) != model.CodeNotFound { // as it was before it was withdrawn
		t.Errorf("what is withdrawn is read: %v", err)
	}
	r.settle()
	most := 0
	for range 20 {
		for _, who := range []Person{ann, bob, cyd} {
			for range 2 {
				if _, err := r.Hold(request(who, "", big(3<<10))); err != nil && code(err) != model.CodeInboxFull {
					t.Fatal(err)
				}
			}
		}
		r.pass(time.Hour)
		if err := r.Tick(); err != nil {
			t.Fatal(err)
		}
		most = max(most, r.kept())
	}
	if most > 2*32<<10 {
		t.Errorf("%d bytes are kept where %d may wait", most, 32<<10)
	}
}

// One person's content leaves room for the others'.
func TestEachHasRoomForContent(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxBytes = 32 << 10 })
	r.hold(request(ann, "1", big(5<<10)))
	if _, err := r.Hold(request(ann, "2", big(5<<10))); code(err) != model.CodeInboxFull {
		t.Errorf("more than a quarter: %v", err)
	}
	r.hold(request(bob, "2", big(5<<10)))
}

// One person has so many batches open at once that needed nobody's approval; those that are used up or over are none.
func TestOpenBatchesOfEach(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxEach = 2 })
	admit := func(who Person, key string) (*Batch, error) {
		return r.Admit(who, key, model.DigestOf([]byte(key)), terms(1))
	}
	first, err := admit(ann, "1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admit(ann, "2"); err != nil {
		t.Fatal(err)
	}
	full := func(what string) {
		t.Helper()
		if _, err := admit(ann, "more"); code(err) != model.CodeInboxFull {
			t.Errorf("%s: %v", what, err)
		}
	}
	full("a third")
	if again, err := admit(ann, "1"); err != nil || again.ID != first.ID {
		t.Errorf("the first again: %+v, %v", again, err)
	}
	if _, err := admit(bob, "1"); err != nil {
		t.Errorf("another person's: %v", err)
	}
	r.reopen()
	full("after a start")
	use := func(err error) error {
		return r.Under(first.ID, ann, "row", issues(1, "bj-scjg"), below, func() error { return err })
	}
	if err := use(model.E(model.CodeBadValue)); code(err) != model.CodeBadValue {
		t.Fatal(err)
	}
	full("given back")
	if err := use(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := admit(ann, "3"); err != nil {
		t.Errorf("after one is used up: %v", err)
	}
	full("a third again")
	r.pass(r.Policy().Expires + time.Second)
	if _, err := admit(ann, "4"); err != nil {
		t.Errorf("after all are over: %v", err)
	}
}
