// Package fold is the one form in which names and other texts of people are compared, wherever they are typed:
// in a file that is imported, in a search. It is never written to the ledger.
package fold

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Text folds: NFKC, so that full-width and half-width brackets, letters and digits are alike; lower case; the
// brackets 〔〕【】﹝﹞［］ as round ones; hyphens and dashes as one; and without spaces, middle dots, and what
// shows nothing (zero-width characters, direction marks, variation selectors). Folding twice is folding once.
func Text(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] > ' ' && s[i] < 0x7f && (s[i] < 'A' || s[i] > 'Z') && s[i] != '[' && s[i] != ']'
	}
	if plain {
		return s
	}
	s = strings.Map(fold, norm.NFKC.String(s))
	if norm.NFKC.IsNormalString(s) {
		return s
	}
	// What was taken out stood between characters that now compose.
	return strings.Map(fold, norm.NFKC.String(s))
}

func fold(r rune) rune {
	switch r {
	case '·', '•', '‧', '∙', '⋅', '・', '˙': // middle dots
		return -1
	case '[', '〔', '【', '〖', '﹝', '⟨':
		return '('
	case ']', '〕', '】', '〗', '﹞', '⟩':
		return ')'
	case '‐', '‑', '‒', '–', '—', '―', '−':
		return '-'
	}
	switch {
	case unicode.IsSpace(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Cc, r),
		r >= 0xfe00 && r <= 0xfe0f, r >= 0xe0100 && r <= 0xe01ef:
		return -1
	}
	return unicode.ToLower(r)
}
