package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/network/fabric"
)

const defaultDir = "out/network"

// stepPrinter prints each step as it ends: a line for people, a JSON object a line for programs.
type stepPrinter struct {
	w     io.Writer
	json  bool
	began time.Time
}

func (p *stepPrinter) step(s fabric.Step) {
	if p.json {
		line := struct {
			Step    string  `json:"step"`
			Seconds float64 `json:"seconds"`
			Note    string  `json:"note,omitempty"`
			OK      bool    `json:"ok"`
		}{s.Name, s.Took.Seconds(), s.Note, s.Err == nil}
		_ = json.NewEncoder(p.w).Encode(line)
		return
	}
	mark := "ok"
	if s.Err != nil {
		mark = "failed"
	}
	fmt.Fprintf(p.w, "%-20s %6.1f s  %-6s %s\n", s.Name, s.Took.Seconds(), mark, s.Note)
}

func (p *stepPrinter) total() {
	if p.json {
		_ = json.NewEncoder(p.w).Encode(map[string]any{"step": "total", "seconds": time.Since(p.began).Seconds(), "ok": true})
		return
	}
	fmt.Fprintf(p.w, "%-20s %6.1f s\n", "total", time.Since(p.began).Seconds())
}

func buildCommand() *cobra.Command {
	var cache string
	var asJSON bool
	c := &cobra.Command{
		Use: "build", Short: "compile Fabric's programs from the pinned module, once", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			checkout, err := fabric.Checkout()
			if err != nil {
				return err
			}
			if cache == "" {
				cache = fabric.Cache(checkout)
			}
			p := &stepPrinter{w: c.OutOrStdout(), json: asJSON, began: time.Now()}
			if err := fabric.Build(c.Context(), checkout, cache, p.step, compiling(c.ErrOrStderr(), asJSON)); err != nil {
				return err
			}
			p.total()
			return nil
		},
	}
	c.Flags().StringVar(&cache, "cache", "", "folder for the programs (default: bin/fabric/"+fabric.PinnedVersion+" of the checkout)")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs, one object a line")
	return c
}

// compiling shows on a terminal that something is going on: the first build takes a minute.
func compiling(w io.Writer, asJSON bool) func(int) {
	f, ok := w.(*os.File)
	if !ok || asJSON {
		return nil
	}
	if st, err := f.Stat(); err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return func(n int) { fmt.Fprintf(f, "\rcompiled %d packages\r", n) }
}

type upFlags struct {
	spec      fabric.Spec
	fabricBin string
	consensus string
	asJSON    bool
}

func (u *upFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&u.spec.Dir, "dir", defaultDir, "the network's folder")
	f.IntVar(&u.spec.Policy, "policy", 0, "organisations that must endorse (default: more than half)")
	f.StringVar(&u.spec.Version, "version", "", "version of the contract (default 1)")
	f.StringVar(&u.fabricBin, "fabric-bin", "", "folder of Fabric's own binaries instead of those that build made")
	f.BoolVar(&u.asJSON, "json", false, "print for programs, one object a line")
}

func upCommand() *cobra.Command {
	var u upFlags
	var noNodes bool
	c := &cobra.Command{
		Use: "up", Short: "make and start the network, or start what is down in it", Args: cobra.NoArgs,
		Long: "up makes a network of 3 or 4 organisations, or repairs the one in the folder: what runs stays as it is.\n" +
			"With another --version or --policy it upgrades the contract.",
		RunE: func(c *cobra.Command, _ []string) error {
			u.spec.Consensus = fabric.Consensus(u.consensus)
			if (u.spec.ImportFrom == "") != (u.spec.GenesisDigest == "") {
				return errors.New("--import-from and --genesis-digest go together: zhenglian migrate plan prints both")
			}
			return u.run(c, !noNodes)
		},
	}
	u.register(c)
	f := c.Flags()
	f.IntVar(&u.spec.Orgs, "orgs", 0, "organisations, 3 or 4 (default 4)")
	f.StringVar(&u.consensus, "consensus", "", "raft, or bft with Fabric 3 (default raft)")
	f.DurationVar(&u.spec.Batch.Timeout, "batch-timeout", 0, "how long an orderer gathers a block (default 200ms)")
	f.IntVar(&u.spec.Batch.Messages, "batch-messages", 0, "transactions of a block (default 500)")
	f.DurationVar(&u.spec.Tick, "tick", 0, "Raft clock; a leader is missed after ten ticks (default 250ms)")
	f.IntVar(&u.spec.BasePort, "base-port", 0, "first of consecutive ports (default: free ones)")
	f.StringVar(&u.spec.Bind, "bind", "", "loopback address to listen on (default 127.0.0.1)")
	f.BoolVar(&noNodes, "no-nodes", false, "leave the nodes stopped")
	f.StringVar(&u.spec.ImportFrom, "import-from", "", "take a pilot over: hash of its block 0, from zhenglian migrate plan; no nodes are founded")
	f.StringVar(&u.spec.GenesisDigest, "genesis-digest", "", "and the digest of its genesis document, from there")
	return c
}

func upgradeCommand() *cobra.Command {
	var u upFlags
	c := &cobra.Command{
		Use: "upgrade", Short: "roll out a version of the contract, or another policy, while reads and writes go on", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := fabric.Open(u.spec.Dir)
			if err != nil {
				return err
			}
			if u.spec.Version == "" && u.spec.Policy == 0 {
				return fmt.Errorf("nothing to change: give --version, --policy or both")
			}
			return u.run(c, slices.ContainsFunc(n.Nodes(), func(node *fabric.Node) bool { return node.Alive() }))
		},
	}
	u.register(c)
	return c
}

func (u *upFlags) run(c *cobra.Command, nodes bool) error {
	p := &stepPrinter{w: c.OutOrStdout(), json: u.asJSON, began: time.Now()}
	u.spec.Idle = !nodes
	if err := u.programs(c, p); err != nil {
		return err
	}
	n, err := fabric.Up(c.Context(), u.spec, p.step)
	if err != nil {
		return err
	}
	p.total()
	if !u.asJSON {
		return next(c.OutOrStdout(), n)
	}
	return nil
}

// programs says which programs the network runs: Fabric's from the cache, ours from beside this one.
func (u *upFlags) programs(c *cobra.Command, p *stepPrinter) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	beside := filepath.Dir(exe)
	u.spec.Builder = exe
	u.spec.Program, u.spec.Chaincode = filepath.Join(beside, "zhenglian"), filepath.Join(beside, "zl-chaincode")
	if u.fabricBin != "" {
		u.spec.Bin = u.fabricBin
		return nil
	}
	if old, err := fabric.Open(u.spec.Dir); err == nil {
		u.spec.Bin = old.Spec().Bin
		return nil
	}
	checkout, err := fabric.Checkout()
	if err != nil {
		return err
	}
	u.spec.Bin = fabric.Cache(checkout)
	return fabric.Build(c.Context(), checkout, u.spec.Bin, p.step, compiling(c.ErrOrStderr(), p.json))
}

// next tells what to do with the network.
func next(w io.Writer, n *fabric.Network) error {
	for _, node := range n.Nodes() {
		if node.Alive() {
			fmt.Fprintf(w, "node %-10s %s\n", node.Org, node.URL)
		}
	}
	if n.Spec().ImportFrom != "" {
		_, err := fmt.Fprintf(w, "next: zhenglian migrate switch --dir NODE --network %s\n", n.Description())
		return err
	}
	_, err := fmt.Fprintf(w, "next: zl-network status · zl-network down [--purge]; addresses and keys in %s\n", filepath.Join(n.Spec().Dir, "nodes.json"))
	return err
}
