package importer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

const peopleMap = `type: 11100000MB0143028R001
dates: [YYYY-MM-DD, YYYY年M月D日]
fields:
  number: {column: no, length: 6}
  holder_kind: {column: kind}
  holder_code: {column: code}
  holder_name: {column: name}
  valid_from: {column: from}
  valid_until: {column: until}
state: {column: state, in_force: [存续, ""]}
agency: {const: bj-scjg}
`

func TestHoldersOfAllKinds(t *testing.T) {
	u := code(t, 1)
	for _, tt := range []struct {
		row    string
		legacy bool
		want   string // faults and notes
		mark   string
	}{
		{"000001,001," + u + ",甲,2020-01-01,长期,存续", false, "", ""},
		{"1,001," + u + ",甲,2020-01-01,长 期,", false, "leading_zeros note", ""},
		{"0000001,001," + u + ",甲,2020-01-01,,", false, "bad_value", ""},
		{"000001,001," + strings.ToLower(u[:9]) + " " + u[9:] + ",甲,２０２０-01-01,9999-12-31,", false, "", ""},
		{"000001,111,11010519491231002x,王·某,2020-01-01,长期,", false, "", ""},
		{"000001,111,110105194912310021,王某,2020-01-01,长期,", false, "bad_citizen_id", ""},
		{"000001,111,110105194912310021,王某,2020-01-01,长期,", true, "legacy_unchecked note", "confidential"},
		{"000001,111,110105491231002,王某,2020-01-01,长期,", false, "old_citizen_id", ""},
		{"000001,111,110105491231002,王某,2020-01-01,长期,", true, "legacy_citizen_id note", "confidential"},
		{"000001,111,110105491331002,王某,2020-01-01,长期,", true, "legacy_unchecked note", "confidential"},
		{"000001,414,E12345678,SMITH JOHN,2020-01-01,长期,", false, "", ""},
		{"000001,414,E-1,SMITH JOHN,2020-01-01,长期,", false, "bad_holder_code", ""},
		{"000001,516,h12345678,陈某,2020-01-01,长期,", false, "", ""},
		{"000001,516,K12345678,陈某,2020-01-01,长期,", false, "bad_holder_code", ""},
		{"000001,511,12345678,林某,2020-01-01,长期,", false, "", ""},
		{"000001,998,12345678,林某,2020-01-01,长期,", false, "bad_value|holder_kind_not_permitted", ""},
		{"000001,001,91110105000000000X,甲,2020-01-01,长期,", false, "bad_uscc", ""},
		{"000001,001,91110105000000000X,甲,2020-01-01,长期,", true, "legacy_unchecked note", "91110105000000000X"},
		{"000001,001,9.11E+17,甲,2020-01-01,长期,", true, "damaged_number", ""},
		{"000001,001,11010519491231002X,甲,2020-01-01,长期,", true, "bad_uscc", ""},
		{"000001,001," + u + ",甲,2020-01-01,长期,注销", false, "already_ended", ""},
		{"000001,001," + u + ",甲,2020-01-01,2019-01-01,", false, "ends_before_it_begins", ""},
	} {
		m, err := DecodeMap([]byte(peopleMap))
		if err != nil {
			t.Fatal(err)
		}
		l := newLedger(t)
		kinds := []model.HolderKind{model.HolderEnterprise, model.HolderPerson, model.HolderPassport, model.HolderHongKong, model.HolderTaiwan}
		l.put(t, model.KindLicenceType, businessLicence, model.LicenceType{Code: businessLicence, Issuers: map[model.AgencyID]model.Region{"bj-scjg": "110000"}, HolderKinds: kinds})
		im := newImport(m, []byte("no,kind,code,name,from,until,state\n"+tt.row+"\n"), l.targets("beijing"))
		im.Legacy = tt.legacy
		im.dir = NewDirectory(im.Targets[0].Node)
		_, _, err = im.rows(context.Background(), func(r Row, faults []Fault, _ []Cell) error {
			var got []string
			for _, f := range faults {
				s := string(f.Code)
				if f.Note {
					s += " note"
				}
				got = append(got, s)
			}
			if strings.Join(got, "|") != tt.want {
				t.Errorf("%s: %q, want %q", tt.row, got, tt.want)
			}
			if !good(faults) {
				return nil
			}
			v := valueOf(t, r)
			if v.Legacy != tt.mark || v.Number != "000001" || v.ValidUntil != "" {
				t.Errorf("%s: %+v", tt.row, v)
			}
			if v.HolderKind.Personal() == (r.Draft.Confidential == nil) || v.HolderKind.Personal() && (v.HolderCode != "" || v.HolderName != "") {
				t.Errorf("%s: %+v", tt.row, v)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// An old number of a citizen and the one that replaced it are one holder.
func TestOldCitizenIDsAreFoundTwice(t *testing.T) {
	m, err := DecodeMap([]byte(strings.Replace(peopleMap, "fields:", "one_per_holder: true\nfields:", 1)))
	if err != nil {
		t.Fatal(err)
	}
	im := newImport(m, []byte("no,kind,code,name,from,until,state\n000001,111,11010519491231002X,王,2020-01-01,,\n000002,111,110105491231002,王,2020-01-01,,\n"), newLedger(t).targets("beijing"))
	im.Legacy = true
	var got []string
	im.Fault = func(f Fault) { got = append(got, string(f.Code)) }
	if _, err := im.Check(context.Background()); err != nil || fmt.Sprint(got) != "[legacy_citizen_id duplicate_holder]" {
		t.Fatal(got, err)
	}
}

func TestTextThatIsDamaged(t *testing.T) {
	for s, want := range map[string]bool{
		"9.11E+17": true, "9.11101E+17": true, "9.11e+17": true, " 1E+15 ": true, "1.5E12": true,
		"1E5": false, "9E17": false, "E+17": false, "911E+17": false, "证9.1E+17": false, "": false,
	} {
		if damaged(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
	if s, changed := Clean("　\u200b甲\u200b 乙\u00a0"); s != "甲 乙" || !changed {
		t.Errorf("%q %v", s, changed)
	}
}

func TestRecordsAreWrittenAsRanges(t *testing.T) {
	ids := []model.RecordID{"bj-x.7", "bj-a.2", "bj-a.1", "bj-x.8", "bj-a.4"}
	s := formatRecords(ids)
	if s != "bj-a.1-2,bj-a.4,bj-x.7-8" {
		t.Fatal(s)
	}
	back, err := parseRecords(s)
	if err != nil || fmt.Sprint(back) != "[bj-a.1 bj-a.2 bj-a.4 bj-x.7 bj-x.8]" {
		t.Fatal(back, err)
	}
	for _, bad := range []string{"x", "bj-a.1-0", "bj-a.1-99999999", "bj-a.1-x"} {
		if _, err := parseRecords(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// A large import waits for the second person at its node, sends nothing meanwhile, and goes on in another run.
func TestBatchesWaitForApproval(t *testing.T) {
	l := newLedger(t)
	node := l.node("beijing")
	node.over = 200
	m := mustMap(t, "enterprises-bth")
	var rows strings.Builder
	rows.WriteString(header)
	for i := range 450 {
		rows.WriteString(invented(t, i))
	}
	run := func() (Result, error) {
		im := newImport(m, []byte(rows.String()), []Target{{"beijing", node}})
		return all(t, im, filepath.Join(os.TempDir(), t.Name()+fmt.Sprint(os.Getpid())))
	}
	defer os.Remove(filepath.Join(os.TempDir(), t.Name()+fmt.Sprint(os.Getpid())))
	_, err := run()
	var needs *NeedsApproval
	if !errors.As(err, &needs) || node.calls != 0 || l.total() != 0 {
		t.Fatal(err, node.calls)
	}
	decide := func(s sdk.DraftState) {
		for k := range node.drafts {
			node.drafts[k] = s
		}
	}
	decide(sdk.DraftExpired) // asked for anew
	if _, err := run(); !errors.As(err, &needs) || len(node.drafts) != 2 {
		t.Fatal(err, node.drafts)
	}
	decide(sdk.DraftRejected)
	var rejected *Rejected
	if _, err := run(); !errors.As(err, &rejected) || l.total() != 0 {
		t.Fatal(err)
	}
	decide(sdk.DraftApproved)
	if res, err := run(); err != nil || res.Issued != 450 || l.total() != 450 {
		t.Fatal(res, err)
	}
}

// rescinder is a node that rescinds, with faults before and after it has.
type rescinder struct {
	*fakeNode
	states map[model.RecordID]*model.View
	done   map[string][]model.Outcome
	acts   int
	fault  func(applied bool) error
}

func (r *rescinder) Verify(_ context.Context, q []model.Query) ([]model.Verdict, error) {
	out := make([]model.Verdict, len(q))
	for i := range q {
		if v := r.states[q[i].Record]; v != nil {
			c := *v
			out[i] = model.Verdict{Record: &c}
			if v.State == model.Rescinded {
				out[i].History = []model.HistoryEntry{{Type: model.LicenceRescind, Body: v.Public}}
			}
		}
	}
	return out, nil
}

func (r *rescinder) Submit(_ context.Context, key, _ string, drafts []model.Draft) ([]model.Outcome, error) {
	if err := r.fault(false); err != nil {
		return nil, err
	}
	if r.done[key] == nil {
		out := make([]model.Outcome, len(drafts))
		for i, d := range drafts {
			v := r.states[d.Record]
			if v.State == model.Rescinded || d.Version != v.Version+1 {
				return nil, &Refusal{i, model.E(model.CodeTransition)}
			}
			v.State, v.Version, v.Public = model.Rescinded, d.Version, d.Body
			r.acts++
			out[i] = model.Outcome{Status: model.Committed, Record: d.Record}
		}
		r.done[key] = out
	}
	return r.done[key], r.fault(true)
}

func TestUndoRescindsEachOnce(t *testing.T) {
	for seed := range uint64(10) {
		l := newLedger(t)
		node := l.node("beijing")
		path := filepath.Join(t.TempDir(), "state")
		var rows strings.Builder
		rows.WriteString(header)
		for i := range 500 {
			rows.WriteString(invented(t, i))
		}
		im := newImport(mustMap(t, "enterprises-bth"), []byte(rows.String()), []Target{{"beijing", node}})
		im.Name = "list.csv"
		if _, err := all(t, im, path); err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(seed, 3))
		r := &rescinder{fakeNode: node, states: map[model.RecordID]*model.View{}, done: map[string][]model.Outcome{}}
		r.fault = func(bool) error {
			if rnd.IntN(3) > 0 {
				return nil
			}
			return []error{model.E(model.CodeOutboxFull), model.E(model.CodeForbidden)}[rnd.IntN(2)] // one passes, one ends the run
		}
		for _, v := range l.numbers {
			c := *v
			c.Version = 1
			r.states[v.ID] = &c
		}
		ids := []model.RecordID{}
		for id := range r.states {
			if ids = append(ids, id); len(ids) == 3 {
				break
			}
		}
		r.states[ids[0]].State, r.states[ids[0]].Version = model.Cancelled, 2
		r.states[ids[1]].Version = 2 // amended
		r.states[ids[2]] = nil
		var out Undone
		for n := 0; ; n++ {
			if n == 100 {
				t.Fatal("no end")
			}
			j, err := OpenUndo(path)
			if err != nil {
				t.Fatal(err)
			}
			u := &Undo{Targets: []Target{{"beijing", r}}, Reason: "wrong-list", Clock: func() time.Time { return today }}
			out, err = u.Run(context.Background(), j)
			j.Close()
			if err == nil {
				break
			}
		}
		if out.Issued != 500 || out.Undone != 497 || r.acts != 497 || len(out.Ended) != 1 || len(out.Amended) != 1 || len(out.Failed) != 1 || out.Failed[0].Code != model.CodeNotFound {
			t.Fatalf("%+v, %d acts", out, r.acts)
		}
		j, err := OpenUndo(path)
		if err != nil {
			t.Fatal(err)
		}
		r.fault = func(bool) error { return nil }
		u := &Undo{Targets: []Target{{"beijing", r}}, Reason: "wrong-list", Force: true, Clock: func() time.Time { return today }}
		if out, err = u.Run(context.Background(), j); err != nil || out.Undone != 498 || len(out.Amended) != 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		j.Close()
		c, err := im.Check(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(path, c.File, im.Map.Digest(), model.TimeOf(today)); !errors.Is(err, ErrUndone) {
			t.Fatalf("the state file of what was undone is taken: %v", err)
		}
		if s, err := ReadSummary(path); err != nil || s.Issued != 500 || s.Undone != 498 {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	if _, err := OpenUndo(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Fatal("an import that never was is undone")
	}
}

// Each state file has a name of its own, counts what failed the check, and one that issued nothing has nothing to undo.
func TestBatchesOfOneFile(t *testing.T) {
	l := newLedger(t)
	dir := t.TempDir()
	file := []byte(header + invented(t, 0) + "甲,91110105000000000X,2020-01-01,北京,东城\n" + "乙,,2020-01-01,北京,东城\n")
	refusing := l.node("beijing")
	refusing.refuse = func(*model.Draft) *model.Error { return model.E(model.CodeForbidden) }
	names := map[string]Summary{}
	for i, n := range []*fakeNode{refusing, l.node("beijing")} {
		path := filepath.Join(dir, fmt.Sprint(i))
		if _, err := all(t, newImport(mustMap(t, "enterprises-bth"), file, []Target{{"beijing", n}}), path); err != nil {
			t.Fatal(err)
		}
		s, err := ReadSummary(path)
		if err != nil || s.Rejected != 3-i || s.Issued != i {
			t.Fatalf("%+v, %v", s, err)
		}
		names[s.Batch] = s
	}
	if len(names) != 2 {
		t.Fatal(names)
	}
	j, err := OpenUndo(filepath.Join(dir, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	u := &Undo{Targets: []Target{{"beijing", refusing}}, Reason: "wrong-list", Clock: func() time.Time { return today }}
	if _, err := u.Run(context.Background(), j); !errors.Is(err, ErrNothingIssued) {
		t.Fatal(err)
	}
}

// The same file again, under a new state file: what was rescinded is issued anew, once; what stands or has ended in
// another way is left.
func TestWhatWasRescindedIsIssuedAnew(t *testing.T) {
	l := newLedger(t)
	node := l.node("beijing")
	m := mustMap(t, "enterprises-bth")
	file := []byte(header + invented(t, 0) + invented(t, 1) + invented(t, 2) + invented(t, 3))
	dir := t.TempDir()
	if res, err := all(t, newImport(m, file, []Target{{"beijing", node}}), filepath.Join(dir, "1")); err != nil || res.Issued != 4 {
		t.Fatal(res, err)
	}
	for _, v := range l.numbers {
		switch v.ID {
		case "bj-scjg-dc.1", "bj-scjg.1":
			v.State = model.Rescinded
		case "bj-scjg-dc.2", "bj-scjg.2":
			v.State = model.Cancelled
		}
	}
	l.now = today.Add(time.Hour)
	failed := false
	node.fail = func(_ int, applied bool) error { // once, after the new request was applied
		if applied && !failed && l.issued["bj-scjg"]+l.issued["bj-scjg-dc"] > 4 {
			failed = true
			return model.E(model.CodeOutcomeUnknown)
		}
		return nil
	}
	again := newImport(m, file, []Target{{"beijing", node}})
	again.Clock = func() time.Time { return today.Add(time.Hour) }
	for range 2 {
		res, err := all(t, again, filepath.Join(dir, "2"))
		if err != nil || res != (Result{Rows: 4, Issued: 1, Already: 2, Rejected: 1}) || !failed {
			t.Fatalf("%+v, %v", res, err)
		}
	}
	j, err := OpenUndo(filepath.Join(dir, "2"))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if by := j.RejectedBy(); by[EndedSince] != 1 || len(j.made) != 1 {
		t.Fatal(by, j.made)
	}
}
