package app

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
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
	changed time.Time        // of the younger file when loaded was read; guarded by mu
	looked  time.Time        // guarded by mu
}

func newPair(cert, key string) (*pair, error) {
	p := &pair{cert: cert, key: key}
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	p.loaded, p.changed, p.looked = &c, lastChange(cert, key), time.Now()
	return p, nil
}

// get is a tls.Config's GetCertificate.
func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.looked) >= renewEvery {
		p.looked = time.Now()
		if at := lastChange(p.cert, p.key); !at.Equal(p.changed) {
			if c, err := tls.LoadX509KeyPair(p.cert, p.key); err == nil {
				p.loaded, p.changed = &c, at
			}
		}
	}
	return p.loaded, nil
}

// lastChange is when the youngest of the files changed; zero where one is missing.
func lastChange(paths ...string) (at time.Time) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return time.Time{}
		}
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}
