package importer

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// MaxRow is the most bytes of a row.
const MaxRow = 64 << 10

// csvRows reads a CSV file row by row in bounded memory. It resumes after every bad row: a quote that is
// opened and never closed costs its own line, not the rest of the file.
type csvRows struct {
	lines
	about  About
	feed   feeder
	csv    *csv.Reader
	width  int // columns of the header
	header []string
	cells  []Cell
	ours   bool // a rejects file, whose cells are made inert
}

// feeder hands one row at a time to the CSV reader.
type feeder struct{ row []byte }

func (f *feeder) Read(p []byte) (int, error) {
	if len(f.row) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.row)
	f.row = f.row[n:]
	return n, nil
}

// newCSV reads the header of a file in UTF-8.
func newCSV(in *bufio.Reader, m *Map, about About) (*csvRows, error) {
	comma, err := m.comma()
	if err != nil {
		return nil, err
	}
	if m.Delimiter == "" {
		comma = findComma(in)
	}
	about.Delimiter = string(comma)
	s := &csvRows{lines: lines{in: in}, about: about}
	s.csv = csv.NewReader(&s.feed)
	s.csv.Comma = comma
	s.csv.FieldsPerRecord = -1
	head := headLines{}
	for n := 1; n < max(1, m.HeaderRow)+max(1, m.HeaderRows); n++ {
		_, cells, fault, err := s.strings()
		switch {
		case errors.Is(err, io.EOF):
			return nil, badFile("文件是空的", "the file is empty")
		case err != nil:
			return nil, err
		case fault != nil && n < m.HeaderRow:
			continue // a title that is no row of the table
		case fault != nil && fault.Code == model.CodeBadUTF8:
			return nil, badFile("表头中有不属于 "+string(about.Encoding)+" 编码的字节，请用 --encoding 指明编码", "the header has bytes that are no "+string(about.Encoding)+": say the encoding with --encoding")
		case fault != nil:
			return nil, badFile("表头有误："+fault.Zh(), "the header: "+fault.En())
		case n >= m.HeaderRow:
			head.add(cells)
		}
	}
	s.header = head.names()
	s.width = len(s.header)
	s.ours = slices.Contains(s.header, rejectColumns[0])
	s.csv.ReuseRecord = true
	s.cells = make([]Cell, s.width)
	return s, nil
}

// findComma is the delimiter that the first line has most of.
func findComma(in *bufio.Reader) rune {
	first, _ := in.Peek(MaxRow)
	first, _, _ = bytes.Cut(first, []byte{'\n'})
	best, most := ',', bytes.Count(first, []byte{','})
	for _, c := range []rune{'\t', ';'} {
		if n := bytes.Count(first, []byte(string(c))); n > most {
			best, most = c, n
		}
	}
	return best
}

// headLines joins the lines of a header, column by column.
type headLines struct{ parts [][]string }

func (h *headLines) add(cells []string) {
	for i, c := range cells {
		if i == len(h.parts) {
			h.parts = append(h.parts, nil)
		}
		c = trim(c)
		if n := len(h.parts[i]); c != "" && (n == 0 || h.parts[i][n-1] != c) {
			h.parts[i] = append(h.parts[i], c)
		}
	}
}

func (h *headLines) names() []string {
	out := make([]string, len(h.parts))
	for i, p := range h.parts {
		out[i] = strings.Join(p, "/")
	}
	return out
}

func (s *csvRows) Header() []string     { return s.header }
func (s *csvRows) Cell(int, int) string { return "" }
func (s *csvRows) About() About         { return s.about }
func (s *csvRows) Close() error         { return nil }

// Next is the next row. Blank lines are passed over.
func (s *csvRows) Next() (int, []Cell, *Fault, error) {
	line, texts, fault, err := s.strings()
	if err != nil || fault != nil {
		return line, nil, fault, err
	}
	for i, t := range texts {
		if s.ours {
			t = bare(t)
		}
		s.cells[i] = Cell{Text: t}
	}
	return line, s.cells, nil, nil
}

func (s *csvRows) strings() (line int, cells []string, fault *Fault, err error) {
	for {
		row, lines, err := s.row()
		if err != nil {
			return 0, nil, nil, err
		}
		line = s.line - lines + 1
		if row != nil && len(bytes.TrimSuffix(bytes.TrimSuffix(row, []byte("\n")), []byte("\r"))) == 0 {
			continue
		}
		code := model.Code("")
		switch {
		case row == nil:
			code = RowTooLong
		case !utf8.Valid(row) || bytes.ContainsRune(row, utf8.RuneError):
			code = model.CodeBadUTF8
		default:
			s.feed.row = row
			if cells, err = s.csv.Read(); err != nil {
				code = BadQuotes
				s.drain()
			} else if s.width > 0 && len(cells) != s.width {
				code = ColumnCount
			}
		}
		if code == "" {
			return line, cells, nil, nil
		}
		s.giveBack(row, lines)
		return line, nil, &Fault{Line: line, Code: code}, nil
	}
}

// drain empties what a failed parse has left of the row in the CSV reader.
func (s *csvRows) drain() {
	for {
		if _, err := s.csv.Read(); errors.Is(err, io.EOF) {
			return
		}
	}
}

// row takes the lines of one row: more than one while a quote is open. A nil row is too long.
func (s *csvRows) row() (row []byte, n int, err error) {
	l, err := s.take()
	if err != nil {
		return nil, 0, err
	}
	if l.long {
		return nil, 1, nil
	}
	row, n = l.bytes, 1
	if !openQuote(row) {
		return row, n, nil
	}
	row = slices.Clone(row)
	for openQuote(row) {
		next, err := s.take()
		if errors.Is(err, io.EOF) {
			break // the parser says what is wrong
		}
		if err != nil {
			return nil, 0, err
		}
		if next.long || len(row)+len(next.bytes) > MaxRow {
			next.bytes = slices.Clone(next.bytes)
			s.ahead = append([]rawLine{next}, s.ahead...)
			s.line--
			break
		}
		row = append(row, next.bytes...)
		n++
	}
	return row, n, nil
}

func openQuote(row []byte) bool { return bytes.Count(row, []byte{'"'})%2 == 1 }
