package model

import "testing"

func TestHolderCodes(t *testing.T) {
	for _, tt := range []struct {
		kind HolderKind
		good []string
		bad  []string
	}{
		{HolderEnterprise, []string{string(mustUSCC(t))}, []string{"", "911101051234567890", "11010519491231002X"}},
		{HolderPerson, []string{"11010519491231002X"}, []string{"110105194912310021", "110105491231002", ""}},
		{HolderPassport, []string{"E12345678", "EA1234567", "G12345678"}, []string{"E123", "e12345678", "E1234-5678", ""}},
		{HolderTaiwan, []string{"12345678", "0123456789", "0123456789B"}, []string{"1234567", "A2345678", ""}},
		{HolderHongKong, []string{"H12345678", "M1234567801"}, []string{"H1234567", "K12345678", ""}},
		{HolderResident, []string{"CHN110000000001"}, []string{"CH1100000000012", "11010519491231002X", ""}},
		{HolderResidence, []string{"AB123456"}, []string{"AB-123456", ""}},
		{"999", nil, []string{"", "x"}},
	} {
		for _, s := range tt.good {
			if !tt.kind.Checks(s) {
				t.Errorf("%s refuses %s", tt.kind, s)
			}
		}
		for _, s := range tt.bad {
			if tt.kind.Checks(s) {
				t.Errorf("%s takes %s", tt.kind, s)
			}
		}
		if tt.kind.Personal() != (tt.kind != HolderEnterprise && tt.kind != "999") {
			t.Errorf("%s is a person: %v", tt.kind, tt.kind.Personal())
		}
	}
}

func mustUSCC(t *testing.T) USCC {
	u, err := InventUSCC("91110105X", 7)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A licence that was taken over unchecked is never valid, whatever else is right, until a correction takes the mark off;
// and then it was valid from the start.
func TestLegacyIsUndeterminedUntilCorrected(t *testing.T) {
	at := func(day string) Time { return TimeOf(Date(day).Start()) }
	old := sampleIssue(1).Value
	old.HolderCode, old.Legacy = "", "9111010500000000XX"
	old.IssuedOn, old.ValidFrom, old.ValidUntil = "2020-01-01", "2020-01-01", "2030-01-01"
	issued := Version{Type: LicenceIssue, Time: at("2026-01-01"), State: InForce, Value: &old}
	if j := Judge([]Version{issued}, "2026-06-01", "2026-06-01", ""); j.Word != Undetermined || j.Reason != ReasonLegacy {
		t.Fatalf("%+v", j)
	}
	if j := Judge([]Version{issued}, "2031-06-01", "2031-06-01", ""); j.Word != NotValid || j.Reason != ReasonExpired {
		t.Fatalf("%+v", j)
	}
	person := old
	person.HolderKind, person.Legacy = HolderPerson, LegacyConfidential
	if j := Judge([]Version{{Type: LicenceIssue, Time: at("2026-01-01"), State: InForce, Value: &person}}, "2026-06-01", "2026-06-01", "").JudgeHolder(nil); j.Reason != ReasonLegacy {
		t.Fatalf("%+v", j)
	}
	right := old
	right.HolderCode, right.Legacy = mustUSCC(t), ""
	corrected := Version{Type: LicenceAmend, How: Correct, Time: at("2026-02-01"), State: InForce, Value: &right, Act: ActBody{Act: Act{Effective: "2026-02-01"}}}
	if j := Judge([]Version{issued, corrected}, "2025-06-01", "2026-06-01", ""); j.Word != Valid {
		t.Fatalf("%+v", j)
	}
	if j := Judge([]Version{issued, corrected}, "2026-01-15", "2026-01-15", ""); j.Reason != ReasonLegacy {
		t.Fatalf("as known before the correction: %+v", j)
	}
}

func TestLegacyMark(t *testing.T) {
	base := sampleIssue(1).Value
	for name, tt := range map[string]struct {
		change func(l *Licence)
		want   Code
	}{
		"good":                  {func(l *Licence) { l.HolderCode, l.Legacy = "", "9111010500000000XX" }, ""},
		"beside a code":         {func(l *Licence) { l.Legacy = "9111010500000000XX" }, CodeBadValue},
		"a code that checks":    {func(l *Licence) { l.HolderCode, l.Legacy = "", string(l.HolderCode) }, CodeBadValue},
		"too long":              {func(l *Licence) { l.HolderCode, l.Legacy = "", string(make([]byte, 65)) }, CodeTooLong},
		"neither code nor mark": {func(l *Licence) { l.HolderCode = "" }, CodeMissingField},
	} {
		l := base
		tt.change(&l)
		err := l.Check()
		if tt.want == "" && err != nil || tt.want != "" && AsError(err).Code != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
