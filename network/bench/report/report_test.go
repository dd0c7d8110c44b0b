package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedianAndPercentile(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := Median(tt.in); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.in, got, tt.want)
		}
	}
	v := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	if p := Percentile(v, 0.5); p != 6 {
		t.Errorf("p50 %v", p)
	}
	if p := Percentile(v, 1); p != 10 {
		t.Errorf("p100 %v", p)
	}
	if p := Percentile(nil, 0.99); p != 0 {
		t.Errorf("p99 of nothing %v", p)
	}
}

// A ratio's value is the median of the runs' ratios, not the ratio of medians: the two sides of one run met the
// same machine.
func TestEntry(t *testing.T) {
	m := Measurement{Runs: []float64{100, 300, 200}, Baselines: []float64{10, 10, 40}, Note: "n"}
	e := m.Entry("x", Ratio, false)
	if e.Value != 10 || *e.Ratio != 10 || *e.Baseline != 10 || e.Runs[2] != 5 {
		t.Errorf("%+v", e)
	}
	e = m.Entry("x", "bytes", true)
	if e.Value != 200 || *e.Ratio != 10 || e.Runs[0] != 100 || !e.Quick {
		t.Errorf("%+v", e)
	}
	if e = (Measurement{Runs: []float64{1}}).Entry("x", "ms", false); e.Ratio != nil || e.Baseline != nil {
		t.Errorf("%+v", e)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "bench.json")
	r, err := Read(path)
	if err != nil || len(r.Entries) != 0 {
		t.Fatalf("%+v %v", r, err)
	}
	r.Put(Entry{Name: "a", Value: 1})
	r.Put(Entry{Name: "b", Value: 2})
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	if r, err = Read(path); err != nil {
		t.Fatal(err)
	}
	r.Put(Entry{Name: "a", Value: 3})
	if len(r.Entries) != 2 || r.Entries[1].Value != 3 || r.Commit == "" || r.Machine["cpus"] == nil {
		t.Errorf("%+v", r)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "--out") {
		t.Errorf("damaged: %v", err)
	}
}
