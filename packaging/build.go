package main

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// architectures are those of a full release, by Go's names. GOAMD64=v1 and GOARM64=v8.0, Go's defaults, run on every
// processor of theirs.
var architectures = []string{"amd64", "arm64", "loong64"}

// program is one built program.
type program struct {
	name string
	raw  []byte
	info *buildinfo.BuildInfo
}

// stamp is what a program says of the commit that it was built from.
type stamp struct {
	version  string // of the module: a tag without its v, or Go's pseudo-version
	revision string
	time     time.Time
	goMod    string // Go's version
}

func (s stamp) name(arch string) string { return "zhenglian-" + s.version + "-linux-" + arch }

// build builds every program that scripts/programs lists.
func (r *release) build(ctx context.Context, arch, work string) ([]program, error) {
	list, err := os.ReadFile(filepath.Join(r.source, "scripts/programs"))
	if err != nil {
		return nil, err
	}
	packages := strings.Fields(string(list))
	args := append([]string{"build", "-trimpath", "-buildvcs=true", "-ldflags=-s -w", "-o", work + "/"}, packages...)
	if _, err := r.command(ctx, arch, "go", args...); err != nil {
		return nil, err
	}
	var out []program
	for _, p := range packages {
		at := filepath.Join(work, path.Base(p))
		if err := static(at); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		raw, err := os.ReadFile(at)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.ReadFile(at)
		if err != nil {
			return nil, err
		}
		s, err := stampOf(info)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		if r.stamp.version == "" {
			r.stamp = s
		}
		if s != r.stamp {
			return nil, fmt.Errorf("%s is of %v, another program of %v", p, s, r.stamp)
		}
		out = append(out, program{path.Base(p), raw, info})
	}
	return out, nil
}

// command runs a tool in the clone. Of the environment it sees where the caches and the module proxy are and nothing
// that could change a byte of what it makes.
func (r *release) command(ctx context.Context, arch, name string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = r.source
	c.Env = append(kept(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=", "GOWORK=off",
		"GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off", "LC_ALL=C", "TZ=UTC")
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", name, args[0], err, stderr.String())
	}
	return out, nil
}

// kept is what the tools need of the environment: where to find things, never how to build them.
func kept() (out []string) {
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOSUMCHECK", "GOINSECURE", "GOPRIVATE", "GOTOOLCHAIN", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// stampOf reads what Go wrote into a program. A program of changed files is no release.
func stampOf(info *debug.BuildInfo) (s stamp, err error) {
	s.version = strings.TrimPrefix(info.Main.Version, "v")
	s.goMod = strings.TrimPrefix(info.GoVersion, "go")
	for _, kv := range info.Settings {
		switch kv.Key {
		case "vcs.revision":
			s.revision = kv.Value
		case "vcs.time":
			if s.time, err = time.Parse(time.RFC3339, kv.Value); err != nil {
				return s, err
			}
		case "vcs.modified":
			if kv.Value != "false" {
				return s, errors.New("the clone has changed files")
			}
		}
	}
	if s.version == "" || s.version == "(devel)" || s.revision == "" || s.time.IsZero() {
		return s, errors.New("the program does not say its commit: is the source a clone?")
	}
	return s, nil
}

// static refuses a program that needs anything of the machine that it runs on.
func static(at string) error {
	f, err := elf.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it needs a loader: not static")
		}
	}
	libs, err := f.ImportedLibraries()
	if err == nil && len(libs) > 0 {
		return fmt.Errorf("it needs %v: not static", libs)
	}
	return nil
}
