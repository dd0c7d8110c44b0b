package importer

import (
	"context"
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
)

// rejectColumns follow the file's own in a rejects file. The map ignores them, so a rejects file that was
// put right is imported as it is.
var rejectColumns = []string{"zl_line", "zl_column", "zl_code", "zl_reason_zh", "zl_reason_en"}

// WriteRejects writes every row that the check or a node has rejected, in order, with the reasons, and
// returns how many. j is nil after a check only. The file holds what the rows hold: keep it as safe.
func (im *Import) WriteRejects(ctx context.Context, w io.Writer, j *Journal) (int, error) {
	in, err := im.Open()
	if err != nil {
		return 0, err
	}
	comma, err := im.Map.comma()
	if err != nil {
		in.Close()
		return 0, err
	}
	head, err := NewRows(in, comma)
	in.Close()
	if err != nil {
		return 0, err
	}
	var own []int // the file's columns, without those of an earlier rejects file
	var names []string
	for i, h := range head.Header() {
		if !slices.Contains(rejectColumns, h) {
			own, names = append(own, i), append(names, h)
		}
	}
	if _, err := io.WriteString(w, "\xef\xbb\xbf"); err != nil { // spreadsheets need the mark
		return 0, err
	}
	out := csv.NewWriter(w)
	out.Comma = comma
	if err := out.Write(append(names, rejectColumns...)); err != nil {
		return 0, err
	}
	n := 0
	_, err = im.rows(ctx, func(row Row, faults []Fault, cells []string) error {
		if len(faults) == 0 && j != nil {
			if code := j.rejected(row.Line); code != "" {
				faults = []Fault{{Line: row.Line, Column: im.Map.columnOf(code), Code: code}}
			}
		}
		if len(faults) == 0 {
			return nil
		}
		n++
		record := make([]string, len(own), len(own)+len(rejectColumns))
		for k, i := range own {
			if cells != nil {
				record[k] = cells[i]
			}
		}
		var columns, codes, zh, en []string
		for _, f := range faults {
			columns, codes = append(columns, f.Column), append(codes, string(f.Code))
			zh, en = append(zh, f.Zh()), append(en, f.En())
		}
		join := func(s []string) string { return strings.Join(s, "; ") }
		return out.Write(append(record, strconv.Itoa(row.Line), join(columns), join(codes), join(zh), join(en)))
	})
	out.Flush()
	if err == nil {
		err = out.Error()
	}
	return n, err
}
