package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// renewEvery is how often files that may be renewed are looked at.
const renewEvery = 5 * time.Second

// pair is a TLS certificate that is read again when its files change, so that it can be renewed while the
// node serves. A pair that cannot be read, as while it is being written, leaves the last one in use. Safe
// for concurrent use.
type pair struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate // guarded by mu
	changed string           // stamp of the files when loaded was read; guarded by mu
	looked  time.Time        // guarded by mu
}

func newPair(cert, key string) (*pair, error) {
	p := &pair{cert: cert, key: key}
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	p.loaded, p.changed, p.looked = &c, stamp(cert, key), time.Now()
	return p, nil
}

// get is a tls.Config's GetCertificate.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) >= renewEvery {
		p.looked = time.Now()
		if now := stamp(p.cert, p.key); now != p.changed {
			if c, err := tls.LoadX509KeyPair(p.cert, p.key); err == nil {
				p.loaded, p.changed = &c, now
			}
		}
	}
	return p.loaded, nil
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
