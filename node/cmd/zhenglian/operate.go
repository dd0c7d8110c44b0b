package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/node/internal/app"
)

// operateCommands look after a node on its own machine.
func operateCommands() []*cobra.Command {
	return []*cobra.Command{inviteCommand(), joinByInvitationCommand(), backupCommand(), restoreCommand(), doctorCommand(), logLevelCommand(), profileCommand(), upgradeCommand(), supportCommand(), eraseCommand()}
}

// errTold is an outcome that was told already.
var errTold = errors.New("told already")

func doctorCommand() *cobra.Command {
	var dir, lang string
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "say what is wrong with a node and what to do about it", Args: cobra.NoArgs,
		Long: "doctor looks at a node's folder, disk, clock, ports, certificates, ledger and stores, whether the node runs or not, and\n" +
			"names each fault with what was seen and the command that cures it. It changes nothing and takes a few seconds.\n" +
			"Exit status: 0 nothing is wrong, 1 faults found, 2 wrong use.",
		RunE: func(c *cobra.Command, _ []string) error {
			if lang != "zh" && lang != "en" {
				return useError("--lang：zh 或 en", "--lang: zh or en")
			}
			if _, err := os.Stat(dir); err != nil {
				return fmt.Errorf("%w: --dir: %w", errUse, err)
			}
			r := app.Examine(c.Context(), dir)
			if err := c.Context().Err(); err != nil {
				return err
			}
			var err error
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				e.SetEscapeHTML(false) // commands are to be pasted
				err = e.Encode(r)
			} else {
				err = r.Print(c.OutOrStdout(), lang)
			}
			if err == nil && r.Exit() != 0 {
				err = errTold
			}
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().StringVar(&lang, "lang", language(), "zh or en")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}

func logLevelCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "log-level [debug|info|warn|error]", Short: "show or change how much a running node's log says", Args: cobra.MaximumNArgs(1),
		Long: "log-level changes the log of the running node until it stops; a node starts at info.",
		RunE: func(c *cobra.Command, args []string) error {
			level := ""
			if len(args) > 0 {
				if level = strings.ToUpper(args[0]); level != "DEBUG" && level != "INFO" && level != "WARN" && level != "ERROR" {
					return useError("%q：可取 debug、info、warn、error", "%q: debug, info, warn or error", args[0])
				}
			}
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
			defer cancel()
			now, err := app.NewAdmin(cfg).LogLevel(ctx, level)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), strings.ToLower(now))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	require(c, "dir")
	return c
}

func profileCommand() *cobra.Command {
	var dir, out string
	var seconds int
	c := &cobra.Command{
		Use: "profile cpu|heap|goroutine|allocs|mutex|block|trace", Short: "write a profile of a running node, for go tool pprof", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path := "/debug/pprof/" + url.PathEscape(args[0])
			switch args[0] {
			case "cpu":
				path = "/debug/pprof/profile?seconds=" + strconv.Itoa(seconds)
			case "trace":
				path += "?seconds=" + strconv.Itoa(seconds)
			case "heap", "goroutine", "allocs", "mutex", "block":
			default:
				return useError("没有 %q 这种剖析", "no profile %q", args[0])
			}
			if seconds < 1 || seconds > 60 {
				return useError("--seconds：1 至 60", "--seconds: 1 to 60")
			}
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), time.Duration(seconds)*time.Second+time.Minute)
			defer cancel()
			b, err := app.NewAdmin(cfg).Do(ctx, "GET", path, nil)
			if err != nil {
				return err
			}
			defer b.Close()
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			_, err = io.Copy(f, b)
			return errors.Join(err, f.Close())
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().StringVar(&out, "out", "", "file to write; it must not exist")
	c.Flags().IntVar(&seconds, "seconds", 10, "how long cpu and trace watch, 1 to 60")
	require(c, "dir", "out")
	return c
}

func upgradeCommand() *cobra.Command {
	var dir string
	var check, asJSON bool
	c := &cobra.Command{
		Use: "upgrade", Short: "bring a stopped node's folder to what this version writes", Args: cobra.NoArgs,
		Long: "upgrade does one step after the other; one that was cut off is done again when upgrade is called again. --check only says\n" +
			"what there is to do. Take a backup before. A folder that a newer version wrote is refused: there is no way back.\n" +
			"Exit status: 0 the folder fits, 1 there is something to do (--check) or it was refused.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			todo, err := app.UpgradePlan(dir)
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			switch {
			case asJSON:
				if err := json.NewEncoder(w).Encode(map[string]any{"todo": todo}); err != nil {
					return err
				}
			case len(todo) == 0:
				tell(w, "无须升级\n", "nothing to do\n")
			}
			show := func(s app.UpgradeStep) {
				if !asJSON {
					fmt.Fprintf(w, "%s → %d  %s\n", s.Store, s.To, say(s.Zh, s.En))
				}
			}
			if check {
				for _, s := range todo {
					show(s)
				}
				if len(todo) > 0 {
					return errTold
				}
				return nil
			}
			if len(todo) == 0 {
				return nil
			}
			return app.Upgrade(cfg, show)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().BoolVar(&check, "check", false, "only say what there is to do")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}

func supportCommand() *cobra.Command {
	var dir, out string
	c := &cobra.Command{
		Use: "support-bundle", Short: "put together what helps to find a node's fault, without keys, documents or personal data", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			missing, err := app.SupportBundle(c.Context(), dir, out)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s\n", out)
			for _, m := range missing {
				tell(c.OutOrStdout(), "未收入：%s\n", "left out: %s\n", m)
			}
			tell(c.OutOrStdout(), "交出前请先查看：unzip -p %s | less\n", "Look through it before you give it away: unzip -p %s | less\n", out)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().StringVar(&out, "out", "", "zip file to write; it must not exist")
	require(c, "dir", "out")
	return c
}
