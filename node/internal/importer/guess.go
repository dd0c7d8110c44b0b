package importer

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Guess is a proposal of a map for a file. A person looks at it before it is used: it holds no value of the
// file, only names of columns and shapes.
type Guess struct {
	About     About     `json:"about"`
	HeaderRow int       `json:"header_row"`
	Lines     int       `json:"header_rows"`
	Rows      int       `json:"rows_read"`
	Columns   []Profile `json:"columns"`
	Fields    []Guessed `json:"fields"`
	Dates     []string  `json:"dates"`
	// Serial is the calendar of numbers in a text file's columns of dates, "" where there are none.
	Serial   string        `json:"serial_dates,omitempty"`
	Agencies []AgencyGuess `json:"agencies,omitempty"`
}

// Profile is what a column holds.
type Profile struct {
	Name    string  `json:"name"`
	Filled  int     `json:"filled"`
	USCC    float64 `json:"uscc"`    // share of the filled cells that are such a code, its check digits right
	Citizen float64 `json:"citizen"` // the same, of 18 digits or 15
	Date    float64 `json:"date"`
	Unique  float64 `json:"unique"`           // different values by filled cells
	Damaged int     `json:"damaged"`          // cut numbers, formulas, errors, numbers among texts
	Length  int     `json:"length,omitempty"` // of codes of digits with zeros at their head; 0 where it is not plain
	Shape   string  `json:"shape"`            // of the first value: 9 a digit, A a letter, 文 another character

	values  map[string]int
	dates   map[string]int
	texts   int
	numbers int
	serials int // numbers that are days of this and the last century in the calendar of spreadsheets
}

// Guessed is a field and the column that it seems to come from.
type Guessed struct {
	Field      string `json:"field"`
	Column     string `json:"column"` // "" for none
	Confidence int    `json:"confidence"`
}

// AgencyGuess is a value of the column of issuing agencies; which agency that is a person says.
type AgencyGuess struct {
	When   string         `json:"when"`
	Agency model.AgencyID `json:"agency"`
}

const (
	guessRows   = 1000
	maxAgencies = 100

	firstSerial = 18_264 // 1950-01-01
	lastSerial  = 73_051 // 2100-01-01
)

// guessNames are headers as they are usual, folded, the best first.
var guessNames = map[string][]string{
	"number":      {"证照编号", "许可证编号", "许可证号", "证书编号", "证号", "执照编号", "编号", "注册号", "number", "no"},
	"holder_code": {"统一社会信用代码", "社会信用代码", "信用代码", "持证主体代码", "持证人证件号码", "证件号码", "身份证号码", "身份证号", "公民身份号码", "uscc", "holdercode"},
	"holder_name": {"持证主体", "持证人", "企业名称", "单位名称", "主体名称", "市场主体名称", "名称", "姓名", "name", "holdername"},
	"holder_kind": {"持证主体代码类型", "证件类型", "证件类型代码", "holderkind"},
	"issued_on":   {"签发日期", "发证日期", "颁发日期", "发照日期", "核准日期", "issuedon"},
	"valid_from":  {"有效期起", "有效期自", "有效期起始日期", "有效期/起", "有效期/自", "起始日期", "成立日期", "注册日期", "registrationdate", "validfrom"},
	"valid_until": {"有效期止", "有效期至", "有效期截止日期", "有效期/止", "有效期/至", "截止日期", "到期日期", "营业期限至", "validuntil"},
	"state":       {"登记状态", "经营状态", "证照状态", "状态", "state"},
	"agency":      {"发证机关", "登记机关", "签发机关", "颁发机关", "issuer", "agency"},
}

// guessDates are writings of dates that are tried.
var guessDates = []string{"YYYY-MM-DD", "YYYY/M/D", "YYYY.M.D", "YYYY年M月D日", "YYYYMMDD", "YYYY-M-D"}

// GuessMap looks at the head of a file, at most 1000 rows, and proposes a map.
func GuessMap(f File, how Reading) (*Guess, error) {
	best := &Guess{}
	score := -1
	var first error
	for row := 1; row <= 5; row++ {
		for lines := 1; lines <= 2; lines++ {
			m := &Map{HeaderRow: row, HeaderRows: lines}
			t, err := OpenTable(f, m, how)
			if err != nil {
				if first == nil {
					first = err
				}
				continue
			}
			known := 0
			for _, h := range t.Header() {
				if _, rank := guessField(h); rank > 0 {
					known += 10
				}
				if h != "" {
					known++
				}
			}
			if known -= row + 4*lines; known > score { // of two that are as good, the plainer
				score = known
				best = &Guess{About: t.About(), HeaderRow: row, Lines: lines}
				for _, h := range t.Header() {
					best.Columns = append(best.Columns, Profile{Name: h, values: map[string]int{}, dates: map[string]int{}})
				}
			}
			t.Close()
		}
	}
	if score < 0 {
		if first == nil {
			first = badFile("找不到表头", "there is no header")
		}
		return nil, first
	}
	return best, best.read(f, how)
}

// guessField is the field that a header names, and how well: 0 for none.
func guessField(h string) (string, int) {
	folded := strings.ReplaceAll(Fold(h), "_", "")
	field, rank := "", 0
	for name, list := range guessNames {
		for i, n := range list {
			r := 0
			switch {
			case folded == Fold(n):
				r = 100 - i
			case utf8.RuneCountInString(n) > 2 && strings.Contains(folded, Fold(n)):
				r = 60 - i
			}
			if r > rank || r == rank && r > 0 && name < field {
				field, rank = name, r
			}
		}
	}
	return field, rank
}

func (g *Guess) read(f File, how Reading) error {
	t, err := OpenTable(f, &Map{HeaderRow: g.HeaderRow, HeaderRows: g.Lines}, how)
	if err != nil {
		return err
	}
	defer t.Close()
	layouts := make([]dateLayout, len(guessDates))
	for i, s := range guessDates {
		if layouts[i], err = parseDateLayout(s); err != nil {
			return err
		}
	}
	for g.Rows < guessRows {
		_, cells, fault, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if g.Rows++; fault != nil {
			continue
		}
		for i := range cells {
			g.Columns[i].see(&cells[i], layouts)
		}
	}
	g.About = t.About()
	used := map[string]int{}
	for i := range g.Columns {
		p := &g.Columns[i]
		n := float64(max(1, p.Filled))
		if name, _ := guessField(p.Name); name == "valid_from" || name == "valid_until" || name == "issued_on" {
			p.Date += float64(p.serials)
		} else if p.texts >= p.numbers && p.Date < n/2 {
			p.Damaged += p.numbers
		}
		p.Length = zeroed(p.values)
		p.USCC, p.Citizen, p.Date, p.Unique = p.USCC/n, p.Citizen/n, p.Date/n, float64(len(p.values))/n
		for d, k := range p.dates {
			used[d] += k
		}
	}
	for d := range used {
		g.Dates = append(g.Dates, d)
	}
	sort.Slice(g.Dates, func(i, k int) bool {
		return used[g.Dates[i]] > used[g.Dates[k]] || used[g.Dates[i]] == used[g.Dates[k]] && g.Dates[i] < g.Dates[k]
	})
	if len(g.Dates) == 0 {
		g.Dates = []string{"YYYY-MM-DD"}
	}
	g.choose()
	for _, field := range []string{"valid_from", "valid_until", "issued_on"} {
		if p := g.profile(g.Column(field)); p != nil && p.serials > 0 && g.About.Format != XLSX { // which has a calendar of its own
			g.Serial = "1900"
		}
	}
	return nil
}

// zeroed is how long the codes of a column are: digits all, most of them as many, and zeros at the heads of some, so that
// a shorter one has lost its own.
func zeroed(values map[string]int) int {
	most, zeros := 0, false
	for v := range values {
		if !digits(v) {
			return 0
		}
		most = max(most, len(v))
	}
	full, all := 0, 0
	for v, k := range values {
		if all += k; len(v) == most {
			full += k
			zeros = zeros || v[0] == '0'
		}
	}
	if !zeros || most < 2 || most > 64 || 2*full < all {
		return 0
	}
	return most
}

func (p *Profile) see(c *Cell, layouts []dateLayout) {
	v, _ := Clean(c.Text)
	if c.Kind != Text && c.Kind != Number && c.Kind != Day && c.Kind != Boolean || c.Kind == Number && !exactNumber(c.Text) || damaged(v) {
		p.Damaged++
		return
	}
	if v == "" {
		return
	}
	p.Filled++
	switch {
	case c.Kind == Number && !c.Zeros:
		p.numbers++
	case c.Kind == Text:
		p.texts++
	}
	if len(p.values) <= guessRows {
		p.values[v]++
	}
	if p.Shape == "" {
		p.Shape = shape(v)
	}
	code := cleanCode(v)
	if _, err := model.ParseUSCC(code); err == nil {
		p.USCC++
	}
	if model.HolderPerson.Checks(code) || citizen18(code) != "" {
		p.Citizen++
	}
	if c.Kind == Day {
		p.Date++
		return
	}
	for i := range layouts {
		if _, ok := layouts[i].parse(v); ok {
			p.Date++
			p.dates[guessDates[i]]++
			return
		}
	}
	if n, err := strconv.ParseFloat(v, 64); err == nil && n >= firstSerial && n < lastSerial && (len(v) == 5 || strings.Contains(v, ".")) {
		p.serials++
	}
}

// shape shows how a value is written and nothing of what it says.
func shape(s string) string {
	var b strings.Builder
	for i, r := range []rune(s) {
		switch {
		case i == 24:
			return b.String() + "…"
		case r >= '0' && r <= '9':
			b.WriteByte('9')
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			b.WriteByte('A')
		case r < utf8.RuneSelf:
			b.WriteRune(r)
		default:
			b.WriteRune('文')
		}
	}
	return b.String()
}

// choose gives each field the column whose name and content fit best.
func (g *Guess) choose() {
	taken := map[int]bool{}
	for _, field := range []string{"holder_code", "holder_name", "number", "valid_from", "valid_until", "issued_on", "holder_kind", "state", "agency"} {
		best, most := -1, 0
		for i := range g.Columns {
			p := &g.Columns[i]
			if taken[i] || p.Name == "" {
				continue
			}
			name, rank := guessField(p.Name)
			if name != field {
				rank = 0
			}
			points := float64(rank) * 0.6
			switch field {
			case "holder_code":
				points += 40 * max(p.USCC, p.Citizen)
			case "valid_from", "valid_until", "issued_on":
				if rank > 0 {
					points += 40 * max(p.Date, share(p.values, "长期", "永久", "长期有效"))
				}
			case "number", "holder_name":
				if rank > 0 {
					points += 40 * p.Unique
				}
			default:
				if rank > 0 {
					points += 30
				}
			}
			if int(points) > most && points >= 30 {
				best, most = i, int(points)
			}
		}
		if best < 0 {
			g.Fields = append(g.Fields, Guessed{Field: field})
			continue
		}
		taken[best] = true
		g.Fields = append(g.Fields, Guessed{field, g.Columns[best].Name, min(most, 99)})
	}
	g.agencies()
}

func share(values map[string]int, texts ...string) float64 {
	n, all := 0, 0
	for v, k := range values {
		if all += k; slices.Contains(texts, Fold(v)) {
			n += k
		}
	}
	return float64(n) / float64(max(1, all))
}

func (g *Guess) profile(column string) *Profile {
	for i := range g.Columns {
		if g.Columns[i].Name == column {
			return &g.Columns[i]
		}
	}
	return nil
}

// Column is the column of a field, "" for none.
func (g *Guess) Column(field string) string {
	for _, f := range g.Fields {
		if f.Field == field {
			return f.Column
		}
	}
	return ""
}

// Set makes a column that of a field, by who looked at the guess.
func (g *Guess) Set(field, column string) {
	for i := range g.Fields {
		if g.Fields[i].Field == field {
			g.Fields[i].Column, g.Fields[i].Confidence = column, 100
		}
	}
	g.agencies()
}

// agencies lists the values of the column of agencies, which are public.
func (g *Guess) agencies() {
	g.Agencies = nil
	p := g.profile(g.Column("agency"))
	if p == nil || len(p.values) > maxAgencies {
		return
	}
	for v := range p.values {
		a, _ := model.ParseAgencyID(v)
		g.Agencies = append(g.Agencies, AgencyGuess{v, a})
	}
	sort.Slice(g.Agencies, func(i, k int) bool { return g.Agencies[i].When < g.Agencies[k].When })
}

// YAML writes the map. What only a person can say stands as a line that says so, and makes the map unusable
// until it is filled in.
func (g *Guess) YAML(name string, t model.TypeCode, agency model.AgencyID) []byte {
	var b strings.Builder
	q := strconv.Quote
	fmt.Fprintf(&b, "# Proposed from the file's header and its first %d rows. Look at every line before you use it.\nname: %s\n", g.Rows, q(name))
	if t == "" {
		b.WriteString("type: \"\"   # FILL IN: the licence type, 21 characters\n")
	} else {
		fmt.Fprintf(&b, "type: %s\n", t)
	}
	if g.About.Sheet != "" && len(g.About.Others) > 0 {
		fmt.Fprintf(&b, "sheet: %s\n", q(g.About.Sheet))
	}
	if g.HeaderRow > 1 {
		fmt.Fprintf(&b, "header_row: %d\n", g.HeaderRow)
	}
	if g.Lines > 1 {
		fmt.Fprintf(&b, "header_rows: %d\n", g.Lines)
	}
	if g.Serial != "" {
		fmt.Fprintf(&b, "serial_dates: %s   # numbers in columns of dates are a spreadsheet's days; a file from an old Mac counts from 1904\n", q(g.Serial))
	}
	fmt.Fprintf(&b, "dates: [%s]\nfields:\n", strings.Join(g.Dates, ", "))
	for _, f := range []string{"number", "holder_kind", "holder_code", "holder_name", "issued_on", "valid_from", "valid_until"} {
		c := g.Column(f)
		required := f == "number" || f == "holder_code" || f == "holder_name" || f == "valid_from"
		p := g.profile(g.Column("holder_code"))
		switch {
		case c != "":
			length := ""
			if p := g.profile(c); f == "number" && p.Length > 0 {
				length = ", length: " + strconv.Itoa(p.Length)
			}
			fmt.Fprintf(&b, "  %s: {column: %s%s%s}\n", f, q(c), length, map[bool]string{true: ", required: true"}[required])
		case f == "holder_kind" && p != nil && p.Citizen > p.USCC:
			b.WriteString("  holder_kind: {const: \"111\"}   # persons, by citizen id\n")
		case f == "valid_from" && g.Column("issued_on") != "":
			fmt.Fprintf(&b, "  valid_from: {column: %s, required: true}\n", q(g.Column("issued_on")))
		case f == "number" && p != nil && p.USCC > 0.5:
			b.WriteString("  number: {template: \"{uscc}\"}   # no column of numbers was found: is it the holder's code?\n")
		case required:
			fmt.Fprintf(&b, "  %s: {column: \"\"}   # FILL IN: no column was found\n", f)
		}
	}
	if c := g.Column("state"); c != "" {
		fmt.Fprintf(&b, "state:   # rows in any other state are not issued\n  column: %s\n  in_force: [存续, 在业, 在营, 正常, 有效]\n", q(c))
	}
	b.WriteString("agency:\n")
	switch c := g.Column("agency"); {
	case agency != "":
		fmt.Fprintf(&b, "  const: %s\n", agency)
	case len(g.Agencies) > 0 && !slices.ContainsFunc(g.Agencies, func(a AgencyGuess) bool { return a.Agency == "" }):
		fmt.Fprintf(&b, "  column: %s\n", q(c))
	case len(g.Agencies) > 0:
		fmt.Fprintf(&b, "  by: [%s]\n  table:   # FILL IN the agencies' ids\n", q(c))
		for _, a := range g.Agencies {
			fmt.Fprintf(&b, "    - {when: [%s], agency: \"\"}\n", q(a.When))
		}
	default:
		b.WriteString("  const: \"\"   # FILL IN: the id of the issuing agency\n")
	}
	return []byte(b.String())
}
