package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/sdnotify"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// serverCommands run on the machine of a node or a ledger, on its folders.
func serverCommands() []*cobra.Command {
	ledger := &cobra.Command{Use: "ledger", Short: "the embedded ledger: its own process, and its full check"}
	ledger.AddCommand(ledgerServeCommand(), ledgerFsckCommand(), ledgerRestoreCommand(), ledgerApartCommand())
	return []*cobra.Command{initCommand(), serveCommand(), demoCommand(), keysCommand(), peopleCommand(), reindexCommand(), findingCommand(), consortiumCommand(), foundCommand(), migrateCommand(), versionCommand(), ledger}
}

func logger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
}

func initCommand() *cobra.Command {
	var dir, msp, node, agency, zh, en, region, uscc, listen, admin, alg, lang string
	var asJSON, ask bool
	c := &cobra.Command{
		Use: "init", Short: "found a ledger and one node on this machine", Args: cobra.NoArgs,
		Long: "init makes a ledger of one organisation and its node: authority, identity, signing key, genesis document, ledger,\n" +
			"configuration, and one API key a role, which it prints once. It asks for what is not given. It never overwrites anything.",
		PreRunE: func(c *cobra.Command, _ []string) error {
			if dir != "" {
				if err := unusedFolder(dir); err != nil {
					return err
				}
			}
			return askMissing(c, ask, initQuestions)
		},
		RunE: func(c *cobra.Command, _ []string) error {
			a, err := firstAgency(agency, zh, en, region, uscc)
			if err != nil {
				return fmt.Errorf("%w: %w", errUse, err)
			}
			id, err := model.ParseNodeID(node)
			if err != nil {
				return fmt.Errorf("%w: --node: %w", errUse, err)
			}
			org, err := model.ParseMSPID(msp)
			if err != nil {
				return fmt.Errorf("%w: --msp: %w", errUse, err)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			made, err := app.Found(dir, app.Plan{
				Channel: "jjj", Chaincode: "zhenglian", Created: time.Now(),
				Types: demo.Types(map[model.AgencyID]model.Region{a.ID: a.Region}),
				Nodes: []app.NodePlan{{
					ID: id, Msp: org, NameZh: zh, NameEn: en, Listen: listen, Admin: admin, Lang: lang, Home: a.ID,
					Agencies: []app.AgencyPlan{{Agency: a, Alg: envelope.Alg(alg)}},
				}},
			})
			if err != nil {
				return err
			}
			n := made.Nodes[0]
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"dir": n.Dir, "ledger_dir": made.LedgerDir, "url": "http://" + listen, "keys": n.Keys})
			}
			w := c.OutOrStdout()
			tell(w, "节点  %s\n账本  %s\n\n", "node    %s\nledger  %s\n\n", n.Dir, made.LedgerDir)
			firstKeys(w, n.Keys)
			tell(w, "\n下一步：zhenglian serve --dir %s\n", "\nnext:  zhenglian serve --dir %s\n", n.Dir)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "folder to make everything in; new or empty")
	f.StringVar(&msp, "msp", "", "organisation id, for example BeijingMSP")
	f.StringVar(&node, "node", "", "node id, for example beijing")
	f.StringVar(&agency, "agency", "", "id of the first agency, for example bj-scjg")
	f.StringVar(&zh, "name-zh", "", "its Chinese name")
	f.StringVar(&en, "name-en", "", "its English name")
	f.StringVar(&region, "region", "", "its region, GB/T 2260, for example 110000")
	f.StringVar(&uscc, "uscc", "", "its unified social credit code")
	f.StringVar(&alg, "alg", string(envelope.ES256), "signing algorithm: ES256, ES256K or SM2")
	f.StringVar(&listen, "listen", "127.0.0.1:8801", "address of the API")
	f.StringVar(&admin, "admin", "127.0.0.1:9801", "address of metrics and details, loopback only")
	f.StringVar(&lang, "lang", "zh", "language of the public page, and of what this command prints: zh or en")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	f.BoolVar(&ask, "ask", false, "ask on the standard input for what is not given; on a terminal it is asked anyway")
	return c
}

// firstKeys prints the API keys of a new node, one a role.
func firstKeys(w io.Writer, keys map[string]string) {
	tell(w, "API 密钥（只显示这一次；有效期 %d 年）：\n", "API keys (shown once; valid for %d year):\n", app.FirstKeyYears)
	for _, r := range auth.Roles {
		fmt.Fprintf(w, "  %-15s %s%s\n", r, keys[string(r)], say("  "+auth.RoleNames[r][0], ""))
	}
}

func firstAgency(id, zh, en, region, uscc string) (a model.Agency, err error) {
	if a.ID, err = model.ParseAgencyID(id); err != nil {
		return a, fmt.Errorf("--agency: %w", err)
	}
	if a.Region, err = model.ParseRegion(region); err != nil {
		return a, fmt.Errorf("--region: %w", err)
	}
	if a.USCC, err = model.ParseUSCC(uscc); err != nil {
		return a, fmt.Errorf("--uscc: %w", err)
	}
	a.NameZh, a.NameEn = zh, en
	a.Roles = []model.Role{model.RoleIssuer, model.RoleVerifier}
	return a, nil
}

func serveCommand() *cobra.Command {
	var dir, profile string
	c := &cobra.Command{
		Use: "serve", Short: "run a node", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			if profile != "" {
				stop, err := startProfile(profile)
				if err != nil {
					return err
				}
				defer stop()
			}
			return app.Run(c.Context(), cfg, logger(c.ErrOrStderr(), slog.LevelDebug)) // the node itself holds it to a level
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().StringVar(&profile, "cpu-profile", "", "write a CPU profile of the whole run to this file")
	_ = c.MarkFlagRequired("dir")
	return c
}

func startProfile(path string) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { pprof.StopCPUProfile(); f.Close() }, nil
}

func demoCommand() *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use: "demo", Short: "four organisations on this machine, and a story told with them", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.Out = c.OutOrStdout()
			program, err := os.Executable()
			if err != nil {
				return err
			}
			o.Program = program
			return demo.Run(c.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.Exit, "exit", false, "stop after the story")
	c.Flags().StringVar(&o.Dir, "dir", "", "folder that keeps the state (default: a fresh temporary one, removed at the end)")
	c.Flags().IntVar(&o.BasePort, "base-port", 8801, "API ports N…N+3, admin ports N+1000…N+1003")
	c.Flags().StringVar(&o.Lang, "lang", language(), "zh or en")
	return c
}

func reindexCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "reindex", Short: "rebuild a stopped node's stores from its archive of blocks", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			p := progress(c.ErrOrStderr(), say("个区块", "blocks"))
			r, err := app.Reindex(c.Context(), cfg, p)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(r)
			}
			tell(c.OutOrStdout(), "%d 个区块，%d 个位置\n此前  %s\n现在  %s\n", "%d blocks, %d positions\nbefore  %s\nafter   %s\n", r.Height, r.Position, r.Before, r.After)
			if r.Before != "" && r.Before != r.After {
				tell(c.OutOrStdout(), "原有存储已损坏或出自另一版本，现已重建\n", "the stores were damaged or from another version; they are rebuilt now\n")
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	_ = c.MarkFlagRequired("dir")
	return c
}

func findingCommand() *cobra.Command {
	var dir string
	var clear bool
	c := &cobra.Command{
		Use: "finding", Short: "why a node's follower has stopped; --clear lets it try again", Args: cobra.NoArgs,
		Long: "finding shows what the node found wrong with a block of its ledger. Until it is cleared the node answers from what it\n" +
			"had before and takes no further block. Clear it once you know the cause: the block is then checked again.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			f, err := app.Finding(cfg)
			if err != nil {
				return err
			}
			if f == nil {
				tell(c.OutOrStdout(), "没有发现\n", "no finding\n")
				return nil
			}
			raw, err := json.MarshalIndent(f, "", "  ")
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s\n", raw)
			if clear {
				return app.ClearFinding(cfg)
			}
			return errorf("节点已停止跟随账本，原因见上", "the follower has stopped; see above")
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().BoolVar(&clear, "clear", false, "forget the finding; the node has to be started again")
	_ = c.MarkFlagRequired("dir")
	return c
}

// progress shows on a terminal, at most twice a second, how far work of over a second has come.
func progress(w io.Writer, unit string) func(done, total uint64) {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return func(uint64, uint64) {}
	}
	start, last := time.Now(), time.Now()
	return func(done, total uint64) {
		if now := time.Now(); now.Sub(start) > time.Second && (now.Sub(last) > 500*time.Millisecond || done == total) {
			last = now
			fmt.Fprintf(w, "\r%d / %d %s", done, total, unit)
			if done == total {
				fmt.Fprintln(w)
			}
		}
	}
}

func ledgerServeCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "serve", Short: "run an embedded ledger in a process of its own", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadLedger(dir)
			if err != nil {
				return err
			}
			log := logger(c.ErrOrStderr(), slog.LevelInfo)
			defer context.AfterFunc(c.Context(), func() { _ = sdnotify.Notify(sdnotify.Stopping) })() // it stops, told or not
			return app.ServeLedger(c.Context(), cfg, log, func(a net.Addr) {
				log.Info("ledger serves", "address", a.String())
				if err := sdnotify.Notify(sdnotify.Ready); err != nil {
					log.Warn("the service manager could not be told", "error", err)
				}
			})
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "folder of ledger.yaml")
	_ = c.MarkFlagRequired("dir")
	return c
}

func ledgerApartCommand() *cobra.Command {
	var dir, listen string
	c := &cobra.Command{
		Use: "apart", Short: "let the ledger in a stopped node's process run in one of its own, where other nodes reach it", Args: cobra.NoArgs,
		Long: "apart gives a pilot's ledger a TLS certificate and an address, and has its node dial it there. From then on both are started:\n" +
			"the ledger with `zhenglian ledger serve`, then the node. Other nodes can be invited (zhenglian invite).",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			at, err := app.LedgerApart(cfg, listen)
			if err != nil {
				return err
			}
			tell(c.OutOrStdout(), "账本  %s\n监听  %s\n\n下一步：zhenglian ledger serve --dir %s\n        zhenglian serve --dir %s\n", "ledger  %s\nlisten  %s\n\nnext:  zhenglian ledger serve --dir %s\n       zhenglian serve --dir %s\n", at, listen, at, dir)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the stopped node's folder")
	c.Flags().StringVar(&listen, "listen", "", "host:port of this machine as the other nodes dial it, for example 10.1.2.3:7051")
	require(c, "dir", "listen")
	return c
}

var errFindings error = &spoken{"账本已损坏", "the ledger is damaged"}

func ledgerFsckCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "fsck", Short: "check every byte of a stopped ledger (or of a copy)", Args: cobra.NoArgs,
		Long: "fsck re-checks every block and signature, replays the ledger from its first block and compares state, history and\n" +
			"indices with what is stored. It changes nothing. Exit status 1 means damage, named line by line.",
		RunE: func(c *cobra.Command, _ []string) error {
			abs, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			r, err := embedded.Fsck(c.Context(), abs, progress(c.ErrOrStderr(), say("个区块", "blocks")))
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if asJSON {
				if err := json.NewEncoder(w).Encode(r); err != nil {
					return err
				}
			} else {
				for _, f := range r.Findings {
					fmt.Fprintf(w, "%s  %s\n    %s\n", f.Code, f.Where, say(f.Zh, f.En))
				}
				tell(w, "%d 个区块，%d 笔交易，%d 个状态条目；发现 %d 处问题\n", "%d blocks, %d transactions, %d entries of state; %d findings\n", r.Height, r.Transactions, r.Entries, len(r.Findings))
			}
			if len(r.Findings) > 0 {
				return errFindings
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the folder with the ledger's databases (demo.json calls it ledger_dir)")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	_ = c.MarkFlagRequired("dir")
	return c
}
