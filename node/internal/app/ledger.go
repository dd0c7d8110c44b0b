package app

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// decoded is shared by the endorser and the follower of one process; a follower by itself meets no operation twice.
var decoded = contract.NewDecoded(4096)

// newContract is the contract as every endorser and follower of this program runs it. It remembers nothing.
func newContract(genesis, importFrom string) (*contract.Contract, error) {
	var d, from model.Digest
	if err := d.UnmarshalText([]byte(genesis)); err != nil {
		return nil, fmt.Errorf("genesis_digest: %w", err)
	}
	if importFrom != "" {
		if err := from.UnmarshalText([]byte(importFrom)); err != nil {
			return nil, fmt.Errorf("import_from: %w", err)
		}
	}
	return &contract.Contract{Genesis: d, ImportFrom: from, Verify: func(alg string, public, message, signature []byte) error {
		return envelope.Verify(envelope.Alg(alg), public, message, signature)
	}}, nil
}

// OpenLedger opens the embedded ledger that c describes.
func OpenLedger(c *LedgerServer, log *slog.Logger) (*embedded.Ledger, error) {
	identity, err := msp.LoadIdentity(c.Msp, filepath.Dir(c.path(c.Identity)), filepath.Base(c.Identity))
	if err != nil {
		return nil, err
	}
	k, err := newContract(c.GenesisDigest, c.ImportFrom)
	if err != nil {
		return nil, err
	}
	k.Decoded = decoded
	return embedded.Open(c.path(c.Dir), embedded.Config{
		Channel: c.Channel, Chaincode: c.Chaincode, Identity: identity, Contract: k, Frozen: c.Frozen, Logger: log,
	})
}

// ServeLedger runs an embedded ledger on TLS TCP until ctx ends. ready is told the address. A ledger that
// could not write is opened anew once its disk has room.
func ServeLedger(ctx context.Context, c *LedgerServer, log *slog.Logger, ready func(net.Addr)) error {
	cert, err := newPair(c.path(c.TLSCert), c.path(c.TLSKey), log)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go cert.keep(serving)
	config := &tls.Config{GetCertificate: cert.get, MinVersion: tls.VersionTLS13}
	for {
		again, err := serveLedgerOnce(ctx, c, log, config, ready)
		if err != nil || !again {
			return err
		}
		log.Info("ledger is opened anew")
		ready = nil
	}
}

// serveLedgerOnce reports whether the ledger has stopped accepting and can be opened again.
func serveLedgerOnce(ctx context.Context, c *LedgerServer, log *slog.Logger, config *tls.Config, ready func(net.Addr)) (again bool, err error) {
	l, err := OpenLedger(c, log)
	if err != nil {
		return false, err
	}
	lis, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return false, errors.Join(err, l.Close(context.Background()))
	}
	served := make(chan error, 1)
	go func() { served <- l.Serve(lis, config) }()
	if c.Admin != "" {
		if close, err := serveMetrics(c.Admin, l); err != nil {
			log.Error("the ledger serves without its metrics", "error", err) // four organisations need it more
		} else {
			defer close()
		}
	}
	if ready != nil {
		ready(lis.Addr())
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	revive := make(chan bool, 1)
	go func() { revive <- awaitRevivable(watch, l, c.path(c.Dir)) }()
	select {
	case err = <-served:
	case again = <-revive: // false when ctx has ended
	}
	failed := l.Err()
	closed := l.Close(context.Background())
	if failed != nil {
		closed = nil // of a database that could not write, and has said so
	}
	return again, errors.Join(err, closed)
}

// serveMetrics answers /metrics of a ledger in a process of its own.
func serveMetrics(address string, l *embedded.Ledger) (stop func(), err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(l.Collectors()...)
	lis, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute}
	go func() { _ = s.Serve(lis) }() // ends with Close
	return func() { _ = s.Close() }, nil
}

// genesisBlockHash is the hash of a ledger's block 0, hexadecimal.
func genesisBlockHash(l *embedded.Ledger) (string, error) {
	b, err := l.Genesis()
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(headerHash(b)), nil
}

func readGenesis(path, digest string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, d, err := model.DecodeGenesis(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if d.String() != digest {
		return nil, fmt.Errorf("%s has digest %s, but genesis_digest is %s: every member must use the same document", path, d, digest)
	}
	return raw, nil
}
