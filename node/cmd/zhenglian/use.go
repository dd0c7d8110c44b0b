package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// strict makes every wrong use of a command and of those below it an errUse: cobra by itself shows the help
// of a group and succeeds where the group has no such command, and does not mark missing arguments and flags.
func strict(c *cobra.Command) {
	check := c.Args
	switch {
	case c.HasSubCommands() && c.Runnable():
		check = noSuchCommand
	case c.HasSubCommands():
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		check = noSuchCommand
	case c.HasSubCommands(): // it does something by itself as well, with flags alone
		check = noSuchCommand
	case check == nil:
		return // help, which takes any words
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return wrong(err)
		}
		return nil
	}
	for _, below := range c.Commands() {
		strict(below)
	}
}

func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	names := c.SuggestionsFor(args[0])
	if len(names) == 0 {
		for _, below := range c.Commands() {
			if below.IsAvailableCommand() {
				names = append(names, below.Name())
			}
		}
	}
	return errorf("%s 没有子命令 %q；有：%s", "%s has no command %q; there is %s", c.CommandPath(), args[0], strings.Join(names, say("、", ", ")))
}

// requiredFlags runs before every command.
func requiredFlags(c *cobra.Command, _ []string) error {
	if err := c.ValidateRequiredFlags(); err != nil {
		return wrong(err)
	}
	if lang := c.Flag("lang"); lang != nil && lang.Value.String() != "zh" && lang.Value.String() != "en" {
		return useError("--lang：zh 或 en，不能是 %q", "--lang: zh or en, not %q", lang.Value)
	}
	return nil
}
