package push

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// ErrChanged says that a unit was taken before with another content. What the answers tell is about that content.
var ErrChanged = model.E(model.CodeRowChanged)

// Door takes units of one node. Safe for concurrent use, for different units.
type Door struct {
	Node    string // "<MSP>/<node>": sources of two nodes may have one name, and the ledger has the operations of all
	Intake  Intake
	Journal *Journal
	Clock   func() time.Time // default: time.Now
}

// Send drives a unit as far as it goes now and answers for each of its operations. It is called again for the same
// unit until every answer is final: after a restart, and while the unit waits, by the same code. Drafts count only
// until the unit is accepted; who has lost them may still ask with none.
//
// Answers are nil only with an error that says that nothing is known (the key is not valid, the disk fails); the unit
// is then sent again later. ErrChanged comes with the answers of the content that was taken first.
//
// What makes a unit count once, wherever the process is killed:
//   - The journal's entry is synced before Accept. It fixes the unit's content, so every later call asks Accept for
//     the same thing, and says in whose name.
//   - Accept is idempotent by source and key. Killed after it and before anything is written here, the next
//     call is given the same operations.
//   - Once "accepted" stands in the journal, Accept is never asked again. So the unit also outlives the node's
//     idempotency records, which expire.
//   - Operations' ids derive from the node, the source and the unit alone: not from the key, which is renewed, and not
//     from the journal. What stands on the ledger is found there, also by a node that was restored without this journal.
func (d *Door) Send(ctx context.Context, u Unit, wait bool) ([]Answer, error) {
	caller, err := d.Intake.SignIn()
	if err != nil {
		return nil, err
	}
	e, ok, err := d.Journal.find(u.Source, u.ID)
	if err != nil {
		return nil, err
	}
	if !ok {
		e = entry{Digest: u.Digest, Agency: caller.Agency, Count: u.Count}
	}
	changed := e.Digest != u.Digest
	taken := Unit{Source: u.Source, ID: u.ID, Digest: e.Digest, Count: e.Count}
	if !changed {
		taken.Drafts = u.Drafts
	}
	answers, err := d.drive(ctx, caller, &e, taken, wait)
	if err == nil && changed {
		err = ErrChanged
	}
	return answers, err
}

// drive is Send for content that is the journal's.
func (d *Door) drive(ctx context.Context, caller Caller, e *entry, u Unit, wait bool) ([]Answer, error) {
	key, source := u.key(), "push:"+d.Node+"/"+u.Source
	ids := make([]model.OpID, e.Count)
	for i := range ids {
		ids[i] = model.DeriveOpID("", source, key, i)
	}
	if !e.Accepted && e.Draft == "" {
		// Operations that are known were accepted before: the journal is older than the outbox, or was lost.
		known, err := d.Intake.Known(ctx, ids[0])
		switch {
		case err != nil:
			return nil, err
		case known:
			if err := d.Intake.Recovered(ctx, e.Principal, e.Agency, u.Drafts, ids); err != nil {
				return nil, err
			}
			e.Accepted = true
		case caller.Agency != e.Agency:
			return all(e.Count, Failed(Taken, model.E(model.CodeForbidden, "agency").With("taken with a key of %s", e.Agency))), nil
		case u.Drafts == nil:
			if err := d.Journal.put(u.Source, u.ID, *e); err != nil {
				return nil, err
			}
			return all(e.Count, Failed(Refused, model.E(model.CodeRowChanged))), nil
		default:
			if e.Principal != caller.Principal { // it is new, or the key was renewed
				e.Principal = caller.Principal
				if err := d.Journal.put(u.Source, u.ID, *e); err != nil {
					return nil, err
				}
			}
			held, index, err := d.Intake.Accept(ctx, source, key, u.Digest, u.Drafts)
			if err != nil {
				return notAccepted(e.Count, index, err), nil
			}
			e.Accepted, e.Draft = held == "", held
		}
		if err := d.Journal.put(u.Source, u.ID, *e); err != nil {
			return nil, err
		}
	}
	if !e.Accepted {
		known, err := d.Intake.Known(ctx, ids[0])
		if err != nil {
			return nil, err
		}
		if !known {
			refused, err := d.Intake.Refusal(ctx, e.Draft)
			if err != nil {
				return nil, err
			}
			a := Answer{State: Held, Draft: e.Draft}
			if refused != nil {
				a = Failed(Refused, refused)
				a.Draft = e.Draft
			}
			return all(e.Count, a), nil
		}
		e.Accepted = true // approved
		if err := d.Journal.put(u.Source, u.ID, *e); err != nil {
			return nil, err
		}
	}
	return d.outcomes(ctx, e, ids, wait)
}

func (d *Door) outcomes(ctx context.Context, e *entry, ids []model.OpID, wait bool) ([]Answer, error) {
	limit := patience
	if !wait {
		limit = 0
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	outcomes, err := d.Intake.Outcomes(waiting, ids)
	if err != nil {
		return nil, err
	}
	answers := make([]Answer, len(ids))
	for i := range outcomes {
		answers[i] = d.answer(&outcomes[i])
		answers[i].Draft = e.Draft
	}
	return answers, nil
}

func (d *Door) answer(o *model.Outcome) Answer {
	a := Answer{State: Accepted, Operation: o.Operation.String(), Record: o.Record, Version: o.Version}
	switch {
	case o.Status == model.Rejected && o.Problem != nil:
		failed := Failed(Refused, o.Problem.Error())
		failed.Operation = a.Operation
		return failed
	case o.Status == model.Committed && o.Receipt != nil:
		a.State, a.Position, a.Digest, a.Time = Committed, &o.Receipt.Position, o.Receipt.Digest.String(), o.Receipt.Time.String()
		a.Identifier, a.Shown = d.Intake.Identifier(o.Kind, o.Record), o.Presentation
	}
	return a
}

// notAccepted answers for a unit that Accept turned down. What may pass leaves it taken, to be sent again; the rest is
// final. Of several operations the one at fault has the reason, and the others say that they went with it.
func notAccepted(count, index int, err error) []Answer {
	state := Refused
	if Passing(err) {
		state = Taken
	}
	answers := all(count, Failed(state, err))
	if index >= 0 && count > 1 {
		for i := range answers {
			if i != index {
				answers[i].Field = ""
				answers[i].En = "refused together with another of its batch: " + answers[i].En
				answers[i].Zh = "同批另一条未通过，整批未受理：" + answers[i].Zh
			}
		}
	}
	return answers
}

// Passing reports whether an error may be gone the next time: nothing is wrong with what was sent.
func Passing(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	switch model.AsError(err).Kind() {
	case model.Unavailable, model.Unknown, model.Limited, model.Internal, model.Unauthenticated:
		return true
	}
	return false
}

// Level is how loudly a source's trouble is logged: that the node itself is not there yet, as after every start, is told
// elsewhere.
func Level(err error) slog.Level {
	if errors.Is(err, model.E(model.CodeLedgerUnavailable)) {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

func all(n int, a Answer) []Answer {
	out := make([]Answer, n)
	for i := range out {
		out[i] = a
	}
	return out
}

// Now is the door's clock.
func (d *Door) Now() time.Time {
	if d.Clock != nil {
		return d.Clock()
	}
	return time.Now()
}
