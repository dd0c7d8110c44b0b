package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// The committed tables are what gen writes, no more and no less.
func TestTablesAreCurrent(t *testing.T) {
	root := filepath.Join("..", "..", "..", "..", "shared", "data")
	if _, err := os.Stat(root); os.IsNotExist(err) {
		t.Skip("../shared/data is not beside this checkout: the tables cannot be made again")
	}
	files, _, err := generate(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	committed := filepath.Join("..", "tables")
	entries, err := os.ReadDir(committed)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := files[e.Name()]; !ok {
			t.Errorf("%s is made by nothing", e.Name())
		}
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(committed, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what gen writes: run make params", name)
		}
	}
	out := t.TempDir()
	var report strings.Builder
	if err := run(os.DirFS(root), out, &report); err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: a second run gives other bytes, or none: %v", name, err)
		}
	}
	if !strings.Contains(report.String(), "CN.csv: 1675 places; 13 broken names joined") {
		t.Errorf("the report does not say what was mended:\n%s", &report)
	}
}

func TestMissingDataWritesNothing(t *testing.T) {
	out := filepath.Join(t.TempDir(), "tables")
	if err := run(fstest.MapFS{}, out, os.Stderr); err == nil || !strings.Contains(err.Error(), "provinces.csv is missing") {
		t.Errorf("error: %v", err)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("a folder was made: %v", err)
	}
}

func TestLocodeName(t *testing.T) {
	for _, tt := range []struct {
		row   []string
		want  string
		split bool
		ok    bool
	}{
		{[]string{"CN", "ARS", "Aershan", "Aershan", "NM", "AS"}, "Aershan", false, true},
		{[]string{"CN", "DGL", `"Dongli `, `Tianjing"`, `"Dongli `, `Tianjing"`}, "Dongli, Tianjing", true, true},
		{[]string{"DE", "AAF", "Aasb\ufffdttel", "Aasbuttel", "SH", "RL"}, "Aasbuttel", false, true},
		{[]string{"DE", "3AG", `"Altenau`, " M\ufffdhlberg\"", `"Altenau`, ` Muhlberg"`}, "Altenau, Muhlberg", true, true},
		{[]string{"CN", "XXX", `"open`, "plain", "NM", "AS"}, "", false, false},
		{[]string{"CN", "XXX", `"cut`, `short"`}, "", false, false},
		{[]string{"CN", "XXX", `"a"`, `b"`, `"a`, `b"`}, "", false, false},
	} {
		got, split, err := locodeName(tt.row)
		if got != tt.want || split != tt.split || (err == nil) != tt.ok {
			t.Errorf("%q: %q, %v, %v", tt.row, got, split, err)
		}
	}
}

func TestReadSource(t *testing.T) {
	s, err := readSource([]byte("\ufeffcode,name\r\n01,\" a\tb \"\r\n\r\n"), "x.csv")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := s.pick("name", "code")
	if err != nil || len(rows) != 1 || rows[0][0] != "a b" || rows[0][1] != "01" {
		t.Errorf("%q, %v", rows, err)
	}
	if _, err := s.pick("none"); err == nil {
		t.Error("a column that is not there was picked")
	}
	for _, bad := range []string{"", "code\n", "a,b\n1\n", "a\n\"1\n"} {
		if _, err := readSource([]byte(bad), "x.csv"); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
