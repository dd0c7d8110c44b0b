// Package params holds the code tables that the node reads names from: administrative regions,
// customs districts, receipt channels, the Single Window's dictionary and fields, ISO countries and
// currencies, UNECE units, UN/LOCODE, DCSA and IATA codes, the Harmonized System.
//
// They are facts of others and change between editions, so they are files, not code: each is a CSV
// under tables/ whose head names source, licence and edition. `make params` writes them from the
// reference data; see docs/spec/params.md. A table is parsed when it is first asked for.
//
// A code that a table lacks is not an error of the code: records outlive editions. Whoever refuses
// an unknown code says so in its own rules.
package params

import (
	"bytes"
	"embed"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"
	"sync"
)

//go:embed tables/*.csv
var files embed.FS

// ErrUnknownTable is returned for a name that no table has.
var ErrUnknownTable = errors.New("params: unknown table")

// Contents is one table. It is shared: do not change it.
type Contents struct {
	Source  string // who published it
	Licence string
	Edition string // as declared by the publisher, or the digest of the snapshot
	Header  []string
	Rows    [][]string // each as long as Header
}

var parsed sync.Map // name → func() (Contents, error)

// Table returns the table of that name, "regions" for tables/regions.csv. Safe for concurrent use.
func Table(name string) (Contents, error) {
	// Names that are not of a file never reach the map, which would keep them.
	data, err := files.ReadFile("tables/" + name + ".csv")
	if err != nil {
		return Contents{}, fmt.Errorf("%w: %.40q", ErrUnknownTable, name)
	}
	once, _ := parsed.LoadOrStore(name, sync.OnceValues(func() (Contents, error) { return parse(name, data) }))
	return once.(func() (Contents, error))()
}

// Edition returns a table's edition without parsing its rows.
func Edition(name string) (string, error) {
	data, err := files.ReadFile("tables/" + name + ".csv")
	if err != nil {
		return "", fmt.Errorf("%w: %.40q", ErrUnknownTable, name)
	}
	t, _, err := parseHead(name, data)
	return t.Edition, err
}

// parseHead reads the lines "# key: value" that precede the CSV. All of them must be there, in the
// order in which gen writes them.
func parseHead(name string, data []byte) (Contents, []byte, error) {
	var t Contents
	var table, title, changes string
	for _, want := range []struct {
		key string
		to  *string
	}{
		{"table", &table}, {"title", &title}, {"source", &t.Source}, {"licence", &t.Licence},
		{"edition", &t.Edition}, {"changes", &changes},
	} {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		value, ok := strings.CutPrefix(string(line), "# "+want.key+": ")
		if !ok || value == "" {
			return Contents{}, nil, fmt.Errorf("params: table %s: no %s in its head", name, want.key)
		}
		*want.to, data = value, rest
	}
	if table != name {
		return Contents{}, nil, fmt.Errorf("params: table %s calls itself %s", name, table)
	}
	return t, data, nil
}

func parse(name string, data []byte) (Contents, error) {
	t, body, err := parseHead(name, data)
	if err != nil {
		return Contents{}, err
	}
	// The reader refuses rows of another length than the first.
	rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil {
		return Contents{}, fmt.Errorf("params: table %s: %w", name, err)
	}
	if len(rows) < 2 {
		return Contents{}, fmt.Errorf("params: table %s: no rows", name)
	}
	t.Header, t.Rows = rows[0], rows[1:]
	return t, nil
}

// mustTable is for the typed tables below, which ship inside the binary: a fault in one is a fault
// of the build, and a test parses every table.
func mustTable(name string, header ...string) [][]string {
	t, err := Table(name)
	if err != nil {
		panic(err)
	}
	if strings.Join(t.Header, ",") != strings.Join(header, ",") {
		panic(fmt.Sprintf("params: table %s has columns %q", name, t.Header))
	}
	return t.Rows
}
