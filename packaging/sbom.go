package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// bill is the bill of materials in CycloneDX 1.6 JSON: the programs, the modules in each by what Go wrote into it,
// and Go's own library. Only what a program says of itself is listed; nothing is read from go.mod, which also names
// what tests need.
func (r *release) bill(arch string, programs []program, modules []*module) ([]byte, error) {
	b := cdx.NewBOM()
	std := "pkg:golang/stdlib@" + r.stamp.goMod
	root := "pkg:generic/zhenglian@" + r.stamp.version + "?arch=" + arch
	ours := &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}
	b.Metadata = &cdx.Metadata{
		Timestamp: r.stamp.time.UTC().Format(time.RFC3339),
		Component: &cdx.Component{
			Type: cdx.ComponentTypeApplication, BOMRef: root, Name: "zhenglian", Version: r.stamp.version, Licenses: ours,
			Properties: &[]cdx.Property{{Name: "vcs.revision", Value: r.stamp.revision}, {Name: "target", Value: "linux/" + arch}},
		},
	}
	var components []cdx.Component
	var edges []cdx.Dependency
	var refs []string
	for _, p := range programs {
		sum := sha256.Sum256(p.raw)
		ref := root + "#" + p.name
		refs = append(refs, ref)
		components = append(components, cdx.Component{
			Type: cdx.ComponentTypeApplication, BOMRef: ref, Name: p.name, Version: r.stamp.version, Licenses: ours,
			Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
		})
		needs := []string{std}
		for _, d := range p.info.Deps {
			needs = append(needs, purl(d.Path, d.Version))
		}
		edges = append(edges, cdx.Dependency{Ref: ref, Dependencies: &needs})
	}
	edges = append(edges, cdx.Dependency{Ref: root, Dependencies: &refs})
	for _, m := range modules {
		var licences cdx.Licenses
		for _, l := range m.licences {
			licences = append(licences, cdx.LicenseChoice{License: &cdx.License{ID: l}})
		}
		components = append(components, cdx.Component{
			Type: cdx.ComponentTypeLibrary, BOMRef: purl(m.path, m.version), PackageURL: purl(m.path, m.version),
			Name: m.path, Version: m.version, Licenses: &licences,
			Properties: &[]cdx.Property{{Name: "go.sum", Value: m.sum}},
		})
	}
	components = append(components, cdx.Component{
		Type: cdx.ComponentTypeLibrary, BOMRef: std, PackageURL: std, Name: "stdlib", Version: r.stamp.goMod,
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "BSD-3-Clause"}}},
	})
	b.Components, b.Dependencies = &components, &edges

	encode := func() ([]byte, error) {
		var out bytes.Buffer
		e := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON)
		e.SetPretty(true)
		err := e.EncodeVersion(b, cdx.SpecVersion1_6)
		return out.Bytes(), err
	}
	raw, err := encode()
	if err != nil {
		return nil, err
	}
	// The serial number is a UUID of version 8: the digest of everything else, so that equal bills have equal ones.
	id := sha256.Sum256(raw)
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	b.SerialNumber = fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
	return encode()
}

func purl(path, version string) string { return "pkg:golang/" + path + "@" + version }
