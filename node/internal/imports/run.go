package imports

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// retryAfter is when an import that a passing trouble stopped is begun again.
const retryAfter = 10 * time.Second

// CodeBadFile is a file that cannot be read as a whole.
const CodeBadFile model.Code = "bad_file"

// CodeKilledNode is an import in whose runs the node was killed each time.
const CodeKilledNode model.Code = "import_killed_the_node"

var killer = sdk.ImportProblem{Code: CodeKilledNode,
	Zh: "节点连续三次在执行此导入时中断，不再重试；请检查文件和映射，拆分后重新上传（已签发的不会重复签发）",
	En: "the node was killed three times while it ran this import, which is not begun again: look at the file and the map, split it and upload it anew (what is issued is not issued twice)"}

// run takes an import as far as it goes.
func (m *Imports) run(ctx context.Context, j *job) {
	m.mu.Lock()
	killed := j.Begun >= maxBegun
	j.Begun++
	m.mu.Unlock()
	if killed {
		m.cfg.Logger.Error("an import is given up: the node was killed in each of its runs", "import", j.Import.ID, "runs", maxBegun)
		if err := m.end(j, sdk.ImportFailed, &killer); err != nil {
			m.cfg.Logger.Error("an import could not be written down", "import", j.Import.ID, "error", err)
		}
		return
	}
	err := m.save(j) // before anything of the file is read
	if err == nil {
		err = m.guarded(ctx, j)
	}
	m.mu.Lock()
	j.Begun = 0
	cancelled := j.cancel
	m.mu.Unlock()
	var needs *importer.NeedsApproval
	var rejected *importer.Rejected
	var whole *importer.FileError
	switch {
	case err == nil:
		err = m.end(j, sdk.ImportDone, nil)
	case cancelled:
		if errors.As(err, &needs) {
			m.withdraw(j, needs.Draft.ID)
		}
		err = m.end(j, sdk.ImportCancelled, nil)
	case m.ctx.Err() != nil:
		err = m.save(j) // the next start goes on
	case errors.As(err, &needs):
		m.change(j, func(i *sdk.Import) { stand(i, sdk.ImportAwaiting, nil, needs.Draft.ID) })
		err = m.save(j)
	case errors.As(err, &rejected):
		e := model.E(model.CodeNotApproved).With("%s", rejected)
		err = m.end(j, sdk.ImportFailed, &sdk.ImportProblem{Code: e.Code, Zh: e.Zh(), En: e.En() + ": " + rejected.Error()})
	case errors.As(err, &whole):
		err = m.end(j, sdk.ImportFailed, &sdk.ImportProblem{Code: CodeBadFile, Zh: whole.Zh, En: whole.En})
	default:
		e := model.AsError(err)
		p := &sdk.ImportProblem{Code: e.Code, Zh: e.Zh(), En: e.En()}
		switch e.Kind() {
		case model.Unavailable, model.Unknown, model.Limited:
			m.mu.Lock()
			j.again = m.cfg.Clock().Add(retryAfter)
			m.mu.Unlock()
			m.change(j, func(i *sdk.Import) { stand(i, sdk.ImportQueued, p, "") })
			if err := m.save(j); err != nil {
				m.cfg.Logger.Error("an import could not be written down", "import", j.Import.ID, "error", err)
			}
			return
		case model.Internal:
			m.cfg.Logger.Error("an import failed", "import", j.Import.ID, "error", err)
		}
		err = m.end(j, sdk.ImportFailed, p)
	}
	if err != nil {
		m.cfg.Logger.Error("an import could not be written down", "import", j.Import.ID, "error", err)
	}
}

// guarded works, and makes of a panic a failure of this import alone.
func (m *Imports) guarded(ctx context.Context, j *job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			// What p says may quote the file.
			m.cfg.Logger.Error("an import's run panicked", "import", j.Import.ID, "stack", string(debug.Stack()))
			err = model.E(model.CodeInternal)
		}
	}()
	m.mu.Lock()
	undo := j.Import.State.Final()
	m.mu.Unlock()
	if undo {
		return m.undo(ctx, j)
	}
	return m.work(ctx, j)
}

// end makes an import, or its undoing, final.
func (m *Imports) end(j *job, s sdk.ImportState, p *sdk.ImportProblem) error {
	now := model.TimeOf(m.cfg.Clock())
	m.change(j, func(i *sdk.Import) {
		undoing := i.State.Final() && i.Undo != nil
		if stand(i, s, p, ""); undoing {
			i.Undo.Finished = &now // stand has made it anew
			return
		}
		i.Finished = &now
		m.finished.WithLabelValues(string(s)).Inc()
	})
	return m.save(j)
}

func (m *Imports) work(ctx context.Context, j *job) error {
	raw, err := os.ReadFile(j.path("map.yaml"))
	if err != nil {
		return err
	}
	mapping, err := importer.DecodeMap(raw)
	if err != nil {
		return err
	}
	var meter importer.Meter
	last := time.Time{}
	var faults []sdk.ImportFault
	im := &importer.Import{
		Map: mapping, Targets: []importer.Target{{Node: m.cfg.Node(j.Principal)}}, Clock: m.cfg.Clock, Name: j.Import.Name, Legacy: j.Legacy,
		Reading: importer.Reading{Encoding: j.Encoding, Sheet: j.Sheet, Cached: j.Cached},
		Open:    func() (importer.File, error) { return importer.OpenFile(j.path("file")) },
		Fault: func(f importer.Fault) {
			if len(faults) < maxFaults {
				faults = append(faults, sdk.ImportFault{Line: f.Line, Cell: f.Cell, Column: f.Column, Code: f.Code, Zh: f.Zh(), En: f.En(), Note: f.Note})
			}
		},
	}
	m.change(j, func(i *sdk.Import) { i.State, i.Problem, i.Rows = sdk.ImportChecking, nil, 0 })
	im.Progress = func(p importer.Progress) {
		if p.Pass == importer.Checking {
			m.pace(j, meter.Pace(p, m.cfg.Clock()), nil, 0, &last)
		}
	}
	c, err := im.Check(ctx)
	if err != nil {
		return err
	}
	about, err := json.Marshal(c.About)
	if err != nil {
		return err
	}
	m.change(j, func(i *sdk.Import) {
		i.Rows, i.Good, i.Bad, i.Notes, i.Rejected, i.About, i.Faults = c.Rows, c.Good, c.Bad, c.Notes, c.Bad, about, faults
	})
	if j.CheckOnly {
		return m.rejects(ctx, j, im, nil, c.About.Format, c.Bad)
	}
	journal, err := im.OpenJournal(j.path("state.jsonl"), c.File)
	if err != nil {
		return err
	}
	defer journal.Close()
	m.change(j, func(i *sdk.Import) { i.State, i.Draft = sdk.ImportIssuing, "" })
	before := journal.Counts().Issued
	var mu sync.Mutex // several goroutines tell of it; one shows the newest
	newest := importer.Progress{}
	im.Progress = func(p importer.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if p.Rows > newest.Rows {
			newest = p
		}
	}
	ended, shown := make(chan struct{}), make(chan struct{})
	stop := sync.OnceFunc(func() { close(ended) })
	defer stop()
	go func() {
		defer close(shown)
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for told := 0; ; {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			mu.Lock()
			p := newest
			mu.Unlock()
			if p.Rows > told {
				told = p.Rows
				n := journal.Counts()
				m.pace(j, meter.Pace(p, m.cfg.Clock()), &n, c.Bad, &last)
			}
		}
	}()
	res, err := im.Issue(ctx, journal, c)
	stop()
	<-shown
	m.rows.Add(float64(res.Issued - before))
	m.change(j, func(i *sdk.Import) { i.Issued, i.Already, i.Rejected = res.Issued, res.Already, res.Rejected })
	if err != nil {
		return err
	}
	return m.rejects(ctx, j, im, journal, c.About.Format, res.Rejected)
}

// pace shows how far a pass has come, some times a second.
func (m *Imports) pace(j *job, p importer.Pace, n *importer.Counts, bad int, last *time.Time) {
	now := m.cfg.Clock()
	if now.Sub(*last) < 250*time.Millisecond {
		return
	}
	*last = now
	m.change(j, func(i *sdk.Import) {
		i.Rate, i.Left = p.Rate, p.Left.Seconds()
		if n == nil {
			i.Rows = p.Rows
			return
		}
		i.Issued, i.Already, i.Rejected = n.Issued, n.Already, n.Rejected+bad
	})
}

// rejects writes the rejected rows down, in the file's own format.
func (m *Imports) rejects(ctx context.Context, j *job, im *importer.Import, journal *importer.Journal, f importer.Format, n int) error {
	if n == 0 {
		return nil
	}
	name := "rejects." + string(f)
	err := writeFile(j.path(name), func(w io.Writer) error {
		_, err := im.WriteRejects(ctx, &roomy{w, m.cfg.Full, 0}, journal)
		return err
	})
	if err == nil {
		m.change(j, func(i *sdk.Import) { i.Rejects = "/v1/imports/" + i.ID + "/rejects" })
	}
	return err
}
