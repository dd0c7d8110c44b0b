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

// Rows reads a CSV file row by row in bounded memory. It resumes after every bad row: a quote that is
// opened and never closed costs its own line, not the rest of the file.
//
// Used by one goroutine.
type Rows struct {
	in     *bufio.Reader
	line   int       // number of the last physical line taken
	ahead  []rawLine // lines given back, to be taken again
	feed   feeder
	csv    *csv.Reader
	width  int // columns of the header
	header []string
}

// rawLine is a physical line with its end, or one that was too long to keep.
type rawLine struct {
	bytes []byte
	long  bool
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

// errFile marks what is wrong with a file as a whole.
var errFile = errors.New("the file")

func badFile(zh, en string) error { return &FileError{zh, en} }

// FileError is what makes a file as a whole unreadable.
type FileError struct{ Zh, En string }

func (e *FileError) Error() string        { return e.En }
func (e *FileError) Is(target error) bool { return target == errFile }

// NewRows reads the header. The file is UTF-8, with or without byte order mark.
func NewRows(r io.Reader, comma rune) (*Rows, error) {
	s := &Rows{in: bufio.NewReaderSize(r, MaxRow+2)}
	if head, _ := s.in.Peek(3); bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		_, _ = s.in.Discard(3)
	} else if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		return nil, badFile("文件是 UTF-16 编码，请另存为 UTF-8 编码的 CSV", "the file is in UTF-16: save it as CSV in UTF-8")
	}
	s.csv = csv.NewReader(&s.feed)
	s.csv.Comma = comma
	s.csv.FieldsPerRecord = -1
	_, cells, fault, err := s.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, badFile("文件是空的", "the file is empty")
	case err != nil:
		return nil, err
	case fault != nil && fault.Code == model.CodeBadUTF8:
		return nil, badFile("文件不是 UTF-8 编码；GBK/GB18030 文件可用 iconv -f gb18030 -t utf-8 转换",
			"the file is not UTF-8; convert GBK or GB18030 with iconv -f gb18030 -t utf-8")
	case fault != nil:
		return nil, badFile("表头有误："+fault.Zh(), "the header: "+fault.En())
	}
	s.header = slices.Clone(cells)
	for i := range s.header {
		s.header[i] = strings.TrimSpace(s.header[i])
	}
	s.width = len(s.header)
	s.csv.ReuseRecord = true
	return s, nil
}

// Header is the first row.
func (s *Rows) Header() []string { return s.header }

// Next is the next row: the line on which it begins and its cells, which stay valid until the next call,
// or what is wrong with it. Blank lines are passed over. io.EOF ends the file.
func (s *Rows) Next() (line int, cells []string, fault *Fault, err error) {
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
		case !utf8.Valid(row):
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
func (s *Rows) drain() {
	for {
		if _, err := s.csv.Read(); errors.Is(err, io.EOF) {
			return
		}
	}
}

// row takes the lines of one row: more than one while a quote is open. A nil row is too long.
func (s *Rows) row() (row []byte, lines int, err error) {
	l, err := s.take()
	if err != nil {
		return nil, 0, err
	}
	if l.long {
		return nil, 1, nil
	}
	row, lines = l.bytes, 1
	if !openQuote(row) {
		return row, lines, nil
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
		lines++
	}
	return row, lines, nil
}

func openQuote(row []byte) bool { return bytes.Count(row, []byte{'"'})%2 == 1 }

// giveBack makes the lines of a bad row after its first be taken again.
func (s *Rows) giveBack(row []byte, lines int) {
	if lines < 2 {
		return
	}
	again := make([]rawLine, 0, lines-1+len(s.ahead))
	for i := 0; i < lines; i++ {
		n := bytes.IndexByte(row, '\n') + 1
		if n == 0 {
			n = len(row)
		}
		if i > 0 {
			again = append(again, rawLine{bytes: slices.Clone(row[:n])})
		}
		row = row[n:]
	}
	s.ahead = append(again, s.ahead...)
	s.line -= lines - 1
}

// take is the next physical line; its bytes stay valid until the next call.
func (s *Rows) take() (rawLine, error) {
	if len(s.ahead) > 0 {
		l := s.ahead[0]
		s.ahead = s.ahead[1:]
		s.line++
		return l, nil
	}
	line, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = s.in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return rawLine{}, err
		}
		s.line++
		return rawLine{long: true}, nil
	}
	if err != nil && (len(line) == 0 || !errors.Is(err, io.EOF)) {
		return rawLine{}, err
	}
	s.line++
	return rawLine{bytes: line}, nil
}
