package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/bench/report"
)

// latency is fabric.latency: one write on an idle network, node ÷ plain client, in turn. All nodes run.
func latency(ctx context.Context, w *world) (report.Measurement, error) {
	var m report.Measurement
	if err := w.nodes(ctx, allNodes); err != nil {
		return m, err
	}
	each := w.scale(60, 10)
	var worst [2]float64
	var ids, plainIDs []model.RecordID
	for run := range w.runs() + 1 {
		ops, err := w.plain.prepare(each)
		if err != nil {
			return m, err
		}
		var took [2][]float64
		for i := range each {
			body := draft(sample("BJ", int(w.serial.Add(1))))
			sides := [2]func() error{
				func() error {
					id, err := w.node.write(ctx, body, 1)
					ids = append(ids, id...)
					return err
				},
				func() error {
					plainIDs = append(plainIDs, ops[i].Record)
					return w.plain.write(ctx, ops[i])
				},
			}
			for j := range sides {
				s := (i + j) % 2
				at := time.Now()
				if err := sides[s](); err != nil {
					return m, err
				}
				took[s] = append(took[s], milliseconds(time.Since(at)))
			}
		}
		if run == 0 {
			continue // warm on both sides
		}
		for s := range took {
			slices.Sort(took[s])
			worst[s] = max(worst[s], report.Percentile(took[s], 0.99))
		}
		m.Runs, m.Baselines = append(m.Runs, report.Percentile(took[0], 0.5)), append(m.Baselines, report.Percentile(took[1], 0.5))
	}
	if _, err := w.node.readBack(ctx, ids, model.Valid); err != nil {
		return m, err
	}
	if err := w.node.readBackSoon(ctx, plainIDs); err != nil {
		return m, err
	}
	m.Note = fmt.Sprintf("p50 of %d writes a run on each side, in turn: node %.1f ms (worst p99 %.1f), plain client %.1f ms (worst p99 %.1f); all nodes running",
		each, report.Median(m.Runs), worst[0], report.Median(m.Baselines), worst[1])
	return m, nil
}

// readers are the callers of fabric.verify on each side.
const readers = 64

// stock has licences issued if there are too few to read.
func (w *world) stock(ctx context.Context, up nodesUp) error {
	if want := w.scale(10_000, 1000); len(w.asked) < want {
		if _, err := w.issueNode(ctx, up, want); err != nil {
			return err
		}
	}
	return w.nodes(ctx, up)
}

// read is how many licences are asked about, picked at random among them: as verify.http does it.
const read = 10_000

func (w *world) any() question { return w.asked[rand.IntN(min(read, len(w.asked)))] }

// verify is fabric.verify: verdicts/s of the node ÷ Evaluates/s of the plain client. All nodes run, and idle.
func verify(ctx context.Context, w *world) (report.Measurement, error) {
	var m report.Measurement
	if err := w.stock(ctx, allNodes); err != nil {
		return m, err
	}
	length := time.Duration(w.scale(5000, 1000)) * time.Millisecond
	sides := []func(length time.Duration) (float64, error){
		func(length time.Duration) (float64, error) {
			return during(ctx, readers, length, func(ctx context.Context, _, i int) error { return w.node.verify(ctx, w.any().body, i%64 == 0) })
		},
		func(length time.Duration) (float64, error) {
			return during(ctx, readers, length, func(context.Context, int, int) error { return w.plain.get(w.any().record) })
		},
	}
	rates := [2][]float64{}
	for run := range w.runs() + 1 {
		for i := range sides {
			s := (run + i) % 2
			rate, err := sides[s](length)
			if err != nil {
				return m, err
			}
			if run > 0 { // the first warms both sides
				rates[s] = append(rates[s], rate)
			}
		}
	}
	m.Runs, m.Baselines = rates[0], rates[1]
	arrays, err := w.verifyArrays(ctx, length)
	m.Note = fmt.Sprintf("one query by identifier a request, %d callers on each side, among %d licences: node %.0f verdicts/s, Evaluate of %s by the plain client %.0f/s; arrays of %d: %.0f verdicts/s",
		readers, min(read, len(w.asked)), report.Median(rates[0]), model.FunctionGet, report.Median(rates[1]), array, arrays)
	return m, err
}

// verifyArrays is the same with many queries a request.
func (w *world) verifyArrays(ctx context.Context, length time.Duration) (float64, error) {
	var bodies [][]byte
	for range 256 {
		b := []byte{'['}
		for i := range array {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, w.any().body...)
		}
		bodies = append(bodies, append(b, ']'))
	}
	rate, err := during(ctx, 8, length, func(ctx context.Context, caller, i int) error {
		return w.node.post(ctx, "/v1/verify", bodies[(caller*31+i)%len(bodies)], func([]byte) error { return nil })
	})
	return rate * array, err
}

// mixed is fabric.mixed: how long a verdict takes while the node writes as much as it can.
func mixed(ctx context.Context, w *world) (report.Measurement, error) {
	const callers, every = 16, 50 * time.Millisecond
	var m report.Measurement
	if err := w.stock(ctx, allNodes); err != nil {
		return m, err
	}
	var rates []float64
	worst, asked := 0.0, 0
	for range w.runs() {
		var took []float64
		questions := slices.Clone(w.asked[:min(read, len(w.asked))]) // the write load adds to the others
		s, err := w.issueBeside(ctx, allNodes, w.cfg.Records, func(ctx context.Context) (err error) {
			took, err = paced(ctx, callers, every, func(ctx context.Context) error {
				return w.node.verify(ctx, questions[rand.IntN(len(questions))].body, rand.IntN(16) == 0)
			})
			return err
		})
		if err != nil {
			return m, err
		}
		slices.Sort(took)
		rates = append(rates, s.rate)
		m.Runs = append(m.Runs, report.Percentile(took, 0.99))
		worst, asked = max(worst, report.Percentile(took, 1)), asked+len(took)
		fmt.Fprintf(w.cfg.Log, "  p50 %.1f p99 %.1f max %.1f ms of %d verdicts; %s\n", report.Percentile(took, 0.5), report.Percentile(took, 0.99), report.Percentile(took, 1), len(took), s)
	}
	m.Note = fmt.Sprintf("%d callers, one query each every %s, counted from when it was due: %d verdicts, worst %.1f ms; write rate meanwhile %.0f records/s (median), arrays of %d from %d callers, all nodes running",
		callers, every, asked, worst, report.Median(rates), array, w.cfg.Callers)
	return m, nil
}
