package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/network/fabric"
)

func downCommand() *cobra.Command {
	var dir string
	var purge bool
	c := &cobra.Command{
		Use: "down", Short: "stop the network; --purge deletes it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := fabric.Open(dir)
			switch {
			case errors.Is(err, fabric.ErrNoNetwork):
				_, err := fmt.Fprintf(c.OutOrStdout(), "no network in %s: nothing to do\n", dir)
				return err
			case err != nil && purge:
				return fabric.Purge(c.Context(), dir)
			case err != nil:
				return err
			}
			return n.Down(c.Context(), purge)
		},
	}
	c.Flags().StringVar(&dir, "dir", defaultDir, "the network's folder")
	c.Flags().BoolVar(&purge, "purge", false, "delete keys, ledgers and logs too")
	return c
}
