// Package importer issues licences from a CSV file: every row is checked first, then the good ones are
// issued in batches, and an import that was cut off goes on where it stopped.
//
// A file is read twice. The first pass (Check) holds every row against the map, the types of package model
// and the registry, and writes nothing. The second (Issue) sends the good rows to the nodes that act for
// their agencies.
//
// # Nothing twice
//
// Three things keep a licence from being issued twice, whatever moment an import is killed at:
//
//   - the journal beside the file (journal.go) lists the rows whose fate is known, and the next run passes
//     over them;
//   - a batch's idempotency key is derived from the file's digest, the map's digest and the batch's own
//     bytes, so sending the same batch again is the same request, and the node answers with what became of
//     it;
//   - a number of a type is unique at its node, so a row that comes again in another batch is refused, and
//     the importer looks at what stands there before it calls the row rejected.
//
// # Names
//
// Values go to the ledger as the file has them, full-width brackets and inner spaces included. Only where
// texts are matched (names of columns, provinces, districts, holders) are they folded: see Fold.
package importer

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold is the form in which texts are matched: NFKC, so that full-width and half-width brackets, letters
// and digits are alike, lower case, and without any space. It is never stored.
func Fold(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] > ' ' && s[i] < 0x7f && (s[i] < 'A' || s[i] > 'Z')
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == 0x200b || r == 0xfeff {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKC.String(s))
}
