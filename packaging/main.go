// Command packaging makes a release from a clean clone of one commit: static programs for each architecture, archives,
// deb and rpm packages, a bill of materials, the sources with everything they are built from, and checksums.
//
//	cd packaging && go run . --source CLONE --out DIR --arch amd64,arm64,loong64
//
// It is called by scripts/release.sh, which makes the clone. Every byte that it writes follows from the commit and
// the Go toolchain: no clock, host name, user, folder, locale or map order stands in any file. docs/design/0026 has
// the reasons.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("packaging", flag.ContinueOnError)
	source := f.String("source", "", "a clean clone of the commit to release")
	to := f.String("out", "", "folder for the release; new or empty")
	archs := f.String("arch", strings.Join(architectures, ","), "architectures, separated by commas")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *source == "" || *to == "" || f.NArg() > 0 {
		return errors.New("give --source and --out")
	}
	src, err := filepath.Abs(*source)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(*to)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	r := &release{source: src, out: dir}
	for _, a := range strings.Split(*archs, ",") {
		if err := r.architecture(ctx, a, out); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	fmt.Fprintln(out, "sources")
	if err := r.sources(ctx); err != nil {
		return fmt.Errorf("sources: %w", err)
	}
	return r.checksums()
}

// release is one release in the making.
type release struct {
	source string // the clone
	out    string // where the files go
	stamp  stamp  // of the first program built; every other one must carry the same
}

// architecture makes all files of one architecture.
func (r *release) architecture(ctx context.Context, arch string, out io.Writer) error {
	fmt.Fprintln(out, arch)
	work, err := os.MkdirTemp("", "zl-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	programs, err := r.build(ctx, arch, work)
	if err != nil {
		return err
	}
	modules, err := r.modules(ctx, arch, programs)
	if err != nil {
		return err
	}
	bill, err := r.bill(arch, programs, modules)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.out, r.stamp.name(arch)+".cdx.json"), bill, 0o644); err != nil {
		return err
	}
	docs, err := r.documents(modules)
	if err != nil {
		return err
	}
	docs = append(docs, file{"sbom.cdx.json", bill, 0o644})
	if err := r.archive(arch, programs, docs); err != nil {
		return err
	}
	return r.packages(arch, programs, docs)
}
