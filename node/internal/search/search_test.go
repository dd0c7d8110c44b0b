package search

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

func TestFind(t *testing.T) {
	r := newRig(t)
	group := r.log.issue("bj-scjg", func(v *model.Licence) {
		v.HolderName = "北京京东方（集团）股份有限公司"
		v.Region = "110108"
	})
	ascii := r.log.issue("bj-scjg", func(v *model.Licence) {
		v.HolderName = "ＡＢＣ Trading Co.,Ltd."
		v.Region = "120101"
		v.Number = "TJ-2026/001"
	})
	person := r.log.issue("bj-cy", func(v *model.Licence) {
		v.HolderName = "阿卜杜拉·买买提个体工商户"
		v.Type = typeB
		v.ValidUntil = ""
	})
	soon := r.log.issue("bj-cy", func(v *model.Licence) {
		v.HolderName, v.ValidUntil, v.IssuedOn, v.ValidFrom = "天津港\"引号\"物流", "2026-12-10", "2021-12-11", "2021-12-11"
		v.Legacy, v.HolderCode = "91110105000000000X", ""
	})
	gone := r.log.issue("bj-scjg", func(v *model.Licence) { v.HolderName = "一去不返"; v.ValidUntil = "2026-12-01" })
	r.log.act(model.LicenceCancel, gone, model.Cancelled)
	old := r.log.issue("bj-scjg", func(v *model.Licence) {
		v.IssuedOn, v.ValidFrom, v.ValidUntil, v.Region, v.HolderName = "1949-10-01", "1949-10-01", "2150-01-01", "130000", strings.Repeat("长", 199)+"名"
	})
	var right model.USCC
	moved := r.log.issue("bj-scjg", func(v *model.Licence) {
		right = v.HolderCode
		v.HolderName, v.Legacy, v.HolderCode = "将被变更公司", "91110105000000000X", ""
	})
	r.log.amend(moved, func(v *model.Licence) {
		v.HolderName, v.Region, v.Legacy, v.HolderCode = "已经改名公司", "110106", "", right
	})
	r.log.transfer(moved, "tj-scjg")
	r.caughtUp()

	code := string(r.log.value[group].HolderCode)
	for _, tt := range []struct {
		name string
		s    sdk.LicenceSearch
		want []model.RecordID
	}{
		{"everything, what changed last first", sdk.LicenceSearch{}, []model.RecordID{moved, old, gone, soon, person, ascii, group}},
		{"in the log's order", sdk.LicenceSearch{Sort: sdk.SortOldest}, []model.RecordID{group, ascii, person, soon, gone, old, moved}},
		{"two characters", sdk.LicenceSearch{Text: "京东"}, []model.RecordID{group}},
		{"one character", sdk.LicenceSearch{Text: "港"}, []model.RecordID{soon}},
		{"the last character", sdk.LicenceSearch{Text: "返"}, []model.RecordID{gone}},
		{"half-width brackets", sdk.LicenceSearch{Text: "(集团)"}, []model.RecordID{group}},
		{"traditional brackets", sdk.LicenceSearch{Text: "〔集团〕"}, []model.RecordID{group}},
		{"other brackets", sdk.LicenceSearch{Text: "【集团】股份"}, []model.RecordID{group}},
		{"characters that stand apart", sdk.LicenceSearch{Text: "京方"}, nil},
		{"pairs that stand apart", sdk.LicenceSearch{Text: "北京东方"}, nil},
		{"two words", sdk.LicenceSearch{Text: "有限 京东"}, []model.RecordID{group}},
		{"two words, one of them not there", sdk.LicenceSearch{Text: "有限 南京"}, nil},
		{"half-width letters", sdk.LicenceSearch{Text: "abc"}, []model.RecordID{ascii}},
		{"full-width letters", sdk.LicenceSearch{Text: "ＴＲＡＤＩＮＧ"}, []model.RecordID{ascii}},
		{"across a blank", sdk.LicenceSearch{Text: "cTra"}, []model.RecordID{ascii}},
		{"punctuation", sdk.LicenceSearch{Text: "o.,l"}, []model.RecordID{ascii}},
		{"without the middle dot", sdk.LicenceSearch{Text: "拉买"}, []model.RecordID{person}},
		{"with another middle dot", sdk.LicenceSearch{Text: "阿卜杜拉•买买提"}, []model.RecordID{person}},
		{"quotes", sdk.LicenceSearch{Text: `"引号"`}, []model.RecordID{soon}},
		{"a quote and one more", sdk.LicenceSearch{Text: `港"`}, []model.RecordID{soon}},
		{"words of the index's own language", sdk.LicenceSearch{Text: "NOT OR AND *"}, nil},
		{"200 characters", sdk.LicenceSearch{Text: strings.Repeat("长", 199) + "名"}, []model.RecordID{old}},
		{"the whole name", sdk.LicenceSearch{HolderName: "北京京东方(集团)股份有限公司"}, []model.RecordID{group}},
		{"not the whole name", sdk.LicenceSearch{HolderName: "北京京东方"}, nil},
		{"a name before it changed", sdk.LicenceSearch{Text: "将被"}, nil},
		{"a name after it changed", sdk.LicenceSearch{Text: "改名"}, []model.RecordID{moved}},
		{"holder code", sdk.LicenceSearch{HolderCode: code}, []model.RecordID{group}},
		{"holder code in lower case", sdk.LicenceSearch{HolderCode: strings.ToLower(code)}, []model.RecordID{group}},
		{"part of a holder code", sdk.LicenceSearch{HolderCode: code[:17]}, nil},
		{"number", sdk.LicenceSearch{Number: "ｔｊ-2026/001"}, []model.RecordID{ascii}},
		{"part of a number", sdk.LicenceSearch{Number: "TJ-2026"}, nil},
		{"number prefix", sdk.LicenceSearch{NumberPrefix: "TJ-2026/"}, []model.RecordID{ascii}},
		{"number prefix of one", sdk.LicenceSearch{NumberPrefix: "t"}, []model.RecordID{ascii}},
		{"type", sdk.LicenceSearch{Types: []model.TypeCode{typeB}}, []model.RecordID{person}},
		{"types", sdk.LicenceSearch{Types: []model.TypeCode{typeB, typeA}, Regions: []model.Region{"120000"}}, []model.RecordID{ascii}},
		{"state", sdk.LicenceSearch{States: []model.State{model.Cancelled}}, []model.RecordID{gone}},
		{"states", sdk.LicenceSearch{States: []model.State{model.Cancelled, model.Suspended, model.InForce}, Text: "不返"}, []model.RecordID{gone}},
		{"province", sdk.LicenceSearch{Regions: []model.Region{"110000"}}, []model.RecordID{moved, gone, soon, person, group}},
		{"district", sdk.LicenceSearch{Regions: []model.Region{"110106"}}, []model.RecordID{moved}},
		{"regions", sdk.LicenceSearch{Regions: []model.Region{"110108", "120000"}}, []model.RecordID{ascii, group}},
		{"a province, of what is the whole of another", sdk.LicenceSearch{Regions: []model.Region{"130100"}}, nil},
		{"owner", sdk.LicenceSearch{Owner: "bj-cy"}, []model.RecordID{soon, person}},
		{"owner after a transfer", sdk.LicenceSearch{Owner: "tj-scjg"}, []model.RecordID{moved}},
		{"issuer", sdk.LicenceSearch{Issuer: issuer, Text: "公司", Owner: "bj-scjg"}, []model.RecordID{group}},
		{"issued within", sdk.LicenceSearch{IssuedOn: sdk.Days{Min: "2021-12-11", Max: "2021-12-11"}}, []model.RecordID{soon}},
		{"issued just outside", sdk.LicenceSearch{IssuedOn: sdk.Days{Min: "2021-12-12", Max: "2025-12-31"}}, nil},
		{"issued until", sdk.LicenceSearch{IssuedOn: sdk.Days{Max: "2020-01-01"}}, []model.RecordID{old}},
		{"valid from", sdk.LicenceSearch{ValidFrom: sdk.Days{Max: "2021-12-11"}}, []model.RecordID{old, soon}},
		{"ends after a day that is far off", sdk.LicenceSearch{ValidUntil: sdk.Days{Min: "2149-12-31"}}, []model.RecordID{old, person}},
		{"ends before it", sdk.LicenceSearch{ValidUntil: sdk.Days{Min: "2100-01-01", Max: "2149-12-31"}}, nil},
		{"ends within a year, whatever became of it", sdk.LicenceSearch{ValidUntil: sdk.Days{Min: "2026-12-01", Max: "2026-12-31"}}, []model.RecordID{gone, soon}},
		{"expires within 16 days", sdk.LicenceSearch{Expiring: 16}, []model.RecordID{soon}},
		{"expires within 15 days", sdk.LicenceSearch{Expiring: 15}, nil},
		{"taken over unchecked, and not corrected", sdk.LicenceSearch{Legacy: true}, []model.RecordID{soon}},
		{"likewise, in an order of its own", sdk.LicenceSearch{Legacy: true, Sort: sdk.SortNumber}, []model.RecordID{soon}},
		{"days the wrong way round", sdk.LicenceSearch{IssuedOn: sdk.Days{Min: "2026-01-06", Max: "2026-01-05"}}, nil},
		{"by number", sdk.LicenceSearch{Sort: sdk.SortNumber}, []model.RecordID{group, person, soon, gone, old, moved, ascii}},
		{"by end", sdk.LicenceSearch{Sort: sdk.SortValidUntil, Owner: "bj-cy"}, []model.RecordID{soon, person}},
		{"by name", sdk.LicenceSearch{Sort: sdk.SortHolderName, Text: "公司"}, []model.RecordID{group, moved}},
	} {
		if got := r.find(tt.s); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	f, err := r.x.Page(t.Context(), &Query{LicenceSearch: sdk.LicenceSearch{HolderCode: code}, Today: today}, "", 1, false)
	if err != nil {
		t.Fatal(err)
	}
	v := r.log.value[group]
	want := sdk.FoundLicence{Record: group, Version: 1, State: model.InForce, Type: v.Type, Number: v.Number, Identifier: v.Identifier, Issuer: v.Issuer, Owner: "bj-scjg",
		Region: v.Region, IssuedOn: v.IssuedOn, ValidFrom: v.ValidFrom, ValidUntil: v.ValidUntil, HolderKind: v.HolderKind, HolderCode: string(v.HolderCode),
		HolderName: v.HolderName, Updated: f.Licences[0].Updated}
	if f.Licences[0] != want || f.Position != uint64(len(r.log.leaves)) || f.Updated(0).IsZero() {
		t.Errorf("%+v, want %+v", f, want)
	}
	if f, err := r.x.Page(t.Context(), &Query{LicenceSearch: sdk.LicenceSearch{Text: "引号"}, Today: today}, "", 1, false); err != nil || !f.Licences[0].Legacy {
		t.Errorf("not marked: %+v, %v", f.Licences, err)
	}
	_, err = r.x.Page(t.Context(), &Query{LicenceSearch: sdk.LicenceSearch{Text: "··· ·"}, Today: today}, "", 1, false)
	if model.AsError(err).Code != model.CodeBadValue {
		t.Errorf("a text of nothing: %v", err)
	}
}

// Updated is the time of one of a page's licences.
func (f Found) Updated(i int) model.Time { return f.Licences[i].Updated }

// A person's name is found and shown only for the tree of the owning agency, at the node that keeps it; whoever else
// asks cannot tell that there is one.
func TestConfidentialHolders(t *testing.T) {
	const code = "110105194912310021"
	r := newRig(t)
	mine := r.log.person("bj-cy", code, "张三·李四", true)
	public := r.log.issue("bj-cy", func(v *model.Licence) { v.HolderName = "张三餐饮有限公司" })
	elsewhere := r.log.person("bj-cy", code, "张三", false)
	other := r.log.person("tj-scjg", code, "张三（天津）", true)
	r.caughtUp()
	for _, tt := range []struct {
		name string
		s    sdk.LicenceSearch
		see  []model.AgencyID
		want []model.RecordID
	}{
		{"one's own", sdk.LicenceSearch{Text: "张三"}, []model.AgencyID{"bj-scjg", "bj-cy"}, []model.RecordID{public, mine}},
		{"by name, both kinds", sdk.LicenceSearch{Text: "张三", Sort: sdk.SortOldest}, everyone, []model.RecordID{mine, public, other}},
		{"by number", sdk.LicenceSearch{Text: "张三", Sort: sdk.SortNumber}, everyone, []model.RecordID{mine, public, other}},
		{"another's", sdk.LicenceSearch{Text: "张三"}, []model.AgencyID{"bj-scjg"}, []model.RecordID{public}},
		{"a party's people", sdk.LicenceSearch{Text: "张三"}, nil, []model.RecordID{public}},
		{"code", sdk.LicenceSearch{HolderCode: code}, []model.AgencyID{"tj-scjg"}, []model.RecordID{other}},
		{"code, without the right", sdk.LicenceSearch{HolderCode: code}, []model.AgencyID{"hb-scjg"}, nil},
		{"the whole name, other brackets", sdk.LicenceSearch{HolderName: "张三(天津)"}, everyone, []model.RecordID{other}},
		{"with a filter", sdk.LicenceSearch{HolderCode: code, Regions: []model.Region{"120000"}}, everyone, nil},
		{"without a name asked for", sdk.LicenceSearch{Owner: "bj-cy"}, nil, []model.RecordID{elsewhere, public, mine}},
	} {
		if got := r.find(tt.s, tt.see...); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	shown := func(id model.RecordID, see ...model.AgencyID) sdk.FoundLicence {
		f, err := r.x.Page(t.Context(), &Query{See: see, Today: today}, "", 50, false)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(f.Licences, func(l sdk.FoundLicence) bool { return l.Record == id })
		return f.Licences[i]
	}
	if l := shown(mine, "bj-cy"); l.HolderName != "张三·李四" || l.HolderCode != code || !l.Confidential {
		t.Errorf("not shown to its own: %+v", l)
	}
	for _, see := range [][]model.AgencyID{nil, {"bj-scjg"}, {"tj-scjg"}} {
		if l := shown(mine, see...); l.HolderName != "" || l.HolderCode != "" || l.Confidential {
			t.Errorf("shown to %v: %+v", see, l)
		}
	}
	// Transferred, it is the new owner's; suspended, the name stays.
	r.log.transfer(mine, "tj-scjg")
	r.log.act(model.LicenceSuspend, other, model.Suspended)
	r.caughtUp()
	if got := r.find(sdk.LicenceSearch{Text: "李四"}, "bj-cy"); got != nil {
		t.Errorf("the old owner still finds %v", got)
	}
	if got := r.find(sdk.LicenceSearch{Text: "张三", HolderCode: code}, "tj-scjg"); !slices.Equal(got, []model.RecordID{other, mine}) {
		t.Errorf("the new owner finds %v", got)
	}
	r.sound()
}

// sound looks whether the file holds exactly what its rows say: every row and term once.
func (r *rig) sound() {
	r.t.Helper()
	r.stop()
	db, err := sql.Open("sqlite", dsn(r.path, "rw"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	var says string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&says); err != nil || says != "ok" {
		r.t.Errorf("integrity: %q %v", says, err)
	}
	for _, table := range []string{"words", "holder_words"} {
		if _, err := db.Exec("INSERT INTO " + table + "(" + table + ") VALUES ('integrity-check')"); err != nil {
			r.t.Errorf("%s: %v", table, err)
		}
		want := map[string]int{}
		rows, err := db.Query("SELECT " + rowColumns + ", h.code, h.name, h.folded FROM licences l LEFT JOIN holders h ON h.pos = l.pos")
		if err != nil {
			r.t.Fatal(err)
		}
		for rows.Next() {
			var l row
			var code, name, folded sql.NullString
			if err := rows.Scan(append(l.fields(), &code, &name, &folded)...); err != nil {
				r.t.Fatal(err)
			}
			if err := l.check(); err != nil {
				r.t.Error(err)
			}
			var b termList
			terms := l.terms(&b)
			if table == "holder_words" {
				if !code.Valid {
					continue
				}
				terms = (&secret{code.String, name.String, folded.String}).terms(&l, &b)
			}
			seen := map[string]bool{}
			for _, term := range strings.Fields(terms) {
				if !seen[term] {
					want[strings.ToLower(term)]++
				}
				seen[term] = true
			}
		}
		rows.Close()
		if _, err := db.Exec("CREATE VIRTUAL TABLE temp.v USING fts5vocab(main, " + table + ", row)"); err != nil {
			r.t.Fatal(err)
		}
		// A deleted term stands in the vocabulary until segments are merged; merging everything drops it.
		if _, err := db.Exec("INSERT INTO " + table + "(" + table + ") VALUES ('optimize')"); err != nil {
			r.t.Fatal(err)
		}
		got := map[string]int{}
		if rows, err = db.Query("SELECT term, doc FROM temp.v"); err != nil {
			r.t.Fatal(err)
		}
		for rows.Next() {
			var term string
			var n int
			if err := rows.Scan(&term, &n); err != nil {
				r.t.Fatal(err)
			}
			got[term] = n
		}
		rows.Close()
		for term, n := range want {
			if got[term] != n {
				r.t.Errorf("%s: %q stands in %d rows, want %d", table, term, got[term], n)
			}
		}
		for term, n := range got {
			if want[term] == 0 {
				r.t.Errorf("%s: %q stands in %d rows, want none", table, term, n)
			}
		}
		if _, err := db.Exec("DROP TABLE temp.v"); err != nil {
			r.t.Fatal(err)
		}
	}
}

// A cursor belongs to one search: changed, or under another, it is refused.
func TestCursor(t *testing.T) {
	r := newRig(t)
	for range 10 {
		r.log.issue("bj-scjg", nil)
	}
	r.caughtUp()
	page := func(s sdk.LicenceSearch, after string) (Found, error) {
		return r.x.Page(t.Context(), &Query{LicenceSearch: s, Today: today}, after, 3, false)
	}
	s := sdk.LicenceSearch{Text: "公司", Types: []model.TypeCode{typeA, typeB}}
	f, err := page(s, "")
	if err != nil || f.Next == "" {
		t.Fatalf("%+v %v", f, err)
	}
	if _, err := page(sdk.LicenceSearch{Text: "公司", Types: []model.TypeCode{typeB, typeA}, Sort: sdk.SortNewest}, f.Next); err != nil {
		t.Errorf("the same search, written otherwise: %v", err)
	}
	for name, try := range map[string]struct {
		s     sdk.LicenceSearch
		after string
	}{
		"another search": {sdk.LicenceSearch{Text: "有限"}, f.Next},
		"another order":  {sdk.LicenceSearch{Text: "公司", Types: s.Types, Sort: sdk.SortOldest}, f.Next},
		"changed":        {s, f.Next[:len(f.Next)-2] + "AA"},
		"cut":            {s, f.Next[:10]},
		"not base64":     {s, "….."},
		"far too long":   {s, strings.Repeat("A", 5000)},
	} {
		var e *model.Error
		if _, err := page(try.s, try.after); !errors.As(err, &e) || e.Code != model.CodeBadValue || e.Field != "after" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A search that takes too long is ended, and says so; the index goes on.
func TestTooSlow(t *testing.T) {
	r := newRig(t)
	for range 500 {
		r.log.issue("bj-scjg", nil)
	}
	r.caughtUp()
	q := &Query{LicenceSearch: sdk.LicenceSearch{Text: "龘"}, Today: today}
	if _, err := r.x.page(t.Context(), q, "", 50, false, 1); model.AsError(err).Code != model.CodeSearchTooBroad && model.AsError(err).Code != model.CodeRateLimited {
		t.Errorf("%v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.x.Page(gone, q, "", 50, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if got := r.find(sdk.LicenceSearch{Text: "样例17有"}); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if s := r.x.Status(); s.Why != "" || s.Rebuilding {
		t.Errorf("%+v", s)
	}
}
