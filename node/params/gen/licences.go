package main

import (
	"bytes"
	"fmt"
	"io/fs"
)

// licenceTexts is the notice that goes with the tables: which licence each has, who is to be named,
// and the texts that ask to travel with copies.
func licenceTexts(data fs.FS) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("Licences of the code tables in this folder. Each file names its own source, licence and edition in\n" +
		"its head, and what was changed. They are separate works, not under the project's licence.\n\n")
	for _, t := range tables {
		fmt.Fprintf(&b, "%-28s %-13s %s\n", t.name+".csv", t.licence, t.source)
	}
	b.WriteString(`
CC BY-SA 4.0: https://creativecommons.org/licenses/by-sa/4.0/legalcode. The tables made from such sources
are offered under the same licence. iata-airports.csv uses the IATA/ICAO list available from
https://www.ip2location.com.
PDDL-1.0: https://opendatacommons.org/licenses/pddl/1-0/
Apache-2.0: the text is the project's own LICENSE file.
`)
	for _, l := range []struct{ title, file string }{
		{"geoapify/un-locode", "un-locode/LICENSE"},
		{"modood/Administrative-divisions-of-China", "gb2260/LICENSE"},
	} {
		text, err := fs.ReadFile(data, l.file)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "\n---- %s ----\n\n%s\n", l.title, bytes.TrimSpace(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))))
	}
	return b.Bytes(), nil
}
