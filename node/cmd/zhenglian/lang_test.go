package main

import (
	"bytes"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
		{[]string{"keys"}, "", 0, ""},
		{[]string{"keys", "revok"}, "", 2, "没有子命令"},
		{[]string{"keys", "revoke", "--dir", node}, "", 2, "须给 1 个参数"},
		{[]string{"keys", "list"}, "", 2, "缺少选项"},
		{[]string{"keys", "list", "--dir", node}, "", 0, "有效至"},
		{[]string{"keys", "list", "--dir", node, "--nope"}, "", 2, "没有 --nope 这个选项"},
		{[]string{"keys", "issue", "--dir", node, "--name", "x"}, "", 2, "二者给其一"},
		{[]string{"keys", "issue", "--dir", node, "--name", "x", "--agency", "bj-scjg", "--role", "verifier", "--days", "x"}, "", 2, "不能取值"},
		{[]string{"keys", "issue", "--dir", node, "--name", "x", "--agency", "bj-scjg", "--role", "verifier"}, "", 0, "只显示这一次"},
		{[]string{"keys", "rotate", "KEY", "--dir", node}, "", 0, "继续有效至"},
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
		if found := inEnglish.FindString(said); found != "" && !strings.Contains(strings.Join(args, " "), "--lang") && tt.says != "" {
			t.Errorf("%q says %q in English:\n%s", args, found, said)
		}
	}
}
