package main

import (
	"encoding/json"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/network/fabric"
)

func statusCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "what runs, how far, in which version", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := fabric.Open(dir)
			if err != nil {
				return err
			}
			s := n.Status(c.Context())
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(s)
			}
			t := table.NewWriter()
			t.SetOutputMirror(c.OutOrStdout())
			t.SetStyle(table.StyleLight)
			t.AppendHeader(table.Row{"process", "organisation", "pid", "address", "height", "state"})
			for _, p := range s.Processes {
				row := table.Row{p.Name, p.Org, "", p.Address, "", short(p.State)}
				if p.Pid != 0 {
					row[2] = p.Pid
				}
				if p.Height != 0 {
					row[4] = p.Height
				}
				t.AppendRow(row)
			}
			t.Render()
			t = table.NewWriter()
			t.SetOutputMirror(c.OutOrStdout())
			t.SetStyle(table.StyleLight)
			t.AppendHeader(table.Row{"contract", "version", "sequence", "endorsements"})
			for _, d := range s.Contracts {
				t.AppendRow(table.Row{d.Name, d.Version, d.Sequence, d.Endorsements})
			}
			t.Render()
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", defaultDir, "the network's folder")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	return c
}

// short keeps a table narrow; --json has the whole.
func short(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:79]) + "…"
	}
	return s
}
