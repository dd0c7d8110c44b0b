package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"

	"github.com/xuri/excelize/v2"
)

func gb(t testing.TB, s string) []byte {
	t.Helper()
	out, err := simplifiedchinese.GB18030.NewEncoder().String(s)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(out)
}

func TestEncodings(t *testing.T) {
	text := header + invented(t, 1) + strings.ReplaceAll(invented(t, 2), "甲2", "𠮷（北京）㐂·") + invented(t, 3)
	utf16 := func(e unicode.Endianness, mark unicode.BOMPolicy, s string) []byte {
		out, err := unicode.UTF16(e, mark).NewEncoder().Bytes([]byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		file  []byte
		given Encoding
		want  Encoding
		sure  int // at least
	}{
		{"UTF-8", []byte(text), "", UTF8, 100},
		{"UTF-8 with mark", []byte("\ufeff" + text), "", UTF8, 100},
		{"GB 18030", gb(t, text), "", GB18030, 80},
		{"GB 18030 given", gb(t, text), GB18030, GB18030, 100},
		{"UTF-16 with mark", utf16(unicode.LittleEndian, unicode.UseBOM, text), "", UTF16LE, 100},
		{"UTF-16 with tabs, as Excel's Unicode text", utf16(unicode.LittleEndian, unicode.UseBOM, strings.ReplaceAll(text, ",", "\t")), "", UTF16LE, 100},
		{"UTF-16 big-endian", utf16(unicode.BigEndian, unicode.IgnoreBOM, text), "", UTF16BE, 90},
		{"UTF-16 without mark", utf16(unicode.LittleEndian, unicode.IgnoreBOM, text), "", UTF16LE, 90},
		{"one bad row", []byte(text + "\xc3\xfb,x,2020-01-01,,\n"), "", UTF8, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _, rows, err := checkFile(t, tt.file, Reading{Encoding: tt.given}, nil)
			if err != nil || c.Good != 3 || c.About.Encoding != tt.want || c.About.Confidence < tt.sure {
				t.Fatalf("%+v, %v", c, err)
			}
			if v := valueOf(t, rows[1]); v.HolderName != "𠮷（北京）㐂·有限公司" {
				t.Fatal(v.HolderName)
			}
		})
	}
	if _, _, _, err := checkFile(t, []byte("\x81\x81\xff\xfe\xfd\xff\n\xff\xff\xff\xff\n"), Reading{}, nil); !errors.Is(err, errFile) || !strings.Contains(err.Error(), "--encoding") {
		t.Fatal(err)
	}
	for _, name := range []string{"", "auto", "UTF-8", "gbk", "GB 18030", "utf-16le"} {
		if _, err := ParseEncoding(name); err != nil {
			t.Error(name, err)
		}
	}
	if _, err := ParseEncoding("latin1"); err == nil {
		t.Error("latin1 was taken")
	}
}

// The codes that changed their meaning in 2022, and the areas that anybody may use as his own.
func TestGB18030Of2022(t *testing.T) {
	in := "\xa6\xd9\xa6\xdb\xa6\xf3\xfe\x59\xfe\x61\xfe\xa0\xfe\x51\x82\x35\x90\x37\x95\x32\x82\x36\xaa\xa1\xf8\xa1\xa1\x40甲"
	in = strings.ReplaceAll(in, "甲", "\xbc\xd7")
	for _, size := range []int{1, 2, 3, 7, 1000} {
		raw, err := io.ReadAll(&gbReader{in: &slowly{[]byte(in), size}, out: simplifiedchinese.GB18030.NewDecoder()})
		if want := "\ufe10\ufe11\ufe19\u9fb4\u9fb5\u9fbb\U00020087\u9fb4\U00020000\ue000\ue234\ue4c6甲"; err != nil || string(raw) != want {
			t.Fatalf("%+q, want %+q, %v", raw, want, err)
		}
	}
}

type slowly struct {
	b []byte
	n int
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(s.n, len(p))], s.b)
	s.b = s.b[n:]
	return n, nil
}

// What the decoder of x/text decodes, this one decodes alike, however the bytes are cut.
func FuzzGB18030(f *testing.F) {
	f.Add(gb(f, "证照（北京）𠮷a"), 3)
	f.Add([]byte("\x81\xff\x30\x81\x30\x81"), 1)
	f.Add([]byte("\xa6\xd9\xaa\xa1\x80\xff\x84\x31\xa4\x37"), 2)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		got, err := io.ReadAll(&gbReader{in: &slowly{in, max(1, size&63)}, out: simplifiedchinese.GB18030.NewDecoder()})
		if err != nil || !utf8.Valid(got) {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(&gbReader{in: bytes.NewReader(in), out: simplifiedchinese.GB18030.NewDecoder()})
		if err != nil || !bytes.Equal(got, whole) {
			t.Fatalf("%q in pieces, %q whole", got, whole)
		}
		want, _ := simplifiedchinese.GB18030.NewDecoder().Bytes(in)
		if !bytes.ContainsRune(want, utf8.RuneError) && !bytes.ContainsRune(got, utf8.RuneError) && !bytes.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

func TestJSONLines(t *testing.T) {
	line := func(name, uscc, more string) string {
		return fmt.Sprintf(`{"name":%s,"uscc":%s,"registration_date":"2020-01-01","province":"北京","district":"东城"%s}`, name, uscc, more) + "\n"
	}
	q := func(i int) string { return `"` + code(t, i) + `"` }
	for _, tt := range []struct {
		name, file string
		rows       int
		want       []string
	}{
		{"plain", line(`"甲"`, q(1), "") + "\n" + line(`"乙"`, q(2), `,"more":null`), 2, nil},
		{"code as number", line(`"甲"`, codeOfDigits(t), ""), 1, []string{"1 damaged_number"}},
		{"code cut", line(`"甲"`, `9.11101e17`, ""), 1, []string{"1 damaged_number"}},
		{"list", line(`["甲"]`, q(1), ""), 1, []string{"1 nested_value"}},
		{"member twice", line(`"甲"`, q(1), `,"name":"乙"`) + line(`"乙"`, q(2), ""), 2, []string{"1 bad_json"}},
		{"no object", line(`"甲"`, q(1), "") + "[1]\n{\n" + line(`"乙"`, q(2), ""), 4, []string{"2 bad_json", "3 bad_json"}},
		{"long", line(`"甲"`, q(1), "") + `{"x":"` + strings.Repeat("x", MaxRow) + "\"}\n", 2, []string{"2 row_too_long"}},
		{"not UTF-8", line(`"甲"`, q(1), "") + line("\"\xff\"", q(2), ""), 2, []string{"2 bad_utf8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, got, _, err := checkFile(t, []byte(tt.file), Reading{}, nil)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(tt.want) || c.Rows != tt.rows || c.About.Format != JSONL {
				t.Fatalf("%+v, %q, want %q, %v", c, got, tt.want, err)
			}
		})
	}
	var many strings.Builder
	many.WriteString("{")
	for i := range maxKeys + 1 {
		fmt.Fprintf(&many, `"k%d":1,`, i)
	}
	for _, bad := range []string{many.String() + `"x":1}`, "{", "{}"} {
		if _, _, _, err := checkFile(t, []byte(bad), Reading{}, nil); !errors.Is(err, errFile) {
			t.Error(err)
		}
	}
}

func FuzzJSONLines(f *testing.F) {
	f.Add([]byte("{\"a\":\"1\",\"b\":2.50e3}\n{\"b\":null,\"a\":[1]}\n"))
	f.Add([]byte("{\"a\":1}\n\n{\"a\":\n{\"a\":1,\"a\":2}\n{\"\":true}"))
	f.Fuzz(func(t *testing.T, file []byte) {
		table, err := OpenTable(inMemory(append([]byte("{"), file...)), &Map{}, Reading{Encoding: UTF8})
		last := 0
		for err == nil {
			var line int
			var cells []Cell
			var fault *Fault
			if line, cells, fault, err = table.Next(); err == nil && (line <= last || fault == nil && len(cells) != len(table.Header())) {
				t.Fatalf("line %d after %d, %d cells", line, last, len(cells))
			}
			last = line
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, errFile) {
			t.Fatal(err)
		}
	})
}

// A rejects file comes in the format of the file, holds nothing that a spreadsheet runs, and goes in again
// once it is put right.
func TestRejectsAreImportable(t *testing.T) {
	const hostile = `=HYPERLINK("http://x","y")`
	two := func(m *Map) { m.HeaderRow, m.HeaderRows = 2, 2 }
	fill := func(x *excelize.File, line int) {
		set(t, x, fmt.Sprint("A", line), "甲", code(t, 1), "2020-01-01", "北京", "东城")
		set(t, x, fmt.Sprint("A", line+1), hostile, code(t, 2), "2020-02-30", "北京", "东城")
		set(t, x, fmt.Sprint("A", line+2), "'丙", code(t, 3), "2020-02-30", "北京", "东城")
	}
	for _, tt := range []struct {
		name   string
		file   []byte
		change func(*Map)
		how    Reading
	}{
		{"CSV", []byte(header + invented(t, 1) + `"=HYPERLINK(""http://x"",""y"")",` + code(t, 2) + ",2020-02-30,北京,东城\n'丙," + code(t, 3) + ",2020-02-30,北京,东城\n"), nil, Reading{}},
		{"JSON Lines", []byte(`{"name":"=HYPERLINK(\"http://x\",\"y\")","uscc":"` + code(t, 2) + `","registration_date":"2020-02-30","province":"北京","district":"东城"}` + "\n" +
			`{"name":"'丙","uscc":"` + code(t, 3) + `","registration_date":"2020-02-30","province":"北京","district":"东城"}` + "\n"), nil, Reading{}},
		{"XLSX", book(t, func(x *excelize.File) { set(t, x, "A1", columns...); fill(x, 2) }), nil, Reading{}},
		{"XLSX, the second sheet, a header of two lines", book(t, func(x *excelize.File) {
			_ = x.SetSheetName("Sheet1", "封面")
			_, _ = x.NewSheet("Sheet1")
			set(t, x, "A1", "title")
			set(t, x, "A2", columns...)
			set(t, x, "A3", "")
			fill(x, 4)
		}), two, Reading{Sheet: "2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mustMap(t, "enterprises-bth")
			m.FormulaTexts = "allow"
			if tt.change != nil {
				tt.change(m)
			}
			l := newLedger(t)
			im := newImport(m, tt.file, l.targets("beijing"))
			im.Reading = tt.how
			if _, err := im.Check(context.Background()); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "rejects")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			n, err := im.WriteRejects(context.Background(), f, nil)
			if err != nil || n != 2 {
				t.Fatal(n, err)
			}
			f.Close()
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.HasPrefix(raw, []byte("PK")) {
				x, err := excelize.OpenReader(bytes.NewReader(raw))
				if err != nil {
					t.Fatal(err)
				}
				sheet := x.GetSheetList()[len(x.GetSheetList())-1]
				rows, _ := x.GetRows(sheet)
				for i := range rows {
					for k := range rows[i] {
						if formula, _ := x.GetCellFormula(sheet, cellName(i+1, k)); formula != "" {
							t.Fatal(formula)
						}
					}
				}
				raw = edited(t, raw, "xl/worksheets/sheet"+fmt.Sprint(len(x.GetSheetList()))+".xml", func(s string) string { return strings.ReplaceAll(s, "2020-02-30", "2020-02-28") })
			} else {
				if bytes.Contains(raw, []byte("\n=")) || bytes.Contains(raw, []byte("\n\"=")) {
					t.Fatalf("%s", raw)
				}
				raw = bytes.ReplaceAll(raw, []byte("2020-02-30"), []byte("2020-02-28"))
			}
			again := newImport(m, raw, l.targets("beijing"))
			again.Reading = tt.how
			again.Fault = func(f Fault) { t.Error(f) }
			res, err := all(t, again, path+".state")
			if err != nil || res.Issued != 2 {
				t.Fatalf("%+v, %v", res, err)
			}
			names := map[string]bool{}
			for _, v := range l.numbers {
				names[string(v.Public)] = true
			}
			if s := fmt.Sprint(names); !strings.Contains(s, `"holder_name":"=HYPERLINK(`) || !strings.Contains(s, `"holder_name":"'丙"`) {
				t.Fatal(s)
			}
		})
	}
}
