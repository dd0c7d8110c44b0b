package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/network/doctor"
	"github.com/zhenglian/zhenglian/network/fabric"
)

// exitStatus is an outcome that was told already and has a status of its own.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Is makes errTold of it: nothing more is printed.
func (e exitStatus) Is(target error) bool { return target == errTold }

// statusOf is the status that the program ends with.
func statusOf(err error) int {
	var s exitStatus
	if errors.As(err, &s) {
		return int(s)
	}
	return 1
}

func doctorCommand() *cobra.Command {
	var dir, lang string
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "say what is wrong with the network and what to do about it", Args: cobra.NoArgs,
		Long: "doctor looks at every process, port, certificate, clock, height and definition of a network and names each fault\n" +
			"with what was seen and the command that cures it. It changes nothing and takes a few seconds.\n" +
			"Exit status: 0 healthy, 1 faults found, 2 it could not look.",
		RunE: func(c *cobra.Command, _ []string) error {
			cannot := func(err error) error {
				fmt.Fprintln(c.ErrOrStderr(), "zl-network:", err)
				return exitStatus(2)
			}
			if lang == "" {
				lang = language()
			}
			if lang != "zh" && lang != "en" {
				return cannot(errors.New("--lang: zh or en"))
			}
			n, err := fabric.Open(dir)
			if err != nil {
				return cannot(err)
			}
			r := doctor.Examine(c.Context(), n, doctor.Options{})
			if err := c.Context().Err(); err != nil {
				return cannot(err)
			}
			if asJSON {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				e.SetEscapeHTML(false) // commands are to be pasted
				err = e.Encode(r)
			} else {
				err = r.Print(c.OutOrStdout(), lang)
			}
			if err != nil {
				return cannot(err)
			}
			if status := r.Exit(); status != 0 {
				return exitStatus(status)
			}
			return nil
		},
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		fmt.Fprintln(c.ErrOrStderr(), "zl-network:", err)
		return exitStatus(2)
	})
	c.Flags().StringVar(&dir, "dir", defaultDir, "the network's folder")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	c.Flags().StringVar(&lang, "lang", "", "zh or en (default: the environment's)")
	return c
}

// language is the one that the environment asks for.
func language() string {
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
