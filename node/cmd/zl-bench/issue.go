package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/bench/report"
)

// issueBatch: arrays of 100, eight callers, each waiting for its array to be committed.
func issueBatch(ctx context.Context, env *environment) (report.Measurement, error) {
	total := env.scale(200_000, 40_000)
	var m report.Measurement
	for range env.runs() {
		rate, _, err := issue(ctx, env, total, 100, 8)
		if err != nil {
			return m, err
		}
		m.Runs = append(m.Runs, rate)
	}
	m.Note = fmt.Sprintf("%d records a run on a fresh node, 8 callers; every record read back as valid", total)
	return m, nil
}

// issueSingle: one licence a request, 64 callers.
func issueSingle(ctx context.Context, env *environment) (report.Measurement, error) {
	total := env.scale(60_000, 15_000)
	var m report.Measurement
	for range env.runs() {
		rate, _, err := issue(ctx, env, total, 1, 64)
		if err != nil {
			return m, err
		}
		m.Runs = append(m.Runs, rate)
	}
	m.Note = fmt.Sprintf("%d records a run on a fresh node; every record read back as valid", total)
	return m, nil
}

// issueLatency: one caller on an idle node.
func issueLatency(ctx context.Context, env *environment) (report.Measurement, error) {
	total := env.scale(400, 50)
	var m report.Measurement
	var p99 float64
	for range env.runs() {
		_, latencies, err := issue(ctx, env, total, 1, 1)
		if err != nil {
			return m, err
		}
		slices.Sort(latencies)
		m.Runs = append(m.Runs, report.Percentile(latencies, 0.5))
		p99 = max(p99, report.Percentile(latencies, 0.99))
	}
	m.Note = fmt.Sprintf("p50 of %d requests a run; worst p99 %.1f ms", total, p99)
	return m, nil
}

// issue puts total records on a fresh node and returns records/s and each request's milliseconds. The
// clock runs from the first request until the last answer is committed and the search index reflects it, and the records
// are then all read back.
func issue(ctx context.Context, env *environment, total, array, callers int) (float64, []float64, error) {
	n, err := startNode(ctx, env)
	if err != nil {
		return 0, nil, err
	}
	defer n.stop()
	requests := total / array
	bodies := make([][]byte, requests) // made beforehand: the load generator's cost is not the node's
	for i := range bodies {
		if array == 1 {
			bodies[i] = []byte(strings.Trim(string(drafts(i, 1)), "[]"))
		} else {
			bodies[i] = drafts(i*array, array)
		}
	}
	ids := make([][]model.RecordID, requests)
	latencies := make([]float64, requests)
	var next atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, callers)
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= requests || ctx.Err() != nil {
					return
				}
				at := time.Now()
				status, out, err := n.post(ctx, "/v1/operations", bodies[i])
				latencies[i] = float64(time.Since(at).Microseconds()) / 1000
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d: %.300s", status, out)
				}
				if err == nil {
					ids[i], err = report.Committed(out, array)
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
		return 0, nil, fmt.Errorf("%w\n%s", err, tail(n.log.String()))
	default:
	}
	if err := n.searched(ctx); err != nil {
		return 0, nil, err
	}
	took := time.Since(start)
	if err := readBack(ctx, n, slices.Concat(ids...), total); err != nil {
		return 0, nil, err
	}
	return float64(total) / took.Seconds(), latencies, nil
}

func tail(s string) string {
	if len(s) > 2000 {
		return s[len(s)-2000:]
	}
	return s
}

// readBack asks for a verdict on every record: all distinct, all valid.
func readBack(ctx context.Context, n *node, ids []model.RecordID, total int) error {
	slices.Sort(ids)
	if len(slices.Compact(slices.Clone(ids))) != total {
		return fmt.Errorf("%d distinct records, want %d", len(slices.Compact(ids)), total)
	}
	for part := range slices.Chunk(ids, model.MaxQueries) {
		queries := make([]model.Query, len(part))
		for i, id := range part {
			queries[i].Record = id
		}
		body, err := json.Marshal(queries)
		if err != nil {
			return err
		}
		status, out, err := n.post(ctx, "/v1/verify", body)
		if err != nil || status != 200 {
			return fmt.Errorf("read back: status %d: %.300s %w", status, out, err)
		}
		var verdicts []struct {
			Verdict model.Word   `json:"verdict"`
			Reason  model.Reason `json:"reason"`
		}
		if err := json.Unmarshal(out, &verdicts); err != nil {
			return err
		}
		if len(verdicts) != len(part) {
			return fmt.Errorf("read back: %d verdicts for %d queries", len(verdicts), len(part))
		}
		for i, v := range verdicts {
			if v.Verdict != model.Valid {
				return fmt.Errorf("read back: %s is %s (%s)", part[i], v.Verdict, v.Reason)
			}
		}
	}
	return nil
}
