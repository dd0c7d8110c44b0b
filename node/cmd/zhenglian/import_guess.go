package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
)

// guessing is `import --guess FILE`.
type guessing struct {
	client
	file, write, typ, agency, encoding, sheet string
	yes                                       bool
}

func (o *guessing) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.file, "guess", "", "propose a map for this file, from its header and first rows")
	f.StringVar(&o.write, "write", "", "with --guess: write the map to this new file")
	f.StringVar(&o.typ, "type", "", "with --guess: the licence type")
	f.StringVar(&o.agency, "agency", "", "with --guess: the issuing agency of all rows")
	f.StringVar(&o.encoding, "encoding", "", "with --guess: of a text file")
	f.StringVar(&o.sheet, "sheet", "", "with --guess: of a workbook")
	f.BoolVar(&o.yes, "yes", false, "with --guess: ask nothing, also on a terminal")
	o.output(c)
}

func (o *guessing) run(c *cobra.Command) error {
	encoding, err := importer.ParseEncoding(o.encoding)
	if err != nil {
		return useError("--encoding：%s", "--encoding: %s", err)
	}
	var t model.TypeCode
	if o.typ != "" {
		if t, err = model.ParseTypeCode(o.typ); err != nil {
			return useError("--type：%s", "--type: %s", err)
		}
	}
	var agency model.AgencyID
	if o.agency != "" {
		if agency, err = model.ParseAgencyID(o.agency); err != nil {
			return useError("--agency 不是机关标识", "--agency is no agency id")
		}
	}
	f, err := importer.OpenFile(o.file)
	if err != nil {
		return fmt.Errorf("%s: %w", o.file, err)
	}
	defer f.Close()
	g, err := importer.GuessMap(f, importer.Reading{Encoding: encoding, Sheet: o.sheet})
	var whole *importer.FileError
	if errors.As(err, &whole) {
		return fmt.Errorf("%s: %s", o.file, o.say(whole.Zh, whole.En))
	}
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	if o.json {
		return printJSON(out, g)
	}
	o.show(c.ErrOrStderr(), g)
	if in, ok := c.InOrStdin().(*os.File); ok && !o.yes && term.IsTerminal(int(in.Fd())) {
		if err := o.ask(in, c.ErrOrStderr(), g); err != nil {
			return err
		}
	}
	name := strings.TrimSuffix(filepath.Base(o.file), filepath.Ext(o.file))
	raw := g.YAML(name, t, agency)
	if o.write == "" {
		_, err := out.Write(raw)
		return err
	}
	w, err := os.OpenFile(o.write, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = w.Write(raw); err == nil {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	fmt.Fprintln(out, o.say("已写入 ", "written to ")+o.write)
	if _, err := importer.DecodeMap(raw); err != nil {
		fmt.Fprintln(out, o.say("还有须由人填写的内容（FILL IN）：", "some of it only a person can fill in (FILL IN): ")+err.Error())
	}
	fmt.Fprintf(out, "%s: zhenglian import licences %s --map %s --dry-run\n", o.say("下一步", "next"), o.file, o.write)
	return nil
}

// show tells what the columns hold, by their shapes, and what was made of them.
func (o *guessing) show(w io.Writer, g *importer.Guess) {
	of := map[string]importer.Guessed{}
	for _, f := range g.Fields {
		if f.Column != "" {
			of[f.Column] = f
		}
	}
	fmt.Fprintf(w, o.say("%s，表头在第 %d 行，看了 %d 行数据；样例只显示形状（9 数字，A 字母，文 其他）\n", "%s, header on line %d, %d rows looked at; samples show shapes only (9 a digit, A a letter, 文 another character)\n"), g.About.Format, g.HeaderRow, g.Rows)
	t := newTable(w)
	t.AppendHeader(table.Row{"#", o.say("列", "column"), o.say("非空", "filled"), o.say("样例形状", "shape"), o.say("信用代码", "USCC"), o.say("身份证", "citizen id"), o.say("日期", "date"), o.say("损坏", "damaged"), o.say("字段", "field"), o.say("把握", "sure")})
	percent := func(x float64) string {
		if x == 0 {
			return ""
		}
		return strconv.Itoa(int(100*x)) + "%"
	}
	for i, p := range g.Columns {
		sure := ""
		if f, ok := of[p.Name]; ok {
			sure = strconv.Itoa(f.Confidence) + "%"
		}
		t.AppendRow(table.Row{i + 1, p.Name, p.Filled, p.Shape, percent(p.USCC), percent(p.Citizen), percent(p.Date), p.Damaged, of[p.Name].Field, sure})
	}
	t.Render()
}

// ask has a person confirm each field.
func (o *guessing) ask(in io.Reader, w io.Writer, g *importer.Guess) error {
	lines := bufio.NewScanner(in)
	for _, f := range g.Fields {
		for {
			was := f.Column
			if was == "" {
				was = o.say("无", "none")
			}
			fmt.Fprintf(w, "%s ← %s  %s ", f.Field, was, o.say("[回车确认，列号更换，- 表示无]", "[Enter keeps it, a column's number changes it, - is none]"))
			if !lines.Scan() {
				return errors.Join(lines.Err(), io.ErrUnexpectedEOF)
			}
			answer := strings.TrimSpace(lines.Text())
			n, err := strconv.Atoi(answer)
			switch {
			case answer == "":
			case answer == "-":
				g.Set(f.Field, "")
			case err == nil && n >= 1 && n <= len(g.Columns):
				g.Set(f.Field, g.Columns[n-1].Name)
			default:
				continue
			}
			break
		}
	}
	return nil
}
