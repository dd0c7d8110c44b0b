package importer

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/xuri/excelize/v2"
)

// rejectColumns follow the file's own in a rejects file. The map ignores them, so a rejects file that was
// put right is imported as it is.
var rejectColumns = []string{"zl_line", "zl_column", "zl_code", "zl_reason_zh", "zl_reason_en"}

// maxRejects is the most text of rejected rows: what is wrong with a short row can be long, as where the map names
// columns by long names.
const maxRejects = 512 << 20

var errRejects = badFile("被拒的行超过 512 MB，没有写出；请先看前面的错误，改正映射或文件（已签发的不受影响）",
	"the rejected rows take more than 512 MB and are not written down: look at the first faults and mend the map or the file; what is issued stays issued")

// sheetWriter writes a table's rows in one of the formats.
type sheetWriter interface {
	write(cells []string) error
	end() error
	close() // leaves nothing behind, whether or not it was ended
}

// WriteRejects writes every row that the check or a node has rejected, in order, with the reasons, and
// returns how many: as a workbook where a workbook came in, and so on. j is nil after a check only. The file
// holds what the rows hold: keep it as safe. Nothing in it is a formula. More than maxRejects is a *FileError.
func (im *Import) WriteRejects(ctx context.Context, w io.Writer, j *Journal) (int, error) {
	in, err := im.Open()
	if err != nil {
		return 0, err
	}
	head, err := OpenTable(in, im.Map, im.Reading)
	if err != nil {
		in.Close()
		return 0, err
	}
	var own []int // the file's columns, without those of an earlier rejects file
	var names []string
	for i, h := range head.Header() {
		if !slices.Contains(rejectColumns, h) {
			own, names = append(own, i), append(names, h)
		}
	}
	about := head.About()
	head.Close()
	in.Close()
	names = append(names, rejectColumns...)
	out, err := im.rejectsWriter(w, about, names)
	if err != nil {
		return 0, err
	}
	defer out.close()
	n, size := 0, 0
	_, _, err = im.rows(ctx, func(row Row, faults []Fault, cells []Cell) error {
		if good(faults) {
			code := j.rejected(row.Line)
			if code == "" {
				return nil
			}
			faults = []Fault{{Line: row.Line, Column: im.Map.columnOf(code), Code: code}}
		}
		n++
		record := make([]string, len(own), len(own)+len(rejectColumns))
		for k, i := range own {
			if cells != nil {
				record[k] = cells[i].Text
			}
		}
		var columns, codes, zh, en []string
		for _, f := range faults {
			if f.Note {
				continue
			}
			where := f.Column
			if f.Cell != "" {
				where += " " + f.Cell
			}
			columns, codes = append(columns, where), append(codes, string(f.Code))
			zh, en = append(zh, f.Zh()), append(en, f.En())
		}
		join := func(s []string) string { return strings.Join(s, "; ") }
		record = append(record, strconv.Itoa(row.Line), join(columns), join(codes), join(zh), join(en))
		for k := range record {
			if size += len(record[k]); about.Format == JSONL && record[k] != "" {
				size += len(names[k])
			}
		}
		if size > orDefault(im.mostRejects, maxRejects) {
			return errRejects
		}
		return out.write(record)
	})
	if err == nil {
		err = out.end()
	}
	return n, err
}

// rejectsWriter begins a rejects file that the same map reads: its header stands where the map looks for it.
func (im *Import) rejectsWriter(w io.Writer, about About, names []string) (sheetWriter, error) {
	var out sheetWriter
	var err error
	switch about.Format {
	case JSONL:
		return &jsonWriter{w: w, names: names, first: im.Map.Columns()}, nil
	case XLSX:
		before := 0
		if n, err := strconv.Atoi(firstOf(im.Reading.Sheet, im.Map.Sheet)); err == nil && about.Sheet != strconv.Itoa(n) {
			before = n - 1
		}
		out, err = newBookWriter(w, about.Sheet, before)
	default:
		_, err = io.WriteString(w, "\xef\xbb\xbf") // spreadsheets need the mark
		c := csv.NewWriter(w)
		c.Comma = []rune(about.Delimiter)[0]
		out = csvWriter{c}
	}
	if err != nil {
		return nil, err
	}
	// Above a header that begins further down, and for one of several lines, the header is repeated: a line
	// that says the same again adds nothing to a column's name.
	for range max(1, im.Map.HeaderRow) - 1 + max(1, im.Map.HeaderRows) {
		if err := out.write(names); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func firstOf(s ...string) string {
	for _, x := range s {
		if x != "" {
			return x
		}
	}
	return ""
}

type csvWriter struct{ *csv.Writer }

// inert is a text that no spreadsheet takes for a formula. bare undoes it.
func inert(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r'", rune(s[0])) {
		return "'" + s
	}
	return s
}

// bare is a text as it was before inert.
func bare(s string) string {
	if len(s) > 1 && s[0] == '\'' && strings.ContainsRune("=+-@\t\r'", rune(s[1])) {
		return s[1:]
	}
	return s
}

func (c csvWriter) write(cells []string) error {
	safe := make([]string, len(cells))
	for i, s := range cells {
		safe[i] = inert(s)
	}
	return c.Write(safe)
}

func (c csvWriter) end() error {
	c.Flush()
	return c.Error()
}

func (c csvWriter) close() {}

// jsonWriter writes of each row what it holds: a file of a thousand names has short rows. Its first row has a member for
// each column of the map, since the names that occur are the header.
type jsonWriter struct {
	w     io.Writer
	names []string
	first []string
}

func (j *jsonWriter) write(cells []string) error {
	var b strings.Builder
	for i, s := range cells {
		if s == "" && !slices.Contains(j.first, j.names[i]) {
			continue
		}
		name, err := json.Marshal(j.names[i])
		if err != nil {
			return err
		}
		value, err := json.Marshal(s)
		if err != nil {
			return err
		}
		b.WriteString(map[bool]string{true: "{", false: ","}[b.Len() == 0])
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteString("}\n")
	j.first = nil
	_, err := io.WriteString(j.w, b.String())
	return err
}

func (j *jsonWriter) end() error { return nil }
func (j *jsonWriter) close()     {}

// bookWriter writes a sheet whose cells are all texts, and stay so when they are edited.
type bookWriter struct {
	w    io.Writer
	file *excelize.File
	out  *excelize.StreamWriter
	text int
	line int
}

func newBookWriter(w io.Writer, sheet string, before int) (*bookWriter, error) {
	b := &bookWriter{w: w, file: excelize.NewFile()}
	names := []string{}
	for i := range before {
		names = append(names, "-"+strconv.Itoa(i+1))
	}
	for i, name := range append(names, sheet) {
		if i == 0 {
			if err := b.file.SetSheetName("Sheet1", name); err != nil {
				return nil, err
			}
		} else if _, err := b.file.NewSheet(name); err != nil {
			return nil, err
		}
	}
	var err error
	if b.text, err = b.file.NewStyle(&excelize.Style{NumFmt: 49}); err != nil { // 49: text
		return nil, err
	}
	b.out, err = b.file.NewStreamWriter(sheet)
	return b, err
}

func (b *bookWriter) write(cells []string) error {
	row := make([]any, len(cells))
	for i, s := range cells {
		row[i] = excelize.Cell{StyleID: b.text, Value: s}
	}
	b.line++
	return b.out.SetRow("A"+strconv.Itoa(b.line), row)
}

func (b *bookWriter) end() error {
	if err := b.out.Flush(); err != nil {
		return err
	}
	return b.file.Write(b.w)
}

// close removes what a long sheet has on the disk.
func (b *bookWriter) close() { _ = b.file.Close() }
