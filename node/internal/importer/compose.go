package importer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// maxTemplateParts bounds what a template makes of a row.
const maxTemplateParts = 64

// templatePart is fixed text, or something of the row.
type templatePart struct {
	text   string
	name   string // uscc, org, region, row; "column" with column set
	column string
	width  int // row: padded with zeros
}

// parseTemplate reads text with {uscc} (the holder's code), {org} (its characters 9–17, the organisation
// code), {region} (3–8), {row} or {row:6} (the number of the data row, counting from 1) and {column:NAME}.
func parseTemplate(s string) ([]templatePart, error) {
	var parts []templatePart
	for s != "" {
		text, rest, found := strings.Cut(s, "{")
		if strings.Contains(text, "}") {
			return nil, errors.New("a } without {")
		}
		if text != "" {
			parts = append(parts, templatePart{text: text})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("a { without }")
		}
		s = after
		name, arg, _ := strings.Cut(name, ":")
		p := templatePart{name: name}
		switch {
		case (name == "uscc" || name == "org" || name == "region") && arg == "":
		case name == "row":
			if arg != "" {
				n, err := strconv.Atoi(arg)
				if err != nil || n < 1 || n > 18 {
					return nil, errors.New("{row:N} has a width of 1 to 18")
				}
				p.width = n
			}
		case name == "column" && arg != "":
			p.column = arg
		default:
			return nil, fmt.Errorf("there is no {%s}", name)
		}
		parts = append(parts, p)
	}
	if len(parts) > maxTemplateParts {
		return nil, fmt.Errorf("a template has at most %d parts", maxTemplateParts)
	}
	return parts, nil
}

// needsHolder reports whether the template uses the holder's code.
func (s Source) needsHolder() bool {
	for _, p := range s.parts {
		if p.name == "uscc" || p.name == "org" || p.name == "region" {
			return true
		}
	}
	return false
}

// composed is what a template can use of a row.
type composed struct {
	holder model.USCC
	row    int
	cell   func(column string) string
}

// expand fills a template in; longer than MaxRow, it is cut and no value.
func (c composed) expand(parts []templatePart) string {
	var b strings.Builder
	for _, p := range parts {
		if b.Len() > MaxRow {
			break
		}
		switch p.name {
		case "":
			b.WriteString(p.text)
		case "uscc":
			b.WriteString(string(c.holder))
		case "org":
			b.WriteString(string(c.holder.OrganisationCode()))
		case "region":
			b.WriteString(c.holder.Region())
		case "row":
			fmt.Fprintf(&b, "%0*d", p.width, c.row)
		case "column":
			b.WriteString(c.cell(p.column))
		}
	}
	return b.String()
}

// dateLayout is a writing of dates: YYYY, MM or M, DD or D, each once, with fixed text between. MM and DD
// have two digits, M and D one or two.
type dateLayout struct{ marks []dateMark }

type dateMark struct {
	unit        byte // Y, M, D, or 0 for text
	least, most int  // digits
	text        string
}

var dateUnits = []struct {
	name string
	mark dateMark
}{
	{"YYYY", dateMark{unit: 'Y', least: 4, most: 4}},
	{"MM", dateMark{unit: 'M', least: 2, most: 2}}, {"M", dateMark{unit: 'M', least: 1, most: 2}},
	{"DD", dateMark{unit: 'D', least: 2, most: 2}}, {"D", dateMark{unit: 'D', least: 1, most: 2}},
}

func parseDateLayout(s string) (dateLayout, error) {
	var l dateLayout
	units := map[byte]int{}
	whole := s
next:
	for s != "" {
		for _, u := range dateUnits {
			if rest, ok := strings.CutPrefix(s, u.name); ok {
				l.marks, s = append(l.marks, u.mark), rest
				units[u.mark.unit]++
				continue next
			}
		}
		end := strings.IndexAny(s[1:], "YMD") + 1
		if end == 0 {
			end = len(s)
		}
		l.marks, s = append(l.marks, dateMark{text: s[:end]}), s[end:]
	}
	if units['Y'] != 1 || units['M'] != 1 || units['D'] != 1 {
		return l, badMap("dates: %q has not each of YYYY, MM and DD once", whole)
	}
	for i, m := range l.marks {
		if m.least < m.most && i+1 < len(l.marks) && l.marks[i+1].unit != 0 {
			return l, badMap("dates: in %q text must follow a unit of one or two digits", whole)
		}
	}
	return l, nil
}

func (l dateLayout) parse(s string) (model.Date, bool) {
	var year, month, day string
	for _, m := range l.marks {
		if m.unit == 0 {
			rest, ok := strings.CutPrefix(s, m.text)
			if !ok {
				return "", false
			}
			s = rest
			continue
		}
		n := 0
		for n < len(s) && n < m.most && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		if n < m.least {
			return "", false
		}
		v := s[:n]
		s = s[n:]
		if n == 1 {
			v = "0" + v
		}
		switch m.unit {
		case 'Y':
			year = v
		case 'M':
			month = v
		case 'D':
			day = v
		}
	}
	if s != "" {
		return "", false
	}
	d, err := model.ParseDate(year + "-" + month + "-" + day)
	return d, err == nil
}

// date reads a date in one of the map's writings.
func (m *Map) date(s string) (model.Date, bool) {
	for _, l := range m.layout {
		if d, ok := l.parse(s); ok {
			return d, true
		}
	}
	return "", false
}
