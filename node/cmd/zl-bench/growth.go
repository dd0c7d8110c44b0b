package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/bench/report"
)

// grown is a node with many licences, and what was measured on it while it grew.
type grown struct {
	*node
	licences int
	small    []float64 // medians in ms of a verdict at the first licences, by run
	took     time.Duration
}

const few = 10_000

// million is the node of all benchmarks that want a million licences. It is made once.
func (e *environment) million(ctx context.Context) (*grown, error) {
	if *e.large != nil {
		return *e.large, nil
	}
	n, err := startNode(ctx, e)
	if err != nil {
		return nil, err
	}
	g := &grown{node: n}
	if err := g.grow(ctx, e); err != nil {
		n.stop()
		return nil, err
	}
	*e.large = g
	return g, nil
}

func (g *grown) grow(ctx context.Context, e *environment) error {
	if err := g.issue(ctx, e.scale(few, few/10)); err != nil {
		return err
	}
	for range e.runs() {
		p50, err := g.ask(ctx, e.scale(20_000, 2000))
		if err != nil {
			return err
		}
		g.small = append(g.small, p50)
	}
	start := time.Now()
	if err := g.issue(ctx, e.scale(1_000_000, 20_000)); err != nil {
		return err
	}
	g.took = time.Since(start)
	return nil
}

// issue issues licences until there are so many.
func (g *grown) issue(ctx context.Context, total int) error {
	const array, callers = 100, 8
	next := atomic.Int64{}
	next.Store(int64(g.licences))
	failed := make(chan error, callers)
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				first := int(next.Add(array)) - array
				if first >= total {
					return
				}
				status, out, err := g.post(ctx, "/v1/operations", drafts(first, array))
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d: %.300s", status, out)
				}
				if err == nil {
					_, err = report.Committed(out, array)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("%w\n%s", err, tail(g.log.String()))
	default:
	}
	g.licences = total
	return ctx.Err()
}

// question asks about one of the licences, any of them, by its number.
func (g *grown) question() []byte {
	return fmt.Appendf(nil, `{"number":"BJ%010d","type":"11100000MB0143028R001"}`, rand.IntN(g.licences))
}

var valid = []byte(`"verdict":"` + string(model.Valid) + `"`)

// ask is the median in ms of verdicts that one caller asks for, one after another. Every one must be valid.
func (g *grown) ask(ctx context.Context, count int) (float64, error) {
	took := make([]float64, count)
	for i := range took {
		q := g.question()
		at := time.Now()
		status, out, err := g.post(ctx, "/v1/verify", q)
		took[i] = float64(time.Since(at).Nanoseconds()) / 1e6
		if err != nil || status != 200 || !bytes.Contains(out, valid) {
			return 0, fmt.Errorf("status %d: %.300s %w", status, out, err)
		}
	}
	slices.Sort(took)
	return report.Percentile(took, 0.5), nil
}

// verifyGrowth: p50 of a verdict with a million licences ÷ with ten thousand.
func verifyGrowth(ctx context.Context, env *environment) (report.Measurement, error) {
	var m report.Measurement
	g, err := env.million(ctx)
	if err != nil {
		return m, err
	}
	m.Baselines = g.small
	for range env.runs() {
		p50, err := g.ask(ctx, env.scale(20_000, 2000))
		if err != nil {
			return m, err
		}
		m.Runs = append(m.Runs, p50)
	}
	m.Note = fmt.Sprintf("one caller, one query by number a request, any licence with the same probability: p50 %.3f ms at %d licences, %.3f ms at %d; the licences were issued in %.0f s",
		report.Median(m.Runs), g.licences, report.Median(m.Baselines), env.scale(few, few/10), g.took.Seconds())
	return m, nil
}

// nodeMemory: the largest resident size while 64 callers verify.
func nodeMemory(ctx context.Context, env *environment) (report.Measurement, error) {
	var m report.Measurement
	g, err := env.million(ctx)
	if err != nil {
		return m, err
	}
	queries := make([][]byte, 50_000)
	for i := range queries {
		queries[i] = g.question()
	}
	for range env.runs() {
		over := make(chan struct{})
		sizes := make(chan float64)
		go func() {
			most := 0.0
			for {
				mb, err := g.resident()
				if err == nil {
					most = max(most, mb)
				}
				select {
				case <-over:
					sizes <- most
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		}()
		_, err := load(ctx, g.client, g.url+"/v1/verify", g.key, queries, time.Duration(env.scale(20_000, 2000))*time.Millisecond, nil)
		close(over)
		most := <-sizes
		if err != nil {
			return m, err
		}
		m.Runs = append(m.Runs, most)
	}
	m.Note = fmt.Sprintf("largest resident size in 20 s of verifying by 64 callers, %d licences; the ledger is in the same process", g.licences)
	return m, nil
}

// resident is the node's resident memory in MB of 10^6 bytes.
func (g *grown) resident() (float64, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(g.cmd.Process.Pid) + "/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("the node's resident size is not known")
}

// nodeRestart: from starting the process to a valid verdict, after a graceful stop.
func nodeRestart(ctx context.Context, env *environment) (report.Measurement, error) {
	var m report.Measurement
	g, err := env.million(ctx)
	if err != nil {
		return m, err
	}
	var first []float64
	for range env.runs() {
		g.end()
		start := time.Now()
		if err := g.start(); err != nil {
			return m, err
		}
		m.Runs = append(m.Runs, time.Since(start).Seconds())
		if _, err := g.ask(ctx, 1); err != nil {
			return m, err
		}
		first = append(first, time.Since(start).Seconds())
	}
	m.Note = fmt.Sprintf("start of the process to /readyz after a graceful stop, %d licences, embedded ledger; to the first valid verdict %.2f s", g.licences, report.Median(first))
	return m, nil
}
