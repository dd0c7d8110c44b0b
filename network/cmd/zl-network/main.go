// Command zl-network runs a real Hyperledger Fabric network with Zhenglian on it, on one machine, without containers
// and without root. See docs/guide/network.en.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/network/fabric"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := command()
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errTold) {
			fmt.Fprintln(os.Stderr, "zl-network:", err)
		}
		stop()
		os.Exit(statusOf(err))
	}
}

// errTold is an outcome that was printed already.
var errTold = errors.New("told")

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "zl-network", Short: "a real Hyperledger Fabric network with Zhenglian on it, on this machine",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(buildCommand(), upCommand(), upgradeCommand(), downCommand(), statusCommand(), builderCommand())
	root.AddCommand(doctorCommand(), restartCommand(), renewCommand(), configCommand(), restoreCommand())
	root.AddCommand(benchCommand())
	return root
}

// builderCommand is what the peer's external builder calls.
func builderCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ccaas", Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return fabric.Builder(args) },
	}
}
