package intake

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// An amendment that takes a licence's days, or makes another one of it, is an ending, whatever it is called.
func TestTakes(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accept("", f.issueDraft(1)); err != nil {
		t.Fatal(err)
	}
	draft := func(typ model.Type, version uint64, value any) model.Draft {
		return model.Draft{Agency: "bj-scjg", Type: typ, Record: "bj-scjg.1", Version: version, Body: canonical(t, map[string]any{
			"decision": map[string]any{"number": "D1", "date": "2026-06-01"}, "effective": "2026-06-01", "reason": "typo", "value": value,
		})}
	}
	looked := func(d ...model.Draft) ([]model.Draft, bool) {
		t.Helper()
		fixed, takes, err := f.Takes(d)
		if err != nil || len(fixed) != len(d) {
			t.Fatal(fixed, err)
		}
		return fixed, takes
	}
	// What this node does not know yet is not accepted as if it had been looked at.
	early, _ := looked(draft(model.LicenceAmend, 0, map[string]any{"valid_until": "2026-07-01"}))
	f.commit()
	if _, err := f.accept("", early...); !errors.Is(err, model.E(model.CodeVersionConflict)) {
		t.Errorf("an amendment of a licence that was not yet known: %v", err)
	}
	set := func(from, until model.Date) {
		r := f.records["licence/bj-scjg.1"]
		var l model.Licence
		if err := json.Unmarshal(r.Public, &l); err != nil {
			t.Fatal(err)
		}
		l.ValidFrom, l.ValidUntil = from, until
		r.Public = canonical(t, l)
		f.records["licence/bj-scjg.1"] = r
	}
	amend, renew := model.LicenceAmend, model.LicenceRenew
	for _, tt := range []struct {
		name  string
		until model.Date
		typ   model.Type
		value map[string]any
		want  bool
	}{
		{"another name", "2030-01-01", amend, map[string]any{"holder_name": "乙"}, false},
		{"another face", "2030-01-01", amend, map[string]any{"face": map[string]any{"scope": "零售"}}, false},
		{"another region", "2030-01-01", amend, map[string]any{"region": "110105"}, false},
		{"another number", "2030-01-01", amend, map[string]any{"number": "ZZ-1"}, true},
		{"the same number", "2030-01-01", amend, map[string]any{"number": "N1"}, false},
		{"another number at renewal", "2030-01-01", renew, map[string]any{"number": "ZZ-1", "valid_until": "2040-01-01"}, true},
		{"another holder", "2030-01-01", amend, map[string]any{"holder_code": contracttest.EnterpriseUSCC(2), "holder_name": "乙"}, true},
		{"another holder of the same name", "2030-01-01", amend, map[string]any{"holder_code": contracttest.EnterpriseUSCC(2)}, true},
		{"the same holder", "2030-01-01", amend, map[string]any{"holder_code": contracttest.EnterpriseUSCC(1), "holder_name": "乙"}, false},
		{"another kind of holder", "2030-01-01", amend, map[string]any{"holder_kind": model.HolderPerson}, true},
		{"another type", "2030-01-01", amend, map[string]any{"type": contracttest.PersonalLicence}, true},
		{"another identifier", "2030-01-01", amend, map[string]any{"identifier": ""}, true},
		{"a last day where there was none", "", amend, map[string]any{"valid_until": "2099-01-01"}, true},
		{"an earlier last day", "2030-01-01", amend, map[string]any{"valid_until": "2029-12-31"}, true},
		{"the same last day", "2030-01-01", amend, map[string]any{"valid_until": "2030-01-01"}, false},
		{"a later last day", "2030-01-01", amend, map[string]any{"valid_until": "2030-01-02"}, false},
		{"no last day any more", "2030-01-01", amend, map[string]any{"valid_until": ""}, false},
		{"a later first day", "2030-01-01", amend, map[string]any{"valid_from": "2029-01-01"}, true},
		{"an earlier first day", "2030-01-01", amend, map[string]any{"valid_from": "2019-01-01"}, false},
		{"a renewal", "2030-01-01", renew, map[string]any{"valid_from": "2030-01-02", "valid_until": "2040-01-01"}, false},
		{"a renewal after a gap", "2030-01-01", renew, map[string]any{"valid_from": "2030-01-03", "valid_until": "2040-01-01"}, true},
		{"a suspension", "2030-01-01", model.LicenceSuspend, map[string]any{"valid_until": "2020-01-01"}, false},
	} {
		set("2020-01-01", tt.until)
		if _, got := looked(f.issueDraft(2), draft(tt.typ, 0, tt.value)); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	// What was looked at is what is accepted: versions are fixed, of a copy.
	d := []model.Draft{draft(amend, 0, map[string]any{"holder_name": "乙"})}
	if fixed, _ := looked(d...); fixed[0].Version != 2 || d[0].Version != 0 {
		t.Errorf("versions %d and %d", fixed[0].Version, d[0].Version)
	}
	if _, takes := looked(draft(amend, 3, map[string]any{"holder_name": "乙"})); !takes {
		t.Error("an amendment of a version that is not known here counts as looked at")
	}
}

// What was taken over unchecked is righted by one person, as long as it stays with who is named on it.
func TestLegacyIsRighted(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accept("", f.issueDraft(1)); err != nil {
		t.Fatal(err)
	}
	f.commit()
	r := f.records["licence/bj-scjg.1"]
	var l model.Licence
	if err := json.Unmarshal(r.Public, &l); err != nil {
		t.Fatal(err)
	}
	l.HolderCode, l.Legacy = "", "110000012345"
	r.Public = canonical(t, l)
	for _, tt := range []struct {
		name  string
		value map[string]any
		want  bool
	}{
		{"its code", map[string]any{"legacy": "", "holder_code": contracttest.EnterpriseUSCC(2)}, false},
		{"its code and another name", map[string]any{"legacy": "", "holder_code": contracttest.EnterpriseUSCC(2), "holder_name": "乙"}, true},
		{"its code and another number", map[string]any{"legacy": "", "holder_code": contracttest.EnterpriseUSCC(2), "number": "ZZ-1"}, true},
		{"another name, before its code", map[string]any{"holder_name": "乙"}, true},
		{"another face", map[string]any{"face": map[string]any{"scope": "零售"}}, false},
	} {
		_, got, err := f.Takes([]model.Draft{{Agency: "bj-scjg", Type: model.LicenceAmend, Record: "bj-scjg.1", Body: canonical(t, map[string]any{"how": "correct", "value": tt.value})}})
		if err != nil || got != tt.want {
			t.Errorf("%s: %v %v", tt.name, got, err)
		}
	}
}

// Whether a person's licence stays with him is known by what the vault keeps; where it keeps nothing, it does not count as staying.
func TestTakesFromAPerson(t *testing.T) {
	f := newFixture(t)
	const id, name = "11010519491231002X", "张样例三"
	ids, err := f.accept("", model.Draft{
		Agency: "bj-scjg", Type: model.LicenceIssue, Confidential: &model.LicenceConfidential{HolderCode: id, HolderName: name},
		Body: canonical(t, map[string]any{"value": map[string]any{
			"type": contracttest.PersonalLicence, "number": "P1", "issued_on": "2026-05-30", "valid_from": "2026-05-30", "face": map[string]any{"grade": "A"},
		}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.commit()
	f.History = func(_ model.Kind, record model.RecordID, before uint64, _ int) ([]model.HistoryEntry, error) {
		if before != 0 || record != "bj-scjg.1" {
			return nil, nil
		}
		return []model.HistoryEntry{{Version: 2, Operation: model.NewOpID()}, {Version: 1, Operation: ids[0]}}, nil
	}
	looked := func(what string, value map[string]any, c *model.LicenceConfidential, want bool) {
		t.Helper()
		d := model.Draft{Agency: "bj-scjg", Type: model.LicenceAmend, Record: "bj-scjg.1", Confidential: c, Body: canonical(t, map[string]any{"how": "change", "value": value})}
		if value == nil {
			d.Body = canonical(t, map[string]any{"how": "change"})
		}
		if _, got, err := f.Takes([]model.Draft{d}); err != nil || got != want {
			t.Errorf("%s: %v %v", what, got, err)
		}
	}
	same, other := &model.LicenceConfidential{HolderCode: id, HolderName: "张三"}, &model.LicenceConfidential{HolderCode: "110105199001011232", HolderName: name}
	looked("another face", map[string]any{"face": map[string]any{"grade": "B"}}, nil, false)
	looked("another name", nil, same, false)
	looked("another code", nil, other, true)
	looked("another commitment", map[string]any{"commitments": map[string]any{model.FieldHolderCode: model.DigestOf([]byte("x"))}}, nil, true)
	looked("no commitment", map[string]any{"commitments": map[string]any{}}, nil, true)
	set := func(change func(*model.Licence)) {
		r := f.records["licence/bj-scjg.1"]
		var l model.Licence
		if err := json.Unmarshal(r.Public, &l); err != nil {
			t.Fatal(err)
		}
		change(&l)
		r.Public = canonical(t, l)
	}
	set(func(l *model.Licence) { l.Legacy = model.LegacyConfidential })
	looked("a legacy code righted", map[string]any{"legacy": ""}, other, false)
	looked("a legacy code and another name", map[string]any{"legacy": ""}, &model.LicenceConfidential{HolderCode: other.HolderCode, HolderName: "李"}, true)
	set(func(l *model.Licence) { l.Legacy = "" })
	if err := f.Vault.Erase(ids[0]); err != nil {
		t.Fatal(err)
	}
	looked("the same code, which nobody can tell", nil, same, true)
}
