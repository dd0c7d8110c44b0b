package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// load calls do for 0…n-1 from callers that each wait for their answer, and returns how long all took and each
// call's milliseconds. The first error ends it.
func load(ctx context.Context, callers, n int, do func(ctx context.Context, i int) error) (time.Duration, []float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	latencies := make([]float64, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range min(callers, n) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				at := time.Now()
				if err := do(ctx, i); err != nil {
					cancel(err)
					return
				}
				latencies[i] = milliseconds(time.Since(at))
			}
		})
	}
	wg.Wait()
	return time.Since(start), latencies, context.Cause(ctx)
}

// during calls do from callers for a while, and returns the calls a second.
func during(ctx context.Context, callers int, length time.Duration, do func(ctx context.Context, caller, i int) error) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for caller := range callers {
		wg.Go(func() {
			for i := 0; time.Since(start) < length && ctx.Err() == nil; i++ {
				if err := do(ctx, caller, i); err != nil {
					cancel(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds(), context.Cause(ctx)
}

// paced calls do from callers every so often until ctx ends, and returns each call's milliseconds, counted from
// when it was due: a caller that is kept waiting is late with its next call too.
func paced(ctx context.Context, callers int, every time.Duration, do func(ctx context.Context) error) ([]float64, error) {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var all []float64 // guarded by mu
	var wg sync.WaitGroup
	start := time.Now()
	for caller := range callers {
		wg.Go(func() {
			due := start.Add(every * time.Duration(caller) / time.Duration(callers))
			for ; ; due = due.Add(every) {
				select {
				case <-inner.Done():
					return
				case <-time.After(time.Until(due)):
				}
				if inner.Err() != nil { // both were ready
					return
				}
				err := do(context.WithoutCancel(inner))
				took := milliseconds(time.Since(due))
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil { // as it should end
		return all, nil
	}
	return all, context.Cause(inner)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
