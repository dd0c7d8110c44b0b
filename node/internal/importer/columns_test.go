package importer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

// Zeros that a cell's format shows are put back, and that is said.
func TestZerosOfAFormatAreNoted(t *testing.T) {
	file := book(t, func(x *excelize.File) {
		set(t, x, "A1", append([]any{"no"}, columns...)...)
		set(t, x, "A2", 1234, "甲", code(t, 1), "2020-01-01", "北京", "东城")
		set(t, x, "A3", 123456, "乙", code(t, 2), "2020-01-01", "北京", "东城")
		f := "000000"
		for _, c := range []string{"A2", "A3"} {
			styled(t, x, c, &excelize.Style{CustomNumFmt: &f})
		}
	})
	c, got, rows, err := checkFile(t, file, Reading{}, func(m *Map) { m.Fields["number"] = Source{Column: "no"} })
	if err != nil || fmt.Sprint(got) != "[A2 leading_zeros note]" || c.Notes != 1 || valueOf(t, rows[0]).Number != "001234" || valueOf(t, rows[1]).Number != "123456" {
		t.Fatal(c, got, err)
	}
}

// A number in a column of texts is noted, or refused where the map says so, wherever in the file the texts stand; in a
// column of numbers it is what it is.
func TestNumbersAmongTexts(t *testing.T) {
	template, err := parseTemplate("京{column:no}")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		no   []any
		m    func(*Map)
		want string
		good int
	}{
		{"first", []any{12345, "JY0001", "JY0002"}, nil, "[A2 number_cell note]", 3},
		{"last", []any{"JY0001", "JY0002", 12345}, nil, "[A4 number_cell note]", 3},
		{"digits", []any{"00123", "00124", 125}, nil, "[A4 number_cell note]", 3},
		{"refused", []any{"JY0001", 12345, "JY0002"}, func(m *Map) { m.NumberCells = "refuse" }, "[A3 number_cell]", 2},
		{"of a template", []any{"0001", 12345, "0002"}, func(m *Map) { m.Fields["number"] = Source{Template: "京{column:no}", parts: template} }, "[A3 number_cell note]", 3},
		{"proved by a length", []any{"00123", 124, "00125"}, func(m *Map) { m.Fields["number"] = Source{Column: "no", Length: 5} }, "[A3 leading_zeros note]", 3},
		{"numbers", []any{1, 2, "无"}, nil, "[]", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			books := book(t, func(x *excelize.File) {
				set(t, x, "A1", append([]any{"no"}, columns...)...)
				for i, no := range tt.no {
					set(t, x, fmt.Sprint("A", i+2), no, "甲", code(t, i), "2020-01-01", "北京", "东城")
				}
			})
			var lines strings.Builder
			for i, no := range tt.no {
				fmt.Fprintf(&lines, `{"no":%s,"name":"甲","uscc":%q,"registration_date":"2020-01-01","province":"北京","district":"东城"}`+"\n", quoted(no), code(t, i))
			}
			for format, file := range map[Format][]byte{XLSX: books, JSONL: []byte(lines.String())} {
				c, got, _, err := checkFile(t, file, Reading{}, func(m *Map) {
					m.Fields["number"] = Source{Column: "no"}
					if tt.m != nil {
						tt.m(m)
					}
				})
				want := tt.want
				if format == JSONL { // lines have no names of cells, and are one fewer: there is no header
					want = strings.NewReplacer("A2", "1", "A3", "2", "A4", "3").Replace(want)
				}
				if err != nil || fmt.Sprint(got) != want || c.Good != tt.good {
					t.Errorf("%s: %+v %q, want %s: %v", format, c, got, want, err)
				}
			}
		})
	}
}

func quoted(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(v)
}

func TestTextsThatASpreadsheetRuns(t *testing.T) {
	for s, want := range map[string]bool{
		`=cmd|'/C calc'!A0`: true, "=1+1": true, "=A1": true, "＝SUM(A1)": true, `=HYPERLINK("http://x","甲")`: true,
		`+cmd|'/C calc'!A0`: true, `-2+3+cmd|' /C calc'!A0`: true, "@SUM(1+1)": true, "＋SUM(1)": true, "-[x.xlsx]Sheet1!A1": true, "+Sheet1!$A$1": true,
		// Names, telephone numbers and signs that stand for nothing.
		"": false, "甲有限公司": false, "@家（北京）餐饮有限公司": false, "@Home（北京）餐饮有限公司": false, "+86 10 6655 4433": false, "-3": false, "-": false, "--": false, "==": false, "＝": false,
		"-1F 101室": false, "-1F(东侧)": false, "+1店": false, "－": false, "A=B": false, "甲(SUM(1))": false, "@你好!": false, "5-3": false,
	} {
		if formula(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
	file := []byte("name,uscc,registration_date,province,district,scope\n" +
		"\"=cmd|'/C calc'!A0\"," + code(t, 1) + ",2020-01-01,北京,东城,甲\n" +
		"@家餐饮," + code(t, 2) + ",2020-01-01,北京,东城,-\n" +
		"丙," + code(t, 3) + ",2020-01-01,北京,东城,=A1\n")
	for allow, want := range map[string]string{"": "[2 formula_text 4 formula_text]", "allow": "[]"} {
		c, got, _, err := checkFile(t, file, Reading{}, func(m *Map) {
			m.FormulaTexts = allow
			m.Fields["face.scope"] = Source{Column: "scope"}
		})
		if err != nil || fmt.Sprint(got) != want || c.Rows != 3 {
			t.Error(c, got, err)
		}
	}
}

// A text file's numbers in columns of dates are days of a spreadsheet, which the map must say; numbers among texts are
// damage, and a code's length is proposed where zeros at heads show it.
func TestGuessOfDamage(t *testing.T) {
	g, err := GuessMap(inMemory([]byte("企业名称,统一社会信用代码,许可证编号,有效期起,注册资本\n"+
		"甲,"+code(t, 1)+",000123,43891,50000\n乙,"+code(t, 2)+",456,2020-03-01,60000\n丙,"+code(t, 3)+",000789,43892,70000\n")), Reading{})
	if err != nil {
		t.Fatal(err)
	}
	out := string(g.YAML("x", "11100000MB0143028R001", "bj-scjg"))
	for _, want := range []string{`serial_dates: "1900"`, `number: {column: "许可证编号", length: 6, required: true}`} {
		if !strings.Contains(out, want) {
			t.Errorf("%s is missing in\n%s", want, out)
		}
	}
	if _, err := DecodeMap([]byte(out)); err != nil {
		t.Error(err)
	}
	if p := g.profile("有效期起"); p.Date != 1 {
		t.Errorf("%+v", p)
	}
	g, err = GuessMap(inMemory(book(t, func(x *excelize.File) {
		set(t, x, "A1", "企业名称", "统一社会信用代码", "许可证编号", "有效期起", "注册资本")
		set(t, x, "A2", "甲", code(t, 1), "JY0001", 43891, 5)
		set(t, x, "A3", "乙", code(t, 2), 12345, 43892, 6)
		set(t, x, "A4", "丙", code(t, 3), "JY0003", 43893, "无")
	})), Reading{})
	if err != nil {
		t.Fatal(err)
	}
	if g.Serial != "" || g.profile("许可证编号").Damaged != 1 || g.profile("有效期起").Damaged != 0 || g.profile("注册资本").Damaged != 0 || g.profile("有效期起").Date != 1 {
		t.Errorf("%+v", g)
	}
	if out := string(g.YAML("x", "11100000MB0143028R001", "bj-scjg")); strings.Contains(out, "length") || strings.Contains(out, "serial_dates") {
		t.Error(out)
	}
}
