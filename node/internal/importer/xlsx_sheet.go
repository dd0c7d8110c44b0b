package importer

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const (
	maxColumns = 16384
	maxLine    = 1_048_576
	maxMerges  = 200_000
)

// sheetRows reads the rows of a sheet as a stream.
type sheetRows struct {
	book   *workbook
	part   *part
	merges []area // by first line
	active []area // merges that reach the current line
	line   int    // of the last row read
	row    []Cell // of the last row read, as wide as its last cell
	size   int    // bytes of its texts
	ended  bool
	again  bool         // the last row read is to be read again
	hidden map[int]bool // columns
}

// area is a merged range, inclusive; lines count from 1, columns from 0.
type area struct{ top, left, bottom, right int }

func openSheet(w *workbook, target string) (*sheetRows, error) {
	merges, err := readMerges(w.files, target)
	if err != nil {
		return nil, err
	}
	p, err := w.files.open(target)
	if err != nil {
		return nil, err
	}
	s := &sheetRows{book: w, part: p, merges: merges, hidden: map[int]bool{}}
	for { // what stands before the rows
		t, err := p.next()
		if err != nil {
			p.close()
			if errors.Is(err, io.EOF) {
				err = badFile("工作表中没有数据", "the sheet has no rows")
			}
			return nil, err
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "col":
			if flag(attr(e, "hidden")) {
				first, _ := strconv.Atoi(attr(e, "min"))
				last, _ := strconv.Atoi(attr(e, "max"))
				for c := max(1, first); c <= min(last, first+1000, maxColumns); c++ {
					s.hidden[c-1] = true
				}
			}
		case "sheetData":
			return s, nil
		}
	}
}

// readMerges finds the merged ranges, which a sheet names after its rows: rows are passed over unread.
func readMerges(files workbookFiles, target string) ([]area, error) {
	p, err := files.open(target)
	if err != nil {
		return nil, err
	}
	defer p.close()
	rest, err := skipRows(p.guard)
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil // cut off: reading the rows will say so
		}
		return nil, err
	}
	d := &part{name: p.name, in: p.in, guard: p.guard, xml: xml.NewDecoder(io.MultiReader(bytes.NewReader(rest), p.guard))}
	var out []area
	for {
		t, err := d.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		e, ok := t.(xml.StartElement)
		if !ok || e.Name.Local != "mergeCell" {
			continue
		}
		from, to, _ := strings.Cut(attr(e, "ref"), ":")
		a, ok1 := parseCell(from)
		b, ok2 := parseCell(to)
		if !ok1 || !ok2 {
			continue
		}
		if len(out) == maxMerges {
			return nil, badFile("合并单元格过多", "the sheet has too many merged cells")
		}
		out = append(out, area{a.top, a.left, b.top, b.left})
	}
	slices.SortFunc(out, func(a, b area) int { return a.top - b.top })
	return out, nil
}

// skipRows reads up to the end of the rows and returns what it has read beyond; io.EOF where they have none.
func skipRows(r io.Reader) ([]byte, error) {
	mark := []byte("sheetData")
	buf, kept := make([]byte, 64<<10), 0
	for {
		n, err := r.Read(buf[kept:])
		seen := buf[:kept+n]
		for at := 0; ; {
			i := bytes.Index(seen[at:], mark)
			if i < 0 {
				break
			}
			end := at + i + len(mark)
			before := seen[max(0, at+i-40) : at+i]
			if open := bytes.LastIndexByte(before, '<'); open >= 0 && !bytes.ContainsAny(before[open:], "> ") &&
				(open+1 < len(before) && before[open+1] == '/' || end < len(seen) && seen[end] == '/') {
				if i := bytes.IndexByte(seen[end:], '>'); i >= 0 {
					end += i + 1
				} else {
					end = len(seen) // the tag's end is next, and is a text to the decoder
				}
				return seen[end:], nil
			}
			at = end
		}
		if err != nil {
			return nil, err
		}
		tail := min(len(seen), 64)
		copy(buf, seen[len(seen)-tail:])
		kept = tail
	}
}

// parseCell reads "B12".
func parseCell(s string) (area, bool) {
	s = strings.ReplaceAll(s, "$", "")
	column, i := 0, 0
	for ; i < len(s) && s[i] >= 'A' && s[i] <= 'Z' && column <= maxColumns; i++ {
		column = column*26 + int(s[i]-'A') + 1
	}
	line, err := strconv.Atoi(s[i:])
	if err != nil || i == 0 || column > maxColumns || line < 1 || line > maxLine {
		return area{}, false
	}
	return area{line, column - 1, line, column - 1}, true
}

// read takes the next row as it stands; false at the end of the rows.
func (s *sheetRows) read() (bool, error) {
	if s.again {
		s.again = false
		return true, nil
	}
	for !s.ended {
		t, err := s.part.next()
		if errors.Is(err, io.EOF) {
			return false, badFile("工作表不完整（文件在中途截断）", "the sheet ends in the middle: the file is cut off")
		}
		if err != nil {
			return false, err
		}
		switch t := t.(type) {
		case xml.EndElement:
			s.ended = t.Name.Local == "sheetData"
		case xml.StartElement:
			if t.Name.Local == "row" {
				return true, s.readRow(t)
			}
		}
	}
	return false, nil
}

func (s *sheetRows) readRow(t xml.StartElement) error {
	line := s.line + 1
	if r := attr(t, "r"); r != "" {
		n, err := strconv.Atoi(r)
		if err != nil || n <= s.line || n > maxLine {
			return badFile("工作表的行号不递增（第 "+strconv.Itoa(s.line)+" 行之后）", "the sheet's rows do not ascend (after row "+strconv.Itoa(s.line)+")")
		}
		line = n
	}
	s.line, s.row, s.size = line, s.row[:0], 0
	if flag(attr(t, "hidden")) {
		s.book.about.Rows++
	}
	for {
		t, err := s.part.next()
		if errors.Is(err, io.EOF) {
			return badFile("工作表不完整（文件在中途截断）", "the sheet ends in the middle: the file is cut off")
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.EndElement:
			if t.Name.Local == "row" {
				return nil
			}
		case xml.StartElement:
			if t.Name.Local != "c" {
				continue
			}
			at := len(s.row)
			if r := attr(t, "r"); r != "" {
				a, ok := parseCell(r)
				if !ok || a.left < at {
					return badFile("工作表的单元格编号有误："+r, "a cell of the sheet is misplaced: "+r)
				}
				at = a.left
			}
			if at >= maxColumns {
				return badFile("工作表列数过多", "the sheet has too many columns")
			}
			for len(s.row) < at {
				s.row = append(s.row, Cell{})
			}
			c, err := s.readCell(t)
			if err != nil {
				return err
			}
			// What is longer than a row may be is refused as a whole, so no more of its text is kept: a row
			// has 16,384 cells of up to 1 MB.
			if s.size += len(c.Text); s.size > MaxRow && c.Text != "" {
				c = Cell{Kind: Broken}
			}
			s.row = append(s.row, c)
		}
	}
}

func (s *sheetRows) readCell(c xml.StartElement) (Cell, error) {
	kind, number := attr(c, "t"), 0
	if id := attr(c, "s"); id != "" {
		number, _ = strconv.Atoi(id)
	}
	var value, inline string
	formula := false
	for {
		t, err := s.part.next()
		if errors.Is(err, io.EOF) {
			return Cell{}, badFile("工作表不完整（文件在中途截断）", "the sheet ends in the middle: the file is cut off")
		}
		if err != nil {
			return Cell{}, err
		}
		switch t := t.(type) {
		case xml.EndElement:
			if t.Name.Local == "c" {
				return s.cell(kind, number, value, inline, formula)
			}
		case xml.StartElement:
			switch t.Name.Local {
			case "f":
				formula = true
			case "is":
				if inline, err = s.part.text("is"); err != nil {
					return Cell{}, err
				}
			case "v":
				if value, err = s.part.plain("v"); err != nil {
					return Cell{}, err
				}
			}
		}
	}
}

// plain is an element's own text.
func (p *part) plain(end string) (string, error) {
	text := ""
	for {
		t, err := p.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = badFile("工作簿部件 "+p.name+" 不完整", "the workbook's part "+p.name+" ends in the middle")
			}
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			if text += string(t); len(text) > maxMarkup {
				return "", errBomb("a text of over 1 MB")
			}
		case xml.EndElement:
			if t.Name.Local == end {
				return text, nil
			}
		}
	}
}

// cell makes a cell of what stands in it. A formula is never computed: its stored result is what the program
// that saved the file last made of it, and counts only where it was asked for.
func (s *sheetRows) cell(kind string, number int, value, inline string, formula bool) (Cell, error) {
	if formula && !s.book.how.Cached {
		return Cell{Kind: Formula}, nil
	}
	switch kind {
	case "s":
		if value == "" {
			return Cell{}, nil
		}
		i, err := strconv.Atoi(value)
		if err != nil || i < 0 || i >= len(s.book.texts) {
			return Cell{}, badFile("工作簿的文本表损坏", "the workbook's table of texts is damaged")
		}
		return Cell{Text: s.book.texts[i]}, nil
	case "inlineStr":
		return Cell{Text: inline}, nil
	case "str":
		return Cell{Text: unescapeX(value)}, nil
	case "b":
		return Cell{Kind: Boolean, Text: map[bool]string{true: "true", false: "false"}[flag(value)]}, nil
	case "e":
		return Cell{Kind: Broken, Text: value}, nil
	case "d":
		day, _, _ := strings.Cut(value, "T")
		d, err := model.ParseDate(day)
		if err != nil {
			return Cell{Text: value}, nil
		}
		return Cell{Kind: Day, Text: day, Day: d}, nil
	}
	if value == "" {
		if formula {
			return Cell{Kind: Broken}, nil
		}
		return Cell{}, nil
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return Cell{Kind: Broken, Text: value}, nil
	}
	c := Cell{Kind: Number, Text: value, Day: serialDay(n, s.book.epoch)}
	if n < 1e21 && n > -1e21 {
		c.Text = strconv.FormatFloat(n, 'f', -1, 64)
	}
	if number > 0 && number < len(s.book.styles) {
		switch st := s.book.styles[number]; {
		case st.day && c.Day != "":
			c.Kind, c.Text = Day, string(c.Day)
		case st.zeros > len(c.Text) && n >= 0 && !strings.Contains(c.Text, "."):
			c.Text, c.Zeros = strings.Repeat("0", st.zeros-len(c.Text))+c.Text, true
		}
	}
	return c, nil
}

func (c *Cell) empty() bool { return c.Text == "" && c.Kind == Text }

// readHeader joins the header's lines; a merged cell's text names all columns, and lines, that it covers.
func (s *sheetRows) readHeader(m *Map) ([]string, error) {
	first, last := m.HeaderRow, 0
	head := headLines{}
	for {
		ok, err := s.read()
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, badFile("工作表是空的", "the sheet is empty")
		}
		if s.line < first || first == 0 && !slices.ContainsFunc(s.row, func(c Cell) bool { return !c.empty() }) {
			continue
		}
		if last == 0 {
			first = max(first, 1)
			if m.HeaderRow == 0 {
				first = s.line
			}
			last = first + max(1, m.HeaderRows) - 1
		}
		if s.line > last {
			s.again = true
			break
		}
		if s.size > MaxRow {
			return nil, errLongHeader(s.line)
		}
		texts := make([]string, len(s.row))
		for i := range s.row {
			if s.row[i].Kind == Formula {
				return nil, badFile("表头单元格 "+cellName(s.line, i)+" 是公式", "the header's cell "+cellName(s.line, i)+" is a formula")
			}
			texts[i] = s.row[i].Text
		}
		for _, a := range s.merges {
			if a.top > s.line || a.bottom < s.line || a.right-a.left > 1000 {
				continue
			}
			for len(texts) <= a.right {
				texts = append(texts, "")
			}
			text := texts[a.left]
			if a.top < s.line { // the text stands above, and add passes over what repeats
				text = ""
			}
			for c := a.left; c <= a.right; c++ {
				texts[c] = text
			}
		}
		size := 0
		for _, t := range texts {
			if size += len(t); size > 4*MaxRow { // merged cells repeat theirs
				return nil, errLongHeader(s.line)
			}
		}
		head.add(texts)
		if s.line == last {
			break
		}
	}
	for len(head.parts) > 0 && len(head.parts[len(head.parts)-1]) == 0 {
		head.parts = head.parts[:len(head.parts)-1]
	}
	names := head.names()
	if len(names) == 0 {
		return nil, badFile("表头是空的", "the header is empty")
	}
	for c := range names {
		if s.hidden[c] {
			s.book.about.Columns = append(s.book.about.Columns, names[c])
		}
	}
	return names, nil
}

func errLongHeader(line int) error {
	return badFile("表头第 "+strconv.Itoa(line)+" 行超过 64 KiB", "the header's row "+strconv.Itoa(line)+" is longer than 64 KiB")
}

// next is the next row that has anything in the header's columns.
func (s *sheetRows) next(width int) (int, []Cell, *Fault, error) {
	for {
		ok, err := s.read()
		if err != nil {
			return 0, nil, nil, err
		}
		if !ok {
			return 0, nil, nil, io.EOF
		}
		for len(s.row) < width {
			s.row = append(s.row, Cell{})
		}
		row := s.row[:width]
		if !slices.ContainsFunc(row, func(c Cell) bool { return !c.empty() }) {
			continue
		}
		if s.size > MaxRow {
			return s.line, nil, &Fault{Line: s.line, Code: RowTooLong}, nil
		}
		s.merged(row)
		return s.line, row, nil, nil
	}
}

// merged marks the cells that a merged one covers: whether its value is theirs too, nobody can say.
func (s *sheetRows) merged(row []Cell) {
	s.active = slices.DeleteFunc(s.active, func(a area) bool { return a.bottom < s.line })
	for len(s.merges) > 0 && s.merges[0].top <= s.line {
		if s.merges[0].bottom >= s.line {
			s.active = append(s.active, s.merges[0])
		}
		s.merges = s.merges[1:]
	}
	for _, a := range s.active {
		for c := a.left; c <= a.right && c < len(row); c++ {
			if c != a.left || s.line != a.top {
				row[c] = Cell{Kind: Merged}
			}
		}
	}
}
