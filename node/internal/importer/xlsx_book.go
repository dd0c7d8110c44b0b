package importer

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// workbook reads one sheet of an .xlsx file as a table: SpreadsheetML by its streaming, nothing of it run,
// computed or fetched.
type workbook struct {
	files  workbookFiles
	epoch  bool // 1904
	texts  []string
	styles []style
	about  About
	how    Reading
	sheet  *sheetRows
	header []string
}

// style is what a cell's style says of its value.
type style struct {
	day   bool // shown as a date
	zeros int  // shown with so many digits at least
}

type sheetEntry struct {
	name, id string
	hidden   bool
}

// ignored are the kinds of relations that are passed over, as the guide names them.
var ignoredKinds = map[string]string{
	"vbaProject": "macros", "externalLink": "external links", "connections": "data connections", "queryTable": "data connections",
	"oleObject": "embedded objects", "control": "controls", "xlMacrosheet": "macros", "ctrlProp": "controls", "attachedToolbars": "macros",
}

func newWorkbook(f File, m *Map, how Reading) (*workbook, error) {
	files, err := openParts(f)
	if err != nil {
		return nil, err
	}
	w := &workbook{files: files, how: how, about: About{Format: XLSX}}
	root, err := files.relations("")
	if err != nil {
		return nil, err
	}
	book := ""
	for _, r := range root {
		if r.kind == "officeDocument" {
			book = r.target
		}
	}
	if book == "" {
		return nil, badFile("压缩包不是 .xlsx 工作簿", "the archive is no .xlsx workbook")
	}
	sheets, err := w.readBook(book)
	if err != nil {
		return nil, err
	}
	relations, err := files.relations(book)
	if err != nil {
		return nil, err
	}
	at := map[string]string{}
	for _, r := range relations {
		at[r.id] = r.target
		if what := ignoredKinds[r.kind]; what != "" {
			w.ignores(what)
		}
		switch r.kind {
		case "sharedStrings":
			err = w.readTexts(r.target)
		case "styles":
			err = w.readStyles(r.target)
		}
		if err != nil {
			return nil, err
		}
	}
	name := how.Sheet
	if name == "" {
		name = m.Sheet
	}
	chosen, err := chooseSheet(sheets, name)
	if err != nil {
		return nil, err
	}
	w.about.Sheet = chosen.name
	for _, s := range sheets {
		if s != chosen {
			w.about.Others = append(w.about.Others, s.name)
		}
	}
	target := at[chosen.id]
	if target == "" {
		return nil, badFile("工作簿缺少工作表 "+chosen.name, "the workbook lacks its sheet "+chosen.name)
	}
	of, err := files.relations(target)
	if err != nil {
		return nil, err
	}
	for _, r := range of {
		if what := ignoredKinds[r.kind]; what != "" {
			w.ignores(what)
		}
	}
	if w.sheet, err = openSheet(w, target); err != nil {
		return nil, err
	}
	if w.header, err = w.sheet.readHeader(m); err != nil {
		w.sheet.part.close()
		return nil, err
	}
	return w, nil
}

func (w *workbook) ignores(what string) {
	if !slices.Contains(w.about.Ignored, what) {
		w.about.Ignored = append(w.about.Ignored, what)
	}
}

// chooseSheet finds a sheet by its name or its number; without either, the first that is shown.
func chooseSheet(sheets []sheetEntry, name string) (sheetEntry, error) {
	var names []string
	for _, s := range sheets {
		names = append(names, s.name)
		if name != "" && s.name == name {
			return s, nil
		}
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 1 && n <= len(sheets) {
		return sheets[n-1], nil
	}
	list := strings.Join(names, ", ")
	if name != "" {
		return sheetEntry{}, badFile("工作簿中没有工作表“"+name+"”，有："+list, "the workbook has no sheet "+strconv.Quote(name)+"; it has: "+list)
	}
	for _, s := range sheets {
		if !s.hidden {
			return s, nil
		}
	}
	return sheetEntry{}, badFile("工作簿中没有可见的工作表，请用 --sheet 指明："+list, "no sheet of the workbook is shown: name one with --sheet: "+list)
}

// each calls f for every tag that opens in a part.
func (w *workbook) each(name string, f func(p *part, s xml.StartElement) error) error {
	p, err := w.files.open(name)
	if err != nil {
		return err
	}
	defer p.close()
	for {
		t, err := p.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if s, ok := t.(xml.StartElement); ok {
			if err := f(p, s); err != nil {
				return err
			}
		}
	}
}

func (w *workbook) readBook(name string) ([]sheetEntry, error) {
	var sheets []sheetEntry
	err := w.each(name, func(_ *part, s xml.StartElement) error {
		switch s.Name.Local {
		case "workbookPr":
			w.epoch = flag(attr(s, "date1904"))
		case "sheet":
			e := sheetEntry{name: attr(s, "name"), hidden: attr(s, "state") == "hidden" || attr(s, "state") == "veryHidden"}
			for _, a := range s.Attr {
				if a.Name.Local == "id" { // r:id; sheetId is the other
					e.id = a.Value
				}
			}
			if sheets = append(sheets, e); len(sheets) > maxParts {
				return errBomb("sheets")
			}
		}
		return nil
	})
	if err == nil && len(sheets) == 0 {
		err = badFile("工作簿中没有工作表", "the workbook has no sheet")
	}
	return sheets, err
}

// readTexts reads the table of texts.
func (w *workbook) readTexts(name string) error {
	size := 0
	return w.each(name, func(p *part, s xml.StartElement) error {
		if s.Name.Local != "si" {
			return nil
		}
		text, err := p.text("si")
		if err != nil {
			return err
		}
		if size += len(text) + 16; size > maxSharedText || len(w.texts) == maxSharedCount {
			return badFile("工作簿的文本表过大，请拆分，或另存为 CSV", "the workbook's table of texts is too large: split it, or save the sheet as CSV")
		}
		w.texts = append(w.texts, text)
		return nil
	})
}

// text joins the texts within an element up to its end, without what tells how to pronounce them.
func (p *part) text(end string) (string, error) {
	var b strings.Builder
	in, phonetic := false, 0
	for {
		t, err := p.next()
		if errors.Is(err, io.EOF) {
			return "", badFile("工作簿部件 "+p.name+" 不完整", "the workbook's part "+p.name+" ends in the middle")
		}
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.StartElement:
			switch t.Name.Local {
			case "t":
				in = true
			case "rPh":
				phonetic++
			}
		case xml.CharData:
			if in && phonetic == 0 {
				b.Write(t)
			}
			if b.Len() > maxMarkup {
				return "", errBomb("a text of over 1 MB")
			}
		case xml.EndElement:
			switch t.Name.Local {
			case "t":
				in = false
			case "rPh":
				phonetic--
			case end:
				return unescapeX(b.String()), nil
			}
		}
	}
}

// unescapeX decodes _xHHHH_, by which workbooks write characters that XML has not.
func unescapeX(s string) string {
	if !strings.Contains(s, "_x") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, "_x")
		if i < 0 || len(s) < i+7 {
			return b.String() + s
		}
		n, err := strconv.ParseUint(s[i+2:i+6], 16, 16)
		if err != nil || s[i+6] != '_' || !utf8.ValidRune(rune(n)) {
			b.WriteString(s[:i+2])
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		b.WriteRune(rune(n))
		s = s[i+7:]
	}
}

func (w *workbook) readStyles(name string) error {
	formats := map[string]string{}
	in := false
	return w.each(name, func(_ *part, s xml.StartElement) error {
		switch s.Name.Local {
		case "numFmt":
			formats[attr(s, "numFmtId")] = attr(s, "formatCode")
		case "cellXfs":
			in = true
		case "cellStyles", "cellStyleXfs", "dxfs":
			in = false
		case "xf":
			if !in {
				return nil
			}
			id := attr(s, "numFmtId")
			w.styles = append(w.styles, styleOf(id, formats[id]))
		}
		if len(formats) > maxStyles || len(w.styles) > maxStyles {
			return errBomb("styles")
		}
		return nil
	})
}

// styleOf reads a number format: a built-in one, or its code.
func styleOf(id, code string) style {
	if code == "" {
		switch n, _ := strconv.Atoi(id); {
		case n >= 14 && n <= 17, n == 22, n >= 27 && n <= 31, n == 36, n >= 50 && n <= 54, n >= 57 && n <= 58:
			return style{day: true}
		}
		return style{}
	}
	if strings.Trim(code, "0") == "" {
		if len(code) > maxZeros {
			return style{} // pads nothing that anybody writes, and would pad every cell to this length
		}
		return style{zeros: len(code)}
	}
	var plain strings.Builder // without quoted text, escapes and brackets
	for i := 0; i < len(code); i++ {
		switch c := code[i]; c {
		case '"':
			for i++; i < len(code) && code[i] != '"'; i++ {
			}
		case '[':
			for i++; i < len(code) && code[i] != ']'; i++ {
			}
		case '\\', '_', '*':
			i++
		case ';': // the second part is for negative numbers
			i = len(code)
		default:
			plain.WriteByte(c | 0x20)
		}
	}
	p := plain.String()
	return style{day: !strings.Contains(p, "general") && strings.ContainsAny(p, "yd")}
}

// serialDay is the day of a serial number. In the system of 1900 day 60 is the 29 February that 1900 had not.
func serialDay(n float64, epoch1904 bool) model.Date {
	if n < 0 || n > 2_958_465 {
		return ""
	}
	d := uint32(n)
	switch {
	case epoch1904:
		return model.DateFromDays(d + 1461) // day 0 is 1904-01-01
	case d == 0 || d == 60:
		return ""
	case d > 60:
		return model.DateFromDays(d - 1)
	}
	return model.DateFromDays(d)
}

func (w *workbook) Header() []string             { return w.header }
func (w *workbook) Cell(line, column int) string { return cellName(line, column) }
func (w *workbook) About() About                 { return w.about }
func (w *workbook) Close() error                 { w.sheet.part.close(); return nil }

// Next is the next row with anything in it.
func (w *workbook) Next() (int, []Cell, *Fault, error) { return w.sheet.next(len(w.header)) }
