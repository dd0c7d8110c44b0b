package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/imports"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
	"github.com/zhenglian/zhenglian/node/internal/intake"
	"github.com/zhenglian/zhenglian/node/internal/invite"
	"github.com/zhenglian/zhenglian/node/internal/keystore"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/records"
	"github.com/zhenglian/zhenglian/node/internal/sdnotify"
	"github.com/zhenglian/zhenglian/node/internal/search"
	"github.com/zhenglian/zhenglian/node/internal/submit"
	"github.com/zhenglian/zhenglian/node/internal/telemetry"
	"github.com/zhenglian/zhenglian/node/internal/vault"
	"github.com/zhenglian/zhenglian/node/internal/webhook"
)

// Node is a running node. Its parts are opened in the order of their dependence and closed in reverse.
type Node struct {
	cfg *Config
	log *slog.Logger

	embedded *hosted // nil where the ledger is elsewhere
	client   *ledger.Client
	contract *contract.Contract
	vault    *vault.Vault
	outbox   *outbox.Outbox
	records  *records.Store
	archive  *archive.Archive
	follower *follow.Follower
	submit   *submit.Submitter
	intake   *intake.Intake
	inbox    *inbox.Inbox
	verifier *verifier
	people   *auth.Directory
	drawing  sync.Mutex // held while a half of a key is drawn, or a draft that grants a key is taken back
	index    *search.Index
	imports  *imports.Imports
	signIn   *auth.SignIn
	api      *httpapi.API
	metrics  *prometheus.Registry
	access   *access
	expiry   prometheus.Gauge // of the ledger identity
	cert     *pair            // of the API; nil without TLS

	logs     *logs       // what the log said last, and how much it says
	operator string      // the admin token
	kept     []kept      // stores that backups copy in their own way
	restored atomic.Bool // from a backup, and not yet as far as the ledger: nothing is accepted

	push     pushing // back offices' tables and folders
	webhooks *webhook.Sender

	telemetry *telemetry.Telemetry // nil: nothing is traced

	imported atomic.Bool // the import of the ledger before is known to be closed

	closers []func() error // in the order of opening
	genesis []byte
	started time.Time
}

// Run opens a node, serves until ctx ends or the node cannot go on, and closes it.
func Run(ctx context.Context, cfg *Config, log *slog.Logger) error {
	// A node allocates much and keeps little: collecting at a fourfold heap costs less than at twice, and the
	// limit keeps a large heap from growing so. What an operator has set stays.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(512 << 20)
	}
	n := newNode(cfg, log)
	err := n.open()
	if err == nil {
		err = n.serve(ctx)
	}
	return errors.Join(err, n.close())
}

func newNode(cfg *Config, log *slog.Logger) *Node {
	logs := newLogs(log.Handler())
	return &Node{cfg: cfg, log: logs.logger, logs: logs, started: time.Now(), metrics: prometheus.NewRegistry()}
}

func (n *Node) path(name string) string { return n.cfg.path(name) }

func (n *Node) opened(close func() error) { n.closers = append(n.closers, close) }

func (n *Node) close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	return errors.Join(errs...)
}

func (n *Node) open() error {
	n.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, step := range []func() error{n.openStores, n.openOperator, n.openTelemetry, n.openLedger, n.openWrite, n.openAccess, n.openAPI} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := n.openWebhooks(); err != nil {
		return err
	}
	return n.openPush()
}

// openStores opens what is on disk. The vault, the outbox and the keys cannot be rebuilt, so they must
// exist: a node whose folder lost them does not quietly start without.
func (n *Node) openStores() error {
	err := n.cfg.fits()
	if err != nil {
		return err
	}
	if n.genesis, err = readGenesis(n.path(n.cfg.Genesis), n.cfg.GenesisDigest); err != nil {
		return err
	}
	for _, name := range irreplaceable() {
		if _, err := os.Stat(n.path(name)); err != nil {
			return fmt.Errorf("%s is missing and cannot be made anew; restore it from a backup: %w", name, err)
		}
	}
	if n.vault, err = vault.Open(n.path("vault")); err != nil {
		return err
	}
	n.opened(func() error { return errors.Join(n.vault.Usable(), n.vault.Close()) })
	n.verifier = &verifier{}
	if n.records, n.archive, err = openRecords(n.cfg, n.verifier.changed); err != nil {
		return err
	}
	n.opened(n.records.Close)
	n.opened(n.archive.Close)
	n.verifier.open(n)
	return nil
}

// openClient connects to the ledger, or opens it in this process.
func (n *Node) openClient() error {
	identity, err := n.identity()
	if err != nil {
		return err
	}
	conns, err := n.connect()
	if err != nil {
		return err
	}
	n.expiry = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "zhenglian_identity_expiry_timestamp_seconds", Help: "When the certificate of the node's ledger identity expires.",
	})
	n.expiry.Set(float64(identity.Certificate().NotAfter.Unix()))
	n.metrics.MustRegister(n.expiry)
	n.client, err = ledger.New(ledger.Config{
		Gateways: conns, Identity: identity, Channel: n.cfg.Channel, Chaincode: n.cfg.Chaincode, Logger: n.log.With("part", "gateways"),
	})
	if err != nil {
		return err
	}
	n.opened(n.client.Close)
	n.metrics.MustRegister(n.client.Collectors()...)
	return nil
}

// openLedger begins to follow the ledger.
func (n *Node) openLedger() (err error) {
	if err := n.openClient(); err != nil {
		return err
	}
	if n.contract, err = newContract(n.cfg.GenesisDigest, n.cfg.ImportFrom); err != nil {
		return err
	}
	if n.embedded != nil {
		n.contract.Decoded = decoded
	}
	pin, err := blockPin(n.cfg.GenesisBlock)
	if err != nil {
		return err
	}
	n.follower, err = follow.New(follow.Config{
		Source: n.client, Archive: n.archive, Records: n.records.Writer(), Contract: n.contract, Chaincode: n.cfg.Chaincode,
		Genesis: pin, Finding: n.path(findingFile), Notify: n.committed, Logger: n.log.With("part", "follow"),
	})
	if err != nil {
		return err
	}
	n.metrics.MustRegister(n.follower.Collectors()...)
	return nil
}

func (n *Node) connect() ([]ledger.Gateway, error) {
	if n.cfg.Ledger.Embedded != "" {
		c, err := LoadLedger(n.path(n.cfg.Ledger.Embedded))
		if err != nil {
			return nil, err
		}
		if n.embedded, err = newHosted(c, n.log.With("part", "ledger")); err != nil {
			return nil, err
		}
		n.opened(n.embedded.close)
		n.metrics.MustRegister(n.embedded)
		return []ledger.Gateway{{Name: "embedded", Conn: n.embedded}}, nil
	}
	var conns []ledger.Gateway
	for _, g := range n.cfg.Ledger.Gateways {
		config := func() (*tls.Config, error) { return gatewayTLS(n.path(g.TLSRoots), g.ServerName) }
		if _, err := config(); err != nil {
			return nil, err
		}
		conn, err := ledger.Dial(g.Address, config)
		if err != nil {
			return nil, err
		}
		n.opened(conn.Close)
		conns = append(conns, ledger.Gateway{Name: g.Address, Conn: conn})
	}
	return conns, nil
}

func gatewayTLS(roots, name string) (*tls.Config, error) {
	pem, err := os.ReadFile(roots)
	if err != nil {
		return nil, err
	}
	pool, err := certPool(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", roots, err)
	}
	return &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS12}, nil
}

func certPool(pem []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in it")
	}
	return roots, nil
}

func (n *Node) openWrite() error {
	var err error
	if n.outbox, err = outbox.Open(n.path("outbox"), outbox.Config{MaxOperations: n.cfg.OutboxLimit, Logger: n.log.With("part", "outbox")}); err != nil {
		return err
	}
	n.opened(n.outbox.Close)
	n.metrics.MustRegister(n.outbox.Collectors()...)
	keys, err := keystore.Open(n.path("keys"))
	if err != nil {
		return err
	}
	n.intake = &intake.Intake{Node: n.cfg.Node, Ledger: n.records, Keys: keys, Vault: n.vault, History: n.records.History, Clock: time.Now, Signed: n.verifier.vouch}
	if err := n.openRestored(); err != nil {
		return err
	}
	if err := n.openSubmit(); err != nil {
		return err
	}
	return n.openInbox()
}

func (n *Node) openAPI() error {
	if err := n.openCertificate(); err != nil {
		return err
	}
	if err := n.openPeople(); err != nil {
		return err
	}
	n.metrics.MustRegister(n.signIn.Collectors()...)
	if err := n.openImports(); err != nil {
		return err
	}
	if err := n.openSearch(); err != nil {
		return err
	}
	tracer, way := n.traced(writing{n})
	gate, err := newGate(n.signIn, n.cfg)
	if err != nil {
		return err
	}
	n.api, err = httpapi.New(httpapi.Config{
		Gate: gate, Login: n.login(), Intake: way, Tracer: tracer, Records: reading{n, n.records}, Log: log{n.records},
		Verifier: n.verifier, Health: health{n}, Access: n.access, AccessReader: n.access, Inbox: desk{n}, Batches: desk{n}, Version: Version(), Logger: n.log.With("part", "api"), Registerer: n.metrics,
		Imports: uploads{n}, Agencies: registry{n}, People: roster{n},
		Search: searching{n, &agencyTree{}}, Temporary: n.path(exportsDir), Joining: joining{n, &invite.Store{Dir: n.path(invitationsDir)}},
	})
	return err
}

func (n *Node) openCertificate() (err error) {
	if n.cfg.TLSCert != "" {
		if n.cert, err = newPair(n.path(n.cfg.TLSCert), n.path(n.cfg.TLSKey), n.log); err != nil {
			return fmt.Errorf("tls_cert: %w", err)
		}
	}
	n.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "zhenglian_tls_expiry_timestamp_seconds", Help: "When the API's TLS certificate in use expires; +Inf without TLS.",
	}, func() float64 {
		if n.cert == nil {
			return math.Inf(1)
		}
		return float64(n.cert.until().Unix())
	}))
	return nil
}

// Version is the program's version as it was built.
func Version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "devel"
}

// serve runs the node's loops and listeners until ctx ends, then stops them: listeners first, so that no
// caller is cut off in the middle, the follower last, so that what is under way is still seen committed.
func (n *Node) serve(ctx context.Context) error {
	api, err := net.Listen("tcp", n.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	admin, err := net.Listen("tcp", n.cfg.Admin)
	if err != nil {
		return errors.Join(fmt.Errorf("admin: %w", err), api.Close())
	}
	server := n.api.NewServer()
	adminServer := &http.Server{Handler: n.api.Admin(n.metrics, n.operate()), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 2 * time.Minute}
	if n.cert != nil {
		// A client's certificate is asked for and not demanded. Whose it is is decided by its key (auth.SignInCertificate).
		server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: n.cert.get, ClientAuth: tls.RequestClientCert}
	}
	failed := make(chan error, 4)
	go func() {
		if server.TLSConfig != nil {
			failed <- server.ServeTLS(api, "", "")
			return
		}
		failed <- server.Serve(api)
	}()
	go func() { failed <- adminServer.Serve(admin) }()

	loops, stop := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		if err := n.follower.Run(loops); err != nil && loops.Err() == nil {
			n.log.Error("the follower has stopped; reads go on, writes wait", "error", err)
		}
	}()
	n.submit.Start()
	go n.refreshPeople(loops)
	go n.found(loops)
	go n.renew(loops)
	anchored := make(chan struct{})
	go func() {
		defer close(anchored)
		if n.access.anchor != nil {
			n.access.anchor.run(loops, n.log.Warn)
		}
	}()
	go n.supervised(loops)
	go n.sendApproved(loops)
	go n.catchUp(loops)
	if n.cert != nil {
		go n.cert.keep(loops)
	}
	searched := make(chan struct{})
	go func() {
		defer close(searched)
		n.index.Run(loops)
	}()
	pushed, ended := context.WithCancel(loops)
	pushesEnded := make(chan struct{})
	go func() { defer close(pushesEnded); n.push.run(pushed) }()
	told := n.runWebhooks(pushed)
	n.imports.Start()
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		if n.embedded != nil {
			n.embedded.keep(loops)
		}
	}()
	n.log.Info("node serves", "node", n.cfg.Node, "api", api.Addr().String(), "admin", admin.Addr().String(), "version", Version())

	select {
	case err = <-failed:
	case <-ctx.Done():
		err = nil
	}
	n.log.Info("node stops")
	n.tell(sdnotify.Stopping)
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	n.api.Close()
	err = errors.Join(err, server.Shutdown(grace), adminServer.Shutdown(grace))
	ended()
	<-pushesEnded
	<-told
	err = errors.Join(err, n.imports.Close())
	err = errors.Join(err, n.submit.Close())
	stop()
	<-followed
	<-anchored
	<-kept
	<-searched
	return err
}

// openRecords opens the stores that can be rebuilt.
func openRecords(cfg *Config, changed func([]model.RecordID)) (*records.Store, *archive.Archive, error) {
	s, err := records.Open(cfg.path("records"), records.Options{Changed: changed})
	if err != nil {
		return nil, nil, err
	}
	a, err := openArchive(cfg)
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	return s, a, nil
}

func openArchive(cfg *Config) (*archive.Archive, error) {
	return archive.Open(cfg.path("archive"), archive.Options{})
}
