package doctor

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Print writes the report for people: a table of what is wrong, and for each finding its evidence and its cure.
func (r *Report) Print(w io.Writer, lang string) error {
	say := func(zh, en string) string { return Text{zh, en}.In(lang) }
	if len(r.Findings) > 0 {
		t := table.NewWriter()
		t.SetStyle(table.StyleLight)
		t.AppendHeader(table.Row{say("代码", "code"), say("对象", "subject"), say("问题", "what is wrong")})
		t.SetColumnConfigs([]table.ColumnConfig{{Number: 3, WidthMax: 80, WidthMaxEnforcer: text.WrapSoft}})
		for _, f := range r.Findings {
			t.AppendRow(table.Row{f.Code, f.Subject, f.What.In(lang)})
		}
		if _, err := fmt.Fprintln(w, t.Render()); err != nil {
			return err
		}
	}
	for _, f := range r.Findings {
		fmt.Fprintf(w, "\n%s  %s\n", f.Code, f.Subject)
		for _, e := range f.Evidence {
			fmt.Fprintf(w, "  %s %s\n", say("依据", "seen"), e)
		}
		fmt.Fprintf(w, "  %s %s:\n    %s\n", say("处理", "cure"), f.Cure.In(lang), f.Cure.Command)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "%s %s\n", say("说明：", "note:"), n.In(lang))
	}
	outcome := say("正常", "healthy")
	if !r.Healthy {
		outcome = fmt.Sprintf(say("发现 %d 个问题", "faults found: %d"), len(r.Findings))
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", outcome, fmt.Sprintf(say("检查了 %d 个程序，用时 %.1f 秒", "%d programs, %.1f s"), r.Checked, r.Seconds))
	return err
}
