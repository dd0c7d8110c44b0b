package importer

import (
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// textColumns finds the columns, by their place in the header, that hold at least as many texts as numbers. A number
// among texts was a text once, and has lost what only a text keeps: zeros at its head, or letters before it. The whole
// file is read for it, since the first rows may be the odd ones; a CSV file knows no numbers and is not read.
func (im *Import) textColumns(ctx context.Context) (map[int]bool, error) {
	in, err := im.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	table, err := OpenTable(in, im.Map, im.Reading)
	if err != nil {
		return nil, err
	}
	defer table.Close()
	found := map[int]bool{}
	if table.About().Format == CSV {
		return found, nil
	}
	texts, numbers := make([]int, len(table.Header())), make([]int, len(table.Header()))
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		_, cells, _, err := table.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for i := range cells {
			switch c := &cells[i]; {
			case c.Kind == Number && !c.Zeros:
				numbers[i]++
			case c.Kind == Text && c.Text != "":
				texts[i]++
			}
		}
	}
	for i := range texts {
		if numbers[i] > 0 && texts[i] >= numbers[i] {
			found[i] = true
		}
	}
	return found, nil
}

// among says of a text's cell that it is a number where the column's others are texts. A length that the map states has
// proved the value, or is a fault already.
func (r *rowCheck) among(field string) {
	s := r.c.m.Fields[field]
	if s.Length > 0 {
		return
	}
	columns := []string{s.Column}
	for _, p := range s.parts {
		columns = append(columns, p.column)
	}
	if !slices.ContainsFunc(columns, func(c string) bool {
		return c != "" && r.c.texts[r.c.column[c]] && r.cell(c).Kind == Number && !r.cell(c).Zeros
	}) {
		return
	}
	if r.c.m.NumberCells == "refuse" {
		r.fault(field, NumberCell, "")
	} else {
		r.note(field, NumberCell, "")
	}
}

var (
	// called is a function with its bracket, as a spreadsheet reads it. Full-width brackets call nothing.
	called = regexp.MustCompile(`(^|[^A-Za-z0-9_.])[A-Za-z_][A-Za-z0-9_.]*\s*\(`)
	// linked is another program's answer, or another sheet's cell.
	linked = regexp.MustCompile(`\||![$A-Za-z]`)
)

// formula reports whether a spreadsheet that is given a text runs it. A telephone number, a negative one, a dash for
// "none", a storey and a name that begins with @ are run nowhere, or do nothing.
func formula(s string) bool {
	first, n := utf8.DecodeRuneInString(s)
	switch rest := s[n:]; first {
	case '=', '＝':
		return strings.Trim(rest, "=- ") != ""
	case '+', '-', '@', '＋', '－', '＠':
		return called.MatchString(rest) || linked.MatchString(rest)
	}
	return false
}

// inert refuses a text that a spreadsheet would run: whoever is given it in a table may open that in one.
func (r *rowCheck) inert(field, v string) {
	if r.c.m.FormulaTexts != "allow" && formula(v) {
		r.fault(field, FormulaText, "")
	}
}
