package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// stateFiles is the pattern of the state files that imports leave beside their files.
const stateFiles = "*.import-state.jsonl"

func importListCommand() *cobra.Command {
	var o client
	c := &cobra.Command{
		Use: "list [DIR]", Short: "list the imports whose state files lie in a folder", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			list, err := summaries(dir)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(c.OutOrStdout(), list)
			}
			t := newTable(c.OutOrStdout())
			t.AppendHeader(table.Row{o.say("批次", "batch"), o.say("文件", "file"), o.say("开始", "begun"), o.say("已签发", "issued"), o.say("此前已有", "already there"), o.say("被拒", "rejected"), o.say("已撤销", "rescinded"), o.say("状态文件", "state file")})
			for _, s := range list {
				t.AppendRow(table.Row{s.Batch, s.Name, moment(s.Started), s.Issued, s.Already, s.Rejected, s.Undone, s.State})
			}
			t.Render()
			return nil
		},
	}
	o.output(c)
	return c
}

func summaries(dir string) ([]importer.Summary, error) {
	paths, err := filepath.Glob(filepath.Join(dir, stateFiles))
	if err != nil {
		return nil, err
	}
	list := []importer.Summary{}
	for _, p := range paths {
		s, err := importer.ReadSummary(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		list = append(list, s)
	}
	return list, nil
}

// batchState finds the state file of a batch: its path, or its name among those of the folder.
func batchState(name string) (string, error) {
	if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
		return name, nil
	}
	list, err := summaries(".")
	if err != nil {
		return "", err
	}
	var states []string
	for _, s := range list {
		if s.Batch == name {
			states = append(states, s.State)
		}
	}
	switch len(states) {
	case 0:
	case 1:
		return states[0], nil
	default: // of the same file and day, by an earlier version of the program
		return "", useError("批次 %s 有多个状态文件，请给出其中一个：%s", "the batch %s has several state files, give one of them: %s", name, strings.Join(states, ", "))
	}
	return "", useError("此处没有批次 %q：请给其状态文件，或用 zhenglian import list 查看", "no batch %q here: give its state file, or see zhenglian import list", name)
}

func importUndoCommand() *cobra.Command {
	var o importFlags
	u := &importer.Undo{Clock: time.Now}
	c := &cobra.Command{
		Use: "undo BATCH --reason CODE", Short: "rescind what an import issued, record by record", Args: cobra.ExactArgs(1),
		Long: "import undo rescinds (撤销), from their first day, the licences that an import issued. BATCH is the import's state file,\n" +
			"or its name as import list shows it, or the id of an import that a node has run (POST /v1/imports). What stood before the import is left, and so is what has ended already and, without\n" +
			"--force-amended, what was amended or otherwise acted on since: these are listed.\n\n" +
			"Endings need a second person: the command registers all of them as one batch and says whose approval it waits for. Run it\n" +
			"again after that, or after it was cut off: nothing is rescinded twice.",
		Example: "  zhenglian import undo 20261123-0a1b2c3d --reason wrong-list --url https://node.example --key-file drafter.key",
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := model.ParseAgencyID(u.Reason); err != nil {
				return useError("--reason 是代码：2 至 32 个字符，只用 a-z、0-9 和连字符", "--reason is a code of 2 to 32 of a-z, 0-9 and hyphen")
			}
			if nodeImport.MatchString(args[0]) {
				return o.undoAtNode(c, args[0], sdk.UndoImport{Reason: u.Reason, Decision: u.Decision, ForceAmended: u.Force})
			}
			path, err := batchState(args[0])
			if err != nil {
				return err
			}
			if u.Targets, err = o.nodes(c.Context()); err != nil {
				return err
			}
			u.Approval = o.wait
			j, err := importer.OpenUndo(path)
			if err != nil {
				return err
			}
			defer j.Close()
			m := newMeter(&o.client, c.ErrOrStderr())
			u.Progress = m.progress
			out, err := u.Run(c.Context(), j)
			m.end()
			var needs *importer.NeedsApproval
			if errors.As(err, &needs) {
				if o.json {
					err = errors.Join(o.needsApproval(needs), printJSON(c.OutOrStdout(), map[string]any{"awaits_draft": needs.Draft.ID, "result": out}))
				} else {
					err = o.needsApproval(needs)
				}
				return err
			}
			if errors.Is(err, importer.ErrNothingIssued) {
				return fmt.Errorf("%s: %s", path, o.say("此状态文件下没有签发任何证照，无可撤销。用过 --state 的，请给出当时的状态文件。",
					"nothing was issued under this state file, so there is nothing to undo. If the import was run with --state, give that file."))
			}
			if err != nil {
				return fmt.Errorf("%w\n%s", err, o.say("再次运行同一命令即从断点继续，不会重复撤销。", "Run the same command again to go on where it stopped; nothing is rescinded twice."))
			}
			if o.json {
				err = printJSON(c.OutOrStdout(), out)
			} else {
				facts(c.OutOrStdout(), "", [][2]string{
					{o.say("批次", "batch"), out.Batch}, {o.say("本批签发", "issued by it"), fmt.Sprint(out.Issued)}, {o.say("已撤销", "rescinded"), fmt.Sprint(out.Undone)},
					{o.say("此前已终止，未动", "ended already, left"), few(out.Ended)}, {o.say("之后有变更，未动（--force-amended）", "acted on since, left (--force-amended)"), few(out.Amended)},
				})
				for _, f := range out.Failed {
					e := model.E(f.Code)
					fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s\n", f.Record, f.Code, o.say(e.Zh(), e.En()))
				}
			}
			if left := len(out.Ended) + len(out.Amended) + len(out.Failed); err == nil && left > 0 {
				err = errorf("%w：%d 份未能撤销，共 %d 份", "%w: %d of %d were not rescinded", errFinding, left, out.Issued)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&u.Reason, "reason", "", "reason code: 2 to 32 of a-z, 0-9 and hyphen")
	f.StringVar(&u.Decision, "decision", "", "number of the decision (default: import and the batch's name)")
	f.BoolVar(&u.Force, "force-amended", false, "rescind also what was amended or otherwise acted on since")
	f.DurationVar(&o.wait, "wait", 0, "how long to wait for the second person, as 30m")
	f.StringArrayVar(&o.targets, "node", nil, "NAME=URL,KEY or NAME=URL,@KEYFILE; repeat for several nodes")
	f.StringVar(&o.url, "url", "", "the node's address (or ZHENGLIAN_URL)")
	f.StringVar(&o.key, "key", "", "API key (better: --key-file or ZHENGLIAN_KEY)")
	f.StringVar(&o.keyFile, "key-file", "", "file that holds the API key")
	f.StringVar(&o.demo, "demo", "", "folder of a demo: all its nodes, with their keys")
	o.output(c)
	_ = c.MarkFlagRequired("reason")
	return c
}

// few lists some records and counts the rest.
func few(ids []model.RecordID) string {
	if len(ids) > 10 {
		return fmt.Sprint(ids[:10], " … ", len(ids))
	}
	if len(ids) == 0 {
		return ""
	}
	return fmt.Sprint(ids)
}
