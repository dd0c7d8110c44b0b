package search

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/fold"
	"github.com/zhenglian/zhenglian/sdk"
)

// Query is a search with what only the registry, the calendar and the caller's rights can say.
type Query struct {
	sdk.LicenceSearch
	Owners  []model.AgencyID // Owner with those below it
	Issuers []model.USCC     // of Issuer with those below it
	See     []model.AgencyID // whose confidential holders the caller may find and see
	Today   model.Date
}

// condition is a part of a WHERE clause.
type condition struct {
	text string
	args []any
}

func in[T ~string](column string, values []T) condition {
	c := condition{text: column + " IN (?" + strings.Repeat(",?", len(values)-1) + ")"}
	for _, v := range values {
		c.args = append(c.args, string(v))
	}
	return c
}

// plan is how a query is answered.
type plan struct {
	match match // what the full-text index decides
	// rows is what is checked on every row, and names likewise, on the name that the source of the rows is about.
	rows  []condition
	names []string // folded texts that the name holds
	// scan says on the row what match says, for walking the rows in an order of their own; whole is false where it cannot.
	scan  []condition
	whole bool
	// stretch: valid_until has an upper end, so that its order holds what fits close together.
	stretch bool
	// holders: the query names a holder, so those that only the vault knows are looked at as well.
	holders bool
	see     []string
	nothing bool // no licence can fit
}

func newPlan(q *Query) (*plan, error) {
	p := &plan{whole: true}
	p.any(termType, "l.type", texts(q.Types))
	p.any(termState, "l.state", texts(q.States))
	if q.Owner != "" {
		p.nothing = p.nothing || len(q.Owners) == 0
		p.any(termOwner, "l.owner", texts(q.Owners))
	}
	if q.Issuer != "" {
		p.nothing = p.nothing || len(q.Issuers) == 0
		p.any(termIssuer, "l.issuer", texts(q.Issuers))
	}
	p.regions(q.Regions)
	if q.Legacy {
		p.any(termLegacy, "l.legacy", []string{isLegacy})
	}
	for _, x := range []struct{ term, text string }{{termNumber, q.Number}, {termCode, q.HolderCode}, {termName, q.HolderName}} {
		if x.text == "" {
			continue
		}
		f := fold.Text(x.text)
		p.nothing = p.nothing || f == ""
		p.whole = false
		p.match.any(x.term + f)
	}
	if q.NumberPrefix != "" {
		f := fold.Text(q.NumberPrefix)
		p.nothing = p.nothing || f == ""
		p.whole = false
		p.match.prefix(termNumber + f)
	}
	p.days(termIssuedOn, "l.issued_on", q.IssuedOn)
	p.days(termValidFrom, "l.valid_from", q.ValidFrom)
	p.days(termValidUntil, "l.valid_until", q.ValidUntil)
	if q.Expiring > 0 {
		until := model.DateFromDays(q.Today.Days() + uint32(q.Expiring))
		p.days(termValidUntil, "l.valid_until", sdk.Days{Min: q.Today, Max: until})
		p.any(termState, "l.state", notEnded)
	}
	p.holders = q.HolderCode != "" || q.HolderName != "" || q.Text != ""
	p.see = texts(q.See)
	return p, p.text(q.Text)
}

// notEnded are the states of what can still expire.
var notEnded = func() (out []string) {
	for _, s := range model.Machines[model.KindLicence].States {
		if !s.Ended() {
			out = append(out, string(s))
		}
	}
	return out
}()

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = string(x)
	}
	return out
}

func (p *plan) any(term, column string, values []string) {
	if len(values) == 0 {
		return
	}
	terms := make([]string, len(values))
	for i, v := range values {
		terms[i] = term + v
	}
	p.match.any(terms...)
	p.scan = append(p.scan, in(column, values))
}

func (p *plan) regions(regions []model.Region) {
	if len(regions) == 0 {
		return
	}
	var terms, likes []string
	var args []any
	for _, r := range regions {
		prefix := strings.TrimSuffix(strings.TrimSuffix(string(r), "00"), "00")
		terms = append(terms, termRegion+prefix)
		likes = append(likes, "l.region GLOB ?")
		args = append(args, prefix+"*")
	}
	p.match.any(terms...)
	p.scan = append(p.scan, condition{"(" + strings.Join(likes, " OR ") + ")", args})
}

func (p *plan) days(term, column string, d sdk.Days) {
	if d.Min != "" && d.Max != "" && d.Max < d.Min {
		p.nothing = true
		return
	}
	terms := daysTerms(term, string(d.Min), string(d.Max))
	if terms == nil {
		return
	}
	p.match.any(terms...)
	p.stretch = p.stretch || term == termValidUntil && d.Max != ""
	if d.Min != "" {
		p.rows = append(p.rows, condition{column + " >= ?", []any{string(d.Min)}})
	}
	if d.Max != "" {
		p.rows = append(p.rows, condition{column + " <= ?", []any{string(d.Max)}})
	}
}

// text adds words. Pairs of neighbouring characters are terms; that they stand together is checked on the name, and so
// is a word of one character, which has no pair.
func (p *plan) text(s string) error {
	if s == "" {
		return nil
	}
	found := false
	for _, word := range strings.Fields(s) {
		w := fold.Text(word)
		if w == "" {
			continue
		}
		found = true
		p.names = append(p.names, w)
		if utf8.RuneCountInString(w) > 1 {
			eachPair(w, func(pair string) { p.match.any(pair) })
		}
	}
	if !found {
		return model.E(model.CodeBadValue, "text").With("nothing in it that a name could hold")
	}
	return nil
}

// order is a sort's key: a column and which way.
type order struct {
	key  string // column beside the position, "" for none
	desc bool
	from string // the table in this order
}

var sorts = map[sdk.LicenceOrder]order{
	sdk.SortNewest:     {"", true, "licences l"},
	sdk.SortOldest:     {"", false, "licences l"},
	sdk.SortNumber:     {"l.number", false, "licences l INDEXED BY by_number"},
	sdk.SortValidUntil: {"l.valid_until", false, "licences l INDEXED BY by_valid_until"},
	sdk.SortHolderName: {"l.holder_name", false, "licences l"},
}

// The sources of rows: by the public terms, by those of confidential holders, or all rows.
const (
	byWords   = "words"
	byHolders = "holder_words"
)

// where is the source's FROM and WHERE. source is byWords, byHolders or "" for all rows in the table's own order.
func (p *plan) where(source string, o order) (string, []any) {
	var text strings.Builder
	var args []any
	var all []condition
	name := "iif(l.name_key = '', l.holder_name, l.name_key)"
	switch source {
	case "":
		text.WriteString(o.from)
		all = append(all, p.scan...)
	default:
		// CROSS JOIN: SQLite keeps the order of the tables.
		text.WriteString(source + " CROSS JOIN licences l ON l.pos = " + source + ".rowid")
		m := p.match
		if source == byHolders {
			m.groups = slices.Clone(m.groups)
			owners := make([]string, len(p.see))
			for i, a := range p.see {
				owners[i] = termOwner + a
			}
			m.any(owners...)
			name = "h.folded"
		}
		all = append(all, condition{source + " MATCH ?", []any{m.String()}})
	}
	if source == byHolders {
		text.WriteString(" CROSS JOIN holders h ON h.pos = l.pos")
	} else {
		text.WriteString(" LEFT JOIN holders h ON h.pos = l.pos")
	}
	all = append(all, p.rows...)
	for _, n := range p.names {
		all = append(all, condition{"instr(" + name + ", ?) > 0", []any{n}})
	}
	for i, c := range all {
		if i == 0 {
			text.WriteString(" WHERE ")
		} else {
			text.WriteString(" AND ")
		}
		text.WriteString(c.text)
		args = append(args, c.args...)
	}
	return text.String(), args
}

// exact tells whether the index alone decides which rows fit.
func (p *plan) exact() bool {
	long := slices.ContainsFunc(p.names, func(n string) bool { return utf8.RuneCountInString(n) != 2 })
	return len(p.rows) == 0 && !long
}
