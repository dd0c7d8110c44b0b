package importer

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// book is a workbook as Excel writes it, one sheet, filled by f.
func book(t testing.TB, f func(x *excelize.File)) []byte {
	t.Helper()
	x := excelize.NewFile()
	f(x)
	var b bytes.Buffer
	if err := x.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func set(t testing.TB, x *excelize.File, cell string, values ...any) {
	t.Helper()
	if err := x.SetSheetRow("Sheet1", cell, &values); err != nil {
		t.Fatal(err)
	}
}

func styled(t testing.TB, x *excelize.File, cell string, s *excelize.Style) {
	t.Helper()
	id, err := x.NewStyle(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.SetCellStyle("Sheet1", cell, cell, id); err != nil {
		t.Fatal(err)
	}
}

func code(t testing.TB, i int) string { return strings.Split(invented(t, i), ",")[1] }

// codeOfDigits is a valid code that is all digits, as a spreadsheet mistakes for a number.
func codeOfDigits(t testing.TB) string {
	t.Helper()
	for i := range 100_000 {
		if u, err := model.InventUSCC("91110105", i); err == nil && digits(string(u)) {
			return string(u)
		}
	}
	t.Fatal("no code of digits")
	return ""
}

var columns = []any{"name", "uscc", "registration_date", "province", "district"}

// checkFile checks a file under the shipped map, changed by change.
func checkFile(t testing.TB, file []byte, how Reading, change func(*Map)) (Checked, []string, []Row, error) {
	t.Helper()
	m := mustMap(t, "enterprises-bth")
	if change != nil {
		change(m)
	}
	im := newImport(m, file, newLedger(t).targets("beijing", "tianjin", "hebei"))
	im.Reading = how
	var got []string
	im.Fault = func(f Fault) {
		s := strings.TrimSpace(fmt.Sprintf("%s %s", f.Where(), f.Code))
		if f.Note {
			s += " note"
		}
		if f.Zh() == "" || f.En() == "" || f.Zh() == string(f.Code) {
			t.Errorf("%s has no sentence", f.Code)
		}
		got = append(got, s)
	}
	c, err := im.Check(context.Background())
	if err != nil {
		return c, got, nil, err
	}
	var rows []Row
	_, _, err = im.rows(context.Background(), func(r Row, faults []Fault, _ []Cell) error {
		if good(faults) {
			rows = append(rows, r)
		}
		return nil
	})
	return c, got, rows, err
}

func valueOf(t testing.TB, r Row) model.Licence {
	t.Helper()
	var b struct{ Value model.Licence }
	if err := json.Unmarshal(r.Draft.Body, &b); err != nil {
		t.Fatal(err)
	}
	return b.Value
}

func TestWorkbooks(t *testing.T) {
	all := codeOfDigits(t)
	var number float64
	fmt.Sscan(all, &number)
	tests := []struct {
		name string
		fill func(x *excelize.File)
		how  Reading
		m    func(*Map)
		rows int
		want []string
	}{
		{"plain", func(x *excelize.File) { set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城") }, Reading{}, nil, 1, nil},
		{"code as number", func(x *excelize.File) { set(t, x, "A2", "甲", number, "2020-01-01", "北京", "东城") }, Reading{}, nil, 1, []string{"B2 damaged_number"}},
		{"code as shown number", func(x *excelize.File) { set(t, x, "A2", "甲", "9.11E+17", "2020-01-01", "北京", "东城") }, Reading{}, nil, 1, []string{"B2 damaged_number"}},
		{"date cell", func(x *excelize.File) {
			set(t, x, "A2", "甲", code(t, 1), time.Date(2020, 3, 1, 0, 0, 0, 0, time.UTC), "北京", "东城")
		}, Reading{}, nil, 1, nil},
		{"date cell in Chinese", func(x *excelize.File) {
			set(t, x, "A2", "甲", code(t, 1), 43891, "北京", "东城")
			f := `yyyy"年"m"月"d"日"`
			styled(t, x, "C2", &excelize.Style{CustomNumFmt: &f})
		}, Reading{}, nil, 1, nil},
		{"serial number", func(x *excelize.File) { set(t, x, "A2", "甲", code(t, 1), 43891, "北京", "东城") }, Reading{}, nil, 1, []string{"C2 serial_day note"}},
		{"the day that 1900 had not", func(x *excelize.File) { set(t, x, "A2", "甲", code(t, 1), 60, "北京", "东城") }, Reading{}, nil, 1, []string{"C2 bad_date"}},
		{"number that is a written date", func(x *excelize.File) { set(t, x, "A2", "甲", code(t, 1), 20200301, "北京", "东城") }, Reading{}, nil, 1, nil},
		{"date in a name", func(x *excelize.File) {
			set(t, x, "A2", time.Date(2020, 3, 1, 0, 0, 0, 0, time.UTC), code(t, 1), "2020-01-01", "北京", "东城")
		}, Reading{}, nil, 1, []string{"A2 damaged_date"}},
		{"formula", func(x *excelize.File) {
			set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
			_ = x.SetCellFormula("Sheet1", "A2", `HYPERLINK("http://x","甲")`)
		}, Reading{}, nil, 1, []string{"A2 formula_cell"}},
		{"formula in a column that nobody reads", func(x *excelize.File) {
			set(t, x, "A1", "name", "uscc", "registration_date", "province", "district", "note")
			set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
			_ = x.SetCellFormula("Sheet1", "F2", `cmd|'/C calc'!A0`)
		}, Reading{}, nil, 1, nil},
		{"empty rows between", func(x *excelize.File) {
			set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
			set(t, x, "A9", "乙", code(t, 2), "2020-01-01", "北京", "东城")
		}, Reading{}, nil, 2, nil},
		{"merged rows", func(x *excelize.File) {
			set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
			set(t, x, "A3", "乙", code(t, 2), "2020-01-01", "", "东城")
			_ = x.MergeCell("Sheet1", "D2", "D3")
		}, Reading{}, nil, 2, []string{"D3, E3 merged_cell"}},
		{"header of two lines, merged, under a title", func(x *excelize.File) {
			set(t, x, "A1", "企业名单")
			_ = x.MergeCell("Sheet1", "A1", "E1")
			set(t, x, "A2", "name", "uscc", "registration_date", "地址")
			set(t, x, "D3", "province", "district")
			_ = x.MergeCell("Sheet1", "D2", "E2")
			for _, c := range []string{"A", "B", "C"} {
				_ = x.MergeCell("Sheet1", c+"2", c+"3")
			}
			set(t, x, "A4", "甲", code(t, 1), "2020-01-01", "北京", "东城")
		}, Reading{}, func(m *Map) {
			m.HeaderRow, m.HeaderRows, m.Agency.By = 2, 2, []string{"地址/province", "地址/district"}
		}, 1, nil},
		{"spaces, widths, unseen characters", func(x *excelize.File) {
			set(t, x, "A2", "　甲\u200b乙（北京） 有限公司\u3000", "\u3000"+strings.ToLower(code(t, 1)[:4])+" "+code(t, 1)[4:], " 2020-01-01 ", "北京", "东城")
		}, Reading{}, nil, 1, []string{"A2 invisible_characters note"}},
		{"rare characters", func(x *excelize.File) {
			set(t, x, "A2", "𠮷𡘙𪚥·\ue123", code(t, 1), "2020年1月1日", "北京", "东城")
		}, Reading{}, nil, 1, []string{"A2 private_use note"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := book(t, func(x *excelize.File) {
				set(t, x, "A1", columns...)
				tt.fill(x)
			})
			c, got, rows, err := checkFile(t, file, tt.how, tt.m)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) || c.Rows != tt.rows || c.About.Format != XLSX || c.About.Sheet != "Sheet1" {
				t.Fatalf("%d rows, %q, want %d, %q: %+v", c.Rows, got, tt.rows, tt.want, c.About)
			}
			for _, r := range rows {
				if v := valueOf(t, r); strings.HasPrefix(tt.name, "date cell") && v.ValidFrom != "2020-03-01" || tt.name == "spaces, widths, unseen characters" && v.HolderName != "甲乙（北京） 有限公司" || tt.name == "rare characters" && v.HolderName != "𠮷𡘙𪚥·\ue123" {
					t.Fatalf("%+v", v)
				}
			}
		})
	}
}

func TestCalendarOf1904(t *testing.T) {
	file := book(t, func(x *excelize.File) {
		yes := true
		if err := x.SetWorkbookProps(&excelize.WorkbookPropsOptions{Date1904: &yes}); err != nil {
			t.Fatal(err)
		}
		set(t, x, "A1", columns...)
		set(t, x, "A2", "甲", code(t, 1), 0, "北京", "东城")
		set(t, x, "A3", "甲", code(t, 2), 42429, "北京", "东城")
		for _, c := range []string{"C2", "C3"} {
			styled(t, x, c, &excelize.Style{NumFmt: 14})
		}
	})
	_, got, rows, err := checkFile(t, file, Reading{}, nil)
	if err != nil || got != nil || valueOf(t, rows[0]).ValidFrom != "1904-01-01" || valueOf(t, rows[1]).ValidFrom != "2020-03-01" {
		t.Fatal(got, err)
	}
}

func TestCachedValues(t *testing.T) {
	// excelize writes a formula's stored result only where the cell has one; Excel always does.
	file := edited(t, book(t, func(x *excelize.File) {
		set(t, x, "A1", columns...)
		set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
		_ = x.SetCellFormula("Sheet1", "A2", `"甲"&"乙"`)
	}), "xl/worksheets/sheet1.xml", func(s string) string {
		i, k := strings.Index(s, `<c r="A2"`), strings.Index(s, `<c r="B2"`)
		return s[:i] + `<c r="A2" t="str"><f>"甲"&amp;"乙"</f><v>甲乙</v></c>` + s[k:]
	})
	if _, got, _, err := checkFile(t, file, Reading{}, nil); err != nil || fmt.Sprint(got) != "[A2 formula_cell]" {
		t.Fatal(got, err)
	}
	_, got, rows, err := checkFile(t, file, Reading{Cached: true}, nil)
	if err != nil || got != nil || valueOf(t, rows[0]).HolderName != "甲乙" {
		t.Fatal(got, err)
	}
}

func TestSheetsAndWhatIsHidden(t *testing.T) {
	file := book(t, func(x *excelize.File) {
		set(t, x, "A1", columns...)
		set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
		set(t, x, "A3", "乙", code(t, 2), "2020-01-01", "北京", "东城")
		_ = x.SetRowVisible("Sheet1", 3, false)
		_ = x.SetColVisible("Sheet1", "C", false)
		_, _ = x.NewSheet("名单")
		row := append([]any{}, columns...)
		_ = x.SetSheetRow("名单", "A1", &row)
	})
	c, got, _, err := checkFile(t, file, Reading{}, nil)
	a := c.About
	if err != nil || got != nil || c.Rows != 2 || a.Rows != 1 || fmt.Sprint(a.Columns, a.Others) != "[registration_date] [名单]" {
		t.Fatal(c, got, err)
	}
	for _, sheet := range []string{"名单", "2"} {
		if c, _, _, err := checkFile(t, file, Reading{Sheet: sheet}, nil); err != nil || c.Rows != 0 || c.About.Sheet != "名单" {
			t.Fatal(c, err)
		}
	}
	if _, _, _, err := checkFile(t, file, Reading{Sheet: "3"}, nil); err == nil || !strings.Contains(err.Error(), "Sheet1, 名单") {
		t.Fatal(err)
	}
}

// edited replaces a part of a workbook.
func edited(t testing.TB, file []byte, name string, change func(string) string) []byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == name {
			raw = []byte(change(string(raw)))
		}
		p, err := w.Create(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestHostileWorkbooks(t *testing.T) {
	plain := book(t, func(x *excelize.File) {
		set(t, x, "A1", columns...)
		set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
	})
	const sheet, strs = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
	zeros := strings.Repeat("0", 64<<20)
	for name, file := range map[string][]byte{
		"bomb":            edited(t, plain, sheet, func(s string) string { return s + zeros }),
		"long text":       edited(t, plain, strs, func(s string) string { return strings.Replace(s, "<t>", "<t>"+zeros[:2<<20], 1) }),
		"entities":        edited(t, plain, strs, func(s string) string { return `<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]>` + s }),
		"comment":         edited(t, plain, sheet, func(s string) string { return strings.Replace(s, "<sheetData>", "<!-- x --><sheetData>", 1) }),
		"long head":       edited(t, plain, sheet, func(s string) string { return "<?xml <<<<<<" + s }),
		"cut off":         edited(t, plain, sheet, func(s string) string { return s[:strings.Index(s, "</row>")] }),
		"no rows":         edited(t, plain, sheet, func(s string) string { return s[:strings.Index(s, "<sheetData>")] }),
		"empty":           edited(t, plain, sheet, func(string) string { return "" }),
		"rows backwards":  edited(t, plain, sheet, func(s string) string { return strings.Replace(s, `<row r="2"`, `<row r="1"`, 1) }),
		"cells backwards": edited(t, plain, sheet, func(s string) string { return strings.Replace(s, `r="C2"`, `r="A2"`, 1) }),
		"far column":      edited(t, plain, sheet, func(s string) string { return strings.Replace(s, `r="C2"`, `r="XFE2"`, 1) }),
		"wrong text":      edited(t, plain, sheet, func(s string) string { return strings.ReplaceAll(s, "<v>0</v>", "<v>99999</v>") }),
		"no zip":          []byte("PK\x03\x04 and nothing"),
		"other zip":       edited(t, plain, "_rels/.rels", func(string) string { return "<Relationships/>" }),
		"old xls":         []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
		"PDF":             []byte("%PDF-1.7"),
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := checkFile(t, file, Reading{}, nil)
			var whole *FileError
			if !errors.As(err, &whole) || whole.Zh == "" || whole.En == "" {
				t.Fatal(err)
			}
		})
	}
}

func TestMacrosAndLinksAreSaidAndPassedOver(t *testing.T) {
	file := edited(t, book(t, func(x *excelize.File) {
		set(t, x, "A1", columns...)
		set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
	}), "xl/_rels/workbook.xml.rels", func(s string) string {
		return strings.Replace(s, "</Relationships>", `<Relationship Id="x1" Type="http://schemas.microsoft.com/office/2006/relationships/vbaProject" Target="vbaProject.bin"/>`+
			`<Relationship Id="x2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/externalLink" Target="externalLinks/externalLink1.xml"/></Relationships>`, 1)
	})
	c, got, _, err := checkFile(t, file, Reading{}, nil)
	if err != nil || got != nil || fmt.Sprint(c.About.Ignored) != "[macros external links]" {
		t.Fatal(c, got, err)
	}
}

// What excelize wrote this reads alike, cell by cell.
func TestWorkbookReadsWhatWasWritten(t *testing.T) {
	r := rowsOf(500)
	file := book(t, func(x *excelize.File) {
		set(t, x, "A1", "a", "b", "c")
		for i, cells := range r {
			set(t, x, fmt.Sprintf("A%d", i+2), cells[0], cells[1], cells[2])
		}
	})
	w, err := OpenTable(inMemory(file), &Map{}, Reading{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i, want := range r {
		line, cells, fault, err := w.Next()
		if err != nil || fault != nil || line != i+2 {
			t.Fatal(line, fault, err)
		}
		for k := range want {
			if cells[k].Text != fmt.Sprint(want[k]) {
				t.Fatalf("row %d: %q, want %v", i, cells[k].Text, want[k])
			}
		}
	}
	if _, _, _, err := w.Next(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func rowsOf(n int) (out [][3]any) {
	hostile := []string{"=1+1", "'x", "<a>&amp;\"", "多\n行", "𠮷·\ue123", " 前后 ", "0012", "@x", "+1", strings.Repeat("长", 4000)}
	for i := range n {
		out = append(out, [3]any{hostile[i%len(hostile)], i * 1_000_003, fmt.Sprint("x", i)})
	}
	return out
}

func FuzzWorkbookSheet(f *testing.F) {
	plain := book(f, func(x *excelize.File) {
		set(f, x, "A1", columns...)
		set(f, x, "A2", "甲", code(f, 1), 43891, true, "东城")
		_ = x.MergeCell("Sheet1", "D2", "E3")
	})
	z, err := zip.NewReader(bytes.NewReader(plain), int64(len(plain)))
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range z.File {
		if p.Name == "xl/worksheets/sheet1.xml" {
			r, _ := p.Open()
			raw, _ := io.ReadAll(r)
			f.Add(string(raw))
		}
	}
	f.Add(`<worksheet><sheetData><row r="1"><c r="B1" t="inlineStr"><is><t>x</t></is></c></row><row/><row><c><f/><v>1e300</v></c></row></sheetData></worksheet>`)
	f.Add(`<x:worksheet><x:cols><x:col min="1" max="9" hidden="1"/></x:cols><x:sheetData><x:row r="1"><x:c t="d"><x:v>2020-01-01T00:00</x:v></x:c></x:row></x:sheetData><x:mergeCells><x:mergeCell ref="A1:C2"/></x:mergeCells></x:worksheet>`)
	f.Fuzz(func(t *testing.T, sheet string) {
		file := edited(t, plain, "xl/worksheets/sheet1.xml", func(string) string { return sheet })
		w, err := OpenTable(inMemory(file), &Map{HeaderRows: 1 + len(sheet)%2}, Reading{})
		for last := 0; err == nil; {
			var line int
			var cells []Cell
			if line, cells, _, err = w.Next(); err == nil && (line <= last || len(cells) != len(w.Header())) {
				t.Fatalf("line %d after %d, %d cells", line, last, len(cells))
			}
			last = line
		}
		var whole *FileError
		if !errors.Is(err, io.EOF) && !errors.As(err, &whole) {
			t.Fatal(err)
		}
	})
}

// Whatever a file holds, guessing ends, and what it says of the file holds none of its values.
func TestGuessShowsNoValues(t *testing.T) {
	file := book(t, func(x *excelize.File) {
		set(t, x, "A1", "姓名", "身份证号", "发证机关", "发证日期")
		for i := range 5 {
			set(t, x, fmt.Sprint("A", i+2), "秘密某人", "11010519491231002X", "某区局", "2020-01-01")
		}
	})
	g, err := GuessMap(inMemory(file), Reading{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	out := string(raw) + string(g.YAML("x", "", ""))
	if strings.Contains(out, "秘密") || strings.Contains(out, "110105") {
		t.Fatal(out)
	}
	for _, want := range []string{`holder_kind: {const: "111"}`, `holder_code: {column: "身份证号", required: true}`, `agency: ""`, `FILL IN`, `number: {column: ""}`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing in\n%s", want, out)
		}
	}
	if _, err := DecodeMap(g.YAML("x", "", "")); err == nil {
		t.Error("a map that is not filled in is taken")
	}
	for _, bad := range []string{"", "PK", "{", "\n\n", "\xff\xfe"} {
		if _, err := GuessMap(inMemory([]byte(bad)), Reading{}); err == nil {
			t.Errorf("%q is guessed", bad)
		}
	}
}
