package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificates are the server's TLS files as they stand on disk. Whoever asks has the files read again:
// handshakes, which are rare (a peer holds one connection), readiness and the metric. Files that cannot be used,
// such as a new certificate beside the old key while somebody is replacing both, leave what was read last in use
// and are logged.
type certificates struct {
	cert, key, roots string // paths; roots may be empty
	log              *slog.Logger
	failed           func()

	mu     sync.Mutex
	seen   [3][]byte   // the files as last tried; guarded by mu
	config *tls.Config // of the last files that could be used; guarded by mu
	until  time.Time   // when its certificate expires; guarded by mu
	said   string      // why the files cannot be used, as last logged; guarded by mu
}

// openCertificates reads the files, which must be usable now.
func openCertificates(c *Config, log *slog.Logger, failed func()) (*certificates, error) {
	s := &certificates{cert: c.path(c.TLS.Cert), key: c.path(c.TLS.Key), roots: c.path(c.TLS.ClientRoots), log: log, failed: failed}
	if err := s.refresh(); err != nil {
		return nil, err
	}
	return s, nil
}

// refresh takes the files over if they changed and can be used.
func (s *certificates) refresh() error {
	var files [3][]byte
	for i, path := range []string{s.cert, s.key, s.roots} {
		if path == "" {
			continue
		}
		var err error
		if files[i], err = os.ReadFile(path); err != nil {
			return fmt.Errorf("tls: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	same := s.config != nil
	for i := range files {
		same = same && bytes.Equal(files[i], s.seen[i])
	}
	if same {
		return nil
	}
	pair, err := tls.X509KeyPair(files[0], files[1])
	if err != nil {
		return fmt.Errorf("tls: %s and %s: %w", s.cert, s.key, err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"},
		// A resumed session would keep a peer in whose authority is no longer trusted.
		SessionTicketsDisabled: true,
	}
	if s.roots != "" {
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(files[2]) {
			return fmt.Errorf("tls: %s holds no certificate", s.roots)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if pair.Leaf == nil {
		return errors.New("tls: the certificate has no leaf")
	}
	if s.config != nil {
		s.log.Info("TLS files were renewed", "expires", pair.Leaf.NotAfter)
	}
	s.seen, s.config, s.until = files, config, pair.Leaf.NotAfter
	return nil
}

// current is the configuration of the files as they stand now, and when its certificate expires.
func (s *certificates) current() (*tls.Config, time.Time) {
	why := ""
	if err := s.refresh(); err != nil {
		why = err.Error()
		s.failed()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if why != "" && why != s.said {
		s.log.Warn("TLS files cannot be used; those read before stay in use. Replace them as a whole.", "error", why)
	}
	s.said = why
	return s.config, s.until
}

// Expires is when the certificate in use ends.
func (s *certificates) Expires() time.Time {
	_, until := s.current()
	return until
}

// Peers is the configuration of the listener for peers.
func (s *certificates) Peers() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c, _ := s.current()
			return c, nil
		},
	}
}

// Admin is the configuration of the admin listener: probes have no client certificates.
func (s *certificates) Admin() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c, _ := s.current()
			c = c.Clone()
			c.ClientAuth, c.ClientCAs, c.NextProtos = tls.NoClientCert, nil, nil
			return c, nil
		},
	}
}
