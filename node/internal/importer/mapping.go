package importer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Map says how the columns of a file become licences. Its written form is YAML; docs/guide/import has the
// manual. Unknown keys are refused.
type Map struct {
	Name string         `yaml:"name"`
	Type model.TypeCode `yaml:"type"`
	// Sheet of a workbook, by name or number; the first one shown by default.
	Sheet string `yaml:"sheet"`
	// HeaderRow is the line on which the header begins (of a workbook: the first with anything in it by
	// default; of CSV: 1), HeaderRows of how many lines it is: 1 by default. Names of several lines are
	// joined with "/".
	HeaderRow  int `yaml:"header_row"`
	HeaderRows int `yaml:"header_rows"`
	// SerialDates is the calendar of plain numbers in columns of dates, as Excel counts days: "1900" or
	// "1904". Without it a workbook has its own, and a text file has none.
	SerialDates string `yaml:"serial_dates"`
	// Delimiter between columns: "," ";" or "tab"; by default what the header has most of.
	Delimiter string `yaml:"delimiter"`
	// Dates are the writings of dates that are accepted, "YYYY-MM-DD" by default.
	Dates []string `yaml:"dates"`
	// NoEnd are the texts that say that a licence has no end; an empty cell is one unless it is forbidden
	// by "required".
	NoEnd []string `yaml:"no_end"`
	// NumberCells says what a number is in a column that holds texts otherwise: "note" (by default) or "refuse".
	NumberCells string `yaml:"number_cells"`
	// FormulaTexts says what becomes of texts that a spreadsheet would run: "refuse" (by default) or "allow".
	FormulaTexts string `yaml:"formula_texts"`
	// OnePerHolder: a holder has at most one licence of the type, so a second row is a mistake.
	OnePerHolder bool `yaml:"one_per_holder"`
	// Fields: number, holder_kind, holder_code, holder_name, issued_on, valid_from, valid_until, face.*
	Fields map[string]Source `yaml:"fields"`
	Agency AgencyRule        `yaml:"agency"`
	State  StateRule         `yaml:"state"`

	digest model.Digest
	source []byte
	layout []dateLayout
	noEnd  map[string]bool // folded
}

// Source is where a field's value comes from: exactly one of the three.
type Source struct {
	Column   string `yaml:"column"`
	Const    string `yaml:"const"`
	Template string `yaml:"template"` // text with {uscc}, {org}, {region}, {row} and {column:NAME}
	Required bool   `yaml:"required"` // an empty value is a fault, also where the field may be empty
	// Length is how many characters every value has. Digits that are fewer have lost zeros at their head,
	// which are put back.
	Length int `yaml:"length"`

	parts []templatePart
}

// StateRule tells rows of licences in force from those of licences that have ended, which are not issued.
type StateRule struct {
	Column  string   `yaml:"column"`
	InForce []string `yaml:"in_force"` // "" stands for an empty cell

	inForce map[string]bool // folded
}

// AgencyRule finds the issuing agency of a row: by a column that holds its id, or by a table over columns.
type AgencyRule struct {
	Column string        `yaml:"column"`
	Const  string        `yaml:"const"`
	By     []string      `yaml:"by"`
	Table  []AgencyEntry `yaml:"table"`

	index map[string]*AgencyEntry
}

// AgencyEntry gives the agency for values of the first len(When) columns of By. The entry with the most
// values that match wins, so a shorter one is the default of a province.
type AgencyEntry struct {
	When   []string       `yaml:"when"`
	Agency model.AgencyID `yaml:"agency"`
	Region model.Region   `yaml:"region"` // of the licence; the agency's by default
}

// Bounds of maps.
const (
	MaxMap     = 1 << 20 // bytes
	maxEntries = 20_000
	maxBy      = 4
)

// faceName is the form of a face field in a map.
var faceName = regexp.MustCompile(`^face\.[a-z][a-z0-9_]{0,63}$`)

// errMap marks what is wrong with a map.
var errMap = errors.New("the map")

func badMap(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMap, fmt.Sprintf(format, args...))
}

// ReadMap reads and checks a map.
func ReadMap(r io.Reader) (*Map, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxMap+1))
	if err != nil {
		return nil, err
	}
	return DecodeMap(raw)
}

// DecodeMap checks a map.
func DecodeMap(raw []byte) (*Map, error) {
	if len(raw) > MaxMap {
		return nil, badMap("larger than %d bytes", MaxMap)
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	m := new(Map)
	if err := d.Decode(m); err != nil {
		return nil, badMap("%s", err)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, badMap("more than one document")
	}
	m.digest, m.source = sha256.Sum256(raw), bytes.Clone(raw)
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// Source is the map as it was written.
func (m *Map) Source() ([]byte, error) {
	if m.source == nil {
		return nil, badMap("it was never written")
	}
	return m.source, nil
}

// Digest is of the map's bytes.
func (m *Map) Digest() model.Digest { return m.digest }

// plainFields are the fields of every licence and whether a map must give them.
var plainFields = map[string]bool{
	"number": true, "holder_code": true, "holder_name": true, "valid_from": true,
	"holder_kind": false, "issued_on": false, "valid_until": false,
}

func (m *Map) check() error {
	if m.Type == "" {
		return badMap("type is missing")
	}
	if _, err := m.comma(); err != nil {
		return err
	}
	if len(m.Dates) == 0 {
		m.Dates = []string{"YYYY-MM-DD"}
	}
	for _, d := range m.Dates {
		l, err := parseDateLayout(d)
		if err != nil {
			return err
		}
		m.layout = append(m.layout, l)
	}
	if m.NoEnd == nil {
		m.NoEnd = []string{"长期", "永久", "无固定期限", "长期有效", "永久有效", "9999-12-31", "9999/12/31", "99991231"}
	}
	m.noEnd = map[string]bool{}
	for _, s := range m.NoEnd {
		m.noEnd[Fold(s)] = true
	}
	if (m.State.Column == "") != (len(m.State.InForce) == 0) {
		return badMap("state needs column and in_force")
	}
	m.State.inForce = map[string]bool{}
	for _, s := range m.State.InForce {
		m.State.inForce[Fold(s)] = true
	}
	if m.HeaderRow < 0 || m.HeaderRow > 100 || m.HeaderRows < 0 || m.HeaderRows > 10 {
		return badMap("header_row is 1 to 100, header_rows 1 to 10")
	}
	if m.SerialDates != "" && m.SerialDates != "1900" && m.SerialDates != "1904" {
		return badMap("serial_dates is 1900 or 1904")
	}
	if m.NumberCells != "" && m.NumberCells != "note" && m.NumberCells != "refuse" {
		return badMap("number_cells is note or refuse")
	}
	if m.FormulaTexts != "" && m.FormulaTexts != "refuse" && m.FormulaTexts != "allow" {
		return badMap("formula_texts is refuse or allow")
	}
	for f, must := range plainFields {
		if _, ok := m.Fields[f]; must && !ok {
			return badMap("fields.%s is missing", f)
		}
	}
	for f, s := range m.Fields {
		if _, ok := plainFields[f]; !ok && !faceName.MatchString(f) {
			return badMap("there is no field %q", f)
		}
		ways := 0
		for _, given := range []string{s.Column, s.Const, s.Template} {
			if given != "" {
				ways++
			}
		}
		if ways != 1 {
			return badMap("fields.%s needs exactly one of column, const and template", f)
		}
		if s.Length < 0 || s.Length > 64 || s.Length > 0 && s.Column == "" {
			return badMap("fields.%s.length is 1 to 64, of a column", f)
		}
		if s.Template != "" {
			if f == "holder_code" {
				return badMap("fields.holder_code cannot be a template")
			}
			parts, err := parseTemplate(s.Template)
			if err != nil {
				return badMap("fields.%s: %s", f, err)
			}
			s.parts = parts
			m.Fields[f] = s
		}
	}
	return m.Agency.check()
}

func (a *AgencyRule) check() error {
	ways := 0
	for _, given := range []bool{a.Column != "", a.Const != "", len(a.By) > 0 || len(a.Table) > 0} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return badMap("agency needs exactly one of column, const, and by with table")
	}
	if a.Const != "" {
		if _, err := model.ParseAgencyID(a.Const); err != nil {
			return badMap("agency.const is no agency id")
		}
	}
	if a.Column != "" || a.Const != "" {
		return nil
	}
	if len(a.By) == 0 || len(a.By) > maxBy || len(a.Table) == 0 || len(a.Table) > maxEntries {
		return badMap("agency.by needs 1 to %d columns and agency.table 1 to %d entries", maxBy, maxEntries)
	}
	a.index = make(map[string]*AgencyEntry, len(a.Table))
	for i := range a.Table {
		e := &a.Table[i]
		if e.Agency == "" || len(e.When) > len(a.By) {
			return badMap("agency.table[%d] needs an agency, and at most one value a column", i)
		}
		k := tableKey(e.When)
		if a.index[k] != nil {
			return badMap("agency.table[%d]: %q stands twice", i, e.When)
		}
		a.index[k] = e
	}
	return nil
}

func tableKey(values []string) string {
	var b strings.Builder
	for _, v := range values {
		b.WriteString(Fold(v))
		b.WriteByte(0)
	}
	return b.String()
}

// find is the entry for the values of the columns of By, nil for none.
func (a *AgencyRule) find(values []string) *AgencyEntry {
	for n := len(values); n >= 0; n-- {
		if e := a.index[tableKey(values[:n])]; e != nil {
			return e
		}
	}
	return nil
}

func (a *AgencyRule) columns() []string {
	if a.Column != "" {
		return []string{a.Column}
	}
	return a.By
}

// Columns lists the columns that the map reads, in order of name.
func (m *Map) Columns() []string {
	set := map[string]bool{}
	for _, c := range m.Agency.columns() {
		set[c] = true
	}
	if m.State.Column != "" {
		set[m.State.Column] = true
	}
	for _, s := range m.Fields {
		if s.Column != "" {
			set[s.Column] = true
		}
		for _, p := range s.parts {
			if p.column != "" {
				set[p.column] = true
			}
		}
	}
	out := make([]string, 0, len(set))
	for c := range set {
		out = append(out, c)
	}
	sort.Strings(out)
	return out
}

// faceFields lists the face fields of the map, in order.
func (m *Map) faceFields() []string {
	var out []string
	for f := range m.Fields {
		if name, ok := strings.CutPrefix(f, "face."); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (m *Map) comma() (rune, error) {
	switch m.Delimiter {
	case "", ",":
		return ',', nil
	case ";":
		return ';', nil
	case "tab", "\t":
		return '\t', nil
	}
	return 0, badMap("delimiter must be comma, semicolon or tab")
}

// origin is the column that a reader of the file should look at for a field.
func (m *Map) origin(field string) string {
	s := m.Fields[field]
	if s.Column != "" {
		return s.Column
	}
	for _, p := range s.parts {
		if p.column != "" {
			return p.column
		}
	}
	if s.needsHolder() {
		return m.Fields["holder_code"].Column
	}
	return ""
}
