package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// flagQuestion asks for a flag that has no good default.
type flagQuestion struct {
	flag   string
	zh, en string
	check  func(string) error
}

func notEmpty(s string) error {
	if s == "" {
		return &spoken{"不能为空", "it must not be empty"}
	}
	return nil
}

// unusedFolder finds out before anything else is asked.
func unusedFolder(dir string) error {
	if err := emptyFolder(dir); err != nil {
		return err
	}
	return notEmpty(dir)
}

func parsed[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error { _, err := parse(s); return err }
}

var initQuestions = []flagQuestion{
	{"dir", "存放全部数据的新文件夹", "new folder to make everything in", unusedFolder},
	{"msp", "组织标识，如 BeijingMSP", "organisation id, for example BeijingMSP", parsed(model.ParseMSPID)},
	{"node", "节点标识，如 beijing", "node id, for example beijing", parsed(model.ParseNodeID)},
	{"agency", "首个机关的标识，如 bj-scjg", "id of the first agency, for example bj-scjg", parsed(model.ParseAgencyID)},
	{"name-zh", "该机关的中文名称", "its Chinese name", notEmpty},
	{"region", "行政区划代码（GB/T 2260），如 110000", "its region, GB/T 2260, for example 110000", parsed(model.ParseRegion)},
	{"uscc", "统一社会信用代码", "its unified social credit code", parsed(model.ParseUSCC)},
}

// askMissing asks for the flags that were not given, each until the answer can be right; where nobody can be asked, they
// are missing.
func askMissing(c *cobra.Command, ask bool, questions []flagQuestion) error {
	var missing []flagQuestion
	var names []string
	for _, q := range questions {
		if !c.Flags().Changed(q.flag) {
			missing, names = append(missing, q), append(names, `"`+q.flag+`"`)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if f, ok := c.InOrStdin().(*os.File); !ask && (!ok || !term.IsTerminal(int(f.Fd()))) {
		hint := ""
		if c.Flags().Lookup("ask") != nil {
			hint = say("（或加 --ask 逐项询问）", " (or give --ask)")
		}
		return useError("缺少选项 %s%s", "required flag(s) %s not set%s", strings.Join(names, ", "), hint)
	}
	in := bufio.NewScanner(io.LimitReader(c.InOrStdin(), 64<<10))
	for _, q := range missing {
		for {
			tell(c.ErrOrStderr(), "%[1]s：", "%[2]s: ", q.zh, q.en)
			if !in.Scan() {
				return useError("没有得到 --%s 的回答", "no answer for --%s", q.flag)
			}
			answer := strings.TrimSpace(in.Text())
			err := q.check(answer)
			if err == nil {
				if err := c.Flags().Set(q.flag, answer); err != nil {
					return err
				}
				break
			}
			var e *model.Error
			if errors.As(err, &e) {
				fmt.Fprintf(c.ErrOrStderr(), "  %s\n", inWords(err, e))
			} else {
				fmt.Fprintf(c.ErrOrStderr(), "  %s\n", err)
			}
		}
	}
	return nil
}
