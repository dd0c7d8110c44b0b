package importer

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// MaxRows is the most data rows of a file: what finds duplicates keeps some 60 bytes a row.
const MaxRows = 2_000_000

// Row is a good row as a draft.
type Row struct {
	Line  int
	Draft model.Draft
	Node  model.NodeID // that acts for the agency

	number string
	holder model.USCC
	name   string // folded
	person bool
	legacy string
}

// checker turns rows into drafts. Used by one goroutine.
type checker struct {
	m      *Map
	dir    *Directory
	typ    *model.LicenceType
	today  model.Date
	column map[string]int // by name as the map writes it
	table  Table
	texts  map[int]bool // columns of texts, among which numbers are odd
	legacy bool         // codes that do not check go in as taken over unchecked
	face   []string
	nodes  map[model.NodeID]bool // that rows can be sent to; nil: all go to the one
	seen   map[[12]byte]place    // numbers
	held   map[[12]byte]int      // holders → line
	row    int
}

type place struct {
	line   int
	holder [8]byte
}

// newChecker holds the header and the map's face fields against each other and the registry.
func newChecker(ctx context.Context, m *Map, table Table, dir *Directory, today model.Date, nodes map[model.NodeID]bool) (*checker, error) {
	c := &checker{
		m: m, table: table, dir: dir, today: today, nodes: nodes, column: map[string]int{}, face: m.faceFields(),
		seen: map[[12]byte]place{}, held: map[[12]byte]int{},
	}
	folded := map[string]int{}
	for i, h := range table.Header() {
		f := Fold(h)
		if _, twice := folded[f]; twice && f != "" {
			return nil, badFile("表头有两列名为“"+h+"”", "the header has two columns "+strconv.Quote(h))
		}
		folded[f] = i
	}
	var missing []string
	for _, name := range m.Columns() {
		i, ok := folded[Fold(name)]
		if !ok {
			missing = append(missing, name)
			continue
		}
		c.column[name] = i
	}
	if len(missing) > 0 {
		list := strings.Join(missing, ", ")
		return nil, badFile("表头缺少映射所用的列："+list, "the header lacks columns that the map uses: "+list)
	}
	t, err := dir.Type(ctx, m.Type)
	if err != nil {
		return nil, err
	}
	for _, f := range c.face {
		if _, ok := t.Face[f]; !ok {
			return nil, model.E(model.CodeUndeclaredField, "face."+f)
		}
	}
	c.typ = t
	return c, nil
}

// check turns a row into a draft, or says everything that is wrong with it. The error is of the node.
func (c *checker) check(ctx context.Context, line int, cells []Cell) (Row, []Fault, error) {
	c.row++
	r := rowCheck{c: c, line: line, cells: cells}
	row, err := r.run(ctx)
	if err == nil && !r.bad {
		c.duplicates(&row, &r)
	}
	return row, r.faults, err
}

// rowCheck is the checking of one row.
type rowCheck struct {
	c      *checker
	line   int
	cells  []Cell
	holder model.USCC
	faults []Fault
	bad    bool // a fault is among them that is no note
}

func (r *rowCheck) fault(field string, code model.Code, detail string) {
	r.bad = true
	r.say(field, code, detail, false)
}

func (r *rowCheck) note(field string, code model.Code, detail string) {
	r.say(field, code, detail, true)
}

func (r *rowCheck) say(field string, code model.Code, detail string, note bool) {
	f := r.c.m.faultOf(r.line, &model.Error{Code: code, Field: field, Detail: detail})
	f.Note = note
	var cells []string
	for _, c := range r.c.m.columnsOf(field) {
		if cell := r.c.table.Cell(r.line, r.c.column[c]); cell != "" {
			cells = append(cells, cell)
		}
	}
	f.Cell = strings.Join(cells, ", ")
	if !slices.Contains(r.faults, f) { // two fields may come from one column
		r.faults = append(r.faults, f)
	}
}

func (r *rowCheck) cell(column string) *Cell { return &r.cells[r.c.column[column]] }

// holds is a cell's text where a text is wanted, not ok where a spreadsheet has left none: that is said.
func (r *rowCheck) holds(field string, c *Cell) (string, bool) {
	code := model.Code("")
	switch c.Kind {
	case Formula:
		code = FormulaCell
	case Broken:
		code = BrokenCell
	case Merged:
		code = MergedCell
	case Nested:
		code = NestedValue
	case Day:
		code = DamagedDate
	case Number:
		if !exactNumber(c.Text) {
			code = DamagedNumber
		}
	case Text:
		if damaged(c.Text) {
			code = DamagedNumber
		}
	}
	if code != "" {
		r.fault(field, code, "")
	} else if c.Zeros {
		r.note(field, NoteLeadingZeros, "")
	}
	return c.Text, code == ""
}

// text is a field's text as the file has it; not ok where it is at fault already.
func (r *rowCheck) text(field string) (v string, ok bool) {
	s := r.c.m.Fields[field]
	v, ok = s.Const, true
	switch {
	case s.Column != "":
		if v, ok = r.holds(field, r.cell(s.Column)); !ok {
			return v, false
		}
		if c := trim(v); s.Length > len(c) && digits(c) {
			v = strings.Repeat("0", s.Length-len(c)) + c
			r.note(field, NoteLeadingZeros, "")
		} else if s.Length > 0 && c != "" && utf8.RuneCountInString(c) != s.Length {
			r.fault(field, model.CodeBadValue, "长度应为 "+strconv.Itoa(s.Length)+" / needs "+strconv.Itoa(s.Length)+" characters")
			return v, false
		}
	case s.parts != nil:
		if r.holder == "" && r.bad && s.needsHolder() {
			return "0", false // the holder's code is at fault, and that is said already
		}
		v = composed{holder: r.holder, row: r.c.row, cell: func(column string) string {
			t, good := r.holds(field, r.cell(column))
			ok = ok && good
			t, _ = Clean(t)
			return t
		}}.expand(s.parts)
		if len(v) > MaxRow {
			r.fault(field, model.CodeTooLong, "")
			return "", false
		}
	}
	if ok && s.Required && trim(v) == "" {
		r.fault(field, model.CodeMissingField, "")
		ok = false
	}
	return v, ok
}

// free is a free text: cleaned, else as it stands, checked for what no text may hold.
func (r *rowCheck) free(field string, most int) string {
	v, ok := r.text(field)
	if !ok {
		return v
	}
	r.among(field)
	v, changed := Clean(v)
	r.inert(field, v)
	if changed {
		r.note(field, NoteInvisible, "")
	}
	if strings.ContainsFunc(v, private) {
		r.note(field, NotePrivateUse, "")
	}
	switch {
	case !utf8.ValidString(v):
		r.fault(field, model.CodeBadUTF8, "")
	case v == "":
		r.fault(field, model.CodeMissingField, "")
	case utf8.RuneCountInString(v) > most:
		r.fault(field, model.CodeTooLong, "")
	default:
		if _, err := model.Canonical(v); err != nil {
			r.fault(field, model.AsError(err).Code, "")
		}
	}
	return v
}

// day reads a cell, or a constant, as a day; "" where there is none. Whether that may be is the caller's.
func (r *rowCheck) day(field string) (d model.Date, given, ok bool) {
	s := r.c.m.Fields[field]
	if s.Column != "" {
		switch c := r.cell(s.Column); c.Kind {
		case Day:
			return c.Day, true, true
		case Number:
			if d, ok := r.serial(c); ok {
				r.note(field, NoteSerialDay, "")
				return d, true, true
			}
		case Text:
			if r.c.m.SerialDates != "" && len(trim(c.Text)) <= 7 && digits(trim(c.Text)) {
				if d, ok := r.serial(c); ok {
					r.note(field, NoteSerialDay, "")
					return d, true, true
				}
			}
		}
	}
	v, ok := r.text(field)
	if !ok {
		return "", true, false
	}
	v = trim(v)
	if v == "" {
		return "", false, true
	}
	if field == "valid_until" && r.c.m.noEnd[Fold(v)] {
		return "", false, true
	}
	d, ok = r.c.m.date(norm.NFKC.String(v)) // full-width digits are digits
	switch {
	case ok:
	case r.c.m.SerialDates == "" && len(v) == 5 && digits(v) && serialText(v):
		r.fault(field, SerialDate, "")
	default:
		r.fault(field, model.CodeBadDate, strings.Join(r.c.m.Dates, " | "))
	}
	return d, true, ok
}

// serialText reports whether digits may be a day as a spreadsheet counts them.
func serialText(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 18_264 && n < 73_051 // 1950 to 2099
}

// serial is the day of a plain number. Eight digits are no serial number but a written date.
func (r *rowCheck) serial(c *Cell) (model.Date, bool) {
	t := trim(c.Text)
	if len(t) > 5 && !strings.Contains(t, ".") {
		return "", false
	}
	if r.c.m.SerialDates == "" {
		return c.Day, c.Day != ""
	}
	n, err := strconv.ParseFloat(t, 64)
	if err != nil {
		return "", false
	}
	d := serialDay(n, r.c.m.SerialDates == "1904")
	return d, d != ""
}

func (r *rowCheck) date(field string) model.Date {
	d, given, ok := r.day(field)
	if !given && ok && !r.c.m.Fields[field].Required {
		r.fault(field, model.CodeMissingField, "")
	}
	return d
}

// code is a code as it is checked: half-width, upper case, without space.
func (r *rowCheck) code(field string) (string, bool) {
	v, ok := r.text(field)
	return cleanCode(v), ok
}

// state refuses a row whose licence has ended already: it is no licence in force that one could issue.
func (r *rowCheck) state() {
	rule := &r.c.m.State
	if rule.Column == "" {
		return
	}
	t, ok := r.holds("state", r.cell(rule.Column))
	if ok && !rule.inForce[Fold(t)] {
		r.fault("state", AlreadyEnded, "")
	}
}

func (r *rowCheck) run(ctx context.Context) (Row, error) {
	m := r.c.m
	v := model.Licence{Type: m.Type, HolderKind: model.HolderEnterprise, Face: map[string]any{}}
	var secret model.LicenceConfidential
	if _, ok := m.Fields["holder_kind"]; ok {
		k, _ := r.text("holder_kind")
		v.HolderKind = model.HolderKind(cleanCode(k))
	}
	person := v.HolderKind.Personal()
	name := r.free("holder_name", model.MaxName)
	switch {
	case person:
		secret.HolderCode, secret.HolderName = r.document(v.HolderKind, &v), name
	case v.HolderKind == model.HolderEnterprise:
		u := r.uscc("holder_code", &v)
		r.holder, v.HolderCode, v.HolderName = u, u, name
		if model.HoldsPersonalIdentifier(name) {
			r.fault("holder_name", model.CodePersonalIdentifier, "")
		}
	default:
		r.fault("holder_kind", model.CodeBadValue, "")
	}
	r.state()
	if !slices.Contains(r.c.typ.HolderKinds, v.HolderKind) {
		r.fault("holder_kind", model.CodeHolderNotPermitted, "")
	}
	v.Number = r.free("number", 64)
	if model.HoldsPersonalIdentifier(v.Number) {
		r.fault("number", model.CodePersonalIdentifier, "")
	}
	r.dates(&v)
	r.faces(&v, &secret)
	i, region, err := r.issuer(ctx)
	if err != nil || r.bad {
		return Row{}, err
	}
	v.Region = region
	body, err := model.Canonical(map[string]any{"under": i.Under, "value": draftValue(&v)})
	if err != nil {
		r.bad = true
		r.faults = append(r.faults, m.faultOf(r.line, model.AsError(err)))
		return Row{}, nil
	}
	row := Row{
		Line: r.line, Node: i.Agency.Node, number: v.Number, holder: v.HolderCode, name: Fold(name), person: person, legacy: v.Legacy,
		Draft: model.Draft{Agency: i.Agency.ID, Type: model.LicenceIssue, Kind: model.KindLicence, Body: body},
	}
	if len(secret.Fields()) > 0 {
		row.Draft.Confidential = &secret
	}
	return row, nil
}

// draftValue is the licence without what the node adds.
func draftValue(v *model.Licence) map[string]any {
	out := map[string]any{
		"type": v.Type, "number": v.Number, "holder_kind": v.HolderKind, "face": v.Face,
		"issued_on": v.IssuedOn, "valid_from": v.ValidFrom, "valid_until": v.ValidUntil,
	}
	if v.Legacy != "" {
		out["legacy"] = v.Legacy
	}
	if !v.HolderKind.Personal() {
		out["holder_code"], out["holder_name"] = v.HolderCode, v.HolderName
	}
	if v.Region != "" {
		out["region"] = v.Region
	}
	return out
}

func (r *rowCheck) dates(v *model.Licence) {
	before := r.bad
	v.ValidFrom = r.date("valid_from")
	v.IssuedOn = v.ValidFrom
	issued := "valid_from"
	if _, ok := r.c.m.Fields["issued_on"]; ok {
		v.IssuedOn, issued = r.date("issued_on"), "issued_on"
	}
	if _, ok := r.c.m.Fields["valid_until"]; ok {
		v.ValidUntil, _, _ = r.day("valid_until")
	}
	if r.bad && !before {
		return
	}
	if v.ValidUntil != "" && v.ValidUntil < v.ValidFrom {
		r.fault("valid_until", EndsFirst, "")
	}
	if v.IssuedOn > r.c.today {
		r.fault(issued, IssuedAhead, "")
	}
}

// faces reads the face fields as their type declares them. An empty cell is no value.
func (r *rowCheck) faces(v *model.Licence, secret *model.LicenceConfidential) {
	given := map[string]bool{}
	for _, name := range r.c.face {
		field := "face." + name
		decl := r.c.typ.Face[name]
		x, there, ok := r.faceValue(field, &decl)
		if !there && ok {
			continue
		}
		given[name] = true
		if !ok {
			continue
		}
		if err := decl.CheckValue(field, x); err != nil {
			r.fault(field, model.AsError(err).Code, "")
			continue
		}
		if _, err := model.Canonical(x); err != nil {
			r.fault(field, model.AsError(err).Code, "")
			continue
		}
		if decl.Visibility == model.Confidential {
			if secret.Face == nil {
				secret.Face = map[string]any{}
			}
			secret.Face[name] = x
			continue
		}
		if s, ok := x.(string); ok && model.HoldsPersonalIdentifier(s) {
			r.fault(field, model.CodePersonalIdentifier, "")
		}
		v.Face[name] = x
	}
	for _, name := range r.c.typ.FaceNames() {
		if r.c.typ.Face[name].Required && !given[name] && !r.c.m.Fields["face."+name].Required {
			r.fault("face."+name, model.CodeMissingField, "face."+name)
		}
	}
}

// faceValue reads a face field as its type declares it; there is false for an empty cell.
func (r *rowCheck) faceValue(field string, f *model.FaceField) (x any, there, ok bool) {
	if f.Type == "string" && f.Format == "date" {
		d, there, ok := r.day(field)
		return string(d), there, ok
	}
	s, ok := r.text(field)
	if !ok {
		return nil, true, false
	}
	s, changed := Clean(s)
	if s == "" {
		return nil, false, true
	}
	if changed {
		r.note(field, NoteInvisible, "")
	}
	if strings.ContainsFunc(s, private) {
		r.note(field, NotePrivateUse, "")
	}
	if f.Type == "string" {
		r.among(field)
		r.inert(field, s)
	}
	switch f.Type {
	case "integer":
		n, err := strconv.ParseInt(cleanCode(s), 10, 54)
		x, ok = float64(n), err == nil
	case "boolean":
		switch Fold(s) {
		case "是", "true", "yes", "1", "y":
			x = true
		case "否", "false", "no", "0", "n":
			x = false
		default:
			ok = false
		}
	default:
		x = s
	}
	if !ok {
		r.fault(field, model.CodeWrongType, "")
	}
	return x, true, ok
}

// issuer finds the issuing agency of the row and by what right it issues.
func (r *rowCheck) issuer(ctx context.Context) (Issuer, model.Region, error) {
	rule := &r.c.m.Agency
	var id model.AgencyID
	var region model.Region
	switch {
	case rule.Const != "":
		id = model.AgencyID(rule.Const)
	case rule.Column != "":
		t, ok := r.holds("agency", r.cell(rule.Column))
		if !ok {
			return Issuer{}, "", nil
		}
		v, err := model.ParseAgencyID(Fold(t))
		if err != nil {
			r.fault("agency", model.CodeBadID, "")
			return Issuer{}, "", nil
		}
		id = v
	default:
		values := make([]string, len(rule.By))
		for n, c := range rule.By {
			t, ok := r.holds("agency", r.cell(c))
			if !ok {
				return Issuer{}, "", nil
			}
			values[n] = t
		}
		e := rule.find(values)
		if e == nil {
			r.fault("agency", AgencyUnmapped, "")
			return Issuer{}, "", nil
		}
		id, region = e.Agency, e.Region
	}
	i, err := r.c.dir.Issuer(ctx, id, r.c.typ, r.c.today)
	if err != nil {
		return Issuer{}, "", err
	}
	switch {
	case i.Err != nil:
		r.fault("agency", i.Err.Code, string(id))
	case r.c.nodes != nil && !r.c.nodes[i.Agency.Node]:
		r.fault("agency", model.CodeNotActingFor, string(id)+" → "+string(i.Agency.Node))
	case region != "" && !region.Within(i.Region), region == "" && !i.Agency.Region.Within(i.Region):
		r.fault("region", model.CodeRegionNotPermitted, string(id))
	}
	return i, region, nil
}
