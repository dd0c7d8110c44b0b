// Command zl-bench measures a node over its public API and writes out/bench.json. The node, the ledger in
// it and the load run on this machine, the node in a process of its own, built from this checkout
// (bin/zhenglian), with its rate limits on. Names and rules: docs/benchmarks.md.
//
//	zl-bench [--only issue.batch,verify.http] [--quick] [--out FILE] [--program bin/zhenglian]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/network/bench/report"
)

// bench is one entry of the report.
type bench struct {
	name string
	unit string
	run  func(context.Context, *environment) (report.Measurement, error)
}

var benches = []bench{
	{"issue.batch", "records/s", issueBatch},
	{"issue.single", "records/s", issueSingle},
	{"issue.latency", "ms", issueLatency},
	{"verify.http", report.Ratio, verifyHTTP},
	{"verify.growth", report.Ratio, verifyGrowth},
	{"search.page", "ms", searchPage},
	{"node.memory", "MB", nodeMemory},
	{"node.restart", "s", nodeRestart},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		if err := serveBare(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "zl-bench:", err)
			os.Exit(1)
		}
		return
	}
	only := flag.String("only", "", "comma-separated names; their entries replace those of the last report")
	quick := flag.Bool("quick", false, "a smoke run, marked as such and never to be quoted")
	out := flag.String("out", "out/bench.json", "report")
	program := flag.String("program", "bin/zhenglian", "the node's program")
	profile := flag.String("profile", "", "folder for CPU profiles of the node, one for each benchmark")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *quick, *out, *program, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "zl-bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, quick bool, out, program, profile string) error {
	var names []string
	for _, n := range strings.Split(only, ",") {
		if n = strings.TrimSpace(n); n == "" {
			continue
		}
		if !slices.ContainsFunc(benches, func(b bench) bool { return b.name == n }) {
			return fmt.Errorf("there is no benchmark %q", n)
		}
		names = append(names, n)
	}
	r, err := report.Read(out)
	if err != nil {
		return err
	}
	var large *grown
	defer func() {
		if large != nil {
			large.stop()
		}
	}()
	for _, b := range benches {
		if names != nil && !slices.Contains(names, b.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", b.name)
		env := &environment{program: program, quick: quick, profile: profile, name: b.name, large: &large}
		m, err := b.run(ctx, env)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		e := m.Entry(b.name, b.unit, quick)
		fmt.Fprintf(os.Stderr, "%s = %.4g %s  runs %v  %s\n", e.Name, e.Value, e.Unit, e.Runs, e.Note)
		r.Put(e)
		if err := r.Write(out); err != nil {
			return err
		}
	}
	return nil
}
