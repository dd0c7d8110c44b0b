// Gen writes the code tables of package params from the project's reference data.
//
//	go run ./node/params/gen [-data ../shared/data] [-out node/params/tables]
//
// It is run from the module's root by `make params`. The same data always gives the same bytes. It
// writes nothing unless every table could be made, and removes nothing. What it had to mend or leave
// out it says on standard output, one line each.
package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	data := flag.String("data", filepath.Join("..", "shared", "data"), "folder of the reference data")
	out := flag.String("out", filepath.Join("node", "params", "tables"), "folder of the tables")
	flag.Parse()
	if flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.DirFS(*data), *out, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "params:", err)
		os.Exit(1)
	}
}

func run(data fs.FS, out string, report io.Writer) error {
	files, notes, err := generate(data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(out, name), files[name], 0o644); err != nil {
			return err
		}
		total += len(files[name])
	}
	for _, n := range notes {
		fmt.Fprintln(report, n)
	}
	fmt.Fprintf(report, "%d files, %d bytes\n", len(files), total)
	return nil
}
