package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/sdk"
)

// searchFlags say what is looked for; they are the parameters of the API under the same names.
type searchFlags struct {
	client
	saved, after string
	csv, xlsx    string
	limit        int
	limited      bool // the limit was asked for, and is part of the search
	all, showURL bool
	legacy       bool
	one          map[string]*string
	many         map[string]*[]string
}

// Parameters of a search that take one value, and those that take several, with what they mean.
var searchOne = [][2]string{
	{"holder-code", "the holder's whole code"}, {"holder-name", "the holder's whole name; widths, case, kinds of brackets, spaces and middle dots count for nothing"},
	{"issuer", "issuing agency with those below it, or one USCC"}, {"owner", "agency that may change the licence, with those below it"},
	{"number", "the whole number"}, {"number-prefix", "what the number begins with"},
	{"issued-on-min", "issued on this day or later"}, {"issued-on-max", "issued on this day or earlier"},
	{"valid-from-min", "valid from this day or later"}, {"valid-from-max", "valid from this day or earlier"},
	{"valid-until-min", "its last day is this one or later"}, {"valid-until-max", "its last day is this one or earlier"},
	{"expiring", "not ended, and its last day is within so many days"}, {"sort", "newest (default), oldest, number, valid_until, holder_name"},
}

var searchMany = [][2]string{
	{"type", "licence type; may be given again"}, {"state", "state, such as in_force; may be given again"},
	{"region", "GB/T 2260 code, with what is subordinate to it; may be given again"},
}

func searchCommand() *cobra.Command {
	o := searchFlags{one: map[string]*string{}, many: map[string]*[]string{}}
	c := &cobra.Command{
		Use: "search [WORD]...", Short: "find licences by words of the holder's name and other filters",
		Long: "Finds licences. Every WORD stands in the holder's name; two characters are enough. With --csv or --xlsx everything\n" +
			"found goes to a file for a spreadsheet (- is the standard output); else a page is printed, and how to get the next.",
		Example: "  zhenglian search 京东 集团 --region 110000 --state in_force\n  zhenglian search --owner bj-scjg --expiring 30 --sort valid_until --xlsx soon.xlsx\n" +
			"  zhenglian search --saved 'https://node.example/v1/search/licences?text=京东'",
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, args) },
	}
	o.flags(c)
	f := c.Flags()
	for _, p := range searchOne {
		o.one[p[0]] = f.String(p[0], "", p[1])
	}
	for _, p := range searchMany {
		o.many[p[0]] = f.StringSlice(p[0], nil, p[1])
	}
	f.BoolVar(&o.legacy, "legacy", false, "only what was taken over with a holder's code that does not check, to be corrected")
	f.StringVar(&o.saved, "saved", "", "a search that was saved as a URL; no other filter beside it")
	f.StringVar(&o.after, "after", "", "the next page, as the page before says")
	f.IntVar(&o.limit, "limit", 50, "licences on a page, 1 to 200")
	f.BoolVar(&o.all, "all", false, "every page")
	f.BoolVar(&o.showURL, "print-url", false, "print the search as a URL that can be saved, and do nothing")
	f.StringVar(&o.csv, "csv", "", "write everything found to this file, for a spreadsheet")
	f.StringVar(&o.xlsx, "xlsx", "", "likewise, as a workbook")
	return c
}

// search is what the flags ask for.
func (o *searchFlags) search(words []string) (s sdk.LicenceSearch, err error) {
	v := url.Values{}
	if len(words) > 0 {
		v.Set("text", strings.Join(words, " "))
	}
	for name, value := range o.one {
		if *value != "" {
			v.Set(strings.ReplaceAll(name, "-", "_"), *value)
		}
	}
	for name, values := range o.many {
		if len(*values) > 0 {
			v[name] = *values
		}
	}
	if o.legacy {
		v.Set("legacy", "true")
	}
	if o.saved != "" {
		if len(v) > 0 {
			return s, useError("--saved 自带条件，不能再给其他条件", "--saved has its own filters; give no others")
		}
		u, err := url.Parse(o.saved)
		if err != nil {
			return s, useError("--saved：不是网址", "--saved: not a URL")
		}
		if v, err = url.ParseQuery(u.RawQuery); err != nil {
			return s, useError("--saved：不是网址", "--saved: not a URL")
		}
		if v.Has("limit") && !o.limited {
			if o.limit, err = strconv.Atoi(v.Get("limit")); err != nil {
				o.limit = 0 // which is refused
			}
			o.limited = true
		}
		for _, name := range []string{"after", "limit", "count", "format"} {
			v.Del(name)
		}
	}
	if s, err = sdk.ParseLicenceSearch(v); err != nil {
		err = fmt.Errorf("%w: %w", errUse, err)
	}
	return s, err
}

func (o *searchFlags) run(c *cobra.Command, words []string) error {
	o.limited = c.Flags().Changed("limit")
	s, err := o.search(words)
	if err != nil {
		return err
	}
	if o.limit < 1 || o.limit > sdk.MaxFound {
		return useError("--limit：1 至 %d", "--limit: 1 to %d", sdk.MaxFound)
	}
	ways := 0
	for _, way := range []bool{o.csv != "", o.xlsx != "", o.json, o.showURL} {
		if way {
			ways++
		}
	}
	if ways > 1 {
		return useError("--csv、--xlsx、--json、--print-url 只能给一个", "give one of --csv, --xlsx, --json, --print-url")
	}
	node, err := o.open("auditor")
	if err != nil {
		return err
	}
	switch {
	case o.showURL:
		v := s.Query()
		if o.limited {
			v.Set("limit", strconv.Itoa(o.limit))
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), strings.TrimSuffix(node.BaseURL, "/")+"/v1/search/licences?"+v.Encode())
		return err
	case o.csv != "":
		return o.export(c, node, s, "csv", o.csv)
	case o.xlsx != "":
		return o.export(c, node, s, "xlsx", o.xlsx)
	}
	return o.pages(c.Context(), c.OutOrStdout(), node, s)
}

// export writes a file that was not there; one that is not whole does not stay.
func (o *searchFlags) export(c *cobra.Command, node *sdk.Client, s sdk.LicenceSearch, format, name string) error {
	if name == "-" {
		return node.ExportSearch(c.Context(), s, format, c.OutOrStdout())
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = node.ExportSearch(c.Context(), s, format, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	fmt.Fprintln(c.ErrOrStderr(), o.say("已写入 ", "written: ")+name)
	return nil
}

func (o *searchFlags) pages(ctx context.Context, w io.Writer, node *sdk.Client, s sdk.LicenceSearch) error {
	var whole sdk.LicencePage
	for after, first := o.after, true; ; first = false {
		page, err := node.SearchPage(ctx, s, o.limit, after, first)
		if err != nil {
			return err
		}
		if first {
			whole = page
		} else {
			whole.Licences = append(whole.Licences, page.Licences...)
			whole.Next, whole.At, whole.Behind = page.Next, page.At, page.Behind
		}
		if after = page.Next; after == "" || !o.all {
			break
		}
	}
	if o.json {
		return printJSON(w, whole)
	}
	o.print(w, &whole)
	return nil
}

func (o *searchFlags) print(w io.Writer, p *sdk.LicencePage) {
	t := newTable(w)
	t.AppendHeader(table.Row{
		o.say("记录", "record"), o.say("证照编号", "number"), o.say("持证主体", "holder"), o.say("主体代码", "code"), o.say("状态", "state"),
		o.say("管理机构", "owner"), o.say("区划", "region"), o.say("颁发", "issued"), o.say("截止", "until"),
	})
	for i := range p.Licences {
		l := &p.Licences[i]
		until := string(l.ValidUntil)
		if until == "" {
			until = o.say("长期", "no end")
		}
		name := l.HolderName
		if name == "" {
			name = o.say("（保密）", "(confidential)")
		}
		state := o.stateName(l.State)
		if l.Legacy {
			state += o.say("（旧数据未校验，无法判定）", " (unchecked legacy, undetermined)")
		}
		t.AppendRow(table.Row{l.Record, short(l.Number), short(name), orDash(short(l.HolderCode)), state, l.Owner, l.Region, l.IssuedOn, until})
	}
	t.Render()
	if p.Count != nil {
		more := ""
		if p.More {
			more = o.say("超过 ", "more than ")
		}
		fmt.Fprintf(w, o.say("共 %s%d 件；反映到日志位置 %d\n", "%s%d in all; as of position %d\n"), more, *p.Count, p.At.Position)
	}
	if p.Behind > 0 {
		fmt.Fprintf(w, o.say("检索库落后 %d 条，稍后再查可见最新变更\n", "the index is %d operations behind: what is newest can be missing\n"), p.Behind)
	}
	if p.Next != "" {
		fmt.Fprintf(w, o.say("下一页：--after %s\n", "next page: --after %s\n"), p.Next)
	}
}
