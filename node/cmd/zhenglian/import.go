package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

func importCommand() *cobra.Command {
	var g guessing
	c := &cobra.Command{
		Use: "import", Short: "bring existing records in from files", Args: cobra.NoArgs,
		Long: "import licences issues licences from a table; --guess FILE proposes the map that it needs: it looks at the header and the\n" +
			"first 1000 rows, shows what each column holds by its shape only, has each field confirmed on a terminal, and writes the map.",
		Example: "  zhenglian import --guess list.xlsx --type 11100000MB0143028R001 --agency bj-scjg --write list.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			if g.file == "" {
				return c.Help()
			}
			return g.run(c)
		},
	}
	g.flags(c)
	c.AddCommand(importLicencesCommand(), importListCommand(), importUndoCommand())
	return c
}

type importFlags struct {
	client
	mapFile, state, rejects, presentations string
	targets                                []string
	encoding, sheet                        string
	dryRun, cached, legacy                 bool
	wait                                   time.Duration
	batch, inFlight                        int

	file string
}

func importLicencesCommand() *cobra.Command {
	var o importFlags
	c := &cobra.Command{
		Use: "licences FILE --map MAP", Short: "issue licences from a table: XLSX, CSV or JSON Lines", Args: cobra.ExactArgs(1),
		Long: "import licences checks every row of FILE first and then issues the good ones in batches. MAP says how columns become\n" +
			"licences: a YAML file, or one of the maps that come with the program (" + strings.Join(importer.ShippedMaps(), ", ") + ").\n" +
			"Cut off at any moment, the same command goes on where it stopped, and no licence is issued twice.\n\n" +
			"A node acts for its own organisation's agencies only. Rows of other agencies are rejected, unless their node is given\n" +
			"too: --node NAME=URL,KEY for each (or --demo DIR for the four of a demo), and each row goes to the node of its agency.\n\n" +
			"The exit status is 0 when every row is issued (or would be, with --dry-run), 1 when there are rejected rows.",
		Example: "  zhenglian import licences enterprises.csv --map enterprises-bth --demo ./demo --dry-run\n" +
			"  zhenglian import licences licences.csv --map licences.yaml --url https://node.example --key-file drafter.key",
		RunE: func(c *cobra.Command, args []string) error {
			o.file = args[0]
			return o.run(c)
		},
	}
	f := c.Flags()
	f.StringVar(&o.mapFile, "map", "", "the map: a YAML file or the name of a shipped one")
	f.BoolVar(&o.dryRun, "dry-run", false, "check every row and print what is wrong; issue nothing")
	f.StringVar(&o.encoding, "encoding", "", "of a text file: utf-8, gb18030, utf-16le, utf-16be (default: found by content)")
	f.StringVar(&o.sheet, "sheet", "", "of a workbook: the sheet's name or number (default: the map's, or the first one shown)")
	f.BoolVar(&o.cached, "cached-values", false, "take the results of formulas as the workbook has stored them; nothing is ever computed")
	f.BoolVar(&o.legacy, "legacy", false, "take rows whose holder's code does not check over as they are: never valid until they are corrected")
	f.DurationVar(&o.wait, "wait", 0, "how long to wait for the second person that a large import needs, as 30m; without it the command ends and is run again")
	f.StringVar(&o.state, "state", "", "state file for resuming (default: FILE.import-state.jsonl)")
	f.StringVar(&o.rejects, "rejects", "", "where to write rejected rows (default: FILE with .rejects before its ending)")
	f.StringVar(&o.presentations, "presentations", "", "where to append what persons need to present (default: FILE without its ending, with .presentations.jsonl)")
	f.StringArrayVar(&o.targets, "node", nil, "NAME=URL,KEY or NAME=URL,@KEYFILE; repeat for several nodes")
	f.IntVar(&o.batch, "batch", 500, "rows of a request, 1 to 1000")
	f.IntVar(&o.inFlight, "in-flight", 4, "requests under way at once, 1 to 64")
	f.StringVar(&o.url, "url", "", "the node's address (or ZHENGLIAN_URL)")
	f.StringVar(&o.key, "key", "", "API key (better: --key-file or ZHENGLIAN_KEY)")
	f.StringVar(&o.keyFile, "key-file", "", "file that holds the API key")
	f.StringVar(&o.demo, "demo", "", "folder of a demo: all its nodes, with their keys")
	o.output(c)
	_ = c.MarkFlagRequired("map")
	return c
}

func (o *importFlags) run(c *cobra.Command) error {
	if o.batch < 1 || o.batch > model.MaxOperations || o.inFlight < 1 || o.inFlight > 64 {
		return useError("--batch 为 1 至 %d，--in-flight 为 1 至 64", "--batch is 1 to %d, --in-flight 1 to 64", model.MaxOperations)
	}
	encoding, err := importer.ParseEncoding(o.encoding)
	if err != nil {
		return useError("--encoding：%s", "--encoding: %s", err)
	}
	ending := filepath.Ext(o.file)
	base := strings.TrimSuffix(o.file, ending)
	o.state = firstOf(o.state, o.file+".import-state.jsonl")
	o.rejects = firstOf(o.rejects, base+".rejects"+firstOf(ending, ".csv"))
	o.presentations = firstOf(o.presentations, base+".presentations.jsonl")
	for _, written := range []string{o.state, o.rejects, o.presentations} {
		if filepath.Clean(written) == filepath.Clean(o.file) || filepath.Clean(written) == filepath.Clean(o.mapFile) {
			return useError("%s 会被覆盖", "%s would be overwritten", written)
		}
	}
	m, err := o.loadMap()
	if err != nil {
		return err
	}
	open := func() (importer.File, error) { return importer.OpenFile(o.file) }
	if f, err := open(); err != nil {
		return fmt.Errorf("%s: %w", o.file, err)
	} else if err := f.Close(); err != nil {
		return err
	}
	targets, err := o.nodes(c.Context())
	if err != nil {
		return err
	}
	im := &importer.Import{
		Map: m, Targets: targets, Clock: time.Now, BatchRows: o.batch, InFlight: o.inFlight,
		Name: filepath.Base(o.file), Legacy: o.legacy, Approval: o.wait, Open: open, Reading: importer.Reading{Encoding: encoding, Sheet: o.sheet, Cached: o.cached},
	}
	r := &report{o: o, im: im, out: c.OutOrStdout(), faults: []importer.Fault{}, notes: []importer.Fault{}, byCode: map[model.Code]int{}, meter: newMeter(&o.client, c.ErrOrStderr())}
	im.Fault, im.Progress, im.Presented = r.fault, r.meter.progress, r.presented
	err = r.run(c.Context())
	var whole *importer.FileError
	if errors.As(err, &whole) {
		return fmt.Errorf("%s: %s", o.file, o.say(whole.Zh, whole.En))
	}
	return err
}

func (o *importFlags) loadMap() (*importer.Map, error) {
	f, err := os.Open(o.mapFile)
	if errors.Is(err, fs.ErrNotExist) {
		if m, err := importer.ShippedMap(o.mapFile); !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := importer.ReadMap(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.mapFile, err)
	}
	return m, nil
}

// nodes are where rows can go.
func (o *importFlags) nodes(ctx context.Context) ([]importer.Target, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var out []importer.Target
	add := func(name string, c *sdk.Client) error {
		id, err := model.ParseNodeID(name)
		if err != nil {
			return useError("--node：%q 不是节点标识", "--node: %q is no node id", name)
		}
		for _, t := range out {
			if t.Name == id {
				return useError("--node：%s 给了两次", "--node: %s is given twice", name)
			}
		}
		out = append(out, importer.Target{Name: id, Node: remote{c}})
		return nil
	}
	if o.demo != "" {
		nodes, err := readDemo(o.demo)
		if err != nil {
			return nil, err
		}
		for _, n := range nodes {
			if err := add(n.Name, &sdk.Client{BaseURL: n.URL, Key: n.Keys["drafter"]}); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range o.targets {
		name, rest, ok := strings.Cut(t, "=")
		url, key, ok2 := strings.Cut(rest, ",")
		if !ok || !ok2 || key == "" || !strings.HasPrefix(url, "http") {
			return nil, useError("--node：写成 NAME=URL,KEY 或 NAME=URL,@KEYFILE", "--node: write NAME=URL,KEY or NAME=URL,@KEYFILE")
		}
		if path, ok := strings.CutPrefix(key, "@"); ok {
			raw, err := readBounded(path, 4096)
			if err != nil {
				return nil, err
			}
			key = strings.TrimSpace(string(raw))
		}
		if err := add(name, &sdk.Client{BaseURL: url, Key: key}); err != nil {
			return nil, err
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	c, err := o.open("drafter")
	if err != nil {
		return nil, err
	}
	return o.single(ctx, c)
}

// single is the one node of --url. Which node it is the registry tells, if an agency has its address as
// endpoint; else it has no name, and the node itself refuses the rows of agencies that it does not act for.
func (o *importFlags) single(ctx context.Context, c *sdk.Client) ([]importer.Target, error) {
	t := importer.Target{Node: remote{c}}
	for v, err := range c.Entries(ctx, model.KindAgency) {
		if err != nil {
			return nil, err
		}
		var a model.Agency
		if json.Unmarshal(v.Public, &a) == nil && a.Endpoint != "" && strings.TrimSuffix(a.Endpoint, "/") == strings.TrimSuffix(c.BaseURL, "/") {
			t.Name = a.Node
		}
	}
	return []importer.Target{t}, nil
}

// maxShown is how many faults are printed; the rejects file has all.
const maxShown = 1000

// report runs an import and says what became of it.
type report struct {
	o     *importFlags
	im    *importer.Import
	out   io.Writer
	meter *meter

	faults []importer.Fault // the first ones
	notes  []importer.Fault // the first ones
	more   int
	byCode map[model.Code]int

	mu   sync.Mutex
	kept *os.File // guarded by mu
}

// summary is what --json prints.
type summary struct {
	Checked  importer.Checked   `json:"checked"`
	Result   *importer.Result   `json:"result,omitempty"` // not with --dry-run
	Faults   []importer.Fault   `json:"faults"`           // of the check, the first 1000
	More     int                `json:"more_faults"`
	Notes    []importer.Fault   `json:"notes"`          // of the check, the first 1000
	ByCode   map[model.Code]int `json:"faults_by_code"` // of the check and of nodes
	Rejects  string             `json:"rejects_file,omitempty"`
	State    string             `json:"state_file,omitempty"`
	Seconds  float64            `json:"seconds"`
	Complete bool               `json:"complete"`
	Batch    string             `json:"batch,omitempty"`
	Draft    string             `json:"awaits_draft,omitempty"` // that a second person has yet to approve
}

func (r *report) fault(f importer.Fault) {
	r.byCode[f.Code]++
	if f.Note { // counted, and listed with --json
		if len(r.notes) < maxShown {
			r.notes = append(r.notes, f)
		}
		return
	}
	if len(r.faults) == maxShown {
		r.more++
		return
	}
	r.faults = append(r.faults, f)
}

// presented appends to the file of presentations.
func (r *report) presented(issued []importer.Issued) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		f, err := os.OpenFile(r.o.presentations, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		r.kept = f
	}
	var b []byte
	for i := range issued {
		line, err := json.Marshal(issued[i])
		if err != nil {
			return err
		}
		b = append(append(b, line...), '\n')
	}
	if _, err := r.kept.Write(b); err != nil {
		return err
	}
	return r.kept.Sync()
}

func (r *report) run(ctx context.Context) error {
	start := time.Now()
	c, err := r.im.Check(ctx)
	r.meter.end()
	if err != nil {
		return r.interrupted(ctx, err)
	}
	s := summary{Checked: c, Faults: r.faults, More: r.more, Notes: r.notes, ByCode: r.byCode}
	if r.o.dryRun {
		s.Complete, s.Seconds = true, time.Since(start).Seconds()
		return r.dryRun(ctx, s)
	}
	j, err := r.im.OpenJournal(r.o.state, c.File)
	switch {
	case errors.Is(err, importer.ErrOtherImport):
		return errors.New(r.o.say(
			r.o.state+" 属于另一次导入：文件或映射已改动。要导入改动后的文件，请用 --state 指定新的状态文件（已在账本上的行会被认出，不会重复签发），或删除旧的状态文件。",
			r.o.state+" belongs to another import: the file or the map has changed. To import the changed file, name a new state file with --state (rows that stand on the ledger are recognised and not issued twice), or delete the old one."))
	case errors.Is(err, importer.ErrUndone):
		return errors.New(r.o.say(
			r.o.state+" 的导入已被撤销（import undo）。要重新导入该文件，请用 --state 指定新的状态文件：已撤销的将重新签发，仍在册的不会重复签发。",
			"the import of "+r.o.state+" was undone (import undo). To import the file again, name a new state file with --state: what was rescinded is issued anew, and what still stands is not issued twice."))
	case err != nil:
		return err
	}
	defer j.Close()
	res, err := r.im.Issue(ctx, j, c)
	r.meter.end()
	if r.kept != nil {
		r.kept.Close()
	}
	s.Batch = j.Batch()
	var needs *importer.NeedsApproval
	if errors.As(err, &needs) {
		s.Draft = needs.Draft.ID
	}
	s.Result, s.State, s.Complete, s.Seconds = &res, r.o.state, err == nil, time.Since(start).Seconds()
	if err != nil {
		if r.o.json {
			return errors.Join(r.interrupted(ctx, err), printJSON(r.out, s))
		}
		return r.interrupted(ctx, err)
	}
	if res.Rejected > 0 {
		if _, err := r.writeRejects(ctx, j); err != nil {
			return err
		}
		s.Rejects = r.o.rejects
		for code, n := range j.RejectedBy() {
			r.byCode[code] += n
		}
	}
	return r.finish(s)
}

// needsApproval says who has to do what before the import goes on.
func (o *client) needsApproval(e *importer.NeedsApproval) error {
	at := ""
	if e.Node != "" {
		at = " --node " + string(e.Node)
	}
	return fmt.Errorf("%w\n%s", errors.New(o.say(
		fmt.Sprintf("本批须由另一人复核（草稿 %s，%s 前有效），尚未上链。", e.Draft.ID, moment(e.Draft.Expires)),
		fmt.Sprintf("this batch needs another person's approval (draft %s, until %s); nothing of it is on the ledger yet.", e.Draft.ID, moment(e.Draft.Expires)))),
		o.say("复核人：zhenglian drafts show "+e.Draft.ID+at+"，然后 drafts approve。同意后再次运行同一命令即继续（或事先加 --wait）。",
			"The approver: zhenglian drafts show "+e.Draft.ID+at+", then drafts approve. Run the same command again afterwards (or give --wait)."))
}

// interrupted says how to go on.
func (r *report) interrupted(ctx context.Context, err error) error {
	if r.o.dryRun {
		return err
	}
	var needs *importer.NeedsApproval
	if errors.As(err, &needs) {
		return r.o.needsApproval(needs)
	}
	if ctx.Err() != nil {
		err = errors.New(r.o.say("已中断", "interrupted"))
	}
	return fmt.Errorf("%w\n%s", err, r.o.say("再次运行同一命令即从断点继续，不会重复签发。", "Run the same command again to go on where it stopped; nothing is issued twice."))
}

func (r *report) writeRejects(ctx context.Context, j *importer.Journal) (int, error) {
	f, err := os.CreateTemp(filepath.Dir(r.o.rejects), ".rejects-*") // 0600: it holds what the rows hold
	if err != nil {
		return 0, err
	}
	n, err := r.im.WriteRejects(ctx, f, j)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), r.o.rejects)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(f.Name()))
	}
	return n, nil
}

func (r *report) dryRun(ctx context.Context, s summary) error {
	if s.Checked.Bad > 0 {
		if _, err := r.writeRejects(ctx, nil); err != nil {
			return err
		}
		s.Rejects = r.o.rejects
	}
	o := r.o
	if o.json {
		if err := printJSON(r.out, s); err != nil {
			return err
		}
	} else {
		r.table()
		r.about(s.Checked)
		facts(r.out, "", [][2]string{
			{o.say("行数", "rows"), fmt.Sprint(s.Checked.Rows)}, {o.say("可签发", "good"), fmt.Sprint(s.Checked.Good)},
			{o.say("有误", "bad"), fmt.Sprint(s.Checked.Bad)}, {o.say("有误行文件", "rejects file"), s.Rejects},
		})
	}
	if s.Checked.Bad > 0 {
		return errorf("%w：%d 行有误，共 %d 行", "%w: %d of %d rows are bad", errFinding, s.Checked.Bad, s.Checked.Rows)
	}
	return nil
}

// table prints the bad rows.
func (r *report) table() {
	if len(r.faults) == 0 {
		return
	}
	o := r.o
	t := newTable(r.out)
	t.AppendHeader(table.Row{o.say("行", "line"), o.say("列", "column"), o.say("代码", "code"), o.say("原因", "reason")})
	for _, f := range r.faults {
		t.AppendRow(table.Row{f.Where(), f.Column, f.Code, o.say(f.Zh(), f.En())})
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 1, Align: text.AlignRight}})
	t.Render()
	if r.more > 0 {
		fmt.Fprintf(r.out, o.say("另有 %d 处，见有误行文件\n", "and %d more: see the rejects file\n"), r.more)
	}
}

// about says how the file was read, what of it was passed over, and what was put right.
func (r *report) about(c importer.Checked) {
	o, a := r.o, c.About
	say := func(zh, en string, args ...any) { fmt.Fprintf(r.out, o.say(zh, en)+"\n", args...) }
	if a.Encoding != "" && a.Encoding != importer.UTF8 {
		say("按 %s 编码读取（把握 %d%%；不对时用 --encoding 指明）", "read as %s (%d%% sure; say another with --encoding)", a.Encoding, a.Confidence)
	}
	if a.Format == importer.XLSX {
		say("读取工作表“%s”", "read the sheet %q", a.Sheet)
	}
	if len(a.Others) > 0 {
		say("未读取的工作表：%s（用 --sheet 选择）", "sheets not read: %s (choose with --sheet)", strings.Join(a.Others, ", "))
	}
	if a.Rows > 0 {
		say("有 %d 个隐藏行，同样读入", "%d rows are hidden, and read like others", a.Rows)
	}
	if len(a.Columns) > 0 {
		say("隐藏列同样读入：%s", "columns that are hidden, and read like others: %s", strings.Join(a.Columns, ", "))
	}
	if len(a.Ignored) > 0 {
		say("已忽略，绝不执行或访问：%s", "passed over, never run and never followed: %s", strings.Join(a.Ignored, ", "))
	}
	for _, f := range r.notes[:min(len(r.notes), 20)] {
		say("注意 %s %s：%s", "note %s %s: %s", f.Where(), f.Column, o.say(f.Zh(), f.En()))
	}
	if c.Notes > 20 {
		say("……共 %d 处注意事项，--json 列出", "… %d notes in all: --json lists them", c.Notes)
	}
}

func (r *report) finish(s summary) error {
	o := r.o
	if o.json {
		if err := printJSON(r.out, s); err != nil {
			return err
		}
	} else {
		r.about(s.Checked)
		codes := make([]string, 0, len(r.byCode))
		for c := range r.byCode {
			codes = append(codes, string(c))
		}
		sort.Strings(codes)
		for _, c := range codes {
			f := importer.Fault{Code: model.Code(c)}
			fmt.Fprintf(r.out, "%6d  %s  %s\n", r.byCode[f.Code], c, o.say(f.Zh(), f.En()))
		}
		rate := ""
		if n := s.Result.Issued; n > 0 && s.Seconds > 0 {
			rate = fmt.Sprintf(o.say("，用时 %.1f 秒", ", in %.1f s"), s.Seconds)
		}
		facts(r.out, "", [][2]string{
			{o.say("行数", "rows"), fmt.Sprint(s.Result.Rows)}, {o.say("已签发", "issued"), fmt.Sprint(s.Result.Issued) + rate},
			{o.say("此前已有", "already there"), fmt.Sprint(s.Result.Already)}, {o.say("被拒", "rejected"), fmt.Sprint(s.Result.Rejected)},
			{o.say("有误行文件", "rejects file"), s.Rejects}, {o.say("批次", "batch"), s.Batch}, {o.say("状态文件", "state file"), s.State},
		})
	}
	if s.Result.Rejected > 0 {
		return errorf("%w：%d 行被拒，共 %d 行", "%w: %d of %d rows were rejected", errFinding, s.Result.Rejected, s.Result.Rows)
	}
	return nil
}
