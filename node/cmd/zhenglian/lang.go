package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// asked is the language that --lang asks for, "" where it does not. run sets it, before there are commands: their help
// is in that language too.
var asked string

// language is what this process speaks, zh or en: --lang decides, else the terminal's.
func language() string {
	if asked != "" {
		return asked
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			if strings.HasPrefix(v, "zh") {
				return "zh"
			}
			return "en"
		}
	}
	return "en"
}

// languageAsked finds --lang among the words of a command line; what is neither zh nor en is refused when flags are parsed.
func languageAsked(args []string) (lang string) {
	for i, a := range args {
		if a == "--" {
			break
		}
		v, ok := strings.CutPrefix(a, "--lang=")
		if a == "--lang" && i+1 < len(args) {
			v, ok = args[i+1], true
		}
		if ok && (v == "zh" || v == "en") {
			lang = v
		}
	}
	return lang
}

// say is a text in the language of this process.
func say(zh, en string) string {
	if language() == "zh" {
		return zh
	}
	return en
}

// tell prints a text, or one with verbs, in the language of this process. Both texts take the same arguments.
func tell(w io.Writer, zh, en string, args ...any) { fmt.Fprintf(w, say(zh, en), args...) }

// spoken is an error that is said in the language of this process when it is printed.
type spoken struct{ zh, en string }

func (e *spoken) Error() string { return say(e.zh, e.en) }

// errorf is an error in the language of this process; %w wraps.
func errorf(zh, en string, args ...any) error { return fmt.Errorf(say(zh, en), args...) }

// inWords is an error in the language of this process, with the code that programs and pages know it by. e is the part of
// it that has words in both.
func inWords(err error, e *model.Error) string {
	if language() != "zh" || e.Zh() == "" {
		return err.Error()
	}
	zh := e.Zh() + "（" + string(e.Code)
	if e.Field != "" {
		zh += "，" + e.Field
	}
	zh += "）"
	if e.Detail != "" {
		zh += "：" + e.Detail
	}
	var inner *model.Error
	switch {
	case errors.As(e.Cause, &inner) && inner.Code == e.Code: // it says more of the same
		if inner.Detail != "" {
			zh += "：" + inner.Detail
		}
	case errors.As(e.Cause, &inner):
		zh += "：" + inWords(e.Cause, inner)
	case e.Cause != nil:
		zh += "：" + e.Cause.Error()
	}
	return strings.Replace(err.Error(), e.Error(), zh, 1)
}

// wrongFlags are what the flags' parser says, with Chinese for it.
var wrongFlags = []struct {
	en *regexp.Regexp
	zh string
}{
	{regexp.MustCompile(`^unknown flag: (\S+)$`), `没有 $1 这个选项`},
	{regexp.MustCompile(`^unknown shorthand flag: '(.+)' in (\S+)$`), `没有 -$1 这个选项（$2）`},
	{regexp.MustCompile(`^flag needs an argument: (.+)$`), `选项 $1 须带值`},
	{regexp.MustCompile(`(?s)^invalid argument (".*") for "(?:-\w, )?(--\S+)" flag: .*$`), `选项 $2 不能取值 $1`},
	{regexp.MustCompile(`^required flag\(s\) (.+) not set$`), `缺少选项 $1`},
	{regexp.MustCompile(`^accepts at most (\d+) arg\(s\), received (\d+)$`), `至多给 $1 个参数，收到 $2 个`},
	{regexp.MustCompile(`^accepts between (\d+) and (\d+) arg\(s\), received (\d+)$`), `须给 $1 至 $2 个参数，收到 $3 个`},
	{regexp.MustCompile(`^requires at least (\d+) arg\(s\), only received (\d+)$`), `至少给 $1 个参数，收到 $2 个`},
	{regexp.MustCompile(`^accepts (\d+) arg\(s\), received (\d+)$`), `须给 $1 个参数，收到 $2 个`},
	{regexp.MustCompile(`(?s)^unknown command (".*") for "(.+)"$`), `$2 不接受参数 $1`},
}

// wrong is wrong use as the flags' parser tells it, in the language of this process.
func wrong(err error) error {
	if language() == "zh" {
		for _, w := range wrongFlags {
			if text := err.Error(); w.en.MatchString(text) {
				err = errors.New(w.en.ReplaceAllString(text, w.zh))
				break
			}
		}
	}
	return fmt.Errorf("%w: %w", errUse, err)
}
