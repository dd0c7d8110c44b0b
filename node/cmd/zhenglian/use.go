package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// strict makes every wrong use of a command and of those below it an errUse: cobra by itself shows the help
// of a group and succeeds where the group has no such command, and does not mark missing arguments and flags.
func strict(c *cobra.Command) {
	check := c.Args
	switch {
	case c.HasSubCommands() && !c.Runnable():
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		check = noSuchCommand
	case c.HasSubCommands(): // it does something by itself as well, with flags alone
		check = noSuchCommand
	case check == nil:
		return // help, which takes any words
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return fmt.Errorf("%w: %w", errUse, err)
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
	return fmt.Errorf("%s has no command %q; there is %s", c.CommandPath(), args[0], strings.Join(names, ", "))
}

// requiredFlags runs before every command.
func requiredFlags(c *cobra.Command, _ []string) error {
	if err := c.ValidateRequiredFlags(); err != nil {
		return fmt.Errorf("%w: %w", errUse, err)
	}
	return nil
}
