package main

import (
	"fmt"
	"strings"
)

// The UN/LOCODE files have two faults. A name with a comma, "Anxi, Quanzhou", was split at it before
// quoting, so that it fills two fields, each with one stray quote, and the columns after it are
// shifted while the row keeps its length. And letters outside the reader's code page became U+FFFD,
// for which the column of names without diacritics stands in.

func locodes(s []*source) ([][]string, []string, error) {
	var rows [][]string
	var notes []string
	for _, src := range s {
		for _, c := range []struct {
			name string
			at   int
		}{{"country", 0}, {"location", 1}, {"name", 2}, {"nameWoDiacritics", 3}} {
			if at, ok := src.columns[c.name]; !ok || at != c.at {
				return nil, nil, fmt.Errorf("%s: column %q is not number %d", src.name, c.name, c.at+1)
			}
		}
		seen := map[string]bool{}
		var joined, plain, double int
		for _, row := range src.rows {
			name, split, err := locodeName(row)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", src.name, err)
			}
			if split {
				joined++
			}
			if strings.ContainsRune(name, '\uFFFD') {
				return nil, nil, fmt.Errorf("%s: %q has no readable name", src.name, row)
			}
			if strings.ContainsRune(row[2]+row[3], '\uFFFD') {
				plain++
			}
			code := row[0] + row[1]
			if len(row[0]) != 2 || len(row[1]) != 3 || name == "" {
				return nil, nil, fmt.Errorf("%s: %q", src.name, row)
			}
			if seen[code] {
				double++
				continue
			}
			seen[code] = true
			rows = append(rows, []string{code, name})
		}
		notes = append(notes, fmt.Sprintf("%s: %d places; %d broken names joined, %d damaged names without diacritics, %d further names left out",
			src.name, len(seen), joined, plain, double))
	}
	sortByCode(rows)
	return rows, notes, nil
}

// locodeName returns the row's readable name, and whether it had been split.
func locodeName(row []string) (name string, split bool, err error) {
	name, plain := row[2], row[3]
	if strings.Contains(name, `"`) {
		if len(row) < 6 || !halves(row[2], row[3]) || !halves(row[4], row[5]) {
			return "", false, fmt.Errorf("quotes in %q", row)
		}
		split = true
		name = join(row[2], row[3])
		plain = join(row[4], row[5])
	}
	if strings.ContainsRune(name, '\uFFFD') {
		name = plain
	}
	return strings.Join(strings.Fields(name), " "), split, nil
}

func halves(a, b string) bool {
	return strings.HasPrefix(a, `"`) && strings.HasSuffix(b, `"`) && strings.Count(a+b, `"`) == 2
}

func join(a, b string) string {
	return strings.TrimSpace(a[1:]) + ", " + strings.TrimSpace(b[:len(b)-1])
}
