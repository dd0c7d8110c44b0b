package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers the format
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // registers the format
)

// packageVersion orders versions as the packagers do: what Go writes before a release, 1.2.4-0.2026…-abc, comes
// before 1.2.4 when it is written 1.2.4~0.2026….abc.
func packageVersion(version string) string {
	core, pre, ok := strings.Cut(version, "-")
	if !ok {
		return core
	}
	return core + "~" + strings.ReplaceAll(pre, "-", ".")
}

// packages writes the deb and the rpm of one architecture.
func (r *release) packages(arch string, programs []program, docs []file) error {
	work, err := os.MkdirTemp("", "zl-package-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	var contents files.Contents
	put := func(to string, raw []byte, mode os.FileMode, kind string) error {
		at := filepath.Join(work, "root", filepath.FromSlash(to))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, raw, 0o644); err != nil {
			return err
		}
		contents = append(contents, &files.Content{Source: at, Destination: to, Type: kind,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.stamp.time}})
		return nil
	}
	for _, p := range programs {
		if err := put("/usr/bin/"+p.name, p.raw, 0o755, ""); err != nil {
			return err
		}
	}
	for _, d := range docs {
		if err := put("/usr/share/doc/zhenglian/"+d.path, d.raw, 0o644, ""); err != nil {
			return err
		}
	}
	own := filepath.Join(r.source, "packaging/files")
	for from, to := range map[string]string{
		"zhenglian.service":    "/usr/lib/systemd/system/zhenglian.service",
		"zl-chaincode.service": "/usr/lib/systemd/system/zl-chaincode.service",
		"zhenglian.sysusers":   "/usr/lib/sysusers.d/zhenglian.conf",
		"service.env":          "/etc/zhenglian/service.env",
	} {
		raw, err := os.ReadFile(filepath.Join(own, from))
		if err != nil {
			return err
		}
		kind := ""
		if strings.HasPrefix(to, "/etc/") {
			kind = files.TypeConfigNoReplace // what an operator wrote is kept
		}
		if err := put(to, raw, 0o644, kind); err != nil {
			return err
		}
	}
	for _, format := range []string{"deb", "rpm"} {
		// nfpm knows the names of the older architectures; LoongArch is called otherwise by rpm than by Go and Debian.
		rpmArch := map[string]string{"amd64": "x86_64", "arm64": "aarch64", "loong64": "loongarch64"}[arch]
		if rpmArch == "" {
			return fmt.Errorf("rpm's name of %s is not known", arch)
		}
		info := nfpm.WithDefaults(&nfpm.Info{
			Name: "zhenglian", Arch: arch, Platform: "linux", Version: packageVersion(r.stamp.version), VersionSchema: "none", Release: "1",
			Section: "net", Priority: "optional", License: "Apache-2.0 AND LGPL-3.0-or-later",
			Maintainer: "Zhenglian <zhenglian@localhost>", Vendor: "Zhenglian",
			Description: "Data-sharing node for government agencies 证链\n" +
				"Electronic licences on a ledger that agencies share, verified in\nmilliseconds, without anyone handing their data over.",
			MTime: r.stamp.time, DisableGlobbing: true,
			Overridables: nfpm.Overridables{
				Contents: contents,
				Scripts: nfpm.Scripts{
					PostInstall: filepath.Join(own, "postinst"), PreRemove: filepath.Join(own, "prerm"), PostRemove: filepath.Join(own, "postrm"),
				},
				RPM: nfpm.RPM{Arch: rpmArch, BuildHost: "localhost", Summary: "Data-sharing node for government agencies 证链"},
			},
		})
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			return err
		}
		packager, err := nfpm.Get(format)
		if err != nil {
			return err
		}
		if err := r.create(packager.ConventionalFileName(info), func(w io.Writer) error { return packager.Package(info, w) }); err != nil {
			return err
		}
	}
	return nil
}
