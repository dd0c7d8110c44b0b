package importer

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/zhenglian/zhenglian/node/internal/fold"
)

// Fold is the form in which texts are matched, in files as in searches: see package fold.
func Fold(s string) string { return fold.Text(s) }

// unseen reports whether a character has no width and no meaning in a name: joiners, marks of direction and
// order, the soft hyphen. (Variation selectors choose a rare character's form and are none.)
func unseen(r rune) bool {
	switch {
	case r == 0xad, r == 0x61c, r == 0x180e, r == 0xfeff, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x2069:
		return true
	}
	return false
}

// private reports whether a character is of private use: only the system that invented it knows what it is.
func private(r rune) bool {
	return r >= 0xe000 && r <= 0xf8ff || r >= 0xf0000 && r <= 0x10fffd
}

func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unseen(r) })
}

// Clean is a text as it is stored: without space around it and without unseen characters; changed tells
// whether there were any of these.
func Clean(s string) (clean string, changed bool) {
	clean = trim(s)
	if strings.ContainsFunc(clean, unseen) {
		return strings.Map(func(r rune) rune {
			if unseen(r) {
				return -1
			}
			return r
		}, clean), true
	}
	return clean, false
}

// cleanCode is a code as it is checked and stored: half-width, upper case, without any space.
func cleanCode(s string) string { return strings.ToUpper(Fold(s)) }

// scientific is what a spreadsheet shows, and saves as text, of a long number in a narrow column.
var scientific = regexp.MustCompile(`^[0-9](\.[0-9]+)?[eE]\+?[0-9]{2,3}$`)

// damaged reports whether a text is what is left of a long number.
func damaged(s string) bool {
	return len(s) < 24 && strings.ContainsAny(s, "eE") && scientific.MatchString(trim(s)) && (strings.Contains(s, "+") || strings.Contains(s, "."))
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
