package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long one answer is waited for.
const patience = 3 * time.Second

// Look collects the facts. It changes nothing and takes some seconds at most.
func Look(ctx context.Context, t *Target) *Facts {
	f := &Facts{Target: t, Now: time.Now()}
	asking, cancel := context.WithTimeout(ctx, patience)
	f.Running, f.Down = t.Status(asking)
	cancel()
	if f.Running == nil {
		f.At = t.Stores()
		if !f.At.InUse {
			f.ports()
		}
	}
	f.files()
	f.disk()
	f.certificates()
	f.InStep = kernelSync()
	var wait sync.WaitGroup
	f.Dialled = make([]DialFact, len(t.Gateways))
	for i, g := range t.Gateways {
		wait.Go(func() { f.Dialled[i] = dial(ctx, g) })
	}
	if f.Running != nil {
		f.Clocks = make([]ClockFact, len(f.Running.Endpoints))
		for i, e := range f.Running.Endpoints {
			wait.Go(func() { f.Clocks[i] = clock(ctx, e.URL) })
		}
	}
	wait.Wait()
	return f
}

func (f *Facts) files() {
	for _, path := range f.Needed {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			f.Missing = append(f.Missing, path)
		}
	}
	for _, path := range f.Private {
		_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error { // what is absent is in Missing
			if err != nil || d.IsDir() {
				return nil
			}
			if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
				f.Exposed = append(f.Exposed, path)
			}
			return nil
		})
	}
}

// Free is the room of the disk under a folder, in bytes: what an unprivileged process may still write, and all.
func Free(dir string) (free, total uint64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}

const week = 7 * 24 * time.Hour

func (f *Facts) disk() {
	if f.Disk.Free, f.Disk.Total, f.DiskError = Free(f.Dir); f.DiskError != nil {
		return
	}
	var archive, recent uint64
	first := f.Now
	_ = filepath.WalkDir(f.Dir, func(path string, d fs.DirEntry, err error) error { // files come and go while a node runs
		if err != nil || d.IsDir() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		size := uint64(info.Size())
		f.Disk.Used += size
		if info.ModTime().Before(first) {
			first = info.ModTime()
		}
		if filepath.Dir(path) == filepath.Clean(f.Archive) {
			archive += size
			if f.Now.Sub(info.ModTime()) < week {
				recent += size
			}
		}
		return nil
	})
	// The archive only grows; the other stores grow in proportion to it.
	if age := min(f.Now.Sub(first), week); archive > 1<<20 && age > time.Hour {
		f.Disk.PerDay = uint64(float64(recent) * float64(f.Disk.Used) / float64(archive) / (age.Hours() / 24))
	}
	position := f.At.Position
	if f.Running != nil {
		position = f.Running.Position
	}
	if position >= 10_000 { // below, what every folder has outweighs the records
		f.Disk.PerMillion = uint64(float64(f.Disk.Used) / float64(position) * 1e6)
	}
}

func (f *Facts) certificates() {
	for _, c := range f.Target.Certs {
		fact := CertFact{CertFile: c}
		fact.From, fact.Until, fact.Err = readCertificate(c)
		f.Certs = append(f.Certs, fact)
	}
}

func readCertificate(c CertFile) (from, until time.Time, err error) {
	raw, err := os.ReadFile(c.Cert)
	if err != nil {
		return from, until, err
	}
	if c.Key != "" {
		if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
			return from, until, err
		}
	}
	found := false
	for rest := raw; ; found = true {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return from, until, err
		}
		// Of several, the first that ends is the one to renew.
		if until.IsZero() || cert.NotAfter.Before(until) {
			from, until = cert.NotBefore, cert.NotAfter
		}
	}
	if !found {
		return from, until, errors.New("no certificate in it")
	}
	return from, until, nil
}

// ports tries the addresses of a stopped node.
func (f *Facts) ports() {
	for _, p := range []PortFact{{Key: "listen", Address: f.Listen}, {Key: "admin", Address: f.Admin}} {
		l, err := net.Listen("tcp", p.Address)
		if err != nil {
			p.Err = err
			f.Ports = append(f.Ports, p)
			continue
		}
		_ = l.Close() // nothing was accepted
	}
}

func dial(ctx context.Context, g Gateway) DialFact {
	f := DialFact{Gateway: g}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", g.Address)
	if err != nil {
		f.TCP = err
		return f
	}
	defer raw.Close()
	roots, err := os.ReadFile(g.Roots)
	if err != nil {
		f.TLS = err
		return f
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		f.TLS = fmt.Errorf("%s: no certificate in it", g.Roots)
		return f
	}
	name := g.ServerName
	if name == "" {
		name, _, _ = net.SplitHostPort(g.Address)
	}
	c := tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
	if f.TLS = c.HandshakeContext(ctx); f.TLS == nil {
		f.Until = c.ConnectionState().PeerCertificates[0].NotAfter
	}
	return f
}

// clock asks another node's API for the time. Its certificate is not checked, since its authority need not be known on
// this machine: nothing is sent, and what a liar on the way could bring about is a finding that is looked into.
func clock(ctx context.Context, url string) ClockFact {
	f := ClockFact{Who: url}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+"/healthz", nil)
	if err != nil {
		f.Err = err
		return f
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	sent := time.Now()
	res, err := transport.RoundTrip(r)
	took := time.Since(sent)
	if err != nil {
		f.Err = err
		return f
	}
	_ = res.Body.Close()
	date, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		f.Err = errors.New("it tells no time")
		return f
	}
	// The header has whole seconds, cut off.
	f.Offset, f.Slack = sent.Add(took/2).Sub(date.Add(500*time.Millisecond)), took/2+500*time.Millisecond
	return f
}
