package main

import (
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/network/bench"
)

func benchCommand() *cobra.Command {
	var u upFlags
	var cfg bench.Config
	c := &cobra.Command{
		Use: "bench", Short: "measure a node on a real network against a plain Gateway client", Args: cobra.NoArgs,
		Long: "bench makes a network of three organisations in a folder of its own, measures, writes the report and deletes the\n" +
			"network. It measures " + strings.Join(bench.Names(), ", ") + " (docs/benchmarks.md).",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			cfg.Log = c.ErrOrStderr()
			if u.spec.Dir == "" {
				if u.spec.Dir, err = os.MkdirTemp("", "zl-bench-fabric-"); err != nil {
					return err
				}
				if !cfg.Keep {
					defer os.RemoveAll(u.spec.Dir)
				}
			}
			p := &stepPrinter{w: cfg.Log, began: time.Now()}
			if err := u.programs(c, p); err != nil {
				return err
			}
			cfg.Spec, cfg.Step = u.spec, p.step
			return bench.Run(c.Context(), cfg)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&cfg.Only, "only", nil, "comma-separated names; their entries replace those of the last report")
	f.BoolVar(&cfg.Quick, "quick", false, "a smoke run, marked as such and never to be quoted")
	f.StringVar(&cfg.Out, "out", "out/bench-fabric.json", "report")
	f.StringVar(&cfg.Profile, "profile", "", "folder for CPU profiles of the nodes")
	f.IntVar(&cfg.Records, "records", 0, "licences that the node issues in a run (default 100000, of a smoke run 10000)")
	f.IntVar(&cfg.Callers, "callers", 0, "callers of the node's write load, each with an array of 100 (default 256)")
	f.BoolVar(&cfg.Keep, "keep", false, "leave the network up")
	f.StringVar(&u.spec.Dir, "dir", "", "the network's folder (default: a temporary one)")
	f.StringVar(&u.fabricBin, "fabric-bin", "", "folder of Fabric's own binaries instead of those that build made")
	f.IntVar(&u.spec.Orgs, "orgs", 3, "organisations, 3 or 4")
	f.IntVar(&u.spec.Policy, "policy", 0, "organisations that must endorse (default: more than half)")
	f.DurationVar(&u.spec.Batch.Timeout, "batch-timeout", 0, "how long an orderer gathers a block (default 200ms)")
	f.IntVar(&u.spec.Batch.Messages, "batch-messages", 0, "transactions of a block (default 500)")
	f.IntVar(&u.spec.Batch.Preferred, "batch-bytes", 0, "bytes at which an orderer ends a block (default 2097152)")
	return c
}
