package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

type verifyFlags struct {
	client
	typ, file, at, knownAt, presentation, batch string
}

func verifyCommand() *cobra.Command {
	var o verifyFlags
	c := &cobra.Command{
		Use: "verify [NUMBER | IDENTIFIER | RECORD]", Short: "ask for the verdict on a licence", Args: cobra.MaximumNArgs(1),
		Long: "verify asks a node whether a licence is valid, on a day and as known on a day, and who did what to it.\n" +
			"A licence is named by its number (with --type, or among all registered types), its identifier (1.2.156.3005.2.…),\n" +
			"its record id (bj-scjg.1), or its file (--file). --batch reads one name a line from a file, \"-\" for standard input;\n" +
			"a line may be NUMBER,TYPE.\n\n" +
			"The exit status is 0 when every verdict is valid, 1 otherwise.",
		Example: "  zhenglian verify 91110105XTW000020A --type 11100000MB0143028R001\n" +
			"  zhenglian verify bj-scjg.1 --at 2026-01-31 --json",
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, args) },
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.typ, "type", "", "licence type, 21 characters; says that the argument is a number")
	f.StringVar(&o.file, "file", "", "the licence's file: verified by its digest")
	f.StringVar(&o.at, "at", "", "the day asked about, YYYY-MM-DD (default: today)")
	f.StringVar(&o.knownAt, "known-at", "", "as known at the end of this day (default: now)")
	f.StringVar(&o.presentation, "presentation", "", "file with what the holder presents (JSON, as issuing printed it)")
	f.StringVar(&o.batch, "batch", "", "file with one licence a line")
	return c
}

// question is a query as it was asked.
type question struct {
	Asked string        `json:"asked"`
	Query model.Query   `json:"-"`
	Is    model.Verdict `json:"verdict"`
}

func (o *verifyFlags) run(c *cobra.Command, args []string) error {
	asked, err := o.names(c.InOrStdin(), args)
	if err != nil {
		return err
	}
	base, err := o.base()
	if err != nil {
		return err
	}
	node, err := o.open("verifier")
	if err != nil {
		return err
	}
	questions, err := o.questions(c.Context(), node, asked, base)
	if err != nil {
		return err
	}
	if err := ask(c.Context(), node, questions, progress(c.ErrOrStderr(), o.say("件", "licences"))); err != nil {
		return err
	}
	questions = narrow(questions)
	if err := o.show(c.OutOrStdout(), questions); err != nil {
		return err
	}
	bad := 0
	for i := range questions {
		if questions[i].Is.Verdict != model.Valid {
			bad++
		}
	}
	if bad > 0 {
		return errorf("%w：%d 项无效，共 %d 项", "%w: %d of %d not valid", errFinding, bad, len(questions))
	}
	return nil
}

// names is what is asked about: the argument, the file's digest, or the lines of a batch.
func (o *verifyFlags) names(in io.Reader, args []string) ([]string, error) {
	ways := len(args)
	for _, f := range []string{o.file, o.batch} {
		if f != "" {
			ways++
		}
	}
	if ways != 1 {
		return nil, useError("请给编号、标识或记录编号，或 --file、--batch 之一", "give one of NUMBER, IDENTIFIER or RECORD, --file, --batch")
	}
	if o.batch == "" {
		return args, nil
	}
	if o.batch != "-" {
		f, err := os.Open(o.batch)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var out []string
	s := bufio.NewScanner(in)
	for s.Scan() {
		line := strings.TrimSpace(strings.TrimPrefix(s.Text(), "\ufeff"))
		if line == "" || line[0] == '#' {
			continue
		}
		if len(out) == maxBatch {
			return nil, useError("--batch：多于 %d 行", "--batch: more than %d lines", maxBatch)
		}
		out = append(out, line)
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("--batch: %w", err)
	}
	if len(out) == 0 {
		return nil, useError("--batch：没有要核验的内容", "--batch: nothing to verify")
	}
	return out, nil
}

const maxBatch = 1_000_000

// base is what all queries have in common.
func (o *verifyFlags) base() (q model.Query, err error) {
	if q.At, err = day("--at", o.at); err != nil {
		return q, err
	}
	if q.KnownAt, err = day("--known-at", o.knownAt); err != nil {
		return q, err
	}
	if o.typ != "" {
		if q.Type, err = model.ParseTypeCode(o.typ); err != nil {
			return q, useError("--type：%s", "--type: %s", err)
		}
	}
	if o.presentation != "" {
		if o.batch != "" {
			return q, useError("--presentation 只用于一份证照，不与 --batch 同用", "--presentation is of one licence; not with --batch")
		}
		raw, err := readBounded(o.presentation, 1<<20)
		if err != nil {
			return q, err
		}
		if err := json.Unmarshal(raw, &q.Presentation); err != nil {
			return q, errorf("--presentation：%s 不是出示内容：%w", "--presentation: %s is no presentation: %w", o.presentation, err)
		}
	}
	if o.file != "" {
		f, err := os.Open(o.file)
		if err != nil {
			return q, err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return q, err
		}
		q.File, q.Type = hex.EncodeToString(h.Sum(nil)), ""
	}
	return q, nil
}

func day(flag, s string) (model.Date, error) {
	if s == "" {
		return "", nil
	}
	d, err := model.ParseDate(s)
	if err != nil {
		return "", useError("%s：%q 不是日期，写成 YYYY-MM-DD", "%s: %q is no day; write YYYY-MM-DD", flag, s)
	}
	return d, nil
}

// questions turns names into queries. A number without type is asked of every registered type.
func (o *verifyFlags) questions(ctx context.Context, node *sdk.Client, asked []string, base model.Query) ([]question, error) {
	if o.file != "" {
		return []question{{Asked: o.file, Query: base}}, nil
	}
	var types []model.TypeCode
	var out []question
	for _, name := range asked {
		q := base
		number, typ, split := strings.Cut(name, ",")
		switch {
		case split && o.batch != "":
			t, err := model.ParseTypeCode(strings.TrimSpace(typ))
			if err != nil {
				return nil, useError("--batch：%q：%s", "--batch: %q: %s", name, err)
			}
			q.Number, q.Type = strings.TrimSpace(number), t
		case o.typ != "":
			q.Number = name
		case strings.HasPrefix(name, "1.2.156.3005.2."):
			id, err := model.ParseLicenceID(name)
			if err != nil {
				return nil, err
			}
			q.Identifier = id
		case isRecord(name):
			q.Record = model.RecordID(name)
		default:
			if types == nil {
				for v, err := range node.Entries(ctx, model.KindLicenceType) {
					if err != nil {
						return nil, err
					}
					types = append(types, model.TypeCode(v.ID))
				}
				if len(types) == 0 {
					return nil, model.E(model.CodeTypeUnknown, "type")
				}
			}
			for _, t := range types {
				q.Number, q.Type = name, t
				out = append(out, question{Asked: name, Query: q})
			}
			continue
		}
		out = append(out, question{Asked: name, Query: q})
	}
	return out, nil
}

func isRecord(s string) bool {
	id, err := model.ParseRecordID(s)
	if err != nil {
		return false
	}
	_, _, serial := id.Serial()
	return serial
}

func ask(ctx context.Context, node *sdk.Client, questions []question, done func(done, total uint64)) error {
	for at := 0; at < len(questions); {
		n := min(model.MaxQueries, len(questions)-at)
		queries := make([]model.Query, n)
		for i := range queries {
			queries[i] = questions[at+i].Query
		}
		verdicts, err := node.VerifyAll(ctx, queries)
		var e *sdk.ElementError
		switch {
		case errors.As(err, &e) && e.Index < n:
			return fmt.Errorf("%s: %w", questions[at+e.Index].Asked, e.Err)
		case err != nil:
			return err
		case len(verdicts) != n:
			return model.E(model.CodeInternal).With("the node answered %d of %d queries", len(verdicts), n)
		}
		for i := range verdicts {
			questions[at+i].Is = verdicts[i]
		}
		at += n
		done(uint64(at), uint64(len(questions)))
	}
	return nil
}

// narrow leaves, of one number asked of several types, those that exist, or one answer if none does.
func narrow(questions []question) []question {
	var out []question
	for i := 0; i < len(questions); {
		k := i
		for k < len(questions) && questions[k].Asked == questions[i].Asked && (k == i || questions[k].Query.Type != questions[i].Query.Type) {
			k++
		}
		found := false
		for _, q := range questions[i:k] {
			if q.Is.Reason != model.ReasonNotFound {
				out, found = append(out, q), true
			}
		}
		if !found {
			out = append(out, questions[i])
		}
		i = k
	}
	return out
}

var words = map[model.Word]string{model.Valid: "有效", model.NotValid: "无效", model.Undetermined: "无法判定", model.Stale: "数据过时"}

func (o *verifyFlags) show(w io.Writer, questions []question) error {
	if o.json {
		if len(questions) == 1 && o.batch == "" {
			return printJSON(w, questions[0].Is)
		}
		return printJSON(w, questions)
	}
	if o.batch == "" {
		for i := range questions {
			o.verdict(w, &questions[i])
		}
		return nil
	}
	t := newTable(w)
	t.AppendHeader(table.Row{o.say("所询", "asked"), o.say("结论", "verdict"), o.say("理由", "reason"), o.say("自", "since"), o.say("持证主体", "holder")})
	for i := range questions {
		q := &questions[i]
		holder := ""
		if l := licenceOf(q.Is.Record); l != nil {
			holder = l.HolderName
		}
		t.AppendRow(table.Row{short(q.Asked), o.word(q.Is.Verdict), o.say(q.Is.Zh, q.Is.En), q.Is.Since, short(holder)})
	}
	t.Render()
	return nil
}

func (o *client) word(w model.Word) string { return words[w] + " " + string(w) }

func licenceOf(v *model.View) *model.Licence {
	if v == nil {
		return nil
	}
	var l model.Licence
	if json.Unmarshal(v.Public, &l) != nil {
		return nil
	}
	return &l
}

func (o *verifyFlags) verdict(w io.Writer, q *question) {
	v := &q.Is
	rows := [][2]string{
		{o.say("理由", "reason"), o.say(v.Zh, v.En) + " (" + string(v.Reason) + ")"},
		{o.say("判定依据", "deciding check"), v.Check},
		{o.say("自", "since"), string(v.Since)},
		{o.say("所询日", "at"), string(v.At)},
		{o.say("截至", "known at"), string(v.KnownAt)},
	}
	if v.Last != nil {
		rows = append(rows, [2]string{o.say("此前结论", "last known"), o.word(v.Last.Verdict) + " (" + string(v.Last.Reason) + ")"})
	}
	rows = append(rows, o.licenceFacts(v.Record)...)
	rows = append(rows,
		[2]string{o.say("日志位置", "position"), strconv.FormatUint(v.Position, 10)},
		[2]string{o.say("区块高度", "height"), strconv.FormatUint(v.Height, 10)},
		[2]string{o.say("数据年龄", "age"), (time.Duration(v.AgeMS) * time.Millisecond).String()},
	)
	facts(w, o.word(v.Verdict)+"  "+q.Asked, rows)
	if len(v.History) > 0 {
		fmt.Fprintln(w)
		o.history(w, v.History)
	}
}

// licenceFacts are a licence's own facts.
func (o *client) licenceFacts(v *model.View) [][2]string {
	l := licenceOf(v)
	if l == nil {
		return nil
	}
	until := string(l.ValidUntil)
	if until == "" {
		until = o.say("长期", "no end")
	}
	holder, code := l.HolderName, string(l.HolderCode)
	if l.Legacy != "" && l.Legacy != model.LegacyConfidential {
		code = l.Legacy + o.say("（旧数据，未通过校验）", " (of an older list; does not check)")
	}
	if l.HolderKind.Personal() {
		holder = o.say("个人（仅有摘要锁定值）", "a person (committed to)")
	}
	rows := [][2]string{
		{o.say("记录", "record"), string(v.ID) + "  " + o.say("第", "version ") + strconv.FormatUint(v.Version, 10) + o.say("版", "")},
		{o.say("状态", "state"), o.stateName(v.State)},
		{o.say("证照标识", "identifier"), string(l.Identifier)},
		{o.say("证照编号", "number"), l.Number},
		{o.say("证照类型", "type"), string(l.Type)},
		{o.say("持证主体", "holder"), holder},
		{o.say("持证主体代码", "holder code"), code},
		{o.say("发证机关", "issuer"), string(v.Owner) + "  " + string(l.Issuer)},
		{o.say("颁发日期", "issued on"), string(l.IssuedOn)},
		{o.say("有效期", "valid"), string(l.ValidFrom) + " — " + until},
	}
	if l.Legacy != "" {
		rows = append(rows, [2]string{o.say("注意", "beware"), o.say("旧数据，持证主体代码未通过校验；更正之前核验结果为无法判定，不作为有效证照",
			"taken over with a holder's code that does not check: undetermined, not valid, until it is corrected")})
	}
	for _, name := range sortedKeys(l.Face) {
		rows = append(rows, [2]string{"face." + name, fmt.Sprint(l.Face[name])})
	}
	if l.Signature != nil {
		rows = append(rows, [2]string{o.say("签章", "signature"), l.Signature.Alg + "  " + l.Signature.Key})
	}
	if v.Duplicate {
		rows = append(rows, [2]string{o.say("注意", "beware"), o.say("另有记录使用同一编号", "another record claims this number")})
	}
	return rows
}
