package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
)

// A ledger that could not write stops accepting, because only opening its folder anew tells what reached the
// disk. It goes on serving blocks until the disk has room for that, and is then opened again by whoever runs it.

const (
	reviveEvery = time.Second
	reviveRoom  = 8 << 20 // bytes that must be free beyond what opening writes
)

// revivable reports whether a ledger has stopped accepting and its disk now has room to open it anew: goleveldb
// writes its journals once more, as tables.
func revivable(l *embedded.Ledger, dir string) bool {
	if err := l.Err(); err == nil || errors.Is(err, embedded.ErrFrozen) {
		return false
	}
	need := uint64(reviveRoom)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".log") {
			return err
		}
		info, err := d.Info()
		if err == nil {
			need += uint64(info.Size())
		}
		return err
	})
	var s syscall.Statfs_t
	if err = errors.Join(err, syscall.Statfs(dir, &s)); err != nil {
		return false
	}
	return s.Bavail*uint64(s.Bsize) >= need
}

// awaitRevivable returns true once the ledger is revivable, false when ctx ends first.
func awaitRevivable(ctx context.Context, l *embedded.Ledger, dir string) bool {
	tick := time.NewTicker(reviveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			if revivable(l, dir) {
				return true
			}
		}
	}
}

// hosted is the ledger that runs in a node's own process, with a connection that outlives its being opened
// anew. Safe for concurrent use; keep is called once.
type hosted struct {
	cfg *LedgerServer
	log *slog.Logger

	mu     sync.RWMutex
	ledger *embedded.Ledger // guarded by mu; the failed one, closed, while another cannot be opened
	conn   *grpc.ClientConn // guarded by mu; nil while the ledger is closed
}

func newHosted(cfg *LedgerServer, log *slog.Logger) (*hosted, error) {
	h := &hosted{cfg: cfg, log: log}
	return h, h.open()
}

func (h *hosted) open() error {
	l, err := OpenLedger(h.cfg, h.log)
	if err != nil {
		return err
	}
	conn, err := l.InProcess()
	if err != nil {
		return errors.Join(err, l.Close(context.Background()))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ledger, h.conn = l, conn
	return nil
}

// keep opens the ledger anew whenever that is needed and possible, until ctx ends. Where that fails, the old
// one stays, closed and failed, and the next round tries again.
func (h *hosted) keep(ctx context.Context) {
	for awaitRevivable(ctx, h.current(), h.cfg.path(h.cfg.Dir)) {
		h.mu.Lock()
		h.conn = nil
		h.mu.Unlock()
		if err := errors.Join(h.close(), h.open()); err != nil {
			h.log.Error("ledger could not be opened anew", "cause", err)
			continue
		}
		h.log.Info("ledger accepts again")
	}
}

// close closes the ledger. That one which could not write cannot close in order either is no news.
func (h *hosted) close() error {
	l := h.current()
	if err := l.Close(context.Background()); l.Err() == nil {
		return err
	}
	return nil
}

func (h *hosted) current() *embedded.Ledger {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.ledger
}

// Err is nil while the ledger accepts.
func (h *hosted) Err() error { return h.current().Err() }

// Invoke and NewStream make it the connection that the node's client uses.
func (h *hosted) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, err := h.connection()
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream opens a stream to the ledger as it is now; it ends when the ledger is opened anew.
func (h *hosted) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := h.connection()
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

func (h *hosted) connection() (*grpc.ClientConn, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.conn == nil {
		return nil, status.Error(codes.Unavailable, "the ledger is being opened anew")
	}
	return h.conn, nil
}

// Describe and Collect pass on the metrics of the ledger as it is now; they count from its last opening.
func (h *hosted) Describe(c chan<- *prometheus.Desc) {
	for _, m := range h.current().Collectors() {
		m.Describe(c)
	}
}

// Collect passes on the values.
func (h *hosted) Collect(c chan<- prometheus.Metric) {
	for _, m := range h.current().Collectors() {
		m.Collect(c)
	}
}
