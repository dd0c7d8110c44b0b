package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/network/fabric"
)

func renewCommand() *cobra.Command {
	var dir string
	var life time.Duration
	c := &cobra.Command{
		Use: "renew [NAME…]", Short: "issue certificates anew for the same keys; without a name it lists whose",
		Long: "renew replaces the certificates of a program or an administrator by new ones from the organisation's authority,\n" +
			"for the same keys. Nodes and contract services take them up by themselves; peers and orderers are restarted after it.",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := fabric.Open(dir)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				for _, r := range n.Renewable() {
					fmt.Fprintln(c.OutOrStdout(), r.Name)
				}
				return nil
			}
			var until time.Time
			if life > 0 {
				until = time.Now().Add(life)
			}
			for _, name := range args {
				r, err := n.Renew(name, until)
				if err != nil {
					return err
				}
				then := "taken up without a restart"
				if r.Restart {
					then = "next: zl-network restart " + r.Program + " --dir " + dir
				}
				fmt.Fprintf(c.OutOrStdout(), "renewed %s; %s\n", name, then)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", defaultDir, "the network's folder")
	c.Flags().DurationVar(&life, "life", 0, "how long the certificates last (default ten years)")
	return c
}

func restartCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "restart NAME…", Short: "end processes and bring the network up again", Args: cobra.MinimumNArgs(1),
		Long: "restart ends the processes of the given names, as status shows them, and does what up does: their configuration is\n" +
			"written anew, and whatever else is down is started too.",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := fabric.Open(dir)
			if err != nil {
				return err
			}
			for _, name := range args {
				if n.Process(name) == nil {
					return fmt.Errorf("there is no %s here; `zl-network status` lists the names", name)
				}
			}
			for _, name := range args {
				if err := n.Process(name).Stop(c.Context(), 10*time.Second); err != nil {
					return err
				}
			}
			p := &stepPrinter{w: c.OutOrStdout(), began: time.Now()}
			if _, err := fabric.Up(c.Context(), fabric.Spec{Dir: dir}, p.step); err != nil {
				return err
			}
			p.total()
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", defaultDir, "the network's folder")
	return c
}
