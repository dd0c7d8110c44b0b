package importer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Bounds of a request: the node takes 8 MiB and model.MaxOperations.
const (
	defaultBatch    = 200 // what a node takes without another person's approval, by default
	defaultInFlight = 4
	maxBatchBytes   = 4 << 20
)

// Result is what an import has come to over all its runs.
type Result struct {
	Rows     int `json:"rows"`
	Issued   int `json:"issued"`
	Already  int `json:"already_there"`
	Rejected int `json:"rejected"` // by the check and by a node
}

// batch is what goes into one request.
type batch struct {
	target Target
	rows   []Row
	bytes  int
}

// Issue sends the good rows whose fate the journal does not know. It returns early with an error when a
// node stays unavailable or ctx ends; running it again, in another process too, goes on from there.
func (im *Import) Issue(ctx context.Context, j *Journal, c Checked) (Result, error) {
	run := &run{im: im, j: j, total: c.Good, slots: make(chan struct{}, max(1, orDefault(im.InFlight, defaultInFlight)))}
	if err := j.checked(c.Bad); err != nil {
		return Result{}, err
	}
	run.ctx, run.stop = context.WithCancelCause(ctx)
	defer run.stop(nil)
	err := run.feed(c)
	if err != nil {
		run.stop(err)
	}
	run.wg.Wait()
	if cause := context.Cause(run.ctx); cause != nil {
		err = cause
	}
	n := j.Counts()
	return Result{Rows: c.Rows, Issued: n.Issued, Already: n.Already, Rejected: n.Rejected + c.Bad}, err
}

func orDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// run is one call of Issue.
type run struct {
	im    *Import
	j     *Journal
	total int
	ctx   context.Context
	stop  context.CancelCauseFunc
	slots chan struct{}

	batches map[model.NodeID]string // registered, by target; set before the first request
	wg      sync.WaitGroup
}

// feed cuts the rows into batches, one queue a node, and starts them.
func (r *run) feed(c Checked) error {
	limit := min(orDefault(r.im.BatchRows, defaultBatch), model.MaxOperations)
	targets := map[model.NodeID]Target{}
	for _, t := range r.im.Targets {
		targets[t.Name] = t
	}
	if err := r.register(c, targets); err != nil {
		return err
	}
	open := map[model.NodeID]*batch{}
	var order []model.NodeID
	file, _, err := r.im.rows(r.ctx, func(row Row, faults []Fault, _ []Cell) error {
		if !good(faults) || r.j.Done(row.Line) {
			return nil
		}
		t, ok := targets[row.Node]
		if !ok {
			t = r.im.Targets[0]
		}
		b := open[t.Name]
		if b == nil {
			b = &batch{target: t}
			open[t.Name] = b
			order = append(order, t.Name)
		}
		if len(b.rows) == limit || b.bytes+len(row.Draft.Body) > maxBatchBytes {
			if err := r.start(b); err != nil {
				return err
			}
			b = &batch{target: t}
			open[t.Name] = b
		}
		b.rows = append(b.rows, row)
		b.bytes += len(row.Draft.Body) + 256
		return nil
	})
	if err != nil {
		return err
	}
	if file != c.File {
		return badFile("文件在导入过程中被改动", "the file was changed during the import")
	}
	for _, name := range order {
		if err := r.start(open[name]); err != nil {
			return err
		}
	}
	return nil
}

// start sends a batch as soon as a slot is free.
func (r *run) start(b *batch) error {
	select {
	case r.slots <- struct{}{}:
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	r.wg.Go(func() {
		defer func() { <-r.slots }()
		s := &sending{run: r, target: b.target, batch: r.batches[b.target.Name], rows: b.rows}
		if err := s.send(); err != nil {
			if b.target.Name != "" && !errors.Is(err, context.Canceled) {
				err = fmt.Errorf("%s: %w", b.target.Name, err)
			}
			r.stop(err)
		}
		n := r.j.Counts()
		r.im.progress(Progress{Pass: Issuing, Rows: n.Issued + n.Already + n.Rejected, Total: r.total})
	})
	return nil
}
