package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/node/internal/app"
)

// build is what the program says of itself.
type build struct {
	Version  string `json:"version"`            // a tag, or Go's pseudo-version of the commit
	Revision string `json:"revision,omitempty"` // the commit
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // built from files that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Level    uint64 `json:"contract_level"` // the highest that the embedded ledger can run
}

func thisBuild() build {
	b := build{Version: app.Version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Level: contract.MaxLevel}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "which build this is", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			b := thisBuild()
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(b)
			}
			w := c.OutOrStdout()
			fmt.Fprintf(w, "zhenglian %s\n", b.Version)
			if b.Revision != "" {
				changed := ""
				if b.Modified {
					changed = say("，有改动", ", with changes")
				}
				tell(w, "提交  %s，%s%s\n", "commit    %s of %s%s\n", b.Revision, b.Time, changed)
			}
			_, err := fmt.Fprintf(w, say("平台  %s，%s\n合约  级别 %d\n", "platform  %s, %s\ncontract  level %d\n"), b.Platform, b.Go, b.Level)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	return c
}
