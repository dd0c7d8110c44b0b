package app

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/doctor"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

// irreplaceable is what a node's folder must have and what cannot be made anew.
func irreplaceable() []string {
	return []string{"vault", "keys", auth.KeyFile, auth.PeopleFile, "outbox", inboxDir}
}

// Examine looks at a node, running or not, and says what is wrong with it.
func Examine(ctx context.Context, dir string) *doctor.Report {
	cfg, err := LoadConfig(dir)
	if err != nil {
		return doctor.Unreadable(dir, err)
	}
	return doctor.Judge(doctor.Look(ctx, cfg.target()))
}

// target is the node as doctor looks at it.
func (c *Config) target() *doctor.Target {
	t := &doctor.Target{
		Dir: c.dir, Node: c.Node, Listen: c.Listen, Admin: c.Admin, Embedded: c.Ledger.Embedded != "", Reserve: outbox.MinFree,
		Records: c.path("records"), Archive: c.path("archive"), Status: NewAdmin(c).Status, Backup: lastBackup(c),
	}
	for _, name := range append(irreplaceable(), c.Genesis, c.Identity+".crt", c.Identity+".key") {
		t.Needed = append(t.Needed, c.path(name))
	}
	t.Private = []string{c.path("keys"), c.path(auth.KeyFile), c.path(auth.PeopleFile), c.path(c.Identity + ".key"), c.path(operatorFile), c.path("authority/ca.key")}
	t.Certs = []doctor.CertFile{{
		Name: doctor.Text{Zh: "账本身份", En: "ledger identity"}, Cert: c.path(c.Identity + ".crt"), Key: c.path(c.Identity + ".key"),
		Renew: doctor.Text{Zh: "由本单位证书机构以相同名称重新签发，替换证书和私钥文件，5 秒内生效（docs/ops/certificates）", En: "have the organisation's authority issue it again under the same name and put both files in place; they are taken up within 5 s (docs/ops/certificates)"},
	}}
	if c.TLSCert != "" {
		t.Private = append(t.Private, c.path(c.TLSKey))
		t.Certs = append(t.Certs, doctor.CertFile{
			Name: doctor.Text{Zh: "接口 TLS", En: "TLS of the API"}, Cert: c.path(c.TLSCert), Key: c.path(c.TLSKey),
			Renew: doctor.Text{Zh: "重新签发并替换两个文件，5 秒内生效，无需重启", En: "have it issued again and put both files in place; they are taken up within 5 s, without a restart"},
		})
	}
	for _, g := range c.Ledger.Gateways {
		t.Gateways = append(t.Gateways, doctor.Gateway{Address: g.Address, Roots: c.path(g.TLSRoots), ServerName: g.ServerName})
		t.Certs = append(t.Certs, doctor.CertFile{
			Name: doctor.Text{Zh: "网关 " + g.Address + " 的 TLS 根", En: "TLS authority of " + g.Address}, Cert: c.path(g.TLSRoots),
			Renew: doctor.Text{Zh: "向该网关的单位索取新的 TLS 根证书", En: "ask that gateway's organisation for its new TLS authority"},
		})
	}
	if f, err := Finding(c); err == nil && f != nil {
		t.Finding = string(f.Code) + ": " + f.En
	}
	if m, err := readRestored(c.dir); err == nil && m.Confirmed.IsZero() {
		t.Restored, t.KeysKept, t.Differs = m.Backup, m.KeysKept, m.Proof == ProofDiffers
	}
	if p, err := People(c); err == nil {
		for _, e := range p.Keys() {
			if e.Revoked.IsZero() && !e.Expires.IsZero() {
				t.Keys = append(t.Keys, doctor.Key{ID: e.ID, Name: e.Name, Expires: e.Expires.Time()})
			}
		}
	}
	t.Upgrade = c.fits()
	t.Newer = errors.Is(t.Upgrade, ErrNewer)
	t.Stores = c.stores
	return t
}

// stores reads how far a stopped node's stores have come.
func (c *Config) stores() (s doctor.Stores) {
	s.Blocks, s.Position, s.Ledger, s.Records = records.Peek(c.path("records"))
	if errors.Is(s.Records, records.ErrInUse) {
		return doctor.Stores{InUse: true}
	}
	s.Archived, s.Archive = archive.Peek(c.path("archive"))
	return s
}

// backupMark is a file whose time is that of the last backup.
const backupMark = "last-backup"

func lastBackup(c *Config) time.Time {
	info, err := os.Stat(c.path(backupMark))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
