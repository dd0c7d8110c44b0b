// Package report writes what benchmarks measured: one JSON file of entries, in which a later run replaces the entries
// that it measured again (docs/benchmarks.md has the names), and reads the outcomes that count.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Measurement is what a benchmark found: one value a run, and the other side of a ratio where there is one.
type Measurement struct {
	Runs      []float64
	Baselines []float64 // of the runs, interleaved with them
	Note      string
}

// Ratio is the unit of an entry whose value is its measurement divided by the baseline.
const Ratio = "ratio"

// Entry is a benchmark's place in the report.
type Entry struct {
	Name     string    `json:"name"`
	Value    float64   `json:"value"` // median of Runs
	Unit     string    `json:"unit"`
	Baseline *float64  `json:"baseline,omitempty"`
	Ratio    *float64  `json:"ratio,omitempty"` // median of the runs' ratios
	Runs     []float64 `json:"runs"`
	Note     string    `json:"note"`
	Quick    bool      `json:"quick,omitempty"` // a smoke run, never to be quoted
}

// Entry makes the entry of a benchmark. Where the unit is Ratio, runs and value are those of the ratio.
func (m Measurement) Entry(name, unit string, quick bool) Entry {
	e := Entry{Name: name, Unit: unit, Runs: m.Runs, Note: m.Note, Quick: quick, Value: Median(m.Runs)}
	if len(m.Baselines) > 0 {
		base := Median(m.Baselines)
		ratios := make([]float64, len(m.Runs))
		for i := range m.Runs {
			ratios[i] = m.Runs[i] / m.Baselines[i]
		}
		ratio := Median(ratios)
		e.Baseline, e.Ratio = &base, &ratio
		if unit == Ratio {
			e.Value, e.Runs = ratio, ratios
		}
	}
	return e
}

// Median of no values is 0.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	switch n := len(s); {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}

// Percentile takes sorted values; of none it is 0.
func Percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

// Report is the file.
type Report struct {
	Machine map[string]any `json:"machine"`
	Commit  string         `json:"commit"` // HEAD, with -dirty where the checkout differs from it
	Entries []Entry        `json:"entries"`
}

// Read reads a report; one that is not there is empty.
func Read(path string) (*Report, error) {
	r := &Report{}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s is no report (%w): delete it, or give another --out", path, err)
	}
	return r, nil
}

// Put replaces the entry of the same name.
func (r *Report) Put(e Entry) {
	r.Entries = slices.DeleteFunc(r.Entries, func(x Entry) bool { return x.Name == e.Name })
	r.Entries = append(r.Entries, e)
}

// Write fills in machine and commit and writes the file.
func (r *Report) Write(path string) error {
	r.Machine = map[string]any{"cpus": runtime.NumCPU(), "cpu": cpuModel(), "os": runtime.GOOS + "/" + runtime.GOARCH, "go": runtime.Version()}
	r.Commit = commit()
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

func cpuModel() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func commit() string {
	head, err := exec.Command("git", "rev-parse", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	c := strings.TrimSpace(string(head))
	if status, err := exec.Command("git", "status", "--porcelain").Output(); err != nil || len(status) > 0 {
		c += "-dirty"
	}
	return c
}
