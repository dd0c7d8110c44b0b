package intake

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// An amendment that takes days from a licence is an ending, whatever it is called.
func TestShortens(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accept("", f.issueDraft(1)); err != nil {
		t.Fatal(err)
	}
	draft := func(typ model.Type, version uint64, value any) model.Draft {
		return model.Draft{Agency: "bj-scjg", Type: typ, Kind: model.KindLicence, Record: "bj-scjg.1", Version: version, Body: canonical(t, map[string]any{
			"decision": map[string]any{"number": "D1", "date": "2026-06-01"}, "effective": "2026-06-01", "reason": "typo", "value": value,
		})}
	}
	looked := func(d ...model.Draft) ([]model.Draft, bool) {
		t.Helper()
		fixed, shortens, err := f.Shortens(d)
		if err != nil || len(fixed) != len(d) {
			t.Fatal(fixed, err)
		}
		return fixed, shortens
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
		{"a last day where there was none", "", amend, map[string]any{"valid_until": "2099-01-01"}, true},
		{"an earlier last day", "2030-01-01", amend, map[string]any{"valid_until": "2029-12-31"}, true},
		{"the same last day", "2030-01-01", amend, map[string]any{"valid_until": "2030-01-01"}, false},
		{"a later last day", "2030-01-01", amend, map[string]any{"valid_until": "2030-01-02"}, false},
		{"no last day any more", "2030-01-01", amend, map[string]any{"valid_until": ""}, false},
		{"a later first day", "2030-01-01", amend, map[string]any{"valid_from": "2029-01-01"}, true},
		{"an earlier first day", "2030-01-01", amend, map[string]any{"valid_from": "2019-01-01"}, false},
		{"a renewal", "2030-01-01", renew, map[string]any{"valid_from": "2030-01-02", "valid_until": "2040-01-01"}, false},
		{"a renewal after a gap", "2030-01-01", renew, map[string]any{"valid_from": "2030-01-03", "valid_until": "2040-01-01"}, true},
		{"another type", "2030-01-01", model.LicenceSuspend, map[string]any{"valid_until": "2020-01-01"}, false},
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
	if _, shortens := looked(draft(amend, 3, map[string]any{"holder_name": "乙"})); !shortens {
		t.Error("an amendment of a version that is not known here counts as looked at")
	}
}
