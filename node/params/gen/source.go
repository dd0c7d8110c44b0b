package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// A source is one CSV file of the reference data.
type source struct {
	name    string
	columns map[string]int
	rows    [][]string
}

// readSource reads a CSV file with a header row: UTF-8 with or without a byte order mark, either
// line ending, blank lines ignored. A row of another length than the header is an error.
func readSource(data []byte, name string) (*source, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf("%s: no rows", name)
	}
	s := &source{name: name, columns: map[string]int{}, rows: rows[1:]}
	for i, c := range rows[0] {
		s.columns[c] = i
	}
	return s, nil
}

// pick returns the named columns of every row, their white space in order.
func (s *source) pick(columns ...string) ([][]string, error) {
	at := make([]int, len(columns))
	for i, c := range columns {
		n, ok := s.columns[c]
		if !ok {
			return nil, fmt.Errorf("%s: no column %q", s.name, c)
		}
		at[i] = n
	}
	out := make([][]string, len(s.rows))
	for i, row := range s.rows {
		out[i] = make([]string, len(at))
		for j, n := range at {
			out[i][j] = strings.Join(strings.Fields(row[n]), " ")
		}
	}
	return out, nil
}

// A table is one file to be written.
type table struct {
	name    string
	title   string
	from    []string // files of the reference data, in the order in which build gets them
	source  string
	licence string
	changes string // what differs from the source
	header  []string
	build   func([]*source) (rows [][]string, notes []string, err error)
}

// generate makes every file that belongs into the tables folder, by name.
func generate(data fs.FS) (map[string][]byte, []string, error) {
	files := map[string][]byte{}
	var report []string
	for _, t := range tables {
		var sources []*source
		digest := sha256.New()
		for _, name := range t.from {
			raw, err := fs.ReadFile(data, name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil, fmt.Errorf("reference data %s is missing: %w", name, err)
			}
			if err != nil {
				return nil, nil, err
			}
			digest.Write(raw)
			s, err := readSource(raw, name)
			if err != nil {
				return nil, nil, err
			}
			sources = append(sources, s)
		}
		rows, notes, err := t.build(sources)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", t.name, err)
		}
		edition, err := editionOf(data, t, digest.Sum(nil))
		if err != nil {
			return nil, nil, err
		}
		file, err := t.encode(rows, edition)
		if err != nil {
			return nil, nil, err
		}
		files[t.name+".csv"] = file
		for _, n := range notes {
			report = append(report, t.name+": "+n)
		}
	}
	licences, err := licenceTexts(data)
	if err != nil {
		return nil, nil, err
	}
	files["LICENCES.txt"] = licences
	return files, report, nil
}

// encode writes the head, a line "# key: value" each, then CSV with LF endings.
func (t table) encode(rows [][]string, edition string) ([]byte, error) {
	var b bytes.Buffer
	for _, kv := range [][2]string{
		{"table", t.name}, {"title", t.title}, {"source", t.source}, {"licence", t.licence},
		{"edition", edition}, {"changes", t.changes},
	} {
		if kv[1] == "" || strings.ContainsAny(kv[1], "\r\n") {
			return nil, fmt.Errorf("%s: %s is empty or of several lines", t.name, kv[0])
		}
		fmt.Fprintf(&b, "# %s: %s\n", kv[0], kv[1])
	}
	w := csv.NewWriter(&b)
	if err := w.Write(t.header); err != nil {
		return nil, err
	}
	for _, row := range rows {
		if len(row) != len(t.header) {
			return nil, fmt.Errorf("%s: row %q has %d fields, want %d", t.name, row, len(row), len(t.header))
		}
		if err := w.Write(row); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

func short(digest []byte) string { return hex.EncodeToString(digest)[:12] }
