package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// renewEvery is how often files that may be renewed are looked at.
const renewEvery = 5 * time.Second

// pair is a TLS certificate that is read again when its files change, so that it can be renewed while the node
// serves. Files that do not fit, as while they are being replaced, leave the last one in use. get and until are safe
// for concurrent use; take is for one goroutine.
type pair struct {
	cert, key string
	log       *slog.Logger

	loaded  atomic.Pointer[tls.Certificate]
	changed string // stamp of the files when loaded was read
	said    string // why the files cannot be used, as last logged
}

func newPair(cert, key string, log *slog.Logger) (*pair, error) {
	p := &pair{cert: cert, key: key, log: log, changed: stamp(cert, key)}
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	p.loaded.Store(&c)
	return p, nil
}

// get is a tls.Config's GetCertificate.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.loaded.Load(), nil }

// until is when the certificate in use expires.
func (p *pair) until() time.Time { return p.loaded.Load().Leaf.NotAfter }

// keep takes the files up when they change, until ctx ends.
func (p *pair) keep(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.take()
		}
	}
}

func (p *pair) take() {
	now := stamp(p.cert, p.key)
	if now == p.changed {
		return
	}
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		if said := err.Error(); said != p.said {
			p.said = said
			p.log.Warn("the changed TLS files cannot be used; the last ones stay in use", "cert", p.cert, "key", p.key, "error", err)
		}
		return
	}
	p.loaded.Store(&c)
	p.changed, p.said = now, ""
	p.log.Info("TLS files were renewed", "until", c.Leaf.NotAfter)
}

// stamp tells files from what they were before: a renewed one may bear any time, so it is not the youngest alone.
func stamp(paths ...string) string {
	var b strings.Builder
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprint(&b, info.ModTime().UnixNano(), " ", info.Size())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// identity reads the node's ledger identity. The ledger knows the node by its certificate's common name.
func (n *Node) identity() (*msp.Identity, error) {
	path := n.path(n.cfg.Identity)
	id, err := msp.LoadIdentity(string(n.cfg.Msp), filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return nil, err
	}
	if name := id.Certificate().Subject.CommonName; name != string(n.cfg.Node) {
		return nil, fmt.Errorf("%s.crt: the certificate's common name is %q, but this node is %q: the ledger would refuse all that it sends", path, name, n.cfg.Node)
	}
	return id, nil
}

// renew takes up the node's ledger identity when its files change, until ctx ends. Files that do not fit, as
// while they are being replaced, leave the last one in use.
func (n *Node) renew(ctx context.Context) {
	path := n.path(n.cfg.Identity)
	last := stamp(path+".crt", path+".key")
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := stamp(path+".crt", path+".key")
		if now == last {
			continue
		}
		id, err := n.identity()
		if err == nil && time.Now().After(id.Certificate().NotAfter) {
			err = fmt.Errorf("%s.crt has expired", path)
		}
		if err == nil {
			err = n.client.Renew(id)
		}
		if err != nil {
			n.log.Warn("the changed ledger identity is not taken up; the last one stays in use", "error", err)
			continue
		}
		last = now
		n.log.Info("ledger identity renewed", "until", id.Certificate().NotAfter)
		n.expiry.Set(float64(id.Certificate().NotAfter.Unix()))
	}
}
