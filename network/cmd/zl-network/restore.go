package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/network/fabric"
)

func restoreCommand() *cobra.Command {
	var dir, from string
	c := &cobra.Command{
		Use: "restore ORGANISATION", Short: "give an organisation's peer a new ledger, from a snapshot of another's", Args: cobra.ExactArgs(1),
		Long: "restore deletes the ledger of an organisation's peer, takes a snapshot of another organisation's and joins the\n" +
			"channel from it. Blocks before the snapshot stay with the other peers.",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := fabric.Open(dir)
			if err != nil {
				return err
			}
			p := &stepPrinter{w: c.OutOrStdout(), began: time.Now()}
			if err := n.Restore(c.Context(), args[0], from, p.step); err != nil {
				return err
			}
			p.total()
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", defaultDir, "the network's folder")
	c.Flags().StringVar(&from, "from", "", "organisation whose peer gives the snapshot")
	_ = c.MarkFlagRequired("from")
	return c
}
