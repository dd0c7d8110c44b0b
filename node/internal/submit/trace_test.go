package submit_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/submit"
)

type traceKey struct{}

// tracer notes what it is told, a list for each transaction.
type tracer struct {
	mu    sync.Mutex
	heard [][]string
}

func (r *tracer) Traced(ctx context.Context) any { return ctx.Value(traceKey{}) }

func (r *tracer) Transaction(requests []any, operations int) (step, end func(string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := len(r.heard)
	r.heard = append(r.heard, []string{fmt.Sprint(operations, requests)})
	ended := false // a step may still come
	note := func(s string, last bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if l := r.heard[i]; !ended && l[len(l)-1] != s {
			r.heard[i] = append(l, s)
		}
		ended = ended || last
	}
	return func(s string) { note(s, false) }, func(s string) { note(s, true) }
}

// What is followed is followed through every transaction that carries it, to its end; what is not is not.
func TestTracer(t *testing.T) {
	w := newWorld(t, 1)
	w.run(t)
	seen := &tracer{}
	cfg := quick()
	cfg.Tracer = seen
	p := start(t, w, t.TempDir(), cfg)
	t.Cleanup(func() { p.stop(t) })
	send := func(ctx context.Context, ops ...model.Operation) []model.OpID {
		t.Helper()
		if fresh, err := p.Accept(ctx, [16]byte{}, model.Digest{}, time.Now(), ops); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		return idsOf(ops)
	}
	of := func(request string) context.Context { return context.WithValue(deadline(t), traceKey{}, request) }
	heard := func(n int) { // the n-th has ended
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			seen.mu.Lock()
			ok := len(seen.heard) > n || (len(seen.heard) == n && slices.Contains([]string{"valid", "not_sent"}, seen.heard[n-1][len(seen.heard[n-1])-1]))
			seen.mu.Unlock()
			if ok {
				return
			}
			if time.Now().After(end) {
				t.Fatal("timed out")
			}
		}
	}
	p.want(t, send(deadline(t), operation(1, 1, body{})), model.Committed, "")
	p.want(t, send(of("a"), operation(2, 1, body{}), operation(3, 1, body{})), model.Committed, "")
	p.want(t, send(of("b"), operation(4, 1, body{Refuse: string(model.CodeForbidden)})), model.Rejected, model.CodeForbidden)
	heard(2)
	w.set(func(w *world) { w.mvcc = 1 })
	c := send(of("c"), operation(5, 1, body{}))
	heard(4) // the third was in vain
	w.set(func(w *world) { w.mvcc = 0 })
	p.want(t, c, model.Committed, "")

	seen.mu.Lock()
	defer seen.mu.Unlock()
	whole := []string{"propose", "store", "order", "commit"}
	for i, want := range [][]string{
		append(append([]string{"2 [a a]"}, whole...), "valid"),
		{"1 [b]", "propose", "not_sent"},
		append(append([]string{"1 [c]"}, whole...), "mvcc_read_conflict"),
	} {
		if !slices.Equal(seen.heard[i], want) {
			t.Errorf("%v, want %v", seen.heard[i], want)
		}
	}
	if last := seen.heard[len(seen.heard)-1]; last[0] != "1 [c]" || last[len(last)-1] != "valid" {
		t.Error(last)
	}
}

var _ submit.Tracer = (*tracer)(nil)
