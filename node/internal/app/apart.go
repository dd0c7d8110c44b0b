package app

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/syndtr/goleveldb/leveldb/storage"
	"go.yaml.in/yaml/v3"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// LedgerApart has the ledger that runs in a stopped node's process run in one of its own from now on, where other nodes
// reach it over TLS at listen (host:port of this machine, as they dial it). It returns the folder to serve.
//
// Crash argument: the node's configuration is replaced last, and at once. Before that it serves the ledger itself, as
// ever, and the call is made again.
func LedgerApart(c *Config, listen string) (dir string, err error) {
	if c.Ledger.Embedded == "" {
		return "", errors.New("this node's ledger runs elsewhere already (ledger.gateways in " + ConfigFile + ")")
	}
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err != nil || host == "" || port == "" || port == "0" || ip != nil && ip.IsUnspecified() {
		return "", fmt.Errorf("--listen %q: give the name or address under which the other nodes reach this machine, and a port, for example 10.1.2.3:7051", listen)
	}
	lock, err := storage.OpenFile(c.path("outbox"), false)
	if err != nil {
		return "", fmt.Errorf("stop the node first: %w", err)
	}
	defer lock.Close()
	dir = c.path(c.Ledger.Embedded)
	l, err := LoadLedger(dir)
	if err != nil {
		return "", err
	}
	ca, err := msp.LoadCA(LedgerMSP, dir)
	if err != nil {
		return "", err
	}
	cert, key, err := ca.IssueTLS("ledger", []string{host, "127.0.0.1", "localhost"}, msp.Validity{})
	if err != nil {
		return "", err
	}
	l.Listen, l.TLSCert, l.TLSKey = listen, "tls.crt", "tls.key"
	ledger, err := yaml.Marshal(l)
	if err != nil {
		return "", err
	}
	const roots = "gateway-1-ca.pem"
	c.Ledger = LedgerConfig{Gateways: []Gateway{{Address: listen, TLSRoots: roots}}}
	node, err := yaml.Marshal(c)
	if err != nil {
		return "", err
	}
	for _, f := range []newFile{
		{filepath.Join(dir, l.TLSKey), key, 0o600}, {filepath.Join(dir, l.TLSCert), cert, 0o644}, {filepath.Join(dir, LedgerFile), ledger, 0o600},
		{c.path(roots), ca.Root(), 0o644}, {c.path(ConfigFile), node, 0o600},
	} {
		if err := replaceFile(f); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// replaceFile puts a file in the place of another, at once and on the disk.
func replaceFile(f newFile) error {
	if old, err := os.ReadFile(f.name); err == nil && bytes.Equal(old, f.raw) {
		return nil
	}
	part := f.name + ".new"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := writeNew(part, f.raw, f.mode); err != nil {
		return err
	}
	if err := os.Rename(part, f.name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.name))
}
