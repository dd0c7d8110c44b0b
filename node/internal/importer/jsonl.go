package importer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// maxKeys is the most names of members that the objects of a file have together.
const maxKeys = 1000

// jsonLines reads JSON Lines: an object a line, its members the columns. Its header is all names that occur,
// in the order in which they occur first.
type jsonLines struct {
	in     lines
	about  About
	header []string
	at     map[string]int
	cells  []Cell
	given  []bool
}

func newJSONLines(f File, in *bufio.Reader, about About) (*jsonLines, error) {
	j := &jsonLines{about: about, at: map[string]int{}}
	j.in = lines{in: in}
	for {
		l, err := j.in.take()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if l.long {
			continue
		}
		_ = members(l.bytes, func(name string, _ Cell) bool { // bad lines are found when they are read
			if _, ok := j.at[name]; !ok {
				j.at[name] = len(j.header)
				j.header = append(j.header, name)
			}
			return len(j.header) <= maxKeys
		})
		if len(j.header) > maxKeys {
			return nil, badFile("JSON 对象的成员名超过 1000 种", "the objects have more than 1000 names of members")
		}
	}
	if len(j.header) == 0 {
		return nil, badFile("文件中没有可读的 JSON 对象", "there is no JSON object in the file that can be read")
	}
	text, _, _, err := decodeText(f, about.Encoding)
	if err != nil {
		return nil, err
	}
	j.in = lines{in: bufio.NewReaderSize(text, MaxRow+2)}
	j.cells, j.given = make([]Cell, len(j.header)), make([]bool, len(j.header))
	return j, nil
}

func (j *jsonLines) Header() []string     { return j.header }
func (j *jsonLines) Cell(int, int) string { return "" }
func (j *jsonLines) About() About         { return j.about }
func (j *jsonLines) Close() error         { return nil }

func (j *jsonLines) Next() (int, []Cell, *Fault, error) {
	for {
		l, err := j.in.take()
		if err != nil {
			return 0, nil, nil, err
		}
		line := j.in.line
		code := model.Code("")
		switch raw := bytes.TrimSpace(l.bytes); {
		case l.long:
			code = RowTooLong
		case len(raw) == 0:
			continue
		case !utf8.Valid(raw) || bytes.ContainsRune(raw, utf8.RuneError):
			code = model.CodeBadUTF8
		default:
			for i := range j.cells {
				j.cells[i], j.given[i] = Cell{}, false
			}
			twice := false
			err := members(raw, func(name string, c Cell) bool {
				i, ok := j.at[name]
				if !ok {
					return false // the file has changed since the first pass
				}
				twice = twice || j.given[i]
				j.cells[i], j.given[i] = c, true
				return true
			})
			if err != nil || twice {
				code = BadJSON
			}
		}
		if code != "" {
			return line, nil, &Fault{Line: line, Code: code}, nil
		}
		return line, j.cells, nil, nil
	}
}

var errMembers = errors.New("no object of plain values")

// members calls f for each member of an object until it says false.
func members(raw []byte, f func(name string, c Cell) bool) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errMembers
	}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return errMembers
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return errMembers
		}
		var c Cell
		switch x := v.(type) {
		case string:
			c.Text = x
		case json.Number:
			c = numberCell(string(x))
		case bool:
			c = Cell{Kind: Boolean, Text: map[bool]string{true: "true", false: "false"}[x]}
		case nil:
		default:
			c = Cell{Kind: Nested, Text: "…"}
		}
		if !f(name, c) {
			return errMembers
		}
	}
	if _, err := d.Token(); err != nil {
		return errMembers
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errMembers
	}
	return nil
}

// numberCell is a number as it is written. One that is written with an exponent or has more digits than a
// double keeps has lost some already, or will in the next program.
func numberCell(s string) Cell {
	return Cell{Kind: Number, Text: s}
}

// exactNumber is a number's text if it is one that a double holds exactly as a code would need it.
func exactNumber(s string) bool {
	digits := strings.TrimLeft(strings.TrimPrefix(s, "-"), "0")
	return !strings.ContainsAny(s, "eE") && len(strings.Replace(digits, ".", "", 1)) <= 15
}

// lines takes physical lines in bounded memory.
type lines struct {
	in    *bufio.Reader
	line  int       // number of the last line taken
	ahead []rawLine // lines given back, to be taken again
}

// rawLine is a physical line with its end, or one that was too long to keep.
type rawLine struct {
	bytes []byte
	long  bool
}

// take is the next line; its bytes stay valid until the next call.
func (s *lines) take() (rawLine, error) {
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

// giveBack makes the lines of a bad row after its first be taken again.
func (s *lines) giveBack(row []byte, n int) {
	if n < 2 {
		return
	}
	again := make([]rawLine, 0, n-1+len(s.ahead))
	for i := 0; i < n; i++ {
		end := bytes.IndexByte(row, '\n') + 1
		if end == 0 {
			end = len(row)
		}
		if i > 0 {
			again = append(again, rawLine{bytes: slices.Clone(row[:end])})
		}
		row = row[end:]
	}
	s.ahead = append(again, s.ahead...)
	s.line -= n - 1
}
