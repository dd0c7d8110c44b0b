package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
)

// migrateCommand moves a pilot on an embedded ledger to another ledger, node by node.
func migrateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "migrate", Short: "move an embedded pilot to Fabric: freeze, plan, switch, import, compare, close",
		Long: "A pilot moves with everything that it has: the same operations, executed again in the same order, make the same leaves\n" +
			"at the same positions. docs/ops/migrate.en.md is the runbook, in this order:\n\n" +
			"  freeze   the pilot's ledger takes no more (once, where it runs)\n" +
			"  plan     every organisation reads what its node has, and all compare it\n" +
			"  switch   every organisation turns its stopped node to the new ledger\n" +
			"  import   one organisation hands the pilot's blocks to the new ledger\n" +
			"  compare  every organisation compares what came out with what it had\n" +
			"  close    k organisations say that all is there; then ordinary writes begin\n\n" +
			"Every command can be interrupted and called again. Before the import is closed, switch --undo goes back.",
	}
	c.AddCommand(migrateFreezeCommand(), migratePlanCommand(), migrateSwitchCommand(), migrateImportCommand(), migrateStatusCommand(),
		migrateCompareCommand(), migrateCloseCommand())
	return c
}

func migrateFreezeCommand() *cobra.Command {
	var dir string
	var undo bool
	c := &cobra.Command{
		Use: "freeze", Short: "have a ledger serve its blocks and take no more", Args: cobra.NoArgs,
		Long: "freeze makes sure that nothing is written to a pilot that is about to move. The nodes' outboxes are to be empty before.\n" +
			"It takes effect at the ledger's next start; the nodes then catch up with its last block.",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := app.FreezeLedger(dir, !undo); err != nil {
				return err
			}
			if undo {
				fmt.Fprintln(c.OutOrStdout(), say("账本已解除冻结，重新启动账本后生效", "the ledger takes transactions again from its next start on"))
				return nil
			}
			fmt.Fprintln(c.OutOrStdout(), say("账本已冻结，重新启动账本后生效：只提供区块，不再接受交易。\n下一步：待各节点追平后停止节点，各单位执行 zhenglian migrate plan",
				"the ledger is frozen from its next start on: it serves its blocks and takes no transactions.\nnext:  let every node catch up, stop it, and run zhenglian migrate plan at each organisation"))
			return nil
		},
	}
	c.Flags().StringVar(&dir, "ledger", "", "the folder of ledger.yaml")
	c.Flags().BoolVar(&undo, "undo", false, "let it take transactions again")
	require(c, "ledger")
	return c
}

var errNotEmpty error = &spoken{"待发队列不为空", "the outbox is not empty"}

func migratePlanCommand() *cobra.Command {
	var from string
	var asJSON bool
	c := &cobra.Command{
		Use: "plan", Short: "what is to be moved: checked block by block", Args: cobra.NoArgs,
		Long: "plan verifies every block of a stopped node's archive, or of a stopped ledger, executes them again, and prints what\n" +
			"all organisations compare: block 0 (import_from of every zl-chaincode), position and chain. It changes nothing.\n" +
			"Exit status 1: damage, or accepted operations that still wait.",
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := app.PlanMigration(c.Context(), from, watch(c.ErrOrStderr()))
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if asJSON {
				if err := printJSON(w, p); err != nil {
					return err
				}
			} else {
				tell(w, "通道            %s\n创世摘要        %s  (genesis digest)\n区块 0          %s  (import_from)\n区块数          %d\n末块            %s\n位置            %d\n链摘要          %s\n",
					"channel         %s\ngenesis digest  %s\nblock 0         %s  (import_from)\nblocks          %d\nlast block      %s\nposition        %d\nchain           %s\n",
					p.Channel, p.GenesisDigest, p.ImportFrom, p.Blocks, p.LastBlock, p.Position, p.Chain)
				if p.Of == "ledger" && !p.Frozen {
					fmt.Fprintln(w, say("\n注意：账本尚未冻结，仍可能有写入；请先执行 zhenglian migrate freeze", "\nnote: the ledger is not frozen, so it may still grow: run zhenglian migrate freeze first"))
				}
				fmt.Fprintln(w, say("\n下一步：各单位核对以上各行是否完全一致；将 genesis digest 与 block 0 配置到各单位的 zl-chaincode（genesis_digest、import_from）；\n        然后各单位执行 zhenglian migrate switch",
					"\nnext:  all organisations compare these lines, which must be the same; they configure genesis digest and block 0 at their\n       zl-chaincode (genesis_digest, import_from); then each runs zhenglian migrate switch"))
			}
			if p.Waiting > 0 || p.Sent > 0 {
				return fmt.Errorf("%w: %s", errNotEmpty, say(fmt.Sprintf("还有 %d 个已受理的操作、%d 笔在途交易；请启动账本和节点，待 zhenglian_outbox_operations 为 0 后再停止", p.Waiting, p.Sent),
					fmt.Sprintf("%d accepted operations wait, %d transactions are on their way; start ledger and node, wait until zhenglian_outbox_operations is 0, stop the node", p.Waiting, p.Sent)))
			}
			return nil
		},
	}
	c.Flags().StringVar(&from, "from", "", "a stopped node's folder, or the folder of a stopped ledger's ledger.yaml")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "from")
	return c
}

func migrateSwitchCommand() *cobra.Command {
	var dir, network, chaincode, block string
	var gateways []string
	var id app.IdentityFiles
	var undo, asJSON bool
	c := &cobra.Command{
		Use: "switch", Short: "turn a stopped node to the new ledger; --undo takes it back", Args: cobra.NoArgs,
		Long: "switch sets the node's records, archive and configuration aside, in before-migration/, and writes the configuration of\n" +
			"the new ledger. API keys, vault, signing keys, outbox and idempotency keys stay. The new ledger is described by --network\n" +
			"(the file that zl-network writes) or by --gateway and --genesis-block. A certificate of the new ledger's authority is\n" +
			"given by --cert and --key; its common name must be the node's id. Interrupted, it is finished by calling it again.",
		RunE: func(c *cobra.Command, _ []string) error {
			if undo {
				if err := app.UndoSwitch(c.Context(), dir); err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout(), say("节点已恢复到原账本；新账本的数据保存在 undone-migration*", "the node is back on the ledger it had; what it had of the new one is kept in undone-migration*"))
				return nil
			}
			kind, err := migrate.Interrupted(dir)
			if err != nil {
				return err
			}
			to := app.Network{Chaincode: chaincode, GenesisBlock: block}
			if kind == "" {
				if err := target(dir, network, gateways, &to, &id); err != nil {
					return err
				}
			}
			s, err := app.SwitchLedger(dir, to, id)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), s)
			}
			fmt.Fprintf(c.OutOrStdout(), say("原账本的数据  %s\nimport_from   %s\n\n下一步：由一个单位执行 zhenglian migrate import --dir %s\n",
				"old ledger   %s\nimport_from  %s\n\nnext:  one organisation runs zhenglian migrate import --dir %s\n"), s.Before, s.ImportFrom, dir)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the stopped node's folder")
	f.StringVar(&network, "network", "", "JSON file: channel, genesis block, nodes with identities and gateways")
	f.StringArrayVar(&gateways, "gateway", nil, "HOST:PORT,TLS-ROOTS.pem[,SERVER-NAME] of a peer, one's own first; once for each")
	f.StringVar(&block, "genesis-block", "", "hash of the new channel's block 0 header, 64 hexadecimal digits, as agreed")
	f.StringVar(&chaincode, "chaincode", "", "contract name on the new channel (default: as before)")
	f.StringVar(&id.Cert, "cert", "", "PEM certificate of the node's identity on the new ledger (default: the one it has)")
	f.StringVar(&id.Key, "key", "", "its PKCS#8 PEM private key")
	f.BoolVar(&undo, "undo", false, "take the node back to the ledger it had")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}

// target puts together what describes the new ledger. The new channel has the old one's name.
func target(dir, network string, gateways []string, to *app.Network, id *app.IdentityFiles) error {
	cfg, err := app.LoadConfig(dir)
	if err != nil {
		return err
	}
	to.Channel = cfg.Channel
	if (network == "") == (len(gateways) == 0) {
		return useError("--network 与 --gateway 加 --genesis-block 二者给其一", "give either --network, or --gateway and --genesis-block")
	}
	if network == "" {
		if to.Ledger.Gateways, err = parseGateways(gateways); err == nil && to.GenesisBlock == "" {
			err = useError("缺少 --genesis-block", "--genesis-block is missing")
		}
		return err
	}
	n, err := app.LoadNetwork(network)
	if err != nil {
		return err
	}
	to.Channel, to.GenesisBlock = n.Channel, n.GenesisBlock
	if to.Chaincode == "" {
		to.Chaincode = n.Chaincode
	}
	for _, node := range n.Nodes {
		if node.ID != cfg.Node {
			continue
		}
		if node.Msp != cfg.Msp {
			return errorf("%s：节点 %s 在该文件中属于 %s，在此属于 %s", "%s: node %s is of %s there and of %s here", network, node.ID, node.Msp, cfg.Msp)
		}
		to.Ledger.Gateways = node.Gateways
		if id.Cert == "" && id.Key == "" {
			*id = node.Identity
		}
		return nil
	}
	return errorf("%s 中没有节点 %s", "%s has no node %s", network, cfg.Node)
}

func migrateImportCommand() *cobra.Command {
	var dir string
	var asJSON bool
	var o migrate.Options
	c := &cobra.Command{
		Use: "import", Short: "hand the pilot's blocks to the new ledger", Args: cobra.NoArgs,
		Long: "import gives the new ledger the blocks that switch set aside, from wherever it is. One organisation is enough; several\n" +
			"may call it at once. The node may serve meanwhile. How far it is stands in the contract's state alone, so it can be\n" +
			"killed at any moment and called again, here or at another organisation.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			m := newImportMeter(c.ErrOrStderr())
			o.Progress, o.Trouble = m.progress, m.trouble
			s, err := app.ImportPilot(c.Context(), cfg, o)
			m.end()
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					*migrate.State
					Imported uint64  `json:"imported"` // operations, by this call
					Seconds  float64 `json:"seconds"`
				}{s, m.imported(), time.Since(m.began).Seconds()})
			}
			w := c.OutOrStdout()
			fmt.Fprintf(w, say("区块 %d，位置 %d，摘要 %s\n", "%d blocks, position %d, chain %s\n"), s.Blocks, s.Position, s.Chain)
			if s.Closed {
				fmt.Fprintln(w, say("迁入已由各单位结束", "the organisations have closed the import"))
				return nil
			}
			fmt.Fprintf(w, say("下一步：各单位执行 zhenglian migrate compare --dir %s\n", "next:  every organisation runs zhenglian migrate compare --dir %s\n"), dir)
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the switched node's folder")
	f.IntVar(&o.BatchBytes, "batch-bytes", 0, "bytes of blocks in one transaction (default 1 MiB)")
	f.IntVar(&o.BatchBlocks, "batch-blocks", 0, "and at most so many blocks (default 1000)")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}

func migrateStatusCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "how far the import is, as one peer says", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			s, err := app.ImportState(c.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), s)
			}
			w := c.OutOrStdout()
			switch {
			case s == nil:
				fmt.Fprintln(w, say("迁入尚未开始", "no import was begun"))
			case s.Closed:
				fmt.Fprintf(w, say("迁入已结束：位置 %d，摘要 %s，批准单位 %v\n", "closed: position %d, chain %s, approved by %v\n"), s.Position, s.Chain, s.Approvals)
			default:
				fmt.Fprintf(w, say("迁入进行中：区块 %d，位置 %d，摘要 %s，已批准 %v\n", "open: %d blocks, position %d, chain %s, approved by %v\n"), s.Blocks, s.Position, s.Chain, s.Approvals)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the switched node's folder")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}

var errDifferences error = &spoken{"新旧账本的记录不一致", "the records of both ledgers differ"}

func migrateCompareCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "compare", Short: "hold the new ledger's records against the old one's", Args: cobra.NoArgs,
		Long: "compare brings the stopped node up to the new ledger's head, verifying every block, and compares what came out with what\n" +
			"the node had of the old ledger: leaf by leaf at the same positions, then record by record. Exit status 1: differences,\n" +
			"or the import is not at its end.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			r, err := app.CompareMigration(c.Context(), cfg, watch(c.ErrOrStderr()))
			if err != nil {
				return err
			}
			if err := printCompared(c.OutOrStdout(), r, asJSON); err != nil {
				return err
			}
			if len(r.Differences) > 0 {
				return errDifferences
			}
			if !asJSON && !r.Closed {
				fmt.Fprintf(c.OutOrStdout(), say("下一步：zhenglian migrate close --dir %s\n", "next:  zhenglian migrate close --dir %s\n"), dir)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the switched, stopped node's folder")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}

func printCompared(w io.Writer, r *app.Compared, asJSON bool) error {
	if asJSON {
		return printJSON(w, r)
	}
	for _, d := range r.Differences {
		fmt.Fprintf(w, "%s\n    %s\n", d.Code, say(d.Zh, d.En))
	}
	if r.More {
		fmt.Fprintln(w, say("……还有更多", "… and more"))
	}
	fmt.Fprintf(w, say("比对 %d 个叶、%d 条记录（其后变化 %d 条）：%d 处不一致\n位置 %d，摘要 %s\n批准 %d / %d %v\n",
		"%d leaves and %d records compared (%d have changed since): %d differences\nposition %d, chain %s\napproved by %d of %d %v\n"),
		r.Leaves, r.Records, r.Since, len(r.Differences), r.Position, r.Chain, len(r.Approvals), r.Needed, r.Approvals)
	if r.Closed {
		fmt.Fprintln(w, say("迁入已结束", "the import is closed"))
	}
	return nil
}

func migrateCloseCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "close", Short: "compare, and approve that the import be closed", Args: cobra.NoArgs,
		Long: "close compares as `compare` does and, where nothing differs, approves for this organisation that all of the pilot is\n" +
			"there. With the k-th organisation the import is closed for good and ordinary writes begin.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			r, err := app.CloseImport(c.Context(), cfg, watch(c.ErrOrStderr()))
			if r != nil {
				if err := printCompared(c.OutOrStdout(), r, asJSON); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
			if !asJSON {
				fmt.Fprintf(c.OutOrStdout(), say("下一步：zhenglian serve --dir %s\n", "next:  zhenglian serve --dir %s\n"), dir)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the switched, stopped node's folder")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir")
	return c
}

// watch shows on a terminal how far work is, and elsewhere only what holds it up.
func watch(w io.Writer) app.Watch {
	var bar func(done, total uint64)
	var of, last string
	return app.Watch{
		Progress: func(what string, done, total uint64) {
			if what != of {
				of, bar = what, progress(w, what)
			}
			bar(done, total)
		},
		Trouble: func(err error) { last = once(w, last, err) },
	}
}

// once prints an error that is another than the last one.
func once(w io.Writer, last string, err error) string {
	text := err.Error()
	if text != last {
		fmt.Fprintf(w, say("稍候重试：%s\n", "trying again: %s\n"), text)
	}
	return text
}

// importMeter shows how far an import is: on a terminal one line that changes, elsewhere a line every ten seconds.
type importMeter struct {
	w        io.Writer
	terminal bool
	began    time.Time
	first    *migrate.Progress // what earlier calls did says nothing of the speed
	now      migrate.Progress
	last     time.Time
	shown    bool
	said     string
}

func newImportMeter(w io.Writer) *importMeter {
	m := &importMeter{w: w, began: time.Now(), last: time.Now()}
	if f, ok := w.(*os.File); ok {
		m.terminal = term.IsTerminal(int(f.Fd()))
	}
	return m
}

func (m *importMeter) progress(p migrate.Progress) {
	if m.now = p; m.first == nil {
		m.first = &p
	}
	every := 10 * time.Second
	if m.terminal {
		every = 300 * time.Millisecond
	}
	if p.Blocks < p.Total && time.Since(m.last) < every {
		return
	}
	m.last = time.Now()
	rate := float64(m.imported()) / time.Since(m.began).Seconds()
	line := fmt.Sprintf(say("区块 %d / %d，操作 %d，%.0f 个/秒", "block %d / %d, operation %d, %.0f a second"), p.Blocks, p.Total, p.Operations, rate)
	if m.terminal {
		fmt.Fprintf(m.w, "\r\x1b[K%s", line)
		m.shown = true
		return
	}
	fmt.Fprintln(m.w, line)
}

// imported is how many operations came in since the first look.
func (m *importMeter) imported() uint64 {
	if m.first == nil {
		return 0
	}
	return m.now.Operations - m.first.Operations
}

func (m *importMeter) trouble(err error) {
	m.end()
	m.said = once(m.w, m.said, err)
}

func (m *importMeter) end() {
	if m.shown {
		fmt.Fprintln(m.w)
		m.shown = false
	}
}
