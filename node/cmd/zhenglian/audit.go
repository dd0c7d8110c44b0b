package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/sdk"
)

func auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "who looked at what, and the proof of it"}
	c.AddCommand(auditAccessCommand(), auditBeginCommand())
	return c
}

// accessFlags are what `audit access` asks for.
type accessFlags struct {
	client
	dir, record, person, agency, from, until string
	after                                    uint64
	limit                                    int
	csv, verify                              bool
}

func auditAccessCommand() *cobra.Command {
	var o accessFlags
	c := &cobra.Command{
		Use: "access", Short: "read a node's access log, or verify it", Args: cobra.NoArgs,
		Long: "Lists the entries of a node's access log: over its API with an auditor's key, or with --dir from the node's own folder.\n" +
			"With --verify it recomputes the log's chain and holds it against the anchors on the ledger. That needs --dir; the anchors\n" +
			"come over the API of a running node (--url or ZHENGLIAN_URL), from the folder of a stopped one.",
		Example: "  zhenglian audit access --record licence/bj-scjg.17 --from 2026-11-01\n  zhenglian audit access --person key-abc --csv\n" +
			"  zhenglian audit access --verify --dir /var/lib/zhenglian",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if o.verify {
				return o.proof(c)
			}
			return o.list(c)
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.dir, "dir", "", "the node's folder: read the log there, not over the API")
	f.StringVar(&o.record, "record", "", "who looked at this record: KIND/ID, such as licence/bj-scjg.17")
	f.StringVar(&o.person, "person", "", "what this user or key did, by id or, looking through every entry, by name")
	f.StringVar(&o.agency, "agency", "", "what the people of this agency did")
	f.StringVar(&o.from, "from", "", "first day, YYYY-MM-DD (Beijing)")
	f.StringVar(&o.until, "until", "", "last day, inclusive")
	f.Uint64Var(&o.after, "after", 0, "only entries with a greater number")
	f.IntVar(&o.limit, "limit", 1000, "at most so many; the number to go on after is told")
	f.BoolVar(&o.csv, "csv", false, "print as CSV (UTF-8 with BOM)")
	f.BoolVar(&o.verify, "verify", false, "verify the log against the ledger")
	return c
}

func (o *accessFlags) query() (q sdk.AccessQuery, err error) {
	q = sdk.AccessQuery{After: o.after}
	if isID.MatchString(o.person) {
		q.Person = o.person
	}
	if o.record != "" {
		kind, id, ok := strings.Cut(o.record, "/")
		if _, err := model.ParseRecordID(id); !ok || err != nil || kind == "" {
			return q, useError("--record：写成 类别/编号，如 licence/bj-scjg.17", "--record: KIND/ID, such as licence/bj-scjg.17")
		}
		q.Record = sdk.AccessRecord{Kind: model.Kind(kind), ID: id}
	}
	if o.agency != "" {
		if q.Agency, err = model.ParseAgencyID(o.agency); err != nil {
			return q, useError("--agency：%q 不是机关标识", "--agency: %q is no agency id", o.agency)
		}
	}
	for _, d := range []struct {
		flag, value string
		into        *model.Date
	}{{"--from", o.from, &q.From}, {"--until", o.until, &q.Until}} {
		if d.value == "" {
			continue
		}
		if *d.into, err = model.ParseDate(d.value); err != nil {
			return q, useError("%s：日期写成 YYYY-MM-DD", "%s: a day is written YYYY-MM-DD", d.flag)
		}
	}
	if o.limit < 1 || o.json && o.csv {
		return q, useError("--limit 至少为 1；--json 与 --csv 只能给一个", "--limit is at least 1; --json and --csv exclude one another")
	}
	return q, nil
}

func (o *accessFlags) list(c *cobra.Command) error {
	q, err := o.query()
	if err != nil {
		return err
	}
	var entries iter.Seq2[sdk.AccessEntry, error]
	if o.dir != "" {
		cfg, err := app.LoadConfig(o.dir)
		if err != nil {
			return err
		}
		entries = inFolder(c.Context(), app.AccessLogPath(cfg), q)
	} else {
		node, err := o.open("auditor")
		if err != nil {
			return err
		}
		entries = node.Access(c.Context(), q)
	}
	entries = o.named(entries)
	got, more := []sdk.AccessEntry{}, false
	for e, err := range entries {
		if err != nil {
			return err
		}
		if more = len(got) == o.limit; more {
			break
		}
		got = append(got, e)
	}
	if more {
		fmt.Fprintf(c.ErrOrStderr(), o.say("还有更多：加 --after %d 继续\n", "there are more: go on with --after %d\n"), got[len(got)-1].Sequence)
	}
	switch {
	case o.json:
		return printJSON(c.OutOrStdout(), got)
	case o.csv:
		return o.sheet(c.OutOrStdout(), got)
	}
	o.table(c.OutOrStdout(), got)
	return nil
}

// isID tells ids of users and keys, and of the node itself, from names.
var isID = regexp.MustCompile(`^(usr|key)-[a-z0-9]+$|^node:`)

// named leaves the entries of the person that was asked for by name: the log finds ids alone by itself.
func (o *accessFlags) named(entries iter.Seq2[sdk.AccessEntry, error]) iter.Seq2[sdk.AccessEntry, error] {
	if o.person == "" || isID.MatchString(o.person) {
		return entries
	}
	return func(yield func(sdk.AccessEntry, error) bool) {
		for e, err := range entries {
			if (err != nil || e.Name == o.person) && !yield(e, err) {
				return
			}
		}
	}
}

// inFolder walks the log in a node's folder, whether the node runs or not.
func inFolder(ctx context.Context, dir string, q sdk.AccessQuery) iter.Seq2[sdk.AccessEntry, error] {
	return func(yield func(sdk.AccessEntry, error) bool) {
		s := accesslog.Query{Record: q.Record, Person: q.Person, Agency: q.Agency, After: q.After, Limit: accesslog.MaxPage}
		if q.From != "" {
			s.From = midnight(q.From)
		}
		if q.Until != "" {
			s.Until = midnight(q.Until).AddDate(0, 0, 1)
		}
		for {
			p, err := accesslog.Search(ctx, dir, s)
			for _, e := range p.Entries {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(sdk.AccessEntry{}, err)
				return
			}
			if !p.More {
				return
			}
			s.After = p.Next
		}
	}
}

func midnight(d model.Date) time.Time {
	t, _ := time.ParseInLocation(time.DateOnly, string(d), model.Shanghai) // a Date is one
	return t
}

// columns are those of the table and of the CSV.
func (o *accessFlags) columns() []string {
	if o.lang == "zh" {
		return []string{"序号", "时间", "人员", "编号", "机构", "动作", "记录", "用途", "结果", "依据策略", "状态", "请求"}
	}
	return []string{"number", "time", "person", "id", "agency", "action", "records", "use", "decision", "policy", "status", "request"}
}

func (o *accessFlags) row(e *sdk.AccessEntry, most int) []string {
	action := e.Action
	if r, ok := model.Types[model.Type(action)]; ok {
		action = o.say(r.Zh, r.En)
	} else if o.lang == "zh" {
		action = actionNames(action)
	}
	var records []string
	for i, r := range e.Records {
		if i == most {
			records = append(records, fmt.Sprintf("… %d", len(e.Records)))
			break
		}
		records = append(records, string(r.Kind)+"/"+r.ID)
	}
	use := ""
	if u := e.Use; u != nil {
		use = strings.Join(filled(u.Purpose, u.OrgName, u.ItemName, u.ItemCode, u.BusinessCode), " · ")
	}
	decision := o.say("拒绝", "denied")
	switch {
	case e.Allowed:
		decision = o.say("允许", "allowed")
	case e.Policy == "":
		decision = "–" // it did not come to a decision, or was nobody's to make
	}
	return []string{strconv.FormatUint(e.Sequence, 10), moment(e.Time), e.Name, e.Person, strings.Join(filled(string(e.Agency), string(e.Party)), " / "), action, strings.Join(records, " "), use,
		decision, e.Policy, strconv.Itoa(e.Status), e.Request}
}

func filled(texts ...string) (out []string) {
	for _, s := range texts {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (o *accessFlags) table(w io.Writer, entries []sdk.AccessEntry) {
	if len(entries) == 0 {
		fmt.Fprintln(w, o.say("没有符合条件的记录", "nothing was found"))
		return
	}
	t := newTable(w)
	row := func(cells []string) (r table.Row) {
		for _, c := range cells[:len(cells)-1] { // the request's id is for programs
			r = append(r, short(c))
		}
		return r
	}
	t.AppendHeader(row(o.columns()))
	for i := range entries {
		t.AppendRow(row(o.row(&entries[i], 3)))
	}
	t.Render()
}

// sheet writes CSV that spreadsheets read: with a byte order mark, and no cell begins as a formula does.
func (o *accessFlags) sheet(w io.Writer, entries []sdk.AccessEntry) error {
	if _, err := io.WriteString(w, "\ufeff"); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	if err := out.Write(o.columns()); err != nil {
		return err
	}
	for i := range entries {
		cells := o.row(&entries[i], len(entries[i].Records))
		for j, c := range cells {
			if c = printable(c); c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
				c = "'" + c
			}
			cells[j] = c
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// printable takes out what would move a terminal's cursor; names come from outside.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\ufffd'
		}
		return r
	}, s)
}

// proof verifies the log in a node's folder.
func (o *accessFlags) proof(c *cobra.Command) error {
	if o.dir == "" {
		return useError("--verify 需要日志本身：请给 --dir（节点文件夹）", "--verify needs the log itself: give --dir, the node's folder")
	}
	cfg, err := app.LoadConfig(o.dir)
	if err != nil {
		return err
	}
	anchors, err := o.anchors(c.Context(), cfg, c.ErrOrStderr())
	if err != nil {
		return err
	}
	r, err := accesslog.Verify(app.AccessLogPath(cfg), anchors)
	if err != nil {
		return err
	}
	if o.json {
		if err := printJSON(c.OutOrStdout(), r); err != nil {
			return err
		}
	} else {
		o.report(c.OutOrStdout(), r)
	}
	if len(r.Findings) > 0 {
		return errorf("%w：访问日志中发现 %d 处问题", "%w: %d findings in the access log", errFinding, len(r.Findings))
	}
	return nil
}

// anchors are those on the ledger; told hears where they are from if it is not where one would think.
func (o *accessFlags) anchors(ctx context.Context, cfg *app.Config, told io.Writer) ([]accesslog.Anchor, error) {
	node, err := o.open("auditor")
	if o.url == "" && o.demo == "" { // an address of the environment counts while the node answers there
		if errors.Is(err, errUse) {
			return app.Anchors(cfg)
		}
		if _, down := app.NewAdmin(cfg).Status(ctx); errors.Is(down, app.ErrDown) {
			fmt.Fprintln(told, o.say("节点没有运行：存证取自其文件夹", "the node does not run: the anchors are taken from its folder"))
			return app.Anchors(cfg)
		}
	}
	if err != nil {
		return nil, err
	}
	var out []accesslog.Anchor
	for v, err := range node.History(ctx, model.KindAccessLog, model.AccessLogID(cfg.Msp, cfg.Node)) {
		if model.AsError(err).Code == model.CodeNotFound && err != nil {
			return nil, nil // none yet
		}
		if err != nil {
			return nil, err
		}
		a, err := app.AnchorOf(v)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func (o *accessFlags) report(w io.Writer, r *accesslog.Report) {
	rows := [][2]string{
		{o.say("条目", "entries"), fmt.Sprintf("%d – %d (%d %s)", r.First, r.Count, r.Files, o.say("个文件", "files"))},
		{o.say("链头", "head"), r.Head.String()},
	}
	switch {
	case r.Anchors > 0:
		rows = append(rows, [2]string{o.say("账本存证", "anchors"), fmt.Sprintf(o.say("%d 次相符，最近一次至 %s，覆盖前 %d 条", "%d fit; the newest is of %s and covers entries up to %d"), r.Anchors, r.Day, r.Anchored)})
	default:
		rows = append(rows, [2]string{o.say("账本存证", "anchors"), o.say("尚无：每日结束后存证一次", "none yet: one is made after the end of each day")})
	}
	if r.Earlier > 0 {
		rows = append(rows, [2]string{o.say("另一份日志", "another log"), fmt.Sprintf(o.say("账本上另有 %d 次存证属于此前的日志", "%d anchors on the ledger are of a log that this node kept before"), r.Earlier)})
	}
	if r.Torn > 0 {
		rows = append(rows, [2]string{o.say("末尾", "end"), fmt.Sprintf(o.say("%d 字节未写完（节点正在写入，或曾断电）", "%d bytes of an entry that is not whole: being written, or cut off by a crash"), r.Torn)})
	}
	facts(w, "", rows)
	for _, f := range r.Findings {
		where := ""
		if f.File != "" {
			where = fmt.Sprintf(" (%s, %s %d)", f.File, o.say("字节", "byte"), f.Offset)
		}
		since := ""
		if t := moment(f.Since); t != "" {
			since = fmt.Sprintf(o.say("；此前最后一条完好的记录在 %s", "; the last good entry before it is of %s"), t)
		}
		fmt.Fprintf(w, "%s %s%s%s\n", o.say("发现：", "finding:"), o.say(f.Zh, f.En), where, since)
	}
	switch {
	case len(r.Findings) == 0 && r.Anchors == 0:
		fmt.Fprintln(w, o.say("日志自身连贯；账本上尚无存证可比对，整段改写看不出来", "the log is consistent in itself; there is no anchor on the ledger to compare it with, so a log that was rewritten as a whole would not show"))
	case len(r.Findings) == 0:
		fmt.Fprintln(w, o.say("日志完整，与账本存证一致", "the log is whole and agrees with the ledger"))
	}
}

func auditBeginCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "begin", Short: "set a stopped node's access log aside and begin another", Args: cobra.NoArgs,
		Long: "For a log that is damaged, or older than its last anchor (a restored backup). The old one is kept beside it under another\n" +
			"name. The ledger shows that another log was begun: its anchors have another start.",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			old, err := app.BeginAccessLog(cfg, time.Now())
			if err != nil {
				return err
			}
			if old != "" {
				fmt.Fprintln(c.OutOrStdout(), old)
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	_ = c.MarkFlagRequired("dir")
	return c
}
