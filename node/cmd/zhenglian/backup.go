package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/backup"
)

// sealing are the flags that say for whom a backup is sealed, or how it is opened.
type sealing struct{ phraseFile, recipient, secretFile string }

// phrase reads the passphrase from a file, the environment or the terminal.
func (s *sealing) phrase(c *cobra.Command, twice bool) (backup.Key, error) {
	if s.phraseFile != "" {
		raw, err := os.ReadFile(s.phraseFile)
		if err != nil {
			return backup.Key{}, err
		}
		return backup.Passphrase(strings.TrimRight(string(raw), "\r\n"))
	}
	if p := os.Getenv("ZHENGLIAN_PASSPHRASE"); p != "" {
		return backup.Passphrase(p)
	}
	f, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return backup.Key{}, useError("请给 --passphrase-file、ZHENGLIAN_PASSPHRASE，或使用密钥（zhenglian backup keys）", "give --passphrase-file, ZHENGLIAN_PASSPHRASE, or keys (zhenglian backup keys)")
	}
	ask := func(what string) (string, error) {
		fmt.Fprint(c.ErrOrStderr(), what)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(c.ErrOrStderr())
		return string(b), err
	}
	p, err := ask(say("口令：", "passphrase: "))
	if err != nil {
		return backup.Key{}, err
	}
	if twice {
		if again, err := ask(say("再输一次：", "once more:  ")); err != nil || again != p {
			return backup.Key{}, errors.Join(errorf("两次输入不一致", "the two differ"), err)
		}
	}
	return backup.Passphrase(p)
}

// opener is the key that opens a backup.
func (s *sealing) opener(c *cobra.Command) (backup.Key, error) {
	if s.secretFile == "" {
		return s.phrase(c, false)
	}
	raw, err := os.ReadFile(s.secretFile)
	if err != nil {
		return backup.Key{}, err
	}
	return backup.ParseKey(string(raw))
}

func (s *sealing) openFlags(c *cobra.Command) {
	c.Flags().StringVar(&s.phraseFile, "passphrase-file", "", "file with the passphrase (else ZHENGLIAN_PASSPHRASE, or it is asked for)")
	c.Flags().StringVar(&s.secretFile, "secret-file", "", "file with the secret of zhenglian backup keys, for a backup made for its recipient")
}

func backupCommand() *cobra.Command {
	var dir, out string
	var s sealing
	var asJSON bool
	c := &cobra.Command{
		Use: "backup", Short: "save a node, running or not, in one sealed file", Args: cobra.NoArgs,
		Long: "backup saves what a node cannot make anew (outbox, salts, keys, people, logs, configuration) with its archive of blocks.\n" +
			"The node goes on working. The file is sealed: keep the passphrase or secret elsewhere, without it the file is worth nothing.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			var seal backup.Key
			var open *backup.Key
			if s.recipient != "" {
				seal, err = backup.ParseKey(s.recipient)
			} else {
				seal, err = s.phrase(c, true)
				open = &seal
			}
			if err != nil {
				return err
			}
			start := time.Now()
			show := progress(c.ErrOrStderr(), "MiB")
			r, err := app.Backup(c.Context(), cfg, out, seal, open, func(n int64) { show(uint64(n)>>20, uint64(n)>>20+1) })
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(r)
			}
			how := say("节点当时在运行", "the node was running")
			if !r.Live {
				how = say("节点当时已停止", "the node was stopped")
			}
			tell(c.OutOrStdout(), "%s  %.1f MiB，用时 %s；%s\n%d 个区块，%d 个操作待上账，%d 个部分\n", "%s  %.1f MiB in %s; %s\n%d blocks, %d operations waiting, %d parts\n", out, float64(r.Bytes)/(1<<20),
				time.Since(start).Round(100*time.Millisecond), how, r.Blocks, max(r.Waiting, 0), r.Parts)
			if r.Alone {
				fmt.Fprintln(c.OutOrStdout(), map[bool]string{
					true:  "账本在本节点进程内，没有其他副本：此后受理的内容在下一次备份之前只存于本机",
					false: "The ledger runs in this node and has no other copy: what is accepted from now on is on this machine alone until the next backup",
				}[language() == "zh"])
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "the node's folder")
	f.StringVar(&out, "out", "", "file to write; it must not exist")
	f.StringVar(&s.recipient, "recipient", "", "zlb_…, printed by zhenglian backup keys: this machine then cannot open what it saves")
	f.StringVar(&s.phraseFile, "passphrase-file", "", "file with the passphrase (else ZHENGLIAN_PASSPHRASE, or it is asked for)")
	f.BoolVar(&asJSON, "json", false, "print for programs")
	require(c, "dir", "out")
	c.AddCommand(backupVerifyCommand(), backupKeysCommand())
	return c
}

func backupVerifyCommand() *cobra.Command {
	var s sealing
	var asJSON bool
	c := &cobra.Command{
		Use: "verify FILE", Short: "read a backup whole and compare all of it with its manifest", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			k, err := s.opener(c)
			if err != nil {
				return err
			}
			info, m, err := app.Verify(args[0], k)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"info": info, "blocks": m.Blocks, "waiting": m.Waiting, "parts": len(m.Entries)})
			}
			tell(c.OutOrStdout(), "完整且未被改动：%s（%s），制作于 %s（%s前），程序 %s\n%d 个区块，%d 个部分\n", "whole and unchanged: %s of %s, made %s (%s ago) by %s\n%d blocks, %d parts\n", info.Node, info.Msp,
				beijing(info.Created), age(time.Since(info.Created)), info.Program, m.Blocks, len(m.Entries))
			return nil
		},
	}
	s.openFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	return c
}

func backupKeysCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "keys", Short: "draw a pair of keys for backups: the recipient is printed, the secret goes into a file", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			recipient, secret, err := backup.NewPair()
			if err != nil {
				return err
			}
			f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(f, secret)
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), recipient)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "file for the secret; it must not exist, and is to be kept away from the node")
	require(c, "out")
	return c
}

func age(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf(say("%d 天", "%d days"), int(d.Hours()/24))
}

func restoreCommand() *cobra.Command {
	var dir string
	var s sealing
	var o app.RestoreOptions
	var asJSON, confirm bool
	c := &cobra.Command{
		Use: "restore FILE", Short: "make a node's folder from a backup", Args: cobra.MaximumNArgs(1),
		Long: "restore makes a node's folder from a backup, into a new or empty folder, and verifies every block in it again. The restored\n" +
			"node accepts nothing until it has once had all that the ledger has. Never start it while the old node runs.\n" +
			"All API keys end and invitations are dropped, since whatever was revoked after the backup would be good again; doctor names the\n" +
			"restore until `zhenglian restore --confirm --dir DIR`.",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case confirm && len(args) == 0:
				return confirmRestored(dir)
			case confirm || len(args) == 0:
				return fmt.Errorf("%w: give either FILE or --confirm", errUse)
			}
			k, err := s.opener(c)
			if err != nil {
				return err
			}
			if dir, err = filepath.Abs(dir); err != nil {
				return err
			}
			o.Progress = progress(c.ErrOrStderr(), say("个区块", "blocks"))
			r, err := app.Restore(c.Context(), args[0], k, dir, o)
			if err != nil {
				return restoreFailed(err)
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(r)
			}
			w := c.OutOrStdout()
			tell(w, "%s  节点 %s（%s）\n备份距今 %s（%s）\n%d 个区块，%d 个位置，均已校验\n记录摘要  %s\n", "%s  node %s of %s\nthe backup is %s old (%s)\n%d blocks, %d positions, all verified\nrecords  %s\n", dir, r.Node, r.Msp, age(r.Age),
				beijing(r.Created), r.Blocks, r.Position, r.Records)
			fmt.Fprintln(w, proven(r.Proof))
			for _, name := range r.Outside {
				tell(w, "缺少：zhenglian.yaml 中写有 %s，但它不在节点文件夹内：请放回\n", "missing: %s is named in zhenglian.yaml and was not in the node's folder: put it back\n", name)
			}
			tell(w, "\n%s此后删除过的内容须再次删除。\n切勿在旧节点运行时启动本节点。\n下一步：zhenglian serve --dir %s\n",
				"\n%s Erase again what was erased since.\n"+
					"Never start this node while the old one runs.\nnext:  zhenglian serve --dir %s\n", sinceBackup(r, language()), dir)
			printRights(w, r, o.KeepKeys)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder; new or empty")
	c.Flags().StringVar(&o.Listen, "listen", "", "another address of the API than before")
	c.Flags().StringVar(&o.Admin, "admin", "", "another address of metrics and details than before")
	c.Flags().BoolVar(&confirm, "confirm", false, "instead: say that people, roles, policies and keys of the restored node in --dir were looked through")
	c.Flags().BoolVar(&o.KeepKeys, "keep-keys", false, "API keys go on, those too that were revoked after the backup")
	c.Flags().BoolVar(&o.AcceptDifference, "accept-difference", false, "go on where the records made from the blocks are not those that the saved node had")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	s.openFlags(c)
	require(c, "dir")
	return c
}

// sinceBackup says what has become of that which was accepted after the backup.
func sinceBackup(r *app.Restored, lang string) string {
	switch at := beijing(r.Created); {
	case r.Alone && lang == "zh":
		return fmt.Sprintf("账本原在该节点进程内，已按备份恢复：%s（北京时间）即第 %d 个区块之后受理的内容全部丢失，此后发放的证照现在核验为“未找到”，\n"+
			"须按原始材料重新签发，编号不会重复使用。", at, r.Blocks)
	case r.Alone:
		return fmt.Sprintf("The ledger ran in that node and is made from the backup too: all that was accepted after %s (Beijing), after block %d, is LOST.\n"+
			"Licences handed out since verify as not found; issue them again from your files. No record id is given twice.", at, r.Blocks)
	case lang == "zh":
		return "备份之后受理的内容从账本取回，其保密部分已经丢失。"
	}
	return "What was accepted after the backup comes from the ledger; its confidential parts are lost."
}

func ledgerRestoreCommand() *cobra.Command {
	var dir, archive string
	c := &cobra.Command{
		Use: "restore", Short: "make a lost ledger's databases from a member's archive of its blocks", Args: cobra.NoArgs,
		Long: "restore makes the databases of an embedded ledger from the archive of a stopped node that followed it. Of several members\n" +
			"take the one with the longest archive: whoever has more blocks than the restored ledger would find it at fault.",
		RunE: func(c *cobra.Command, _ []string) error {
			n, err := app.RestoreLedger(c.Context(), archive, dir)
			if err != nil {
				return err
			}
			tell(c.OutOrStdout(), "%d 个区块\n下一步：zhenglian ledger fsck，然后 zhenglian ledger serve --dir %s\n", "%d blocks\nnext:  zhenglian ledger fsck, then zhenglian ledger serve --dir %s\n", n, dir)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "folder of ledger.yaml")
	c.Flags().StringVar(&archive, "archive", "", "a stopped node's folder of archived blocks")
	require(c, "dir", "archive")
	return c
}
