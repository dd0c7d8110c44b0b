package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// module is a module that stands in at least one of the programs.
type module struct {
	path, version, sum string   // sum is go.sum's, h1:…
	programs           []string // those that hold it
	licences           []string // SPDX ids, sorted
	texts              []file   // licence and notice files, by their path in the module
}

const ethereum = "github.com/ethereum/go-ethereum"

// permitted are the licences that a release may be made of. What is not here stops it, so that somebody reads the
// licence before it is shipped.
var permitted = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MPL-2.0", "Unlicense", "0BSD", "Zlib", "LGPL-3.0-or-later"}

// licenceFile matches the files that have to go with a module's code.
var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|patents|copyright)([-._].*)?$`)

// modules lists what the programs say they are made of, each with its licences. A module without a licence that is
// known and permitted is an error.
func (r *release) modules(ctx context.Context, arch string, programs []program) ([]*module, error) {
	byPath := map[string]*module{}
	for _, p := range programs {
		for _, d := range p.info.Deps {
			if d.Replace != nil {
				return nil, fmt.Errorf("%s is replaced", d.Path)
			}
			m := byPath[d.Path]
			if m == nil {
				m = &module{path: d.Path, version: d.Version, sum: d.Sum}
				byPath[d.Path] = m
			}
			m.programs = append(m.programs, p.name)
		}
	}
	linked, err := r.linked(ctx, arch)
	if err != nil {
		return nil, err
	}
	var out []*module
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(byPath)) {
		m := byPath[name]
		at, ok := linked[name]
		if !ok {
			return nil, fmt.Errorf("%s stands in a program and go list does not know it", name)
		}
		if err := m.read(at.dir, at.packages); err != nil {
			faults = append(faults, err)
		}
		out = append(out, m)
	}
	return out, errors.Join(faults...)
}

type linkedModule struct {
	dir      string
	packages []string // their folders
}

// linked asks Go for the folders of the packages that the programs are linked from.
func (r *release) linked(ctx context.Context, arch string) (map[string]linkedModule, error) {
	list, err := os.ReadFile(filepath.Join(r.source, "scripts/programs"))
	if err != nil {
		return nil, err
	}
	raw, err := r.command(ctx, arch, "go", append([]string{"list", "-deps", "-json=Dir,ImportPath,Module"}, strings.Fields(string(list))...)...)
	if err != nil {
		return nil, err
	}
	out := map[string]linkedModule{}
	for d := json.NewDecoder(strings.NewReader(string(raw))); ; {
		var p struct {
			Dir, ImportPath string
			Module          *struct {
				Path, Dir string
				Main      bool
			}
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		if p.Module == nil || p.Module.Main {
			continue
		}
		if strings.HasPrefix(p.ImportPath, ethereum+"/cmd/") {
			return nil, fmt.Errorf("%s is linked: it is GPL-3.0, the library part alone is LGPL-3.0", p.ImportPath)
		}
		l := out[p.Module.Path]
		l.dir = p.Module.Dir
		l.packages = append(l.packages, p.Dir)
		out[p.Module.Path] = l
	}
}

// read finds the licence files beside the linked packages and in every folder above them, and names the licences.
func (m *module) read(root string, packages []string) error {
	folders := map[string]bool{}
	for _, p := range packages {
		for at := p; strings.HasPrefix(at, root); at = filepath.Dir(at) {
			folders[at] = true
		}
	}
	found := map[string]bool{}
	for _, at := range slices.Sorted(maps.Keys(folders)) {
		entries, err := os.ReadDir(at)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !licenceFile.MatchString(e.Name()) || path.Ext(e.Name()) == ".go" {
				continue
			}
			raw, err := os.ReadFile(filepath.Join(at, e.Name()))
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, filepath.Join(at, e.Name()))
			if err != nil {
				return err
			}
			m.texts = append(m.texts, file{filepath.ToSlash(rel), raw, 0o644})
			for _, match := range licensecheck.Scan(raw).Match {
				if !match.IsURL && match.ID != "GooglePatentsFile" { // a grant that goes with BSD-3-Clause
					found[match.ID] = true
				}
			}
		}
	}
	if m.path == ethereum { // the library is under LGPL-3.0 or later, which is written as additions to GPL-3.0
		if !found["LGPL-3.0"] || !found["GPL-3.0"] {
			return fmt.Errorf("%s: its two licences were not found, only %v", m.path, slices.Sorted(maps.Keys(found)))
		}
		delete(found, "LGPL-3.0")
		delete(found, "GPL-3.0")
		found["LGPL-3.0-or-later"] = true
	}
	m.licences = slices.Sorted(maps.Keys(found))
	if len(m.licences) == 0 {
		return fmt.Errorf("%s: no licence was found", m.path)
	}
	for _, l := range m.licences {
		if !slices.Contains(permitted, l) || (l == "LGPL-3.0-or-later" && m.path != ethereum) {
			return fmt.Errorf("%s: %s is not among the permitted licences; see packaging/modules.go", m.path, l)
		}
	}
	return nil
}

// documents are what goes with the programs: the project's pages, the API, and the texts of all licences.
func (r *release) documents(modules []*module) ([]file, error) {
	var out []file
	add := func(from, to string) error {
		raw, err := os.ReadFile(filepath.Join(r.source, filepath.FromSlash(from)))
		if err != nil {
			return err
		}
		out = append(out, file{to, raw, 0o644})
		return nil
	}
	for _, name := range []string{"LICENSE", "README.md", "README.zh-CN.md", "CHANGELOG.md"} {
		if err := add(name, name); err != nil {
			return nil, err
		}
	}
	pages, err := readTree(filepath.Join(r.source, "docs"))
	if err != nil {
		return nil, err
	}
	for _, p := range pages {
		p.path = "docs/" + p.path
		out = append(out, p)
	}
	if err := add("packaging/files/LICENCES.md", "licences/README.md"); err != nil {
		return nil, err
	}
	var list strings.Builder
	for _, m := range modules {
		fmt.Fprintf(&list, "%s %s: %s\n", m.path, m.version, strings.Join(m.licences, ", "))
		for _, t := range m.texts {
			t.path = "licences/" + m.path + "@" + m.version + "/" + t.path
			out = append(out, t)
		}
	}
	return append(out, file{"licences/LIST", []byte(list.String()), 0o644}), nil
}
