package importer

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const header = "name,uscc,registration_date,province,district\n"

// invented is a row with the i-th invented code.
func invented(t testing.TB, i int) string {
	t.Helper()
	code, err := inventedCode("110101", i, 77)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("甲%d有限公司,%s,2020-01-01,北京,东城\n", i, code)
}

func TestBadFiles(t *testing.T) {
	for name, file := range map[string]string{
		"empty":          "",
		"only a mark":    "\ufeff",
		"GBK":            "\xc3\xfb\xb3\xc6,uscc\n",
		"UTF-16":         "\xff\xfen\x00",
		"missing column": "name,uscc,province,district\n",
		"column twice":   "name,uscc,uscc,registration_date,province,district\n",
		"twice folded":   "name,ＵＳＣＣ,uscc,registration_date,province,district\n",
		"header quotes":  "name,\"uscc,registration_date,province,district\n",
		"long header":    strings.Repeat("x", MaxRow+10) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			im := newImport(mustMap(t, "enterprises-bth"), []byte(file), newLedger(t).targets("beijing"))
			_, err := im.Check(context.Background())
			var e *FileError
			if !errors.As(err, &e) || e.Zh == "" || e.En == "" {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestBadRows(t *testing.T) {
	good := func(i int) string { return invented(t, i) }
	code := func(i int) string { return strings.Split(invented(t, i), ",")[1] }
	row := func(cells ...string) string { return strings.Join(cells, ",") + "\n" }
	long := strings.Repeat("长", model.MaxName+1)
	tests := []struct {
		name string
		file string
		rows int
		want []string // "line column code"
	}{
		{"header only", header, 0, nil},
		{"good", header + good(1) + good(2), 2, nil},
		{"CRLF", strings.ReplaceAll(header+good(1)+good(2), "\n", "\r\n"), 2, nil},
		{"mark", "\ufeff" + header + good(1), 1, nil},
		{"no last line end", header + strings.TrimSuffix(good(1), "\n"), 1, nil},
		{"blank lines", header + "\n" + good(1) + "\r\n\n" + good(2), 2, nil},
		{"quoted", header + `"甲，""乙"" 有限公司",` + code(1) + ",2020-01-01,北京,东城\n", 1, nil},
		{"columns in another order and more", "district,x,province,registration_date,uscc,name\n东城,,北京,2020-01-01," + code(1) + ",甲\n", 1, nil},
		{"folded header and values", "ＮＡＭＥ, USCC ,registration_date,province,district\n甲," + code(1) + ",2020-01-01,北 京,　东城\n", 1, nil},
		{"wrong check", header + row("甲", code(1)[:17]+"Q", "2020-01-01", "北京", "东城") + good(2), 2, []string{"2 uscc bad_uscc"}},
		{"short code", header + row("甲", "911101", "2020-01-01", "北京", "东城"), 1, []string{"2 uscc bad_uscc"}},
		{"no such day", header + row("甲", code(1), "2023-02-29", "北京", "东城"), 1, []string{"2 registration_date bad_date"}},
		{"future", header + row("甲", code(1), "2026-12-01", "北京", "东城"), 1, []string{"2 registration_date issued_in_the_future"}},
		{"no date", header + row("甲", code(1), "", "北京", "东城"), 1, []string{"2 registration_date missing_field"}},
		{"other writings of dates", header + row("甲", code(1), "2020年3月1日", "北京", "东城") + row("乙", code(2), "20200301", "北京", "东城") + row("丙", code(3), "2020/03/01", "北京", "东城"), 3, nil},
		{"no name", header + row(" ", code(1), "2020-01-01", "北京", "东城"), 1, []string{"2 name missing_field"}},
		{"long name", header + row(long, code(1), "2020-01-01", "北京", "东城"), 1, []string{"2 name too_long"}},
		{"control character", header + row("甲\x07", code(1), "2020-01-01", "北京", "东城"), 1, []string{"2 name control_character"}},
		{"line end in a name", header + row("\"甲\n乙\"", code(1), "2020-01-01", "北京", "东城") + good(2), 2, []string{"2 name control_character"}},
		{"citizen id in a name", header + row("张三11010519491231002X", code(1), "2020-01-01", "北京", "东城"), 1, []string{"2 name personal_identifier"}},
		{"not UTF-8", header + row("\xc3\xfb", code(1), "2020-01-01", "北京", "东城") + good(2), 2, []string{"2  bad_utf8"}},
		{"unknown province", header + row("甲", code(1), "2020-01-01", "山西", "太原"), 1, []string{"2 province, district agency_unmapped"}},
		{"few columns", header + "甲," + code(1) + "\n" + good(2), 2, []string{"2  column_count"}},
		{"many columns", header + strings.TrimSuffix(good(1), "\n") + ",x\n" + good(2), 2, []string{"2  column_count"}},
		{"bare quote", header + "甲\"乙," + code(1) + ",2020-01-01,北京,东城\n" + good(2) + good(3), 3, []string{"2  bad_quotes"}},
		{"quote never closed", header + "\"甲," + code(1) + ",2020-01-01,北京,东城\n" + good(2) + good(3), 3, []string{"2  bad_quotes"}},
		{"two quotes never closed", header + "\"甲," + code(1) + ",2020-01-01,北京,东城\n" + good(2) + "\"乙," + code(3) + ",2020-01-01,北京,东城\n" + good(4), 4, []string{"2  bad_quotes", "4  bad_quotes"}},
		{"long row", header + "\"" + strings.Repeat("x", MaxRow) + "\"\n" + good(2), 2, []string{"2  row_too_long"}},
		{"long row after an open quote", header + "\"甲\n" + strings.Repeat("x", MaxRow+5) + "\n" + good(2), 3, []string{"2  bad_quotes", "3  row_too_long"}},
		{"same row", header + good(1) + good(2) + good(1), 3, []string{"4 uscc duplicate_row"}},
		{"same code, other name", header + good(1) + row("乙", code(1), "2020-01-01", "北京", "东城"), 2, []string{"3 uscc duplicate_number"}},
		{"everything", header + row("", "x", "y", "z", ""), 1, []string{
			"2 name missing_field", "2 uscc bad_uscc", "2 registration_date bad_date", "2 province, district agency_unmapped"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			im := newImport(mustMap(t, "enterprises-bth"), []byte(tt.file), newLedger(t).targets("beijing"))
			var got []string
			im.Fault = func(f Fault) {
				got = append(got, fmt.Sprintf("%d %s %s", f.Line, f.Column, f.Code))
				if f.Zh() == "" || f.En() == "" || f.Zh() == string(f.Code) {
					t.Errorf("%s has no sentence", f.Code)
				}
			}
			c, err := im.Check(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got, "|") != strings.Join(tt.want, "|") || c.Rows != tt.rows {
				t.Errorf("%d rows, %q\nwant %d, %q", c.Rows, got, tt.rows, tt.want)
			}
		})
	}
}

func TestDuplicateHolders(t *testing.T) {
	m, err := DecodeMap([]byte("type: 11100000MB0143028R001\none_per_holder: true\nfields:\n  number: {template: \"N{row:4}\"}\n" +
		"  holder_code: {column: uscc}\n  holder_name: {column: name}\n  valid_from: {column: registration_date}\nagency: {const: bj-scjg}\n"))
	if err != nil {
		t.Fatal(err)
	}
	file := header + invented(t, 1) + invented(t, 2) + invented(t, 1)
	for _, one := range []bool{true, false} {
		m.OnePerHolder = one
		im := newImport(m, []byte(file), newLedger(t).targets("beijing"))
		n := 0
		im.Fault = func(f Fault) {
			if n++; f.Code != DuplicateHolder || f.Line != 4 || f.Column != "uscc" {
				t.Error(f)
			}
		}
		if _, err := im.Check(context.Background()); err != nil || (n == 1) != one {
			t.Fatal(n, err)
		}
	}
}

// Whatever the bytes are, rows are found within bounds, every line is in one row, and what the standard
// reader reads whole this one reads alike.
func FuzzRows(f *testing.F) {
	for _, s := range []string{
		"", "a,b\n1,2\n", "\ufeffa,b\r\n1,2\r\n", "a,b\n\"1\n2\",3\n4,5\n", "a,b\n\"1,2\n3,4\n\"5,6\n7,8\n", "a,b\n1\"2,3\n4,5\n", "a\n\"\"\n\n\"x\n",
		header + invented(f, 1), "a,b\n\xff,1\n", "a\n\r\n\r", "a,b\n\"1\"\"2\",\"3\"\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := newCSV(bufio.NewReaderSize(bytes.NewReader(bytes.TrimPrefix(file, []byte("\ufeff"))), MaxRow+2), &Map{Delimiter: ","}, About{})
		if err != nil {
			return
		}
		var rows [][]string
		last, bad, lines := 0, false, bytes.Count(file, []byte{'\n'})+1
		for {
			line, cells, fault, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if line <= last || line > lines {
				t.Fatalf("line %d after %d of %d", line, last, lines)
			}
			last = line
			if fault != nil {
				if fault.Line != line || fault.Code == "" {
					t.Fatal(fault)
				}
				bad = true
				continue
			}
			if len(cells) != len(r.Header()) {
				t.Fatalf("%d cells", len(cells))
			}
			texts := make([]string, len(cells))
			for i := range cells {
				texts[i] = cells[i].Text
			}
			rows = append(rows, texts)
		}
		if bad || r.ours {
			return
		}
		std := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(file, []byte("\ufeff"))))
		want, err := std.ReadAll()
		if err != nil {
			t.Fatalf("the standard reader says %v, this one read %q", err, rows)
		}
		if fmt.Sprint(rows) != fmt.Sprint(want[1:]) {
			t.Fatalf("%q, want %q", rows, want[1:])
		}
	})
}
