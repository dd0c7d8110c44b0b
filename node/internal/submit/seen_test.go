package submit_test

import (
	"context"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/submit"
)

// unanswering orders what it is sent and then does not answer.
type unanswering struct{ client }

func (u unanswering) Submit(ctx context.Context, b []byte) error {
	u.set(func(w *world) { w.order(b) })
	<-ctx.Done()
	return errPerhaps
}

// A block that shows a transaction ends the call that sent it. That is no failure of the ledger, and a node
// that then has nothing more to send must not call itself degraded until it has.
func TestBlockBeforeAnswer(t *testing.T) {
	w := newWorld(t, 1)
	w.run(t)
	out, err := outbox.Open(t.TempDir(), outbox.Config{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{w: w, out: out, dead: new(bool)}
	if p.Submitter, err = submit.New(quick(), unanswering{client{w, p.dead}}, out, out, w); err != nil {
		t.Fatal(err)
	}
	w.set(func(w *world) { w.node = p.Submitter })
	p.Start()
	defer p.stop(t)
	p.want(t, p.accept(t, operation(1, 1, body{})), model.Committed, "")
	until(t, "the flight has ended", func() bool {
		flights := 0
		err := out.Envelopes(func(string, []byte, []model.OpID) error { flights++; return nil })
		return err == nil && flights == 0
	})
	if reason, code := p.Degraded(); reason != "" {
		t.Errorf("degraded: %s %s", reason, code)
	}
}
