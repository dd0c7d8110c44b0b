package model

import (
	"slices"
	"testing"
)

// story builds a licence's versions: each line is the day of recording and what happened.
type story struct {
	t        *testing.T
	versions []Version
}

func (s *story) at(day Date, v Version) *story {
	v.Time = TimeOf(day.Start().Add(1e9 * 3600 * 10))
	s.versions = append(s.versions, v)
	return s
}

func faceOf(n int, issued, from, until Date) *Licence {
	l := sampleIssue(1).Value
	p := l.Identifier.Parts()
	p.Version = n
	id, err := NewLicenceID(p)
	if err != nil {
		panic(err)
	}
	l.Identifier, l.IssuedOn, l.ValidFrom, l.ValidUntil = id, issued, from, until
	return &l
}

func (s *story) issue(day Date) *story {
	return s.at(day, Version{Type: LicenceIssue, State: InForce, Value: faceOf(1, day, day, "2026-12-31")})
}

func (s *story) act(day Date, t Type, state State, effective Date) *story {
	return s.at(day, Version{Type: t, State: state, Act: ActBody{Act: Act{Effective: effective}}})
}

func (s *story) amend(day Date, how AmendKind, effective Date, v *Licence) *story {
	t := LicenceAmend
	if how == "" {
		t = LicenceRenew
	}
	return s.at(day, Version{Type: t, State: InForce, How: how, Value: v, Act: ActBody{Act: Act{Effective: effective}}})
}

func TestJudge(t *testing.T) {
	first, second := faceOf(1, "2026-01-10", "2026-01-10", "2026-12-31"), faceOf(2, "2026-01-10", "2026-01-10", "2026-12-31")
	longer := faceOf(2, "2026-01-10", "2026-01-10", "2027-12-31")
	begin := func() *story { return (&story{t: t}).issue("2026-01-10") }
	suspended := begin().act("2026-03-05", LicenceSuspend, Suspended, "2026-03-01").act("2026-04-02", LicenceResume, InForce, "2026-04-01")
	planned := begin().act("2026-03-01", LicenceSuspend, Suspended, "2026-06-01")
	withdrawnPlan := begin().act("2026-03-01", LicenceSuspend, Suspended, "2026-06-01").act("2026-05-01", LicenceResume, InForce, "2026-05-01")
	void := begin().at("2026-05-01", Version{Type: LicenceRescind, State: Rescinded, Act: ActBody{Act: Act{Effective: "2026-05-01"}, FromStart: true}})
	rescinded := begin().act("2026-05-01", LicenceRescind, Rescinded, "2026-05-01")
	ended := begin().act("2026-05-01", LicenceRevoke, PenaltyRevoked, "2026-05-01").act("2026-06-01", LicenceCancel, Cancelled, "2026-06-01")
	corrected := begin().amend("2026-03-01", Correct, "2026-03-01", second)
	changed := begin().amend("2026-03-01", ChangeOf, "2026-04-01", second)
	changedBack := begin().amend("2026-03-01", ChangeOf, "2026-09-01", second).amend("2026-04-01", ChangeOf, "2026-05-01", faceOf(3, "2026-01-10", "2026-01-10", "2026-12-31"))
	renewed := begin().amend("2026-11-01", "", "2027-01-01", longer)
	earlier := begin().amend("2026-03-01", Correct, "2026-03-01", faceOf(2, "2026-01-05", "2026-01-05", "2026-12-31"))
	// A change of facts, then the correction of dates that were wrong from the start.
	rightedAll := begin().amend("2026-03-01", ChangeOf, "2026-04-01", second).amend("2026-05-01", Correct, "2026-05-01", faceOf(3, "2026-01-05", "2026-01-07", "2026-06-30"))
	rightedEnd := begin().amend("2026-11-01", "", "2027-02-01", longer).amend("2027-03-01", Correct, "2027-03-01", faceOf(3, "2026-01-10", "2026-01-10", "2028-12-31"))
	moved := begin().at("2026-02-01", Version{Type: LicenceTransfer, State: InForce, Act: ActBody{Act: Act{Effective: "2026-02-01"}}})
	endless := (&story{t: t}).at("2026-01-10", Version{Type: LicenceIssue, State: InForce, Value: faceOf(1, "2026-01-10", "2026-02-01", "")})
	dormant := begin().act("2026-02-01", LicenceDormant, Dormant, "2026-02-01").amend("2026-03-01", "", "2026-03-01", longer)

	for _, tt := range []struct {
		name        string
		story       *story
		at, knownAt Date
		presented   LicenceID
		word        Word
		reason      Reason
		since       Date
	}{
		{"in force", begin(), "2026-06-01", "2026-06-01", "", Valid, ReasonInForce, "2026-01-10"},
		{"first day", begin(), "2026-01-10", "2026-06-01", "", Valid, ReasonInForce, "2026-01-10"},
		{"day before issue", begin(), "2026-01-09", "2026-06-01", "", NotValid, ReasonNotYetIssued, ""},
		{"not known yet", begin(), "2026-06-01", "2026-01-09", "", NotValid, ReasonNotYetIssued, ""},
		{"last day", begin(), "2026-12-31", "2026-12-31", "", Valid, ReasonInForce, "2026-01-10"},
		{"day after the last", begin(), "2027-01-01", "2027-01-01", "", NotValid, ReasonExpired, "2027-01-01"},
		{"issued, validity not begun", endless, "2026-01-15", "2026-01-15", "", NotValid, ReasonNotYetValid, ""},
		{"without end", endless, "2999-12-31", "2999-12-31", "", Valid, ReasonInForce, "2026-02-01"},

		{"suspended, asked later", suspended, "2026-03-15", "2026-05-01", "", NotValid, Reason(Suspended), "2026-03-01"},
		{"suspended from its effective day, not its record", suspended, "2026-03-02", "2026-05-01", "", NotValid, Reason(Suspended), "2026-03-01"},
		{"that day as known that day", suspended, "2026-03-02", "2026-03-02", "", Valid, ReasonInForce, "2026-01-10"},
		{"day before suspension", suspended, "2026-02-28", "2026-05-01", "", Valid, ReasonInForce, "2026-01-10"},
		{"resumed", suspended, "2026-04-01", "2026-05-01", "", Valid, ReasonInForce, "2026-01-10"},
		{"resumption not known", suspended, "2026-04-01", "2026-04-01", "", NotValid, Reason(Suspended), "2026-03-01"},

		{"planned suspension, before", planned, "2026-05-31", "2026-03-02", "", Valid, ReasonInForce, "2026-01-10"},
		{"planned suspension, on the day", planned, "2026-06-01", "2026-03-02", "", NotValid, Reason(Suspended), "2026-06-01"},
		{"plan given up", withdrawnPlan, "2026-06-02", "2026-06-02", "", Valid, ReasonInForce, "2026-01-10"},
		{"plan given up, as known before", withdrawnPlan, "2026-06-02", "2026-04-30", "", NotValid, Reason(Suspended), "2026-06-01"},

		{"void from the start", void, "2026-02-01", "2026-05-01", "", NotValid, Reason(Rescinded), "2026-01-10"},
		{"void, as known before", void, "2026-02-01", "2026-04-30", "", Valid, ReasonInForce, "2026-01-10"},
		{"rescinded, before", rescinded, "2026-04-30", "2026-06-01", "", Valid, ReasonInForce, "2026-01-10"},
		{"rescinded", rescinded, "2026-05-01", "2026-06-01", "", NotValid, Reason(Rescinded), "2026-05-01"},
		{"revoked, then cancelled: between", ended, "2026-05-31", "2026-07-01", "", NotValid, Reason(PenaltyRevoked), "2026-05-01"},
		{"revoked, then cancelled: after", ended, "2026-06-01", "2026-07-01", "", NotValid, Reason(Cancelled), "2026-06-01"},

		{"corrected: old version on a day before", corrected, "2026-02-01", "2026-06-01", first.Identifier, NotValid, ReasonSuperseded, ""},
		{"corrected: new version on a day before", corrected, "2026-02-01", "2026-06-01", second.Identifier, Valid, ReasonInForce, "2026-01-10"},
		{"corrected: old version as known before", corrected, "2026-02-01", "2026-02-01", first.Identifier, Valid, ReasonInForce, "2026-01-10"},
		{"corrected day of issue", earlier, "2026-01-07", "2026-06-01", "", Valid, ReasonInForce, "2026-01-05"},
		{"corrected day of issue, day before", earlier, "2026-01-04", "2026-06-01", "", NotValid, ReasonNotYetIssued, ""},
		{"corrected after a change: the earlier face's start", rightedAll, "2026-01-08", "2026-06-01", first.Identifier, Valid, ReasonInForce, "2026-01-07"},
		{"corrected after a change: not yet begun", rightedAll, "2026-01-06", "2026-06-01", first.Identifier, NotValid, ReasonNotYetValid, ""},
		{"corrected after a change: day of issue", rightedAll, "2026-01-04", "2026-06-01", "", NotValid, ReasonNotYetIssued, ""},
		{"corrected after a change: end", rightedAll, "2026-07-01", "2026-06-01", "", NotValid, ReasonExpired, "2026-07-01"},
		{"corrected after a change, as known before", rightedAll, "2026-01-08", "2026-04-30", "", NotValid, ReasonNotYetIssued, ""},
		{"corrected after a renewal: the term before keeps its end", rightedEnd, "2027-01-15", "2027-06-01", "", NotValid, ReasonExpired, "2027-01-01"},
		{"corrected after a renewal: the new end", rightedEnd, "2028-06-01", "2028-06-01", "", Valid, ReasonInForce, "2026-01-10"},
		{"changed: old version before the change", changed, "2026-03-31", "2026-06-01", first.Identifier, Valid, ReasonInForce, "2026-01-10"},
		{"changed: new version before the change", changed, "2026-03-31", "2026-06-01", second.Identifier, NotValid, ReasonSuperseded, ""},
		{"changed: new version", changed, "2026-04-01", "2026-06-01", second.Identifier, Valid, ReasonInForce, "2026-01-10"},
		{"changed: old version", changed, "2026-04-01", "2026-06-01", first.Identifier, NotValid, ReasonSuperseded, ""},
		{"a later change rules from its day on", changedBack, "2026-10-01", "2026-10-01", second.Identifier, NotValid, ReasonSuperseded, ""},
		{"renewed: in the old term", renewed, "2026-12-31", "2027-06-01", first.Identifier, Valid, ReasonInForce, "2026-01-10"},
		{"renewed: in the new term", renewed, "2027-06-01", "2027-06-01", longer.Identifier, Valid, ReasonInForce, "2026-01-10"},
		{"renewed: end of the new term", renewed, "2028-01-01", "2028-01-01", "", NotValid, ReasonExpired, "2028-01-01"},
		{"transfer keeps it valid", moved, "2026-03-01", "2026-03-01", first.Identifier, Valid, ReasonInForce, "2026-01-10"},
		{"renewed while dormant", dormant, "2026-04-01", "2026-04-01", "", NotValid, Reason(Dormant), "2026-02-01"},
		{"no history", &story{}, "2026-04-01", "2026-04-01", "", NotValid, ReasonNotYetIssued, ""},
		{"history without its beginning", &story{versions: changed.versions[1:]}, "2026-04-01", "2026-04-01", "", Undetermined, ReasonBehind, ""},
	} {
		j := Judge(tt.story.versions, tt.at, tt.knownAt, tt.presented)
		if j.Word != tt.word || j.Reason != tt.reason || j.Since != tt.since {
			t.Errorf("%s: %s %s since %q, want %s %s since %q", tt.name, j.Word, j.Reason, j.Since, tt.word, tt.reason, tt.since)
		}
		if (j.Word == Valid) != (j.Reason == ReasonInForce) {
			t.Errorf("%s: %s with %s", tt.name, j.Word, j.Reason)
		}
		if j.Reason.Check() == "" {
			t.Errorf("%s: reason %s is in no table", tt.name, j.Reason)
		}
	}
}

// TestJudgeDoesNotTouchVersions: the caller's values are shared.
func TestJudgeDoesNotTouchVersions(t *testing.T) {
	s := (&story{t: t}).issue("2026-01-10").act("2026-03-01", LicenceSuspend, Suspended, "2026-03-01").amend("2026-04-01", Correct, "2026-04-01", faceOf(2, "2026-01-01", "2026-01-01", ""))
	before := slices.Clone(s.versions)
	for range 3 {
		Judge(s.versions, "2026-06-01", "2026-06-01", "")
	}
	for i := range before {
		if s.versions[i] != before[i] {
			t.Errorf("version %d changed", i)
		}
	}
}

func TestJudgeHolder(t *testing.T) {
	salt := NewSalt()
	code, err := Commit(salt, FieldHolderCode, citizen)
	if err != nil {
		t.Fatal(err)
	}
	name, err := Commit(salt, FieldHolderName, "张三")
	if err != nil {
		t.Fatal(err)
	}
	person := faceOf(1, "2026-01-10", "2026-01-10", "")
	person.HolderKind, person.HolderCode, person.HolderName = HolderPerson, "", ""
	person.Commitments = map[string]Digest{FieldHolderCode: code, FieldHolderName: name}
	enterprise := faceOf(1, "2026-01-10", "2026-01-10", "")
	right, rightName := Opening{salt, citizen}, Opening{salt, "张三"}
	for _, tt := range []struct {
		name     string
		value    *Licence
		openings map[string]Opening
		word     Word
		reason   Reason
	}{
		{"enterprise", enterprise, nil, Valid, ReasonInForce},
		{"enterprise, something not committed to", enterprise, map[string]Opening{FieldHolderCode: right}, NotValid, ReasonHolderMismatch},
		{"person, nothing presented", person, nil, Undetermined, ReasonSaltNeeded},
		{"person, code", person, map[string]Opening{FieldHolderCode: right}, Valid, ReasonInForce},
		{"person, code and name", person, map[string]Opening{FieldHolderCode: right, FieldHolderName: rightName}, Valid, ReasonInForce},
		{"person, name only", person, map[string]Opening{FieldHolderName: rightName}, Undetermined, ReasonSaltNeeded},
		{"person, another salt", person, map[string]Opening{FieldHolderCode: {NewSalt(), citizen}}, NotValid, ReasonHolderMismatch},
		{"person, another number", person, map[string]Opening{FieldHolderCode: {salt, "360426199101010071"}}, NotValid, ReasonHolderMismatch},
		{"person, right code and wrong name", person, map[string]Opening{FieldHolderCode: right, FieldHolderName: {salt, "李四"}}, NotValid, ReasonHolderMismatch},
		{"person, code under another field", person, map[string]Opening{FieldHolderName: right}, NotValid, ReasonHolderMismatch},
	} {
		j := Judgement{Word: Valid, Reason: ReasonInForce, Value: tt.value}.JudgeHolder(tt.openings)
		if j.Word != tt.word || j.Reason != tt.reason {
			t.Errorf("%s: %s %s", tt.name, j.Word, j.Reason)
		}
	}
	ended := Judgement{Word: NotValid, Reason: Reason(Cancelled), Value: person}
	if j := ended.JudgeHolder(nil); j != ended {
		t.Error("an ending is not changed by what is presented")
	}
}

// TestLicenceVersion reads versions from every kind of licence body.
func TestLicenceVersion(t *testing.T) {
	act := Act{Decision: Decision{Date: "2026-06-01", Number: "1"}, Effective: "2026-06-01", Reason: "by-decision"}
	v := sampleIssue(1).Value
	for _, tt := range []struct {
		typ  Type
		body any
		want Version
	}{
		{LicenceIssue, IssueBody{Under: "bj.1", Value: v}, Version{Value: &v}},
		{LicenceAmend, AmendBody{Act: act, How: Correct, Previous: v, Value: v}, Version{Act: ActBody{Act: act}, How: Correct, Value: &v}},
		{LicenceRescind, ActBody{Act: act, FromStart: true}, Version{Act: ActBody{Act: act, FromStart: true}}},
		{LicenceTransfer, TransferBody{Act: act, To: "tj-scjg", Value: v}, Version{Act: ActBody{Act: act}, Value: &v}},
	} {
		raw, err := Canonical(tt.body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := LicenceVersion(tt.typ, Time{1}, InForce, raw)
		if err != nil || got.Act != tt.want.Act || got.How != tt.want.How || (got.Value == nil) != (tt.want.Value == nil) || got.Type != tt.typ {
			t.Errorf("%s: %+v, %v", tt.typ, got, err)
		}
	}
}
