package httpapi_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// fakeSearch answers with what it has and remembers what it was asked.
type fakeSearch struct {
	mu     sync.Mutex
	found  []sdk.FoundLicence
	err    error // of Page, and of Walk before the licence numbered fail
	fail   int
	asked  []sdk.LicenceSearch
	after  string
	limit  int
	count  bool
	agency model.AgencyID
	hold   chan struct{} // Walk waits for it after its first licence
	held   chan struct{}
}

func (f *fakeSearch) Page(_ context.Context, s sdk.LicenceSearch, agency model.AgencyID, after string, limit int, count bool) (sdk.LicencePage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.agency, f.after, f.limit, f.count = append(f.asked, s), agency, after, limit, count
	p := sdk.LicencePage{Licences: f.found, Next: "next-cursor"}
	if after != "" {
		p.Licences, p.Next = nil, ""
	}
	if count {
		n := len(f.found)
		p.Count = &n
	}
	return p, f.err
}

func (f *fakeSearch) Walk(_ context.Context, s sdk.LicenceSearch, agency model.AgencyID, each func(*sdk.FoundLicence) error) error {
	f.mu.Lock()
	f.asked, f.agency = append(f.asked, s), agency
	f.mu.Unlock()
	for i := range f.found {
		if f.err != nil && i == f.fail {
			return f.err
		}
		if err := each(&f.found[i]); err != nil {
			return err
		}
		if f.hold != nil && i == 0 {
			f.held <- struct{}{}
			<-f.hold
		}
	}
	if f.err != nil && f.fail >= len(f.found) {
		return f.err
	}
	return nil
}

func withSearch(f *fakeSearch, dir string) option {
	return func(c *httpapi.Config, _ *auth.Rates) { c.Search, c.Temporary = f, dir }
}

func licence(name string) sdk.FoundLicence {
	id, err := model.NewLicenceID(model.LicenceIDParts{Type: "11100000MB0143028R001", Issuer: "11110000X000100145", Serial: "0000001", Version: 1})
	if err != nil {
		panic(err)
	}
	return sdk.FoundLicence{Record: "bj-scjg.1", Version: 2, State: model.InForce, Type: "11100000MB0143028R001", Number: "0012345678901234567", Identifier: id,
		Issuer: "11110000X000100145", Owner: "bj-scjg", Region: "110105", IssuedOn: "2026-01-05", ValidFrom: "2026-01-05", HolderKind: model.HolderEnterprise,
		HolderCode: "91110105X000000192", HolderName: name, Position: 7}
}

// A search is what its query string says, whatever order it is written in; the SDK writes what the node reads.
func TestSearch(t *testing.T) {
	f := &fakeSearch{found: []sdk.FoundLicence{licence("北京样例有限公司")}}
	s := open(t, withSearch(f, ""))
	want := sdk.LicenceSearch{
		HolderCode: "91110105X000000192", HolderName: "北京（样例）", Text: "京东 集团&=%", Issuer: "bj-scjg", Owner: "bj-cy", Types: []model.TypeCode{"11100000MB0143028R001"},
		Number: "A/1", NumberPrefix: "A", States: []model.State{model.InForce, model.Suspended}, Regions: []model.Region{"110000", "120000"},
		IssuedOn: sdk.Days{Min: "2024-01-01", Max: "2024-12-31"}, ValidFrom: sdk.Days{Min: "2024-01-01"}, ValidUntil: sdk.Days{Max: "2030-01-01"}, Expiring: 30, Legacy: true, Sort: sdk.SortNumber,
	}
	p, err := s.client(auth.Drafter).SearchPage(t.Context(), want, 7, "a-cursor", true)
	if err != nil || p.Count == nil || *p.Count != 1 {
		t.Fatalf("%+v %v", p, err)
	}
	if !reflect.DeepEqual(f.asked[0], want) || f.limit != 7 || f.after != "a-cursor" || !f.count || f.agency != "bj-scjg" {
		t.Errorf("asked %+v\nwant  %+v", f.asked[0], want)
	}
	again, err := sdk.ParseLicenceSearch(want.Query())
	if err != nil || !reflect.DeepEqual(again, want) {
		t.Errorf("%+v %v", again, err)
	}
	n := 0
	for l, err := range s.client(auth.Auditor).Search(t.Context(), sdk.LicenceSearch{}) {
		if n++; err != nil || l != f.found[0] {
			t.Errorf("%+v %v", l, err)
		}
	}
	if n != 1 || f.limit != sdk.MaxFound || f.after != "next-cursor" {
		t.Errorf("%d licences; limit %d, after %q", n, f.limit, f.after)
	}
}

func TestSearchRefusals(t *testing.T) {
	f := &fakeSearch{}
	s := open(t, withSearch(f, ""))
	long := strings.Repeat("长", sdk.MaxSearchText+1)
	for query, want := range map[string]model.Code{
		"holder=x":               model.CodeUnknownField,
		"text=a&Text=b":          model.CodeUnknownField,
		"format=csv":             model.CodeUnknownField,
		"text=a&text=b":          model.CodeDuplicateKey,
		"text=":                  model.CodeMissingField,
		"text=%20%20":            model.CodeMissingField,
		"text=%ff":               model.CodeBadUTF8,
		"text=a%00b":             model.CodeControlCharacter,
		"text=a;b=c":             model.CodeBadValue,
		"text=" + long:           model.CodeTooLong,
		"text=a+b+c+d+e+f+g+h+i": model.CodeBadValue,
		"type=x":                 model.CodeBadValue,
		"state=valid":            model.CodeBadValue,
		"region=11":              model.CodeBadRegion,
		"region=110000&region=":  model.CodeMissingField,
		strings.Repeat("&region=110000", sdk.MaxSearchAny+1): model.CodeBadValue,
		"owner=A":                           model.CodeBadID,
		"issued_on_min=2026-02-30":          model.CodeBadDate,
		"expiring=0":                        model.CodeBadValue,
		"expiring=99999":                    model.CodeBadValue,
		"expiring=x":                        model.CodeBadValue,
		"sort=id":                           model.CodeBadValue,
		"limit=0":                           model.CodeBadValue,
		"limit=201":                         model.CodeBadValue,
		"limit=x":                           model.CodeBadValue,
		"count=1":                           model.CodeBadValue,
		"after=a&after=b":                   model.CodeBadValue,
		"text=" + strings.Repeat("a", 9000): model.CodeTooLong,
	} {
		p := s.refused(t, auth.Auditor, "GET", "/v1/search/licences?"+query, "", want)
		if strings.Contains(p.Detail+p.Field, "长") || p.Written != "nothing" {
			t.Errorf("%.40s: %+v", query, p)
		}
	}
	for _, query := range []string{"", "format=pdf", "format=csv&format=csv", "format=csv&limit=3", "format=csv&count=true"} {
		status, _, raw := s.ask(t, auth.Auditor, "GET", "/v1/search/licences/export?"+query, "")
		if status != http.StatusBadRequest {
			t.Errorf("%q: %d %s", query, status, raw)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("asked %+v", f.asked)
	}
	// A node whose index is made anew, and one that has none.
	f.err = model.E(model.CodeSearchRebuilding).With("12 %%")
	if p := s.refused(t, auth.Auditor, "GET", "/v1/search/licences", "", model.CodeSearchRebuilding); p.Detail != "12 %" {
		t.Errorf("%+v", p)
	}
	s.refused(t, auth.Auditor, "GET", "/v1/search/licences/export?format=csv", "", model.CodeSearchRebuilding)
	s.refused(t, auth.Auditor, "GET", "/v1/search/licences/export?format=xlsx", "", model.CodeSearchRebuilding)
	open(t).refused(t, auth.Auditor, "GET", "/v1/search/licences", "", model.CodeSearchRebuilding)
	s.refused(t, auth.Verifier, "GET", "/v1/search/licences", "", model.CodeForbidden)
	s.refused(t, auth.Verifier, "GET", "/v1/search/licences/export?format=csv", "", model.CodeForbidden)
}

var hostileNames = []string{
	strings.Repeat("长", 200), `=HYPERLINK("http://x","点")`, "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1＋1", "＋86", "－1", "＠x", " =1", "'=1",
	"引\"号\",逗号;分号", "换\n行\r\n符", "控\x00\x07\x1b制", "方\u202e向\u2066符\u200f", "零\u200b宽\ufeff", "坏\xff字", "𠮷野家", "<b>&amp;]]>", "行\u2028段\u2029",
	"_x0041_", "1E17", "0012", "2026-01-01", strings.Repeat("=", 200),
}

// Whatever a name holds, every export holds as many rows and columns as it should, no cell that a spreadsheet would
// evaluate, and nothing that cannot be seen.
func TestExportHostileNames(t *testing.T) {
	f := &fakeSearch{}
	for _, n := range hostileNames {
		f.found = append(f.found, licence(n))
	}
	s := open(t, withSearch(f, t.TempDir()))
	var text bytes.Buffer
	if err := s.client(auth.Auditor).ExportSearch(t.Context(), sdk.LicenceSearch{Text: "x"}, "csv", &text); err != nil {
		t.Fatal(err)
	}
	raw, bom := bytes.CutPrefix(text.Bytes(), []byte("\xef\xbb\xbf"))
	if !bom || !utf8.Valid(raw) {
		t.Error("no mark at the beginning, or not UTF-8")
	}
	rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(raw, []byte("\r\n")); n != len(f.found)+1 || bytes.Count(raw, []byte("\n")) != n {
		t.Errorf("%d lines for %d licences", n, len(f.found))
	}
	var sheet bytes.Buffer
	if err := s.client(auth.Auditor).ExportSearch(t.Context(), sdk.LicenceSearch{}, "xlsx", &sheet); err != nil {
		t.Fatal(err)
	}
	book, err := excelize.OpenReader(bytes.NewReader(sheet.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	name := book.GetSheetName(0)
	cells, err := book.GetRows(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(f.found)+1 || len(cells) != len(rows) {
		t.Fatalf("%d and %d rows for %d licences", len(rows), len(cells), len(f.found))
	}
	column := 0
	for i, h := range rows[0] {
		if cells[0][i] != h {
			t.Errorf("headings %q and %q", h, cells[0][i])
		}
		if strings.HasSuffix(h, " holder_name") {
			column = i
		}
	}
	for i, n := range hostileNames {
		if len(rows[i+1]) != len(rows[0]) {
			t.Errorf("%q: %d columns", n, len(rows[i+1]))
		}
		for _, c := range rows[i+1] {
			if c != "" && strings.ContainsRune("=+-@\t\r＝＋－＠", []rune(c)[0]) {
				t.Errorf("%q: a CSV cell begins %q", n, c)
			}
		}
		inSheet := cells[i+1][column]
		for _, c := range []string{rows[i+1][column], inSheet} {
			if strings.ContainsFunc(c, func(r rune) bool { return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' }) {
				t.Errorf("%q: unseen characters in %q", n, c)
			}
		}
		if strings.TrimPrefix(rows[i+1][column], "'") != strings.TrimPrefix(inSheet, "'") {
			t.Errorf("%q: %q and %q", n, rows[i+1][column], inSheet)
		}
		seen := !strings.ContainsFunc(n, func(r rune) bool {
			return unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == utf8.RuneError
		})
		if seen && inSheet != n {
			t.Errorf("%q became %q", n, inSheet)
		}
		at := fmt.Sprintf("%c%d", 'A'+column, i+2)
		if formula, err := book.GetCellFormula(name, at); err != nil || formula != "" {
			t.Errorf("%s: formula %q %v", at, formula, err)
		}
		if kind, err := book.GetCellType(name, at); err != nil || kind != excelize.CellTypeInlineString && kind != excelize.CellTypeSharedString {
			t.Errorf("%s: type %v %v", at, kind, err)
		}
		number, err := book.GetCellValue(name, fmt.Sprintf("F%d", i+2))
		if err != nil || number != "0012345678901234567" || cells[i+1][15] != "长期" {
			t.Errorf("number %q, end %q %v", number, cells[i+1][15], err)
		}
	}
}

// A licence that was taken over unchecked is marked beside its state.
func TestExportMarksLegacy(t *testing.T) {
	old := licence("北京样例有限公司")
	old.Legacy, old.HolderCode = true, ""
	s := open(t, withSearch(&fakeSearch{found: []sdk.FoundLicence{licence("北京样例有限公司"), old}}, t.TempDir()))
	var b bytes.Buffer
	if err := s.client(auth.Auditor).ExportSearch(t.Context(), sdk.LicenceSearch{}, "csv", &b); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "无法判定"); n != 1 || !strings.Contains(b.String(), ",有效,in_force,是，核验结果为无法判定,") {
		t.Errorf("%d marks:\n%s", n, b.String())
	}
}

func TestExportHeaders(t *testing.T) {
	s := open(t, withSearch(&fakeSearch{}, t.TempDir()))
	for format, kind := range map[string]string{"csv": "text/csv; charset=utf-8", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"} {
		status, h, raw := s.ask(t, auth.Auditor, "GET", "/v1/search/licences/export?format="+format, "")
		if status != 200 || h.Get("Content-Type") != kind || !strings.Contains(h.Get("Content-Disposition"), "."+format+`"`) || len(raw) == 0 {
			t.Errorf("%s: %d %v, %d bytes", format, status, h, len(raw))
		}
	}
}

// An export that fails in the middle is cut off: nobody takes part of it for the whole. Its files on the disk are gone.
func TestExportCutOff(t *testing.T) {
	dir := t.TempDir()
	f := &fakeSearch{err: errors.New("the index failed"), fail: 60_000}
	for range 60_000 {
		f.found = append(f.found, licence("北京样例有限公司"))
	}
	s := open(t, withSearch(f, dir))
	var out bytes.Buffer
	err := s.client(auth.Auditor).ExportSearch(t.Context(), sdk.LicenceSearch{}, "csv", &out)
	if err == nil || out.Len() == 0 {
		t.Errorf("%d bytes and %v", out.Len(), err)
	}
	out.Reset()
	if err := s.client(auth.Auditor).ExportSearch(t.Context(), sdk.LicenceSearch{}, "xlsx", &out); err == nil || out.Len() != 0 {
		t.Errorf("%d bytes and %v", out.Len(), err)
	}
	f.err = nil
	if err := s.client(auth.Auditor).ExportSearch(t.Context(), sdk.LicenceSearch{}, "xlsx", &out); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		names, _ := filepath.Glob(dir + "/*")
		t.Errorf("left behind: %v %v", names, err)
	}
}

// One export of a caller, two of the node; the next are asked to wait.
func TestExportsAtOnce(t *testing.T) {
	f := &fakeSearch{found: []sdk.FoundLicence{licence("甲"), licence("乙")}, hold: make(chan struct{}), held: make(chan struct{})}
	s := open(t, withSearch(f, ""))
	var wg sync.WaitGroup
	for _, role := range []auth.Role{auth.Auditor, auth.Drafter} {
		wg.Go(func() {
			if status, _, raw := s.ask(t, role, "GET", "/v1/search/licences/export?format=csv", ""); status != 200 {
				t.Errorf("%s: %d %s", role, status, raw)
			}
		})
		<-f.held
	}
	for _, role := range []auth.Role{auth.Auditor, auth.Approver} {
		status, h, raw := s.ask(t, role, "GET", "/v1/search/licences/export?format=csv", "")
		var p model.Problem
		if json.Unmarshal(raw, &p) != nil || status != 429 || h.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", role, status, raw)
		}
	}
	close(f.hold)
	wg.Wait()
	f.hold = nil
	if status, _, raw := s.ask(t, auth.Auditor, "GET", "/v1/search/licences/export?format=csv", ""); status != 200 {
		t.Errorf("afterwards: %d %s", status, raw)
	}
}

// Each licence that a search or an export shows stands in the access log once.
func TestSearchesAreLoggedOnce(t *testing.T) {
	l := &fakeLog{durable: map[uint64]bool{}, counts: map[int]int{}}
	other := licence("乙")
	other.Record = "bj-scjg.2"
	f := &fakeSearch{found: []sdk.FoundLicence{licence("甲"), other}}
	s := open(t, withSearch(f, t.TempDir()), func(c *httpapi.Config, _ *auth.Rates) { c.Access, c.AccessReader = l, l })
	for _, path := range []string{"/v1/search/licences", "/v1/search/licences/export?format=csv", "/v1/search/licences/export?format=xlsx"} {
		before := l.len()
		if status, _, raw := s.ask(t, auth.Auditor, "GET", path, ""); status != 200 {
			t.Fatalf("%s: %d %s", path, status, raw)
		}
		var shown []string
		for _, e := range l.since(before) {
			for _, r := range e.Records {
				shown = append(shown, r.ID)
			}
		}
		if want := []string{"bj-scjg.1", "bj-scjg.2"}; !slices.Equal(shown, want) {
			t.Errorf("%s: the log names %v, want %v", path, shown, want)
		}
	}
}
