package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Undo rescinds, from their first day, the licences that an import issued; what stood before it is left.
//
// It is resumed by running it again, and rescinds nothing twice: the registered batch and each request have
// keys that are derived from the import, each operation says which version it makes, and a licence that has
// ended already is passed over.
type Undo struct {
	Targets  []Target
	Reason   string // a reason code: 2–32 of a–z, 0–9 and hyphen
	Decision string // number of the decision, as far as there is one; the batch's name by default
	Asked    string // tells one asking for a second person from another; "" where there is but one
	Force    bool   // rescind also what was amended or otherwise acted on since
	Approval time.Duration
	Clock    func() time.Time
	Progress func(Progress) // may be nil
}

// Undone is what an undoing has come to.
type Undone struct {
	Batch   string           `json:"batch"`
	Issued  int              `json:"issued"`    // by the import
	Undone  int              `json:"rescinded"` // now and by earlier runs
	Ended   []model.RecordID `json:"already_ended,omitempty"`
	Amended []model.RecordID `json:"amended_since,omitempty"` // and left
	Failed  []UndoFault      `json:"refused,omitempty"`
}

// UndoFault is a licence that a node would not rescind.
type UndoFault struct {
	Record model.RecordID `json:"record"`
	Code   model.Code     `json:"code"`
}

// undoChunk is the most endings of a request, and undoBatch the most that one approval names.
const (
	undoChunk = 200
	undoBatch = 100_000
)

// ErrNothingIssued is a state file under which no licence was issued.
var ErrNothingIssued = errors.New("nothing was issued under this state file")

// OpenUndo opens the state file of an import that was made.
func OpenUndo(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	j := newJournal(f)
	if err := j.reopen(path); err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

// Run rescinds what journal j says was issued.
func (u *Undo) Run(ctx context.Context, j *Journal) (Undone, error) {
	out := Undone{Batch: j.Batch(), Issued: len(j.made)}
	if len(j.made) == 0 {
		return out, ErrNothingIssued
	}
	if u.Decision == "" {
		u.Decision = "import " + j.Batch()
	}
	byNode := map[model.NodeID][]model.RecordID{}
	for _, m := range j.made {
		byNode[m.node] = append(byNode[m.node], m.record)
	}
	var waiting error
	for _, t := range u.Targets {
		records := byNode[t.Name]
		if t.Name == "" || len(u.Targets) == 1 { // one node without a name, or an import that knew of none
			records = nil
			for _, r := range byNode {
				records = append(records, r...)
			}
		}
		if len(records) == 0 {
			continue
		}
		err := u.node(ctx, j, t, records, &out)
		var needs *NeedsApproval
		if errors.As(err, &needs) {
			waiting = err
			continue
		}
		if err != nil {
			return out, err
		}
	}
	return out, waiting
}

func (u *Undo) node(ctx context.Context, j *Journal, t Target, records []model.RecordID, out *Undone) error {
	var waiting error
	for part := range slices.Chunk(records, undoBatch) {
		err := u.part(ctx, j, t, part, out)
		var needs *NeedsApproval
		switch {
		case errors.As(err, &needs):
			if waiting == nil { // the next part's draft can be approved meanwhile
				waiting = err
			}
		case err != nil:
			return err
		}
	}
	return waiting
}

// part rescinds what one batch names: the records that can be rescinded, with those that an earlier run has rescinded
// under it, so that each run finds the batch of the first.
func (u *Undo) part(ctx context.Context, j *Journal, t Target, records []model.RecordID, out *Undone) error {
	var left []model.Draft
	var named []model.RecordID
	for some := range slices.Chunk(records, undoChunk) {
		can, done, err := u.look(ctx, t, some, out)
		if err != nil {
			return err
		}
		left, named = append(left, can...), append(named, done...)
	}
	u.progress(out)
	if out.Undone > 0 {
		if err := j.undo(out.Undone); err != nil {
			return err
		}
	}
	if len(left) == 0 {
		return nil
	}
	for i := range left {
		named = append(named, left[i].Record)
	}
	slices.Sort(named)
	h := sha256.New()
	for _, id := range named {
		fmt.Fprintln(h, id)
	}
	terms := sdk.BatchTerms{Name: clip("undo "+j.Batch()+" "+j.head.Name, 256), File: j.head.File, Rows: len(named), Type: model.LicenceRescind, Records: named}
	batch, err := openBatch(ctx, t, j, terms, u.purpose(h.Sum(nil)), u.Approval)
	if err != nil {
		return err
	}
	if err := j.undo(out.Undone); err != nil { // before the first is sent: from now on no row is issued under this state
		return err
	}
	for some := range slices.Chunk(left, undoChunk) {
		if err := u.send(ctx, j, t, batch, some, out); err != nil {
			return err
		}
		if err := j.undo(out.Undone); err != nil {
			return err
		}
		u.progress(out)
	}
	return nil
}

func (u *Undo) purpose(records []byte) string {
	return strings.TrimSpace(fmt.Sprintf("undo %s %s %x %s", u.Reason, u.Decision, records, u.Asked))
}

func (u *Undo) progress(out *Undone) {
	if u.Progress != nil {
		u.Progress(Progress{Pass: Undoing, Rows: out.Undone + len(out.Ended) + len(out.Amended) + len(out.Failed), Total: out.Issued})
	}
}

// look sorts out which licences can be rescinded still, as drafts, and which this undoing has rescinded.
func (u *Undo) look(ctx context.Context, t Target, records []model.RecordID, out *Undone) (left []model.Draft, done []model.RecordID, _ error) {
	queries := make([]model.Query, len(records))
	for i, id := range records {
		queries[i] = model.Query{Record: id}
	}
	verdicts, err := t.Node.Verify(ctx, queries)
	if err != nil {
		return nil, nil, err
	}
	if len(verdicts) != len(queries) {
		return nil, nil, errors.New("the node answered another number of queries than it was asked")
	}
	today := model.DateOf(u.Clock())
	body, err := model.Canonical(model.ActBody{FromStart: true, Act: model.Act{
		Decision: model.Decision{Date: today, Number: u.Decision}, Effective: today, Reason: u.Reason,
	}})
	if err != nil {
		return nil, nil, err
	}
	for i := range verdicts {
		v := verdicts[i].Record
		switch {
		case v == nil:
			out.Failed = append(out.Failed, UndoFault{records[i], model.CodeNotFound})
		case v.State == model.Rescinded && u.ours(&verdicts[i]):
			out.Undone++
			done = append(done, v.ID)
		case ended(v.State):
			out.Ended = append(out.Ended, v.ID)
		case v.Version > 1 && !u.Force:
			out.Amended = append(out.Amended, v.ID)
		default:
			left = append(left, model.Draft{Agency: v.Owner, Type: model.LicenceRescind, Kind: model.KindLicence, Record: v.ID, Version: v.Version + 1, Body: body})
		}
	}
	return left, done, nil
}

// ours reports whether a licence was rescinded by this undoing, in an earlier run.
func (u *Undo) ours(v *model.Verdict) bool {
	if len(v.History) == 0 {
		return false
	}
	var b model.ActBody
	last := v.History[len(v.History)-1]
	return last.Type == model.LicenceRescind && json.Unmarshal(last.Body, &b) == nil && b.Reason == u.Reason && b.Decision.Number == u.Decision
}

// ended reports whether a licence has ended, be it in a way that could be rescinded still.
func ended(s model.State) bool {
	return s != model.InForce && s != model.Suspended && s != model.Dormant
}

// send rescinds, and looks at each outcome.
func (u *Undo) send(ctx context.Context, j *Journal, t Target, batch string, drafts []model.Draft, out *Undone) error {
	failing := time.Now()
	for pause := 100 * time.Millisecond; len(drafts) > 0; pause = min(2*pause, 5*time.Second) {
		h := sha256.New()
		h.Write([]byte("undo\n" + batch + "\n"))
		for i := range drafts {
			fmt.Fprintf(h, "%s %d\n%s\n", drafts[i].Record, drafts[i].Version, drafts[i].Body)
		}
		outcomes, err := t.Node.Submit(ctx, "import-undo-"+hex.EncodeToString(h.Sum(nil)[:20]), batch, drafts)
		var refusal *Refusal
		switch {
		case err == nil && len(outcomes) == len(drafts):
			pending := false
			for i := range outcomes {
				pending = pending || outcomes[i].Status == model.Pending
			}
			if pending {
				break
			}
			for i := range outcomes {
				if p := outcomes[i].Problem; p != nil {
					out.Failed = append(out.Failed, UndoFault{drafts[i].Record, p.Code})
				} else {
					out.Undone++
				}
			}
			return nil
		case err == nil:
			return errors.New("the node answered about another number of drafts than it was sent")
		case errors.As(err, &refusal) && refusal.Index >= 0 && refusal.Index < len(drafts) && !passing(refusal.Err):
			out.Failed = append(out.Failed, UndoFault{drafts[refusal.Index].Record, refusal.Err.Code})
			drafts = append(drafts[:refusal.Index:refusal.Index], drafts[refusal.Index+1:]...)
			continue
		case !passing(err) || time.Since(failing) > defaultPatience:
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Summary is what a state file says of its import.
type Summary struct {
	Batch   string     `json:"batch"`
	Name    string     `json:"name"`
	State   string     `json:"state_file"`
	Started model.Time `json:"started"`
	Legacy  bool       `json:"legacy,omitempty"`
	Undone  int        `json:"rescinded"` // by import undo
	Counts             // Rejected by the check, too
}

// ReadSummary reads a state file without locking it: an import may be under way.
func ReadSummary(path string) (Summary, error) {
	f, err := os.Open(path)
	if err != nil {
		return Summary{}, err
	}
	defer f.Close()
	j := newJournal(f)
	if _, err := j.load(); err != nil {
		return Summary{}, err
	}
	j.count.Rejected += j.failed
	return Summary{Batch: j.head.Batch, Name: j.head.Name, State: path, Started: j.head.Started, Legacy: j.head.Legacy, Undone: max(j.undone, 0), Counts: j.count}, nil
}
