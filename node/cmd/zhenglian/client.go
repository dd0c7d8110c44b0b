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
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// clientCommands work over a node's API, wherever the node is.
func clientCommands() []*cobra.Command {
	return []*cobra.Command{licenceCommand(), verifyCommand(), historyCommand(), importCommand(), auditCommand(), draftsCommand(), whoamiCommand(), searchCommand()}
}

// client is what every client command has: where the node is, and how to print.
type client struct {
	url, key, keyFile, demo, node string

	lang string
	json bool
}

// flags adds the flags that all client commands share.
func (o *client) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.url, "url", "", "the node's address (or ZHENGLIAN_URL)")
	f.StringVar(&o.key, "key", "", "API key (better: --key-file or ZHENGLIAN_KEY; a command line can be read by others)")
	f.StringVar(&o.keyFile, "key-file", "", "file that holds the API key")
	f.StringVar(&o.demo, "demo", "", "folder of a demo: takes address and key from its demo.json")
	f.StringVar(&o.node, "node", "beijing", "with --demo: which node")
	o.output(c)
}

func (o *client) output(c *cobra.Command) {
	c.Flags().BoolVar(&o.json, "json", false, "print for programs")
	c.Flags().StringVar(&o.lang, "lang", language(), "zh or en")
}

func useError(zh, en string, args ...any) error {
	return fmt.Errorf("%w: %w", errUse, errorf(zh, en, args...))
}

// errFinding is a command that did its work and whose answer is no.
var errFinding error = &spoken{"结果为否", "the answer is no"}

// open finds the node. role is the demo's key to use.
func (o *client) open(role string) (*sdk.Client, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.demo != "" {
		nodes, err := readDemo(o.demo)
		if err != nil {
			return nil, err
		}
		for _, n := range nodes {
			if n.Name == o.node {
				return &sdk.Client{BaseURL: n.URL, Key: n.Keys[role]}, nil
			}
		}
		return nil, useError("--node：演示中没有节点 %q", "--node: the demo has no node %q", o.node)
	}
	url := firstOf(o.url, os.Getenv("ZHENGLIAN_URL"))
	if url == "" {
		return nil, useError("连接哪个节点？请给 --url，或设置 ZHENGLIAN_URL", "which node? give --url, or set ZHENGLIAN_URL")
	}
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		return nil, useError("--url：地址以 https:// 开头（本机可用 http://）", "--url: an address begins with https:// (or http:// on this machine)")
	}
	key := o.key
	if key == "" && o.keyFile != "" {
		raw, err := readBounded(o.keyFile, 4096)
		if err != nil {
			return nil, err
		}
		key = strings.TrimSpace(string(raw))
	}
	if key = firstOf(key, os.Getenv("ZHENGLIAN_KEY")); key == "" {
		return nil, useError("使用哪个密钥？请给 --key-file，或设置 ZHENGLIAN_KEY", "which key? give --key-file, or set ZHENGLIAN_KEY")
	}
	return &sdk.Client{BaseURL: url, Key: key}, nil
}

func (o *client) check() error {
	if o.lang != "zh" && o.lang != "en" {
		return useError("--lang：zh 或 en，不能是 %q", "--lang: zh or en, not %q", o.lang)
	}
	return nil
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// demoNode is a node as demo.json describes it.
type demoNode struct {
	Name string            `json:"name"`
	URL  string            `json:"url"`
	Keys map[string]string `json:"keys"`
}

func readDemo(dir string) ([]demoNode, error) {
	path := dir
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		path = filepath.Join(dir, "demo.json")
	}
	raw, err := readBounded(path, 1<<20)
	if err != nil {
		return nil, err
	}
	var d struct {
		Nodes []demoNode `json:"nodes"`
	}
	if err := json.Unmarshal(raw, &d); err != nil || len(d.Nodes) == 0 {
		return nil, errorf("%s 不是演示的描述文件", "%s describes no demo", path)
	}
	return d.Nodes, nil
}

// readBounded reads a file of at most limit bytes; "-" is not a file.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errorf("大于 %d 字节", "larger than %d bytes", limit)}
	}
	return raw, err
}

// say chooses the language.
func (o *client) say(zh, en string) string {
	if o.lang == "zh" {
		return zh
	}
	return en
}

// print writes JSON, indented, for programs.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// newTable is a table for people. Its columns are as wide as the terminal shows them, CJK included.
func newTable(w io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	s := table.StyleLight
	s.Format.Header = text.FormatDefault
	t.SetStyle(s)
	return t
}

// widest is how many places of a terminal a text from outside takes in a table; whole it stands in --json and exports.
const widest = 48

// short is a text from outside as a table shows it.
func short(s string) string { return text.Snip(printable(s), widest, "…") }

// facts prints name and value line by line, passing over empty values.
func facts(w io.Writer, title string, rows [][2]string) {
	t := newTable(w)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	if title != "" {
		fmt.Fprintln(w, title)
	}
	for _, r := range rows {
		if r[1] != "" {
			t.AppendRow(table.Row{r[0], r[1]})
		}
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, WidthMax: 100, WidthMaxEnforcer: text.WrapSoft}})
	t.Render()
}

// moment is an instant as people in Beijing read it.
func moment(t model.Time) string {
	if t.IsZero() {
		return ""
	}
	return beijing(t.Time())
}

// beijing prints a moment as every command does, whatever the machine's time zone.
func beijing(t time.Time) string { return t.In(model.Shanghai).Format(time.DateTime) }

var stateNames = map[model.State]string{
	model.InForce: "有效", model.Suspended: "暂停", model.Dormant: "歇业", model.Rescinded: "撤销", model.Withdrawn: "撤回",
	model.PenaltyRevoked: "吊销", model.Cancelled: "注销", model.VoidLost: "遗失作废", model.Active: "在册", model.Removed: "已注销",
	model.Open: "待同意", model.Approved: "已同意", model.Closed: "已撤回", model.Imported: "已迁入", model.Anchored: "已存证",
}

func (o *client) stateName(s model.State) string {
	if zh, ok := stateNames[s]; ok && o.lang == "zh" {
		return zh
	}
	return string(s)
}

// remote is a node as the importer needs it.
type remote struct{ c *sdk.Client }

func (r remote) Register(ctx context.Context, key string, t sdk.BatchTerms) (sdk.HeldBatch, error) {
	return r.c.RegisterBatch(ctx, t, key)
}

func (r remote) Submit(ctx context.Context, key, batch string, drafts []model.Draft) ([]model.Outcome, error) {
	out, err := r.c.Submit(ctx, drafts, sdk.Write{IdempotencyKey: key, Batch: batch})
	var e *sdk.ElementError
	if errors.As(err, &e) {
		return nil, &importer.Refusal{Index: e.Index, Err: e.Err}
	}
	return out, err
}

func (r remote) Verify(ctx context.Context, queries []model.Query) ([]model.Verdict, error) {
	return r.c.VerifyAll(ctx, queries)
}

func (r remote) Entry(ctx context.Context, kind model.Kind, id model.RecordID) (model.View, error) {
	rec, err := r.c.Entry(ctx, kind, id)
	return rec.Record, err
}

func (r remote) Entries(ctx context.Context, kind model.Kind, f func(model.View) error) error {
	for v, err := range r.c.Entries(ctx, kind) {
		if err != nil {
			return err
		}
		if err := f(v); err != nil {
			return err
		}
	}
	return nil
}
