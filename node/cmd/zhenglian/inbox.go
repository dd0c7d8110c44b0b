package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

// draftsCommand is the inbox: what needs another person's approval.
func draftsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "drafts", Short: "what waits for another person's approval: list, show, approve, reject",
		Long: "Endings of licences, large batches, and changes of keys and of the registry go to the ledger when another person than who\n" +
			"drafted them has approved. The commands of who drafts say which draft waits; these are for both.",
	}
	c.AddCommand(listDraftsCommand(), showDraftCommand(), approveDraftCommand(), rejectDraftCommand(), drawKeyCommand(), ownDraftCommand(
		"withdraw ID", "take one's own draft back", (*sdk.Client).WithdrawDraft), ownDraftCommand(
		"resend ID", "send the content of one's own draft once more, after it was rejected, withdrawn, expired or refused", (*sdk.Client).ResendDraft))
	return c
}

func listDraftsCommand() *cobra.Command {
	var o client
	var q sdk.DraftQuery
	var state, role string
	var all bool
	c := &cobra.Command{
		Use: "list", Short: "drafts, those that wait by default, oldest first", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			node, err := o.open(role)
			if err != nil {
				return err
			}
			if q.State = sdk.DraftState(state); all {
				q.State = ""
			}
			var drafts []sdk.HeldDraft
			for {
				page, err := node.Drafts(c.Context(), q)
				if err != nil {
					return err
				}
				drafts = append(drafts, page.Drafts...)
				if q.After = page.Next; q.After == "" || len(drafts) >= 10_000 {
					break
				}
			}
			if o.json {
				if drafts == nil {
					drafts = []sdk.HeldDraft{}
				}
				return printJSON(c.OutOrStdout(), map[string]any{"drafts": drafts})
			}
			o.draftTable(c.OutOrStdout(), drafts)
			return nil
		},
	}
	o.flags(c)
	asRole(c, &role)
	f := c.Flags()
	f.StringVar(&state, "state", string(sdk.DraftPending), "pending, approved, rejected, withdrawn or expired")
	f.BoolVar(&all, "all", false, "in whatever state")
	f.BoolVar(&q.Mine, "mine", false, "only one's own")
	return c
}

// asRole adds the flag that says whose key of a demo is used.
func asRole(c *cobra.Command, role *string) {
	c.Flags().StringVar(role, "as", "approver", "with --demo: whose key, drafter or approver …")
}

func (o *client) draftTable(w io.Writer, drafts []sdk.HeldDraft) {
	if len(drafts) == 0 {
		fmt.Fprintln(w, o.say("没有待办。", "Nothing is here."))
		return
	}
	t := newTable(w)
	t.AppendHeader(table.Row{o.say("编号", "id"), o.say("事项", "what"), o.say("提交人", "drafted by"), o.say("时间", "at"), o.say("状态", "state")})
	for i := range drafts {
		d := &drafts[i]
		t.AppendRow(table.Row{d.ID, o.draftWhat(d), short(firstOf(d.Drafter.Name, d.Drafter.Principal)), moment(d.Created), o.say(d.Zh, d.En)})
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 5, WidthMax: 60}})
	t.Render()
	decidable := false
	for i := range drafts {
		decidable = decidable || (drafts[i].MayDecide && drafts[i].State == sdk.DraftPending)
	}
	if decidable {
		fmt.Fprintln(w, o.say("下一步：zhenglian drafts show 编号，核对后 drafts approve 或 drafts reject", "next: zhenglian drafts show ID, then drafts approve or drafts reject"))
	}
}

// draftWhat says in a few words what a draft asks for.
func (o *client) draftWhat(d *sdk.HeldDraft) string {
	if b := d.Batch; b != nil {
		return fmt.Sprintf(o.say("批次“%s”：%s %d 条", "batch %q: %s, %d rows"), b.Name, o.typeName(b.Type), b.Rows)
	}
	var parts []string
	for t, n := range d.Types {
		part := o.typeName(t)
		if n > 1 {
			part += " × " + strconv.Itoa(n)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func showDraftCommand() *cobra.Command {
	var o client
	var role string
	c := &cobra.Command{
		Use: "show ID", Short: "what a draft asks for, line by line", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			node, err := o.open(role)
			if err != nil {
				return err
			}
			d, err := wholeDraft(c.Context(), node, args[0])
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(c.OutOrStdout(), d)
			}
			o.printDraft(c.OutOrStdout(), &d)
			return nil
		},
	}
	o.flags(c)
	asRole(c, &role)
	return c
}

// wholeDraft reads a draft with all of its operations.
func wholeDraft(ctx context.Context, node *sdk.Client, id string) (sdk.DraftContent, error) {
	d, err := node.Draft(ctx, id, 0)
	for err == nil && d.Next != nil {
		var more sdk.DraftContent
		if more, err = node.Draft(ctx, id, *d.Next); err == nil {
			d.Rows, d.Next = append(d.Rows, more.Rows...), more.Next
		}
	}
	return d, err
}

func (o *client) printDraft(w io.Writer, c *sdk.DraftContent) {
	d := &c.Draft
	facts(w, "", [][2]string{
		{o.say("编号", "draft"), d.ID},
		{o.say("状态", "state"), o.say(d.Zh, d.En)},
		{o.say("事项", "what"), o.draftWhat(d)},
		{o.say("提交人", "drafted by"), fmt.Sprintf("%s (%s)", firstOf(d.Drafter.Name, d.Drafter.Principal), d.Drafter.Agency)},
		{o.say("提交时间", "at"), moment(d.Created)},
		{o.say("内容摘要", "content"), d.Content.String()},
	})
	if b := d.Batch; b != nil {
		facts(w, "", [][2]string{{o.say("文件 SHA-256", "file SHA-256"), b.File.String()}, {o.say("机构", "agency"), string(b.Agency)}})
		if len(c.Rows) == 0 && !d.Erased {
			fmt.Fprintln(w, o.say("同意即准许提交人以此批次提交至多上述条数的此类操作；各行内容不在此列出，节点也不与上述文件核对。请向提交人索取文件，比对 SHA-256。",
				"Approving lets who drafted it send at most so many operations of this type. Their content is not shown here, and the node does not compare it with the file: ask for the file and compare its SHA-256."))
		}
	}
	if d.Erased {
		fmt.Fprintln(w, o.say("内容已清除，只保留办理结果。", "The content has been erased; the decision is kept."))
	}
	for i := range c.Rows {
		r := &c.Rows[i]
		now := ""
		if r.Record != nil {
			now = fmt.Sprintf(o.say("　[现为 v%d，%s]", "  [now v%d, %s]"), r.Record.Version, o.stateName(r.Record.State))
		}
		fmt.Fprintf(w, "%5d  %s  %s%s\n", r.Index+1, r.Operation.Agency, o.say(r.Zh, r.En), now)
	}
	switch {
	case d.State == sdk.DraftApproved && d.Sent && d.Types[model.Type(auth.IssueKey)] > 0:
		fmt.Fprintf(w, o.say("领取各自的一半：zhenglian drafts key %s；两半未全部领取前，提交人可用 drafts withdraw 撤回。\n", "each draws the own half: zhenglian drafts key %s; until both are drawn, who drafted it may take it back with drafts withdraw\n"), d.ID)
	case d.State != sdk.DraftPending:
	case d.MayDecide:
		fmt.Fprintf(w, o.say("下一步：zhenglian drafts approve %s  或  drafts reject %[1]s --reason 理由\n", "next: zhenglian drafts approve %s   or   drafts reject %[1]s --reason WHY\n"), d.ID)
	case d.Mine:
		fmt.Fprintln(w, o.say("须由另一人复核；可用 drafts withdraw 撤回。", "Another person must approve it; drafts withdraw takes it back."))
	}
}

func approveDraftCommand() *cobra.Command {
	var o writing
	var role, content string
	c := &cobra.Command{
		Use: "approve ID", Short: "approve a draft: it goes to the ledger in the name of who drafted it", Args: cobra.ExactArgs(1),
		Long: "approve shows what the draft asks for and approves exactly that. --content DIGEST approves what was shown before, and nothing\n" +
			"else.",
		RunE: func(c *cobra.Command, args []string) error {
			node, err := o.open(role)
			if err != nil {
				return err
			}
			d, err := wholeDraft(c.Context(), node, args[0])
			if err != nil {
				return err
			}
			seen := d.Draft.Content
			if content != "" {
				if err := seen.UnmarshalText([]byte(content)); err != nil {
					return useError("--content：摘要是 64 位十六进制数字", "--content: a digest has 64 hexadecimal digits")
				}
			}
			if !o.json {
				o.printDraft(c.OutOrStdout(), &d)
			}
			out, err := node.ApproveDraft(c.Context(), args[0], seen, sdk.Write{NoWait: o.noWait})
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(c.OutOrStdout(), out)
			}
			return o.approved(c.OutOrStdout(), &out)
		},
	}
	o.client.flags(c)
	asRole(c, &role)
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "return once the node has accepted, which may be before the ledger has it")
	c.Flags().StringVar(&content, "content", "", "the digest that drafts show printed (default: what is shown now)")
	return c
}

// approved says what came of an approval.
func (o *client) approved(w io.Writer, d *sdk.DecidedDraft) error {
	committed, pending := 0, 0
	var refused error
	for i := range d.Outcomes {
		switch out := &d.Outcomes[i]; out.Status {
		case model.Committed:
			committed++
		case model.Pending:
			pending++
		default:
			if out.Problem != nil {
				refused = errors.Join(refused, fmt.Errorf("%s: %w", out.Record, out.Problem.Error()))
			}
		}
	}
	fmt.Fprintln(w, o.say(d.Draft.Zh, d.Draft.En))
	if len(d.Outcomes) > 0 { // a batch, and what is of people or keys, has none
		fmt.Fprintf(w, o.say("已上链 %d 项，待上链 %d 项，被拒绝 %d 项\n", "%d committed, %d pending, %d refused\n"), committed, pending, len(d.Outcomes)-committed-pending)
	}
	return refused
}

func rejectDraftCommand() *cobra.Command {
	var o client
	var role, reason string
	c := &cobra.Command{
		Use: "reject ID --reason WHY", Short: "reject a draft", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			node, err := o.open(role)
			if err != nil {
				return err
			}
			d, err := node.RejectDraft(c.Context(), args[0], reason)
			return o.drafted(c.OutOrStdout(), d, err)
		},
	}
	o.flags(c)
	asRole(c, &role)
	c.Flags().StringVar(&reason, "reason", "", "why, for who drafted it")
	_ = c.MarkFlagRequired("reason")
	return c
}

func ownDraftCommand(use, short string, do func(*sdk.Client, context.Context, string) (sdk.HeldDraft, error)) *cobra.Command {
	var o client
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			node, err := o.open("drafter")
			if err != nil {
				return err
			}
			d, err := do(node, c.Context(), args[0])
			return o.drafted(c.OutOrStdout(), d, err)
		},
	}
	o.flags(c)
	return c
}

// drafted prints a draft as it stands after an act on it.
func (o *client) drafted(w io.Writer, d sdk.HeldDraft, err error) error {
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(w, sdk.DecidedDraft{Draft: d})
	}
	fmt.Fprintf(w, "%s  %s\n", d.ID, o.say(d.Zh, d.En))
	return nil
}

// held tells who has written something that waits for another person what happens next: that is no failure.
func (o *client) held(w io.Writer, err error) (told bool, _ error) {
	d, ok := sdk.Held(err)
	if !ok {
		return false, err
	}
	if o.json {
		return true, printJSON(w, sdk.DecidedDraft{Draft: d})
	}
	fmt.Fprintf(w, "%s  %s\n", d.ID, o.say(d.Zh, d.En))
	for t := range d.Types {
		if _, people := auth.ChangeNames[string(t)]; people {
			fmt.Fprintf(w, o.say("尚未生效。另一名安全保密管理员核对：zhenglian drafts show %s，同意：drafts approve %[1]s；撤回：drafts withdraw %[1]s\n",
				"Not in force yet. Another security administrator looks with `zhenglian drafts show %s` and agrees with `drafts approve %[1]s`; `drafts withdraw %[1]s` takes it back.\n"), d.ID)
			if t == model.Type(auth.IssueKey) {
				fmt.Fprintf(w, o.say("同意后本人与同意者各领取密钥的一半：zhenglian drafts key %s\n", "Once it is approved, you and who approved it each draw a half of the key: zhenglian drafts key %s\n"), d.ID)
			}
			return true, nil
		}
	}
	fmt.Fprintf(w, o.say("尚未上链。另一人核对：zhenglian drafts show %s，同意：drafts approve %[1]s；撤回：drafts withdraw %[1]s\n",
		"On no ledger yet. Another person looks with `zhenglian drafts show %s` and agrees with `drafts approve %[1]s`; `drafts withdraw %[1]s` takes it back.\n"), d.ID)
	return true, nil
}
