// Package bench measures a Zhenglian node on a real Fabric network against the official Gateway client used plainly:
// one record a transaction, nothing batched, nothing cached. Both write the same licences, each for an agency of its
// own, on one network on this machine, in turn. Names and rules: docs/benchmarks.md.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/network/bench/report"
	"github.com/zhenglian/zhenglian/network/fabric"
)

// Config says what to measure and where.
type Config struct {
	Spec  fabric.Spec // of the network to make; its folder must be new
	Only  []string    // names to measure, nil for all; their entries replace those of the last report
	Quick bool        // a smoke run: less of everything, once
	Out   string      // the report
	Keep  bool        // leave the network up
	// Profile is a folder for CPU profiles of the nodes, "" for none.
	Profile string
	Records int       // that the node is asked to issue in a run; 0: 100,000, of a smoke run 10,000
	Callers int       // of the node's write load, each with an array of 100 on its way; 0: 256
	Log     io.Writer // what goes on
	Step    func(fabric.Step)
}

// bench is one entry of the report.
type bench struct {
	name, unit string
	run        func(context.Context, *world) (report.Measurement, error)
}

// benches in the order in which they run. What issue writes the others read.
var benches = []bench{
	{"fabric.issue", report.Ratio, issue},
	{"fabric.bytes", "bytes", blockBytes},
	{"fabric.latency", report.Ratio, latency},
	{"fabric.verify", report.Ratio, verify},
	{"fabric.mixed", "ms", mixed},
}

// Names lists what can be measured.
func Names() []string {
	var out []string
	for _, b := range benches {
		out = append(out, b.name)
	}
	return out
}

// Run brings up a network, measures, and writes the report after each entry. The network is gone afterwards, unless
// it was to be kept.
func Run(ctx context.Context, cfg Config) (err error) {
	for _, n := range cfg.Only {
		if !slices.Contains(Names(), n) {
			return fmt.Errorf("there is no benchmark %q; there are %s", n, strings.Join(Names(), ", "))
		}
	}
	if cfg.Callers == 0 {
		cfg.Callers = plainCallers
	}
	if cfg.Records == 0 {
		cfg.Records = 100_000
		if cfg.Quick {
			cfg.Records = 10_000
		}
	}
	cfg.Records = max(cfg.Records/array, 1) * array
	r, err := report.Read(cfg.Out)
	if err != nil {
		return err
	}
	w, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for _, b := range benches {
		if len(cfg.Only) > 0 && !slices.Contains(cfg.Only, b.name) {
			continue
		}
		fmt.Fprintf(cfg.Log, "%s …\n", b.name)
		before := loadAverage()
		m, err := b.run(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		m.Note += fmt.Sprintf("; %s; load average %s at the start, %s at the end", w.setting(), before, loadAverage())
		e := m.Entry(b.name, b.unit, cfg.Quick)
		fmt.Fprintf(cfg.Log, "%s = %.4g %s  runs %.4g  %s\n", e.Name, e.Value, e.Unit, e.Runs, e.Note)
		r.Put(e)
		if err := r.Write(cfg.Out); err != nil {
			return err
		}
	}
	return nil
}

// scale is full normally and a small part of it in a smoke run.
func (w *world) scale(full, quick int) int {
	if w.cfg.Quick {
		return quick
	}
	return full
}

func (w *world) runs() int { return w.scale(3, 1) }

// loadAverage is what else the machine does, as far as it says: three figures, or "unknown".
func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(raw))
	if err != nil || len(f) < 3 {
		return "unknown"
	}
	return strings.Join(f[:3], " ")
}
