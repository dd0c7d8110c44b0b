package imports

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"time"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

const (
	maxLeft     = 200 // licences that an undoing has left and that are shown
	maxDecision = 256 // bytes
)

// UndoRequest is who has an import undone, and why. Its values come from outside.
type UndoRequest struct {
	Principal string
	By        string // name, for people
	sdk.UndoImport
}

func (r *UndoRequest) check() error {
	switch _, err := model.ParseAgencyID(r.Reason); {
	case r.Reason == "":
		return model.E(model.CodeMissingField, "reason")
	case err != nil:
		return model.E(model.CodeBadValue, "reason").With("2 to 32 of a-z, 0-9 and hyphen")
	case !utf8.ValidString(r.Decision):
		return model.E(model.CodeBadUTF8, "decision")
	case len(r.Decision) > maxDecision:
		return model.E(model.CodeTooLong, "decision")
	}
	return nil
}

// Undo has what an import has issued rescinded, once the import has ended: by importer.Undo, in the name of who asks for
// it and under the two-person rule, and gone on with after a restart as the import itself is. The same asked again while
// it is under way is the same undoing; anything else then is refused. Once it has ended it may be asked for anew, by a
// draft of its own: what is rescinded already is passed over.
func (m *Imports) Undo(id string, r UndoRequest) (sdk.Import, error) {
	if err := r.check(); err != nil {
		return sdk.Import{}, err
	}
	m.mu.Lock()
	j := m.jobs[id]
	m.mu.Unlock()
	if j == nil {
		return sdk.Import{}, model.E(model.CodeNotFound, "id")
	}
	now := model.TimeOf(m.cfg.Clock())
	u := &sdk.ImportUndo{State: sdk.ImportQueued, By: r.By, Created: now, UndoImport: r.UndoImport}
	issued, err := importer.ReadSummary(j.path("state.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sdk.Import{}, err
	}
	j.asking.Lock() // two who ask at once are not both taken
	defer j.asking.Unlock()
	was, _, err := m.Get(id)
	switch {
	case err != nil:
		return sdk.Import{}, err
	case !was.State.Final():
		return sdk.Import{}, model.E(model.CodeTransition).With("the import has not ended")
	case was.Undo != nil && !was.Undo.State.Final():
		if j.Undoer != r.Principal || was.Undo.UndoImport != r.UndoImport {
			return sdk.Import{}, model.E(model.CodeTransition).With("it is being undone already")
		}
		return was, nil
	case issued.Issued == 0:
		return sdk.Import{}, model.E(model.CodeTransition).With("the import has issued nothing")
	}
	m.change(j, func(i *sdk.Import) {
		i.Undo, j.Undoer, j.Asked, j.cancel, j.again = u, r.Principal, rand.Text(), false, time.Time{}
	})
	if err := m.save(j); err != nil {
		m.change(j, func(i *sdk.Import) { i.Undo = was.Undo })
		return sdk.Import{}, err
	}
	m.poke()
	out, _, err := m.Get(id)
	return out, err
}

// stand says how what is under way stands: the undoing of an import that has ended, or else the import.
func stand(i *sdk.Import, s sdk.ImportState, p *sdk.ImportProblem, draft string) {
	i.Rate, i.Left = 0, 0
	if i.State.Final() && i.Undo != nil {
		u := *i.Undo // whoever has been given the import reads on
		u.State, u.Problem, u.Draft = s, p, draft
		i.Undo = &u
		return
	}
	i.State, i.Problem, i.Draft = s, p, draft
}

// standing is the state and the draft of what is under way.
func standing(i *sdk.Import) (sdk.ImportState, string) {
	if i.State.Final() && i.Undo != nil {
		return i.Undo.State, i.Undo.Draft
	}
	return i.State, i.Draft
}

// undo rescinds what an import has issued, as far as it goes.
func (m *Imports) undo(ctx context.Context, j *job) error {
	m.mu.Lock()
	asked, undoer, once := *j.Import.Undo, j.Undoer, j.Asked
	m.mu.Unlock()
	journal, err := importer.OpenUndo(j.path("state.jsonl"))
	if err != nil {
		return err
	}
	defer journal.Close()
	m.change(j, func(i *sdk.Import) { stand(i, sdk.ImportRescinding, nil, "") })
	var meter importer.Meter
	last := time.Time{}
	u := &importer.Undo{
		Targets: []importer.Target{{Node: m.cfg.Node(undoer)}}, Clock: m.cfg.Clock,
		Reason: asked.Reason, Decision: asked.Decision, Force: asked.ForceAmended, Asked: once,
		Progress: func(p importer.Progress) {
			now := m.cfg.Clock()
			if now.Sub(last) < 250*time.Millisecond {
				return
			}
			last = now
			pace := meter.Pace(p, now)
			m.change(j, func(i *sdk.Import) {
				u := *i.Undo
				u.Rescinded = journal.Undone()
				i.Undo, i.Rate, i.Left = &u, pace.Rate, pace.Left.Seconds()
			})
		},
	}
	out, err := u.Run(ctx, journal)
	m.change(j, func(i *sdk.Import) {
		u := *i.Undo
		u.Rescinded, u.AlreadyEnded, u.AmendedSince, u.Refused, u.Left = out.Undone, len(out.Ended), len(out.Amended), len(out.Failed), left(&out)
		i.Undo = &u
	})
	return err
}

// left lists the first licences that an undoing has left.
func left(out *importer.Undone) []sdk.ImportLeft {
	var list []sdk.ImportLeft
	add := func(id model.RecordID, why model.Code) {
		if len(list) < maxLeft {
			list = append(list, sdk.ImportLeft{Record: id, Code: why})
		}
	}
	for _, f := range out.Failed {
		add(f.Record, f.Code)
	}
	for _, id := range out.Amended {
		add(id, sdk.LeftAmended)
	}
	for _, id := range out.Ended {
		add(id, sdk.LeftEnded)
	}
	return list
}
