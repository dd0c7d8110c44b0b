package main

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// inEnglish finds an English sentence; names of commands, options and files are words of both languages.
var inEnglish = regexp.MustCompile(`\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b`)

// TestOperatorInChinese has a node's operator work in Chinese: what commands print and refuse has no English sentence in it.
func TestOperatorInChinese(t *testing.T) {
	t.Setenv("LC_ALL", "zh_CN.UTF-8")
	t.Setenv("ZHENGLIAN_PASSPHRASE", "long enough a passphrase")
	dir := filepath.Join(t.TempDir(), "n")
	node := filepath.Join(dir, "nodes", "beijing")
	found := []string{"init", "--dir", dir, "--msp", "BeijingMSP", "--node", "beijing", "--agency", "bj-scjg", "--name-zh", "北京市市场监督管理局", "--region", "110000"}
	key := regexp.MustCompile(`^key-\S+`)
	var last string
	for _, tt := range []struct {
		args []string
		in   string
		code int
		says string
	}{
		{append(found, "--ask"), "911\n" + "11110000X000100145\n", 0, "下一步：zhenglian serve --dir"},
		{append(found, "--uscc", "11110000X000100145"), "", 1, "不是空文件夹"},
		{[]string{"keys"}, "", 0, "子命令："},
		{[]string{"keys", "revok"}, "", 2, "没有子命令"},
		{[]string{"keys", "revoke", "--dir", node}, "", 2, "须给 1 个参数"},
		{[]string{"keys", "list"}, "", 2, "连接哪个节点"},
		{[]string{"keys", "rotate", "KEY"}, "", 2, "缺少选项"},
		{[]string{"keys", "list", "--dir", node}, "", 0, "有效至"},
		{[]string{"keys", "list", "--dir", node, "--nope"}, "", 2, "没有 --nope 这个选项"},
		{[]string{"keys", "issue", "--dir", node, "--name", "x"}, "", 2, "二者给其一"},
		{[]string{"keys", "issue", "--dir", node, "--name", "x", "--agency", "bj-scjg", "--role", "verifier", "--days", "x"}, "", 2, "不能取值"},
		{[]string{"keys", "issue", "--dir", node, "--name", "x", "--agency", "bj-scjg", "--role", "verifier"}, "", 0, "只显示这一次"},
		{[]string{"keys", "rotate", "KEY", "--dir", node}, "", 0, "继续有效至"},
		{[]string{"people", "add", "--dir", node, "--name", "甲", "--agency", "bj-scjg", "--role", "system-admin", "--role", "drafter"}, "", 1, "（roles_incompatible"},
		{[]string{"people", "list", "--dir", node}, "", 0, "姓名"},
		{[]string{"webhooks", "list", "--dir", node}, "", 0, "死信"},
		{[]string{"invite", "list", "--dir", node}, "", 0, "有效至"},
		{[]string{"finding", "--dir", node}, "", 0, "没有发现"},
		{[]string{"upgrade", "--dir", node}, "", 0, "无须升级"},
		{[]string{"log-level", "loud", "--dir", node}, "", 2, "可取"},
		{[]string{"backup", "--dir", node, "--out", filepath.Join(dir, "b")}, "", 0, "个区块"},
		{[]string{"backup", "verify", filepath.Join(dir, "b")}, "", 0, "完整且未被改动"},
		{[]string{"support-bundle", "--dir", node, "--out", filepath.Join(dir, "s.zip")}, "", 0, "交出前请先查看"},
		{[]string{"version"}, "", 0, "合约"},
		{[]string{"keys", "list", "--dir", node, "--lang", "fr"}, "", 2, "zh 或 en"},
		{[]string{"keys", "list", "--dir", node, "--lang", "en"}, "", 0, "EXPIRES"},
	} {
		args := append([]string{}, tt.args...)
		for i := range args {
			if args[i] == "KEY" {
				args[i] = key.FindString(last)
			}
		}
		var out, errOut bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(tt.in), &out, &errOut)
		last = out.String()
		said := regexp.MustCompile(`(?m)^未收入：.*$`).ReplaceAllString(last+errOut.String(), "") // causes are the system's
		if code != tt.code || !strings.Contains(said, tt.says) {
			t.Errorf("%q: %d, want %d and %q:\n%s", args, code, tt.code, tt.says, said)
		}
		if found := inEnglish.FindString(said); found != "" && !strings.Contains(strings.Join(args, " "), "--lang") {
			t.Errorf("%q says %q in English:\n%s", args, found, said)
		}
	}
}

// TestHelpInChinese holds that every command and every option has a Chinese help text, and that none is left over.
func TestHelpInChinese(t *testing.T) {
	root := &cobra.Command{Use: "zhenglian"}
	for _, commands := range [][]*cobra.Command{serverCommands(), operateCommands(), clientCommands(), pushCommands()} {
		root.AddCommand(commands...)
	}
	short, long := map[string]bool{"证链 — a permissioned-ledger data-sharing node": true}, map[string]bool{}
	need := func(c *cobra.Command, text string) {
		if strings.Contains(text+shortHelp[text], "`") { // what stands in these is taken for the value's name
			t.Errorf("%s: %q has backquotes", c.CommandPath(), text)
		}
		if short[text] = true; shortHelp[text] == "" {
			t.Errorf("%s: %q has no Chinese in shortHelp", c.CommandPath(), text)
		}
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, below := range c.Commands() {
			need(below, below.Short)
			if long[below.CommandPath()] = below.Long != ""; below.Long != "" && longHelp[below.CommandPath()] == "" {
				t.Errorf("%s has no Chinese in longHelp", below.CommandPath())
			}
			below.LocalFlags().VisitAll(func(f *pflag.Flag) { need(below, f.Usage) })
			walk(below)
		}
	}
	walk(root)
	for text := range shortHelp {
		if !short[text] {
			t.Errorf("nothing says %q any more: take it out of shortHelp", text)
		}
	}
	for path := range longHelp {
		if !long[path] {
			t.Errorf("%s has no long help any more: take it out of longHelp", path)
		}
	}
	for _, args := range []string{"--help", "help", "backup --help", "keys issue --help", "init --help"} {
		t.Setenv("LC_ALL", "zh_CN.UTF-8")
		var out, errOut bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), strings.NewReader(""), &out, &errOut); code != 0 || !strings.Contains(out.String(), "用法：") {
			t.Errorf("%s: %d\n%s%s", args, code, &out, &errOut)
		}
		if found := inEnglish.FindString(strings.ReplaceAll(out.String(), "zhenglian ", "zhenglian: ")); found != "" {
			t.Errorf("%s says %q in English:\n%s", args, found, &out)
		}
	}
}
