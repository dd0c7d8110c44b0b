package importer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const goodMap = `type: 11100000MB0143028R001
fields:
  number: {column: n}
  holder_code: {column: c}
  holder_name: {column: h}
  valid_from: {column: d}
agency: {column: a}
`

func TestBadMaps(t *testing.T) {
	if _, err := DecodeMap([]byte(goodMap)); err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string {
		if !strings.Contains(goodMap, old) {
			t.Fatal(old)
		}
		return strings.Replace(goodMap, old, new, 1)
	}
	for name, m := range map[string]string{
		"empty":               "",
		"no map":              "- a\n",
		"broken":              "type: [\n",
		"unknown key":         goodMap + "typo: x\n",
		"unknown field key":   edit("{column: n}", "{colum: n}"),
		"key twice":           goodMap + "type: 11100000MB0143028R001\n",
		"two documents":       goodMap + "---\n" + goodMap,
		"no type":             edit("type: 11100000MB0143028R001\n", ""),
		"bad type":            edit("11100000MB0143028R001", "11100000MB0143028X001"),
		"no number":           edit("  number: {column: n}\n", ""),
		"no such field":       edit("number:", "numbr:"),
		"bad face field":      edit("agency:", "  face.Größe: {column: x}\nagency:"),
		"two sources":         edit("{column: n}", "{column: n, const: x}"),
		"no source":           edit("{column: n}", "{required: true}"),
		"bad template":        edit("{column: n}", `{template: "{nix}"}`),
		"open template":       edit("{column: n}", `{template: "{uscc"}`),
		"closed template":     edit("{column: n}", `{template: "uscc}"}`),
		"row width":           edit("{column: n}", `{template: "{row:99}"}`),
		"composed holder":     edit("{column: c}", `{template: "{row}"}`),
		"no agency":           edit("agency: {column: a}\n", ""),
		"two ways to agency":  edit("{column: a}", "{column: a, const: bj-scjg}"),
		"bad agency":          edit("{column: a}", "{const: BJ}"),
		"table without by":    edit("{column: a}", "{table: [{agency: bj-scjg}]}"),
		"by without table":    edit("{column: a}", "{by: [a]}"),
		"entry too long":      edit("{column: a}", "{by: [a], table: [{when: [x, y], agency: bj-scjg}]}"),
		"entry twice":         edit("{column: a}", "{by: [a], table: [{when: [Ａ], agency: bj-scjg}, {when: [a ], agency: tj-scjg}]}"),
		"entry without":       edit("{column: a}", "{by: [a], table: [{when: [x]}]}"),
		"bad region":          edit("{column: a}", "{by: [a], table: [{agency: bj-scjg, region: '1101'}]}"),
		"delimiter":           goodMap + "delimiter: x\n",
		"dates without day":   goodMap + "dates: [YYYY-MM]\n",
		"dates twice":         goodMap + "dates: [YYYY-MM-DD-DD]\n",
		"dates run together":  goodMap + "dates: [YYYYMDD]\n",
		"too large":           goodMap + "#" + strings.Repeat("x", MaxMap),
		"an alias of aliases": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" + goodMap,
	} {
		if _, err := DecodeMap([]byte(m)); !errors.Is(err, errMap) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShippedMaps(t *testing.T) {
	names := ShippedMaps()
	if len(names) == 0 {
		t.Fatal("none")
	}
	for _, n := range names {
		m, err := ShippedMap(n)
		if err != nil || m.Name != n {
			t.Errorf("%s: %+v, %v", n, m, err)
		}
	}
	for _, n := range []string{"", "nix", "../sample/licences", "a/b"} {
		if _, err := ShippedMap(n); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: %v", n, err)
		}
	}
}

func TestDates(t *testing.T) {
	m := &Map{}
	for _, s := range []string{"YYYY-MM-DD", "YYYY年M月D日", "D.M.YYYY", "YYYYMMDD"} {
		l, err := parseDateLayout(s)
		if err != nil {
			t.Fatal(err)
		}
		m.layout = append(m.layout, l)
	}
	for in, want := range map[string]model.Date{
		"2024-02-29": "2024-02-29", "2024年2月9日": "2024-02-09", "2024年02月09日": "2024-02-09", "1.12.2023": "2023-12-01", "20231231": "2023-12-31",
		"2023-02-29": "", "2024-2-9": "", "2024年2月": "", "2024-01-01x": "", "": "", "24-01-01": "", "２０２４-01-01": "", "2024年13月1日": "", "0001-01-01": "",
	} {
		got, ok := m.date(in)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	}
}

func TestFold(t *testing.T) {
	for _, same := range [][2]string{
		{"化谷（北京）公司", "化谷(北京)公司"}, {"ＮＶＩＤＩＡ", "nvidia"}, {"甲 乙　丙\t丁", "甲乙丙丁"}, {"Ａ１", "a1"},
	} {
		if Fold(same[0]) != Fold(same[1]) {
			t.Errorf("%q and %q", same[0], same[1])
		}
	}
	if Fold("甲") == Fold("乙") {
		t.Error("all alike")
	}
}

// A map with every kind of field and a face of every kind.
func TestFaces(t *testing.T) {
	m, err := DecodeMap([]byte(`
type: 11100000MB0143028R001
delimiter: tab
dates: [YYYY-MM-DD]
no_end: [长期, 永久有效]
fields:
  number: {template: "营{region}-{org}-{column:no}"}
  holder_code: {column: code}
  holder_name: {column: name}
  issued_on: {const: "2024-01-02"}
  valid_from: {column: from}
  valid_until: {column: until}
  face.capital: {column: capital}
  face.scope: {column: scope, required: true}
  face.branch: {column: branch}
  face.founded: {column: from}
  face.legal: {column: legal}
agency:
  by: [place]
  table:
    - {when: [西城], agency: bj-scjg, region: "110102"}
    - {when: [天津], agency: bj-scjg, region: "120000"}
    - {agency: bj-scjg}
`))
	if err != nil {
		t.Fatal(err)
	}
	u, err := inventedCode("110102", 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	head := "no\tcode\tname\tfrom\tuntil\tcapital\tscope\tbranch\tlegal\tplace\n"
	row := func(cells ...string) string {
		return "A1\t" + string(u) + "\t甲\t2020-01-01\t" + strings.Join(cells, "\t") + "\n"
	}
	check := func(line string) (Row, []string) {
		l := newLedger(t)
		im := newImport(m, []byte(head+line), l.targets("beijing"))
		im.dir = NewDirectory(im.Targets[0].Node)
		var got Row
		var faults []string
		if _, _, err := im.rows(context.Background(), func(r Row, fs []Fault, _ []Cell) error {
			got = r
			for _, f := range fs {
				faults = append(faults, f.Column+" "+string(f.Code))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return got, faults
	}
	r, faults := check(row("长期", "100", "零售", "是", "张三", "西城"))
	if faults != nil {
		t.Fatal(faults)
	}
	for _, want := range []string{
		`"number":"营110102-` + string(u.OrganisationCode()) + `-A1"`, `"region":"110102"`, `"valid_until":""`, `"issued_on":"2024-01-02"`,
		`"face":{"branch":true,"capital":100,"founded":"2020-01-01","scope":"零售"}`,
	} {
		if !strings.Contains(string(r.Draft.Body), want) {
			t.Errorf("no %s in %s", want, r.Draft.Body)
		}
	}
	if r.Draft.Confidential == nil || r.Draft.Confidential.Face["legal"] != "张三" || strings.Contains(string(r.Draft.Body), "张三") {
		t.Errorf("%+v", r.Draft.Confidential)
	}
	if r, faults := check(row("2030-01-01", "", "零售", "", "", "别处")); faults != nil || strings.Contains(string(r.Draft.Body), "region\"") || r.Draft.Confidential != nil {
		t.Error(faults, string(r.Draft.Body))
	}
	for line, want := range map[string]string{
		row("2019-01-01", "", "零售", "", "", ""):                                          "until ends_before_it_begins",
		row("昨天", "", "零售", "", "", ""):                                                  "until bad_date",
		row("", "1.5", "零售", "", "", ""):                                                 "capital wrong_type",
		row("", "", strings.Repeat("零", 11), "", "", ""):                                 "scope too_long",
		row("", "", " ", "", "", ""):                                                     "scope missing_field",
		row("", "", "零售", "也许", "", ""):                                                  "branch wrong_type",
		row("", "", "零售", "", "", "天津"):                                                  "place region_not_permitted",
		row("", "", "1105194912310", "", "", "") + "\n":                                  "scope too_long",
		row("", "9999999999999999999", "零售", "", "", ""):                                 "capital wrong_type",
		strings.Replace(row("", "", "零售", "", "", ""), "A1", strings.Repeat("长", 64), 1): "no too_long",
	} {
		if _, faults := check(line); fmt.Sprint(faults) != "["+want+"]" {
			t.Errorf("%q: %q, want %q", line, faults, want)
		}
	}
}

func TestJournalRefusesWhatItDidNotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	open := func() error {
		j, err := OpenJournal(path, model.Digest{1}, model.Digest{2}, model.TimeOf(today))
		if err == nil {
			j.Close()
		}
		return err
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	head, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"x\n", `{"rows":"2-1","issued":1}` + "\n", `{"rows":"0","issued":1}` + "\n", `{"rows":"2-3","issued":1}` + "\n", `{"rows":"2","issued":1,"more":1}` + "\n",
		`{"rows":"2-99999999","issued":1}` + "\n", `{"rows":"2","rejected":[{"line":3,"code":"x"}]}` + "\n", `{"rows":"2","issued":2,"already":-1}` + "\n",
	} {
		if err := os.WriteFile(path, append(append([]byte{}, head...), bad...), 0o600); err != nil {
			t.Fatal(err)
		}
		if open() == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	// A torn last line is what a crash leaves, and is cut off.
	if err := os.WriteFile(path, append(append([]byte{}, head...), `{"rows":"2-5","iss`...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("name,uscc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if open() == nil {
		t.Error("a CSV file was taken for a state file")
	}
}

func FuzzDecodeMap(f *testing.F) {
	f.Add([]byte(goodMap))
	for _, n := range ShippedMaps() {
		raw, err := shipped.ReadFile("maps/" + n + ".yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("dates: ['D']\nfields: {number: {template: '{row:'}}\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := DecodeMap(raw)
		if err != nil {
			if !errors.Is(err, errMap) {
				t.Fatal(err)
			}
			return
		}
		m.Columns()
		if len(m.Agency.By) > 0 {
			m.Agency.find(make([]string, len(m.Agency.By)))
		}
		if d, ok := m.date("2024-01-01"); ok && d == "" {
			t.Fatal("a date that is none")
		}
	})
}

func FuzzJournalLines(f *testing.F) {
	f.Add("2-501,503")
	f.Add("1,2,3")
	f.Add("9-9")
	f.Fuzz(func(t *testing.T, s string) {
		rows, err := parseLines(s)
		if err != nil {
			return
		}
		again, err := parseLines(formatLines(rows))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(rows) {
			t.Fatal(rows, again, err)
		}
	})
}

// The maps in the guides are maps.
func TestGuides(t *testing.T) {
	for _, lang := range []string{"en", "zh-CN"} {
		raw, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "guide", "import."+lang+".md"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(raw), "```yaml\n")
		text, _, ok2 := strings.Cut(rest, "```")
		if !ok || !ok2 {
			t.Fatal(lang, ": no map")
		}
		if m, err := DecodeMap([]byte(text)); err != nil || len(m.Fields) < 7 {
			t.Errorf("%s: %v", lang, err)
		}
	}
}
