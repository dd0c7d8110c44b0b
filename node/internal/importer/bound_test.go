package importer

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/xuri/excelize/v2"
)

// allocated is how many bytes f asks for, in all.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// A row keeps no more text than a row may have, however few bytes of the file make it.
func TestOneRowCannotFillTheMemory(t *testing.T) {
	plain := book(t, func(x *excelize.File) {
		set(t, x, "A1", columns...)
		set(t, x, "A2", "甲", code(t, 1), "2020-01-01", "北京", "东城")
	})
	row := func(cell string, n int) func(string) string {
		return func(s string) string {
			return strings.Replace(s, "</sheetData>", `<row r="3">`+strings.Repeat(cell, n)+`</row></sheetData>`, 1)
		}
	}
	styles := func(zeros int) func(string) string {
		return func(string) string {
			return `<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><numFmts count="1"><numFmt numFmtId="200" formatCode="` +
				strings.Repeat("0", zeros) + `"/></numFmts><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="200"/></cellXfs></styleSheet>`
		}
	}
	const sheet, most = "xl/worksheets/sheet1.xml", 64 << 20
	padded := edited(t, edited(t, plain, sheet, row(`<c s="1"><v>1</v></c>`, 400)), "xl/styles.xml", styles(1_000_000))
	var err error
	if n := allocated(func() { _, _, _, err = checkFile(t, padded, Reading{}, nil) }); err != nil || n > most {
		t.Errorf("a file of %d bytes: %d MB, %v", len(padded), n>>20, err)
	}
	// What a number format of a believable length pads is padded still.
	s := &sheetRows{book: &workbook{styles: []style{{}, styleOf("200", strings.Repeat("0", 18))}}}
	if c, err := s.cell("", 1, "123", "", false); err != nil || c.Text != "000000000000000123" {
		t.Errorf("%q, %v", c.Text, err)
	}

	// What is kept of a row, of a few that are too long. Empty columns of the header do not hide it.
	long := edited(t, plain, sheet, row(`<c t="inlineStr"><is><t>`+strings.Repeat("x", 40<<10)+`</t></is></c>`, 200))
	w, err := newWorkbook(inMemory(long), mustMap(t, "enterprises-bth"), Reading{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		if ok, err := w.sheet.read(); err != nil {
			t.Fatal(err)
		} else if !ok {
			break
		}
		kept := 0
		for _, c := range w.sheet.row {
			kept += len(c.Text)
		}
		if kept > 2*MaxRow {
			t.Errorf("row %d keeps %d bytes", w.sheet.line, kept)
		}
	}
	if c, faults, _, err := checkFile(t, long, Reading{}, nil); err != nil || c.Rows != 2 || !slices.Equal(faults, []string{"3 row_too_long"}) {
		t.Errorf("%+v, %q, %v", c, faults, err)
	}
	header := edited(t, plain, sheet, func(s string) string {
		return strings.Replace(s, `<row r="1"`, `<row r="1">`+strings.Repeat(`<c t="inlineStr"><is><t>`+strings.Repeat("x", 40<<10)+`</t></is></c>`, 3)+`</row><row r="2"`, 1)
	})
	if _, _, _, err := checkFile(t, header, Reading{}, nil); err == nil || !strings.Contains(err.Error(), "64 KiB") {
		t.Errorf("a header of 120 KiB: %v", err)
	}
}

// A template makes no value that is longer than a row.
func TestTemplatesAreBounded(t *testing.T) {
	if _, err := parseTemplate(strings.Repeat("{column:n}", maxTemplateParts)); err != nil {
		t.Error(err)
	}
	if _, err := parseTemplate(strings.Repeat("{column:n}", maxTemplateParts+1)); err == nil {
		t.Error("a template of 65 parts is taken")
	}
	parts, err := parseTemplate(strings.Repeat("{column:n}", 10))
	if err != nil {
		t.Fatal(err)
	}
	cell := strings.Repeat("x", 50_000)
	if v := (composed{cell: func(string) string { return cell }}).expand(parts); len(v) <= MaxRow || len(v) > 2*MaxRow {
		t.Errorf("%d bytes", len(v))
	}
	m, err := DecodeMap(fmt.Appendf(nil, `name: t
type: 11100000MB0143028R001
fields:
  number: {template: "%s"}
  holder_code: {column: uscc}
  holder_name: {column: name}
  valid_from: {column: registration_date}
agency: {const: bj-scjg}
`, strings.Repeat("{column:n}", 10)))
	if err != nil {
		t.Fatal(err)
	}
	_, faults, _, err := checkFile(t, fmt.Appendf(nil, "name,uscc,registration_date,n\n甲,%s,2020-01-01,%s\n", code(t, 1), cell), Reading{}, func(x *Map) { *x = *m })
	if err != nil || !slices.Equal(faults, []string{"2 too_long"}) {
		t.Errorf("%q, %v", faults, err)
	}
}
