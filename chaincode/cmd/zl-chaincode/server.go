package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	grpcpeer "google.golang.org/grpc/peer"
)

// What Fabric's own chaincode server and its peers agree on.
const (
	maxMessage       = 100 << 20 // bytes, as peers
	pingAfter        = time.Minute
	pingTimeout      = 20 * time.Second
	pingsNotUnder    = time.Minute
	handshakeTimeout = 5 * time.Second
)

// A Server answers peers with a contract until it is stopped.
type Server struct {
	cfg     *Config
	log     *slog.Logger
	metrics *metrics
	cc      *watched
	shim    *shim.ChaincodeServer
	grpc    *grpc.Server
	admin   *http.Server
	peers   net.Listener
	probes  net.Listener
	files   *certificates // nil without TLS
	running atomic.Int64
	idle    chan struct{} // has room for one: running may have fallen to 0
	ending  chan struct{} // closed when conversations are to end
}

// Open binds both listeners, so that what is wrong with the configuration shows before anything is served.
func Open(cfg *Config, cc shim.Chaincode, log *slog.Logger) (_ *Server, err error) {
	m := newMetrics()
	s := &Server{
		cfg: cfg, log: log, metrics: m, cc: &watched{Chaincode: cc, metrics: m, log: log},
		idle: make(chan struct{}, 1), ending: make(chan struct{}),
	}
	s.shim = &shim.ChaincodeServer{CCID: cfg.ID, CC: s.cc}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsNotUnder, PermitWithoutStream: true}),
	}
	var adminTLS *tls.Config
	if !cfg.Insecure {
		files, err := openCertificates(cfg, log, m.tlsFailures.Inc)
		if err != nil {
			return nil, err
		}
		s.files = files
		m.expires(files)
		options = append(options, grpc.Creds(credentials.NewTLS(files.Peers())))
		if !loopback(cfg.Admin) {
			adminTLS = files.Admin()
		}
	}
	if s.peers, err = net.Listen("tcp", cfg.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if s.probes, err = net.Listen("tcp", cfg.Admin); err != nil {
		_ = s.peers.Close()
		return nil, fmt.Errorf("admin: %w", err)
	}
	if adminTLS != nil {
		s.probes = tls.NewListener(s.probes, adminTLS)
	}
	s.grpc = grpc.NewServer(options...)
	peer.RegisterChaincodeServer(s.grpc, s)
	s.admin = &http.Server{
		Handler: s.probe(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Address is where peers find the server.
func (s *Server) Address() net.Addr { return s.peers.Addr() }

// AdminAddress is where probes find it.
func (s *Server) AdminAddress() net.Addr { return s.probes.Addr() }

func (s *Server) probe() http.Handler {
	mux := http.NewServeMux()
	word := func(w http.ResponseWriter, status int, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text + "\n"))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { word(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.cc.stopping.Load() {
			word(w, http.StatusServiceUnavailable, "stopping")
			return
		}
		if s.files != nil && time.Now().After(s.files.Expires()) {
			word(w, http.StatusServiceUnavailable, "the TLS certificate has expired: put a new one in its place, no restart is needed")
			return
		}
		word(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}

// Connect is one peer's stream.
func (s *Server) Connect(stream peer.Chaincode_ConnectServer) error {
	from := "?"
	if p, ok := grpcpeer.FromContext(stream.Context()); ok {
		from = p.Addr.String()
		if t, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(t.State.PeerCertificates) > 0 {
			from += " " + t.State.PeerCertificates[0].Subject.CommonName
		}
	}
	s.metrics.peers.Inc()
	defer s.metrics.peers.Dec()
	s.log.Info("peer connected", "peer", from)
	err := s.shim.Connect(converse(stream, s.ending, s.count))
	select {
	case <-s.ending:
		s.log.Info("peer was let go", "peer", from)
		return nil
	default:
	}
	s.log.Info("peer left", "peer", from, "cause", fmt.Sprint(err))
	return err
}

func (s *Server) count(n int) {
	s.metrics.running.Add(float64(n))
	if s.running.Add(int64(n)) == 0 {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// Serve answers until ctx ends and then stops: new calls are refused and readiness says so at once, running
// ones finish within the configured time, each peer's stream ends after its last answer. It returns nil
// after an orderly stop, and an error where calls had to be abandoned or a listener failed.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 2)
	var wait sync.WaitGroup
	wait.Go(func() { failed <- s.grpc.Serve(s.peers) })
	wait.Go(func() {
		if err := s.admin.Serve(s.probes); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("admin: %w", err)
		}
	})
	s.log.Info("serving", "peers", s.Address().String(), "admin", s.AdminAddress().String(), "id", s.cfg.ID, "tls", !s.cfg.Insecure)
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = s.drain()
	}
	s.grpc.Stop()
	_ = s.admin.Close()
	wait.Wait()
	return err
}

func (s *Server) drain() error {
	s.cc.stopping.Store(true)
	s.log.Info("stopping", "running", s.running.Load())
	end := time.NewTimer(time.Duration(s.cfg.StopWithin))
	defer end.Stop()
	// No new streams from here on; those that are open end when ending closes.
	gone := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(gone)
	}()
	for s.running.Load() > 0 {
		select {
		case <-s.idle:
		case <-end.C:
			return fmt.Errorf("%d calls were still running after %s and were abandoned", s.running.Load(), time.Duration(s.cfg.StopWithin))
		}
	}
	close(s.ending)
	select {
	case <-gone:
	case <-time.After(pingTimeout): // a peer that does not take its last answer
	}
	s.log.Info("stopped")
	return nil
}
