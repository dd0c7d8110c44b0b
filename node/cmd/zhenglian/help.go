package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// inChinese puts the help of a command and of those below it into Chinese. Commands carry English texts; their Chinese
// stands in shortHelp and longHelp, and a text that is missing there stays English.
func inChinese(c *cobra.Command) {
	if zh := shortHelp[c.Short]; zh != "" {
		c.Short = zh
	}
	switch c.CommandPath() { // cobra's own
	case "zhenglian completion":
		c.Short = "生成终端自动补全的脚本"
	case "zhenglian help":
		c.Short = "显示命令的说明"
	}
	if zh := longHelp[c.CommandPath()]; zh != "" {
		c.Long = zh
	}
	flags := func(f *pflag.Flag) {
		if zh := shortHelp[f.Usage]; zh != "" {
			f.Usage = zh
		}
	}
	c.InitDefaultHelpFlag()
	if f := c.Flags().Lookup("help"); f != nil {
		f.Usage = "显示本帮助"
	}
	c.Flags().VisitAll(flags)
	c.PersistentFlags().VisitAll(flags)
	for _, below := range c.Commands() {
		inChinese(below)
	}
}

// chineseUsage is cobra's own frame of a help text, in Chinese.
var chineseUsage = strings.NewReplacer(
	"Usage:", "用法：", "Aliases:", "别名：", "Examples:", "示例：", "Available Commands:", "子命令：", "Additional Commands:", "其他命令：",
	"Global Flags:", "通用选项：", "Flags:", "选项：", "Additional help topics:", "其他说明：",
	`Use "{{.CommandPath}} [command] --help" for more information about a command.`, `各子命令的说明：{{.CommandPath}} [command] --help`)
