package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// defaultPatience is how long a request is repeated while its node is unavailable.
const defaultPatience = 2 * time.Minute

// sending is a batch on its way. Used by one goroutine.
type sending struct {
	run    *run
	target Target
	batch  string // registered
	rows   []Row  // not yet settled

	taken time.Time // since when a number is taken though nothing stands there
	anew  bool      // what an earlier import made of these rows was rescinded, so they are another request now
}

// send repeats the batch until the fate of every row is known and in the journal.
func (s *sending) send() error {
	ctx := s.run.ctx
	failing := time.Time{}
	for wait := s.run.im.firstPause(); len(s.rows) > 0; wait = min(2*wait, 5*time.Second) {
		outcomes, err := s.target.Node.Submit(ctx, s.key(), s.batch, s.drafts())
		var states []model.State
		if err == nil && len(outcomes) == len(s.rows) {
			states, err = s.since(outcomes)
		}
		var refusal *Refusal
		switch {
		case err == nil && len(outcomes) != len(s.rows):
			return errors.New("the node answered about another number of drafts than it was sent")
		case err == nil:
			failing = time.Time{}
			if done, err := s.settle(outcomes, states); done || err != nil {
				return err
			}
			continue // the node has waited already
		case batchEnded(err):
			return err
		case errors.As(err, &refusal) && refusal.Index >= 0 && refusal.Index < len(s.rows):
			failing = time.Time{}
			again, err := s.refused(refusal)
			if err != nil {
				return err
			}
			if again {
				continue
			}
		case !passing(err):
			return err
		default:
			now := time.Now()
			if failing.IsZero() {
				failing = now
			}
			if now.Sub(failing) > s.patience() {
				return err
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *sending) patience() time.Duration {
	if s.run.im.Patience > 0 {
		return s.run.im.Patience
	}
	return defaultPatience
}

func (im *Import) firstPause() time.Duration {
	if im.pause > 0 {
		return im.pause
	}
	return 100 * time.Millisecond
}

// passing reports whether sending again can help.
func passing(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	var e *model.Error
	if !errors.As(err, &e) {
		return true // the network
	}
	switch e.Kind() {
	case model.Unavailable, model.Unknown, model.Limited:
		return true
	}
	return false
}

// key is derived from what is imported and the batch's own rows, so that the same batch is the same
// request in every run.
func (s *sending) key() string {
	h := sha256.New()
	h.Write([]byte("zhenglian import v1\n"))
	h.Write(s.run.j.head.File[:])
	h.Write(s.run.j.head.Map[:])
	if s.anew {
		h.Write([]byte("\n" + s.run.j.Started().String() + "\n"))
	}
	for i := range s.rows {
		d := &s.rows[i].Draft
		h.Write([]byte("\n" + string(d.Agency) + "\n"))
		h.Write(d.Body)
		if d.Confidential != nil {
			c, _ := json.Marshal(d.Confidential) // strings and plain values only
			h.Write(c)
		}
	}
	return "import-" + hex.EncodeToString(h.Sum(nil)[:24])
}

func (s *sending) drafts() []model.Draft {
	out := make([]model.Draft, len(s.rows))
	for i := range s.rows {
		out[i] = s.rows[i].Draft
	}
	return out
}

// before reports whether an outcome is of a request that an earlier import sent.
func (s *sending) before(o *model.Outcome) bool {
	return o.Status != model.Rejected && o.Receipt != nil && o.Receipt.Time.Time().Before(s.run.j.Started().Time())
}

// since asks how the licences stand now that an earlier import issued, in the order of outcomes; "" where nobody
// needs to ask.
func (s *sending) since(outcomes []model.Outcome) ([]model.State, error) {
	states := make([]model.State, len(outcomes))
	var queries []model.Query
	var at []int
	for i := range outcomes {
		if outcomes[i].Status == model.Pending {
			return states, nil
		}
		if s.before(&outcomes[i]) {
			queries, at = append(queries, model.Query{Record: outcomes[i].Record}), append(at, i)
		}
	}
	if len(queries) == 0 {
		return states, nil
	}
	verdicts, err := s.target.Node.Verify(s.run.ctx, queries)
	if err != nil {
		return nil, err
	}
	if len(verdicts) != len(queries) {
		return nil, errOtherNumber
	}
	for i, v := range verdicts {
		if v.Record != nil {
			states[at[i]] = v.Record.State
		}
	}
	return states, nil
}

var errOtherNumber = errors.New("the node answered another number of queries than it was asked")

// settle writes down the batch if no outcome is pending. Rows whose licence of an earlier import was rescinded, as
// undoing that import does, stay to be sent anew; any other ending is an act of the agency's, which an import leaves.
func (s *sending) settle(outcomes []model.Outcome, states []model.State) (bool, error) {
	for i := range outcomes {
		if outcomes[i].Status == model.Pending {
			return false, nil
		}
	}
	var f fates
	var held []Issued
	var rest []Row
	for i := range outcomes {
		o, line := &outcomes[i], s.rows[i].Line
		switch {
		case o.Status == model.Rejected:
			code := model.CodeInternal
			if o.Problem != nil {
				code = o.Problem.Code
			}
			f.reject(line, code)
			continue
		case states[i] == model.Rescinded && !s.anew:
			rest = append(rest, s.rows[i])
			continue
		case states[i].Ended():
			f.reject(line, EndedSince)
			continue
		case s.before(o):
			f.already++
		default:
			f.issued++
			f.records = append(f.records, o.Record)
		}
		f.lines = append(f.lines, line)
		if o.Presentation != nil {
			held = append(held, Issued{Line: line, Number: s.rows[i].number, Record: o.Record, Presentation: o.Presentation})
		}
	}
	if len(held) > 0 && s.run.im.Presented != nil {
		if err := s.run.im.Presented(held); err != nil {
			return false, err
		}
	}
	s.rows, s.anew = rest, len(rest) > 0
	return len(rest) == 0, s.write(f)
}

// fates are what became of some rows.
type fates struct {
	lines           []int
	issued, already int
	rejected        []lineFault
	records         []model.RecordID // issued
}

func (f *fates) reject(line int, code model.Code) {
	f.lines = append(f.lines, line)
	f.rejected = append(f.rejected, lineFault{line, code})
}

func (s *sending) write(f fates) error {
	return s.run.j.settle(s.target.Name, f)
}

// refused takes out of the batch what the node will not accept. again is false where only time can help.
func (s *sending) refused(r *Refusal) (again bool, err error) {
	row := s.rows[r.Index]
	switch r.Err.Code {
	case model.CodeNumberTaken:
		return s.look(r.Index)
	case model.CodeForbidden, model.CodeNotActingFor, model.CodeAgencyUnknown, model.CodeAgencyNotActive,
		model.CodeNotIssuer, model.CodeKeyUnknown, model.CodeTypeNotPermitted, model.CodeDelegationUnknown,
		model.CodeDelegationNotValid:
		// It is the agency, so all its rows fare alike.
		return true, s.drop(func(x *Row) model.Code {
			if x.Draft.Agency == row.Draft.Agency {
				return r.Err.Code
			}
			return ""
		})
	}
	if passing(r.Err) {
		return false, nil
	}
	return true, s.drop(func(x *Row) model.Code {
		if x.Line == row.Line {
			return r.Err.Code
		}
		return ""
	})
}

// drop rejects rows.
func (s *sending) drop(why func(*Row) model.Code) error {
	var f fates
	var rest []Row
	for i := range s.rows {
		if code := why(&s.rows[i]); code != "" {
			f.reject(s.rows[i].Line, code)
			continue
		}
		rest = append(rest, s.rows[i])
	}
	s.rows = rest
	return s.write(f)
}

// look asks which of the batch's numbers stand already: rows whose own licence stands are there already
// (or were issued by an earlier run), rows whose number is another's are rejected. Where nothing stands the
// number belongs to an operation on its way, perhaps of this very import before it was killed.
func (s *sending) look(index int) (again bool, err error) {
	queries := make([]model.Query, len(s.rows))
	for i := range s.rows {
		queries[i] = model.Query{Number: s.rows[i].number, Type: s.run.im.Map.Type}
	}
	verdicts, err := s.target.Node.Verify(s.run.ctx, queries)
	if err != nil {
		if passing(err) {
			return false, nil
		}
		return false, err
	}
	if len(verdicts) != len(queries) {
		return false, errOtherNumber
	}
	var f fates
	var rest []Row
	for i := range verdicts {
		v, row := &verdicts[i], &s.rows[i]
		switch {
		case v.Record == nil, v.Record.State == model.Rescinded: // which leaves the number free
			rest = append(rest, *row)
		case !s.own(row, v.Record):
			f.reject(row.Line, model.CodeNumberTaken)
		case v.Record.State.Ended():
			f.reject(row.Line, EndedSince)
		case len(v.History) > 0 && !v.History[0].Time.Time().Before(s.run.j.Started().Time()):
			f.issued++
			f.records = append(f.records, v.Record.ID)
			f.lines = append(f.lines, row.Line)
		default:
			f.already++
			f.lines = append(f.lines, row.Line)
		}
	}
	if len(f.lines) == 0 {
		if s.taken.IsZero() {
			s.taken = time.Now()
		}
		if time.Since(s.taken) < s.patience()/2 {
			return false, nil
		}
		f.reject(s.rows[index].Line, model.CodeNumberTaken)
		rest = append(s.rows[:index:index], s.rows[index+1:]...)
	}
	s.taken = time.Time{}
	s.rows = rest
	return true, s.write(f)
}

// own reports whether a licence that stands is the row's: the same holder, by code and by name as they are
// matched. A person's holder cannot be compared; there agency, dates and face decide.
func (s *sending) own(row *Row, v *model.View) bool {
	var stands model.Licence
	var asked model.IssueBody
	if json.Unmarshal(v.Public, &stands) != nil || json.Unmarshal(row.Draft.Body, &asked) != nil {
		return false
	}
	if row.person {
		return stands.HolderKind.Personal() && v.Owner == row.Draft.Agency &&
			stands.IssuedOn == asked.Value.IssuedOn && stands.ValidFrom == asked.Value.ValidFrom && stands.ValidUntil == asked.Value.ValidUntil
	}
	return stands.HolderCode == row.holder && stands.Legacy == asked.Value.Legacy && Fold(stands.HolderName) == row.name
}
