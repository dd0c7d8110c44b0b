package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// file is a file of an archive or a package: its path inside, with slashes.
type file struct {
	path string
	raw  []byte
	mode fs.FileMode
}

// archive writes zhenglian-VERSION-linux-ARCH.tar.gz: programs, units, documents, licences.
func (r *release) archive(arch string, programs []program, docs []file) error {
	var files []file
	for _, p := range programs {
		files = append(files, file{"bin/" + p.name, p.raw, 0o755})
	}
	for _, name := range []string{"zhenglian.service", "zl-chaincode.service", "zhenglian.sysusers", "service.env"} {
		raw, err := os.ReadFile(filepath.Join(r.source, "packaging/files", name))
		if err != nil {
			return err
		}
		files = append(files, file{"systemd/" + name, raw, 0o644})
	}
	for _, d := range docs {
		if d.path != "LICENSE" {
			d.path = "doc/" + d.path
		}
		files = append(files, d)
	}
	return r.writeTar(r.stamp.name(arch), files)
}

// writeTar writes NAME.tar.gz with the files under NAME/, in the order of their paths, as of the commit's time.
func (r *release) writeTar(name string, files []file) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return r.create(name+".tar.gz", func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return err
		}
		t := tar.NewWriter(z)
		made := map[string]bool{}
		for _, f := range files {
			full := name + "/" + f.path
			for i, c := range full {
				if c == '/' && !made[full[:i]] {
					made[full[:i]] = true
					h := &tar.Header{Typeflag: tar.TypeDir, Name: full[:i+1], Mode: 0o755, ModTime: r.stamp.time, Format: tar.FormatPAX}
					if err := t.WriteHeader(h); err != nil {
						return err
					}
				}
			}
			h := &tar.Header{Typeflag: tar.TypeReg, Name: full, Size: int64(len(f.raw)), Mode: int64(f.mode.Perm()), ModTime: r.stamp.time, Format: tar.FormatPAX}
			if err := t.WriteHeader(h); err != nil {
				return err
			}
			if _, err := t.Write(f.raw); err != nil {
				return err
			}
		}
		if err := t.Close(); err != nil {
			return err
		}
		return z.Close()
	})
}

func (r *release) create(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(filepath.Join(r.out, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", name, err)
	}
	return f.Close()
}

// sources writes zhenglian-VERSION-source.tar.gz: the commit's files and, under vendor/, those of every module that
// the programs are built from. With Go it builds without a network; this is also how the terms of the LGPL are met.
func (r *release) sources(ctx context.Context) error {
	raw, err := r.command(ctx, "amd64", "git", "archive", "--format=tar", "HEAD")
	if err != nil {
		return err
	}
	var files []file
	for t := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if h.Mode&0o100 != 0 {
			mode = 0o755
		}
		files = append(files, file{h.Name, b, mode})
	}
	work, err := os.MkdirTemp("", "zl-vendor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if _, err := r.command(ctx, "amd64", "go", "mod", "vendor", "-o", work+"/vendor"); err != nil {
		return err
	}
	vendored, err := readTree(work)
	if err != nil {
		return err
	}
	return r.writeTar("zhenglian-"+r.stamp.version+"-source", append(files, vendored...))
}

func readTree(root string) (out []file, err error) {
	err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		out = append(out, file{filepath.ToSlash(rel), raw, 0o644})
		return nil
	})
	return out, err
}

// checksums writes SHA256SUMS, in the form that sha256sum -c reads.
func (r *release) checksums() error {
	entries, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, e := range entries {
		f, err := os.Open(filepath.Join(r.out, e.Name()))
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", h.Sum(nil), e.Name())
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), []byte(b.String()), 0o644)
}
