package main

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

// measurement is what a benchmark found: one value a run, and the other side of a ratio where there is one.
type measurement struct {
	runs      []float64
	baselines []float64 // of the runs, interleaved with them
	note      string
}

// entry is a benchmark's place in the report.
type entry struct {
	Name     string    `json:"name"`
	Value    float64   `json:"value"` // median of runs
	Unit     string    `json:"unit"`
	Baseline *float64  `json:"baseline,omitempty"`
	Ratio    *float64  `json:"ratio,omitempty"`
	Runs     []float64 `json:"runs"`
	Note     string    `json:"note"`
	Quick    bool      `json:"quick,omitempty"`
}

type report struct {
	Machine map[string]any `json:"machine"`
	Commit  string         `json:"commit"`
	Entries []entry        `json:"entries"`
}

func (m measurement) entry(b bench, quick bool) entry {
	e := entry{Name: b.name, Unit: b.unit, Runs: m.runs, Note: m.note, Quick: quick, Value: median(m.runs)}
	if len(m.baselines) > 0 {
		base := median(m.baselines)
		ratios := make([]float64, len(m.runs))
		for i := range m.runs {
			ratios[i] = m.runs[i] / m.baselines[i]
		}
		ratio := median(ratios)
		e.Baseline, e.Ratio = &base, &ratio
		if b.unit == "ratio" {
			e.Value, e.Runs = ratio, ratios
		}
	}
	return e
}

func median(v []float64) float64 {
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

// percentile takes sorted values.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func readReport(path string) (*report, error) {
	r := &report{}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r *report) put(e entry) {
	r.Entries = slices.DeleteFunc(r.Entries, func(x entry) bool { return x.Name == e.Name })
	r.Entries = append(r.Entries, e)
}

func (r *report) write(path string) error {
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
	for _, line := range strings.Split(string(raw), "\n") {
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
