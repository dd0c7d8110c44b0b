package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/bench/report"
)

// plainCallers are the plain client's, each with one transaction on its way; as many call the node.
const plainCallers = 256

// side is one write run of one side.
type side struct {
	records int
	rate    float64 // records/s
	cpu     usage
	written written
	failed  int64 // calls of the plain client that failed and were made anew
}

func (s *side) bytesPerRecord() float64 { return float64(s.written.bytes) / float64(s.records) }

func (s *side) String() string {
	return fmt.Sprintf("%.0f records/s, %d records in %d transactions (%d invalid) in %d blocks, %.0f bytes a record, %s",
		s.rate, s.records, s.written.transactions, s.written.invalid, s.written.blocks, s.bytesPerRecord(), s.cpu.perRecord(s.records))
}

// issueRuns are the runs of fabric.issue, both sides.
type issueRuns struct{ node, plain []*side }

// compare issues licences through both sides in turn, each going first in every other run.
func (w *world) compare(ctx context.Context) (*issueRuns, error) {
	r := &issueRuns{}
	// Neither side's first transactions are counted: connections, caches and page tables are warm on both.
	if _, err := w.issuePlain(ctx, noNodes, w.scale(1024, 256)); err != nil {
		return nil, err
	}
	if _, err := w.issueNode(ctx, allNodes, w.scale(10_000, 5000)); err != nil {
		return nil, err
	}
	for run := range w.runs() {
		for _, first := range []bool{true, false} {
			if first == (run%2 == 0) {
				s, err := w.issuePlain(ctx, noNodes, w.scale(6144, 1024))
				if err != nil {
					return nil, err
				}
				r.plain = append(r.plain, s)
				fmt.Fprintf(w.cfg.Log, "  plain  %s\n", s)
			} else {
				s, err := w.issueNode(ctx, allNodes, w.cfg.Records)
				if err != nil {
					return nil, err
				}
				r.node = append(r.node, s)
				fmt.Fprintf(w.cfg.Log, "  node   %s\n", s)
			}
		}
		fmt.Fprintln(w.cfg.Log, cpuTable(r.node[run], r.plain[run]))
	}
	return r, nil
}

// window measures what do writes: processor time from its begin to its end, and the blocks in which it stands.
func (w *world) window(ctx context.Context, s *side, do func() error) error {
	if err := w.settled(ctx); err != nil {
		return err
	}
	from, err := w.level(ctx)
	if err != nil {
		return err
	}
	before := cpuNow(w.net)
	if err := do(); err != nil {
		return err
	}
	s.cpu = cpuNow(w.net).since(before)
	if err := w.settled(ctx); err != nil {
		return err
	}
	to, err := w.level(ctx)
	if err != nil {
		return err
	}
	s.written, err = w.plain.blocks(ctx, from, to)
	return err
}

// issuePlain issues licences through the plain client; a node reads them back afterwards.
func (w *world) issuePlain(ctx context.Context, up nodesUp, n int) (*side, error) {
	if err := w.nodes(ctx, up); err != nil {
		return nil, err
	}
	ops, err := w.plain.prepare(n)
	if err != nil {
		return nil, err
	}
	s := &side{records: n}
	failed := w.plain.failed.Load()
	err = w.window(ctx, s, func() error {
		took, _, err := load(ctx, plainCallers, n, func(ctx context.Context, i int) error { return w.plain.write(ctx, ops[i]) })
		s.rate = float64(n) / took.Seconds()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("plain client: %w", err)
	}
	s.failed = w.plain.failed.Load() - failed
	if s.written.invalid != 0 || s.written.transactions != n {
		return nil, fmt.Errorf("plain client: %d transactions for %d records, %d of them invalid: this is no baseline", s.written.transactions, n, s.written.invalid)
	}
	if err := w.nodes(ctx, allNodes); err != nil {
		return nil, err
	}
	ids := make([]model.RecordID, n)
	for i, op := range ops {
		ids[i] = op.Record
	}
	return s, w.node.readBackSoon(ctx, ids)
}

// issueNode issues licences through the node, arrays of 100, and reads them back.
func (w *world) issueNode(ctx context.Context, up nodesUp, n int) (*side, error) {
	return w.issueBeside(ctx, up, n, nil)
}

// issueBeside does something beside while it issues licences: from the first request to the last answer.
func (w *world) issueBeside(ctx context.Context, up nodesUp, n int, beside func(context.Context) error) (*side, error) {
	if err := w.nodes(ctx, up); err != nil {
		return nil, err
	}
	// Made beforehand: the load generator's cost is not the node's.
	var bodies [][]byte
	for first := 0; first < n; first += array {
		drafts := make([]json.RawMessage, array)
		for i := range drafts {
			drafts[i] = draft(sample("BJ", int(w.serial.Add(1))))
		}
		bodies = append(bodies, mustJSON(drafts))
	}
	s, ids, err := w.writeNode(ctx, bodies, beside)
	if err != nil {
		return nil, err
	}
	questions, err := w.node.readBack(ctx, ids, model.Valid)
	w.issued, w.asked = append(w.issued, ids...), append(w.asked, questions...)
	return s, err
}

// writeNode sends requests of an array each to the node.
func (w *world) writeNode(ctx context.Context, bodies [][]byte, beside func(context.Context) error) (*side, []model.RecordID, error) {
	s := &side{records: len(bodies) * array}
	ids := make([][]model.RecordID, len(bodies))
	err := w.window(ctx, s, func() error {
		var also error
		during, stop := context.WithCancel(ctx)
		var wg sync.WaitGroup
		if beside != nil {
			wg.Go(func() { also = beside(during) })
		}
		took, _, err := load(ctx, w.cfg.Callers, len(bodies), func(ctx context.Context, i int) (err error) {
			ids[i], err = w.node.write(ctx, bodies[i], array)
			return err
		})
		stop()
		wg.Wait()
		s.rate = float64(s.records) / took.Seconds()
		return errors.Join(err, also)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("node: %w", err)
	}
	return s, slices.Concat(ids...), nil
}

// issue is fabric.issue: records/s through the node ÷ through the plain client. The plain client has the machine to
// itself: no node runs, since a consortium that writes with such a client has none.
func issue(ctx context.Context, w *world) (report.Measurement, error) {
	var m report.Measurement
	r, err := w.compare(ctx)
	if err != nil {
		return m, err
	}
	w.runsOf = r
	invalid, failed := 0, int64(0)
	for i := range r.node {
		m.Runs, m.Baselines = append(m.Runs, r.node[i].rate), append(m.Baselines, r.plain[i].rate)
		invalid += r.plain[i].written.invalid
		failed += r.plain[i].failed
	}
	node, plain := r.node[len(r.node)-1], r.plain[len(r.plain)-1]
	m.Note = fmt.Sprintf("median of the runs' ratios; node %s records/s, arrays of %d, %d callers, all %d nodes running; plain client %s records/s, %d callers, "+
		"no node running, %d invalid transactions, %d calls made anew; all records read back as valid; last run, node: %s; plain: %s",
		rates(r.node), array, w.cfg.Callers, len(w.net.Nodes()), rates(r.plain), plainCallers, invalid, failed, node, plain)
	for _, v := range []struct {
		name string
		run  func() (*side, error)
	}{
		{"plain client while all nodes run", func() (*side, error) { return w.issuePlain(ctx, allNodes, w.scale(4096, 512)) }},
		{"only the measured node running", func() (*side, error) { return w.issueNode(ctx, measuredNode, w.cfg.Records/2/array*array) }},
	} {
		s, err := v.run()
		if err != nil {
			return m, fmt.Errorf("%s: %w", v.name, err)
		}
		fmt.Fprintf(w.cfg.Log, "  %s: %s\n", v.name, s)
		m.Note += fmt.Sprintf("; %s: %.0f records/s", v.name, s.rate)
	}
	order, err := w.order(ctx)
	m.Note += "; " + order
	return m, err
}

func rates(all []*side) string {
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf("%.0f", s.rate))
	}
	return strings.Join(out, " · ")
}

// order measures what it costs when the records of one request lie in many pages. A node gives new records
// consecutive ids, so issues always come page by page; acts on existing records come as cases do. So it suspends
// records of which 16 in a row share a page, and resumes them in random order.
func (w *world) order(ctx context.Context) (string, error) {
	if err := w.nodes(ctx, allNodes); err != nil {
		return "", err
	}
	n := min(w.scale(20_000, 2000), len(w.issued)/array*array)
	ids := slices.Clone(w.issued[:n])
	slices.SortFunc(ids, func(a, b model.RecordID) int {
		_, x, _ := a.Serial()
		_, y, _ := b.Serial()
		return int(x) - int(y)
	})
	run := func(t model.Type) (*side, error) {
		var bodies [][]byte
		for part := range slices.Chunk(ids, array) {
			var b bytes.Buffer
			for i, id := range part {
				b.WriteByte("[,"[min(i, 1)])
				b.Write(act(t, id))
			}
			bodies = append(bodies, append(b.Bytes(), ']'))
		}
		s, _, err := w.writeNode(ctx, bodies, nil)
		return s, err
	}
	inOrder, err := run(model.LicenceSuspend)
	if err != nil {
		return "", fmt.Errorf("suspend: %w", err)
	}
	if _, err := w.node.readBack(ctx, ids, model.NotValid); err != nil {
		return "", err
	}
	rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	random, err := run(model.LicenceResume)
	if err != nil {
		return "", fmt.Errorf("resume: %w", err)
	}
	if _, err := w.node.readBack(ctx, ids, model.Valid); err != nil {
		return "", err
	}
	fmt.Fprintf(w.cfg.Log, "  suspended in order of ids  %s\n  resumed in random order    %s\n", inOrder, random)
	return fmt.Sprintf("acts on %d existing records: suspended in order of their ids %.0f records/s (%.0f bytes a record in blocks), resumed in random order %.0f records/s (%.0f bytes)",
		n, inOrder.rate, inOrder.bytesPerRecord(), random.rate, random.bytesPerRecord()), nil
}

// blockBytes is fabric.bytes: bytes in blocks a licence, of the runs of fabric.issue.
func blockBytes(ctx context.Context, w *world) (report.Measurement, error) {
	var m report.Measurement
	r := w.runsOf
	if r == nil {
		var err error
		if r, err = w.compare(ctx); err != nil {
			return m, err
		}
	}
	for i := range r.node {
		m.Runs, m.Baselines = append(m.Runs, r.node[i].bytesPerRecord()), append(m.Baselines, r.plain[i].bytesPerRecord())
	}
	op, err := w.plain.issue(0)
	if err != nil {
		return m, err
	}
	node := r.node[len(r.node)-1].written
	m.Note = fmt.Sprintf("blocks as a peer delivers them; the operation itself has %d bytes; arrays of %d, %.0f records a transaction, %.1f transactions a block; plain client: one record a transaction",
		len(op.Encode()), array, float64(r.node[len(r.node)-1].records)/float64(node.transactions), float64(node.transactions)/float64(node.blocks))
	return m, nil
}
