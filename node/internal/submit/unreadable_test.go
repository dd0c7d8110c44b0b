package submit_test

import (
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/submit"
)

// foreign is an outbox that holds an operation of another build.
type foreign struct {
	*outbox.Outbox
	op model.Operation
}

func (f foreign) Pending(yield func(model.Operation, []byte) error) error {
	if err := yield(f.op, f.op.Encode()); err != nil {
		return err
	}
	return f.Outbox.Pending(yield)
}

// An operation that the model does not read is refused for good: no endorser ever takes it, and it must not
// wait, nor hold up what follows on its record, for ever.
func TestUnreadableOperationIsRefused(t *testing.T) {
	w := newWorld(t, 1)
	w.run(t)
	out, err := outbox.Open(t.TempDir(), outbox.Config{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	strange := operation(1, 1, body{})
	strange.Type, strange.Time = "licence.unheard-of", model.TimeOf(time.Now())
	settled := make(chan []model.OpID, 8)
	cfg := quick()
	cfg.Settled = func(ids []model.OpID, _ []model.Receipt) { settled <- ids }
	p := &process{w: w, out: out, dead: new(bool)}
	if p.Submitter, err = submit.New(cfg, client{w, p.dead}, foreign{out, strange}, out, w); err != nil {
		t.Fatal(err)
	}
	w.set(func(w *world) { w.node = p.Submitter })
	p.Start()
	defer p.stop(t)
	select {
	case ids := <-settled:
		if len(ids) != 1 || ids[0] != strange.ID {
			t.Errorf("settled %v", ids)
		}
	case <-deadline(t).Done():
		t.Fatal("still waits")
	}
	p.want(t, p.accept(t, operation(1, 1, body{})), model.Committed, "")
}
