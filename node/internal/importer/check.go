package importer

import (
	"context"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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
}

// checker turns rows into drafts. Used by one goroutine.
type checker struct {
	m      *Map
	dir    *Directory
	typ    *model.LicenceType
	today  model.Date
	column map[string]int // by name as the map writes it
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
func newChecker(ctx context.Context, m *Map, header []string, dir *Directory, today model.Date, nodes map[model.NodeID]bool) (*checker, error) {
	c := &checker{
		m: m, dir: dir, today: today, nodes: nodes, column: map[string]int{}, face: m.faceFields(),
		seen: map[[12]byte]place{}, held: map[[12]byte]int{},
	}
	folded := map[string]int{}
	for i, h := range header {
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
func (c *checker) check(ctx context.Context, line int, cells []string) (Row, []Fault, error) {
	c.row++
	r := rowCheck{c: c, line: line, cells: cells}
	row, err := r.run(ctx)
	if err == nil && len(r.faults) == 0 {
		c.duplicates(&row, &r)
	}
	return row, r.faults, err
}

// rowCheck is the checking of one row.
type rowCheck struct {
	c      *checker
	line   int
	cells  []string
	holder model.USCC
	faults []Fault
}

func (r *rowCheck) fault(field string, code model.Code, detail string) {
	f := r.c.m.faultOf(r.line, &model.Error{Code: code, Field: field, Detail: detail})
	if !slices.Contains(r.faults, f) { // two fields may come from one column
		r.faults = append(r.faults, f)
	}
}

func (r *rowCheck) cell(column string) string { return r.cells[r.c.column[column]] }

// text is a field's text as the file has it.
func (r *rowCheck) text(field string) string {
	s := r.c.m.Fields[field]
	v := s.Const
	switch {
	case s.Column != "":
		v = r.cell(s.Column)
	case s.parts != nil:
		if r.holder == "" && len(r.faults) > 0 && s.needsHolder() {
			return "0" // the holder's code is at fault, and that is said already
		}
		v = composed{holder: r.holder, row: r.c.row, cell: r.cell}.expand(s.parts)
	}
	if s.Required && strings.TrimSpace(v) == "" {
		r.fault(field, model.CodeMissingField, "")
	}
	return v
}

// free is a free text: as it stands, checked for what no text may hold.
func (r *rowCheck) free(field string, most int) string {
	v := r.text(field)
	switch {
	case !utf8.ValidString(v):
		r.fault(field, model.CodeBadUTF8, "")
	case strings.TrimSpace(v) == "":
		if !r.c.m.Fields[field].Required { // else it is said already
			r.fault(field, model.CodeMissingField, "")
		}
	case utf8.RuneCountInString(v) > most:
		r.fault(field, model.CodeTooLong, "")
	default:
		if _, err := model.Canonical(v); err != nil {
			r.fault(field, model.AsError(err).Code, "")
		}
	}
	return v
}

func (r *rowCheck) date(field string) model.Date {
	v := strings.TrimSpace(r.text(field))
	if v == "" {
		if !r.c.m.Fields[field].Required {
			r.fault(field, model.CodeMissingField, "")
		}
		return ""
	}
	d, ok := r.c.m.date(v)
	if !ok {
		r.fault(field, model.CodeBadDate, "")
	}
	return d
}

func (r *rowCheck) run(ctx context.Context) (Row, error) {
	m := r.c.m
	v := model.Licence{Type: m.Type, HolderKind: model.HolderEnterprise, Face: map[string]any{}}
	var secret model.LicenceConfidential
	if _, ok := m.Fields["holder_kind"]; ok {
		v.HolderKind = model.HolderKind(strings.TrimSpace(r.text("holder_kind")))
	}
	person := v.HolderKind == model.HolderPerson
	name := r.free("holder_name", model.MaxName)
	switch code := strings.TrimSpace(r.text("holder_code")); {
	case person:
		if _, err := model.ParseCitizenID(code); err != nil {
			r.fault("holder_code", model.CodeBadCitizenID, "")
		}
		secret.HolderCode, secret.HolderName = code, name
	case v.HolderKind == model.HolderEnterprise:
		u, err := model.ParseUSCC(code)
		if err != nil {
			r.fault("holder_code", model.CodeBadUSCC, "")
		}
		r.holder, v.HolderCode, v.HolderName = u, u, name
		if model.HoldsPersonalIdentifier(name) {
			r.fault("holder_name", model.CodePersonalIdentifier, "")
		}
	default:
		r.fault("holder_kind", model.CodeBadValue, "")
	}
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
	if err != nil || len(r.faults) > 0 {
		return Row{}, err
	}
	v.Region = region
	body, err := model.Canonical(map[string]any{"under": i.Under, "value": draftValue(&v)})
	if err != nil {
		r.faults = append(r.faults, m.faultOf(r.line, model.AsError(err)))
		return Row{}, nil
	}
	row := Row{
		Line: r.line, Node: i.Agency.Node, number: v.Number, holder: v.HolderCode, name: Fold(name), person: person,
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
	if v.HolderKind != model.HolderPerson {
		out["holder_code"], out["holder_name"] = v.HolderCode, v.HolderName
	}
	if v.Region != "" {
		out["region"] = v.Region
	}
	return out
}

func (r *rowCheck) dates(v *model.Licence) {
	before := len(r.faults)
	v.ValidFrom = r.date("valid_from")
	v.IssuedOn = v.ValidFrom
	issued := "valid_from"
	if _, ok := r.c.m.Fields["issued_on"]; ok {
		v.IssuedOn, issued = r.date("issued_on"), "issued_on"
	}
	if _, ok := r.c.m.Fields["valid_until"]; ok {
		s := strings.TrimSpace(r.text("valid_until"))
		if s != "" && !slices.Contains(r.c.m.NoEnd, s) {
			d, ok := r.c.m.date(s)
			if !ok {
				r.fault("valid_until", model.CodeBadDate, "")
			}
			v.ValidUntil = d
		}
	}
	if len(r.faults) > before {
		return
	}
	if v.ValidUntil != "" && v.ValidUntil < v.ValidFrom {
		r.fault("valid_until", model.CodeBadDate, "止期早于起期 / the end lies before the beginning")
	}
	if v.IssuedOn > r.c.today {
		r.fault(issued, model.CodeBadDate, "签发日期在未来 / the day of issue lies in the future")
	}
}

// faces reads the face fields as their type declares them. An empty cell is no value.
func (r *rowCheck) faces(v *model.Licence, secret *model.LicenceConfidential) {
	given := map[string]bool{}
	for _, name := range r.c.face {
		field := "face." + name
		decl := r.c.typ.Face[name]
		s := r.text(field)
		if strings.TrimSpace(s) == "" {
			continue
		}
		given[name] = true
		x, ok := faceValue(&decl, s, r.c.m)
		if !ok {
			r.fault(field, model.CodeWrongType, "")
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
		if model.HoldsPersonalIdentifier(s) {
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

func faceValue(f *model.FaceField, s string, m *Map) (any, bool) {
	switch f.Type {
	case "integer":
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 54)
		return float64(n), err == nil
	case "boolean":
		switch Fold(s) {
		case "是", "true", "yes", "1", "y":
			return true, true
		case "否", "false", "no", "0", "n":
			return false, true
		}
		return nil, false
	}
	if f.Format == "date" {
		d, ok := m.date(strings.TrimSpace(s))
		return string(d), ok
	}
	return s, true
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
		v, err := model.ParseAgencyID(strings.TrimSpace(r.cell(rule.Column)))
		if err != nil {
			r.fault("agency", model.CodeBadID, "")
			return Issuer{}, "", nil
		}
		id = v
	default:
		values := make([]string, len(rule.By))
		for n, c := range rule.By {
			values[n] = r.cell(c)
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

// duplicates finds a number, or a holder where one licence is all that a holder has, that an earlier good
// row had.
func (c *checker) duplicates(row *Row, r *rowCheck) {
	holder := string(row.holder)
	if row.person {
		holder = row.Draft.Confidential.HolderCode
	}
	sum := sha256.Sum256([]byte(row.number))
	key := [12]byte(sum[:12])
	who := sha256.Sum256([]byte(holder + "\x00" + row.name))
	at := place{row.Line, [8]byte(who[:8])}
	if was, ok := c.seen[key]; ok {
		code := DuplicateNumber
		if was.holder == at.holder {
			code = DuplicateRow
		}
		r.fault("number", code, "第 "+strconv.Itoa(was.line)+" 行 / line "+strconv.Itoa(was.line))
		return
	}
	if c.m.OnePerHolder {
		sum := sha256.Sum256([]byte(holder))
		k := [12]byte(sum[:12])
		if line, ok := c.held[k]; ok {
			r.fault("holder_code", DuplicateHolder, "第 "+strconv.Itoa(line)+" 行 / line "+strconv.Itoa(line))
			return
		}
		c.held[k] = row.Line
	}
	c.seen[key] = at
}
