package search

import (
	"strings"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/fold"
)

// Terms of the full-text index. A pair of characters of a folded name is a term of two characters; every other term
// begins with a letter and a colon and has at least three, so that none is taken for another. Terms hold no blank.
// The tokenizer takes letters of either case for the same, which no two values differ by.
const (
	termType       = "t:" // licence type
	termState      = "s:"
	termOwner      = "o:"
	termIssuer     = "i:"
	termRegion     = "r:" // one for each level: 2, 4 and 6 digits
	termNumber     = "n:" // folded
	termCode       = "c:" // of the holder, folded
	termName       = "h:" // of the holder, folded, whole
	termIssuedOn   = "d:" // one for the year and one for the month
	termValidFrom  = "f:" // likewise
	termValidUntil = "u:" // likewise
	termLegacy     = "l:" // only where it is
)

// endless stands in valid_until for 长期: beyond every day that can be written.
const endless = "9999-12-31"

type termList struct{ strings.Builder }

func (t *termList) add(parts ...string) {
	if t.Len() > 0 {
		t.WriteByte(' ')
	}
	for _, p := range parts {
		t.WriteString(p)
	}
}

// day adds the day's year and its month. Days that are long ago or far off share one term.
func (t *termList) day(kind, day string) {
	switch {
	case day < firstYear:
		t.add(kind, longAgo)
	case day >= beyondYear:
		t.add(kind, farOff)
	default:
		t.add(kind, day[:4])
		t.add(kind, day[:4], day[5:7])
	}
}

const (
	firstYear, beyondYear = "1950", "2100"
	longAgo, farOff       = "0000", "9999"
)

// terms are a row's, in the form in which they are indexed, and in which they are taken out again: they are a function
// of the row alone.
func (r *row) terms(t *termList) string {
	t.Reset()
	t.add(termType, r.typ)
	t.add(termState, r.state)
	t.add(termOwner, r.owner)
	t.add(termIssuer, r.issuer)
	for _, n := range []int{2, 4, 6} {
		t.add(termRegion, r.region[:n])
	}
	if n := fold.Text(r.number); n != "" {
		t.add(termNumber, n)
	}
	t.day(termIssuedOn, r.issuedOn)
	t.day(termValidFrom, r.validFrom)
	t.day(termValidUntil, r.validUntil)
	if r.legacy != "" {
		t.add(termLegacy, r.legacy)
	}
	t.holder(r.holderCode, r.folded())
	return t.String()
}

// secret are the terms by which a confidential holder is found: its own, and the owner's and all others of the row.
func (s *secret) terms(r *row, t *termList) string {
	r.terms(t)
	t.holder(s.code, s.folded)
	return t.String()
}

func (t *termList) holder(code, folded string) {
	if c := fold.Text(code); c != "" {
		t.add(termCode, c)
	}
	if folded != "" {
		t.add(termName, folded)
	}
	eachPair(folded, func(pair string) { t.add(pair) })
}

// eachPair calls f with every pair of neighbouring characters.
func eachPair(s string, f func(pair string)) {
	_, first := utf8.DecodeRuneInString(s)
	for len(s) > first {
		_, second := utf8.DecodeRuneInString(s[first:])
		f(s[:first+second])
		s, first = s[first:], second
	}
}

// daysTerms are the terms of the years and months that a stretch of days touches. Whether a day of a month at its ends
// is within is checked on the row. nil: the stretch is open at both ends.
func daysTerms(kind string, min, max string) []string {
	if min == "" && max == "" {
		return nil
	}
	var out []string
	y, m, lastY, lastM := number(firstYear), 1, number(beyondYear)-1, 12
	switch {
	case min < firstYear:
		out = append(out, kind+longAgo)
	case min < beyondYear:
		y, m = number(min[:4]), number(min[5:7])
	default:
		y = lastY + 1
	}
	switch {
	case max == "" || max >= beyondYear:
		out = append(out, kind+farOff)
	case max >= firstYear:
		lastY, lastM = number(max[:4]), number(max[5:7])
	default:
		lastY = y - 1
	}
	for y < lastY || y == lastY && m <= lastM {
		if m == 1 && (y < lastY || lastM == 12) {
			out = append(out, kind+digits(y, 4))
			y++
			continue
		}
		out = append(out, kind+digits(y, 4)+digits(m, 2))
		if m++; m > 12 {
			y, m = y+1, 1
		}
	}
	return out
}

func number(s string) int {
	n := 0
	for _, c := range []byte(s) {
		n = n*10 + int(c-'0')
	}
	return n
}

func digits(n, width int) string {
	b := make([]byte, width)
	for i := width - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return string(b)
}

// match is a condition of the full-text index: of each group at least one term.
type match struct{ groups []string }

func (m *match) any(terms ...string) {
	quoted := make([]string, len(terms))
	for i, t := range terms {
		quoted[i] = quote(t)
	}
	m.groups = append(m.groups, strings.Join(quoted, " OR "))
}

func (m *match) prefix(term string) { m.groups = append(m.groups, quote(term)+" *") }

func quote(term string) string { return `"` + strings.ReplaceAll(term, `"`, `""`) + `"` }

func (m *match) String() string {
	if len(m.groups) == 0 {
		return ""
	}
	return "(" + strings.Join(m.groups, ") AND (") + ")"
}

// dayText is a day as the index has it.
func dayText(d model.Date) string {
	if d == "" {
		return endless
	}
	return string(d)
}
