package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"
)

const (
	// envelopeBytes is what protobuf and the block around a transaction may add to its largest size.
	envelopeBytes = 1 << 20
	window        = 4 << 20 // HTTP/2 flow control: a batch of records is a megabyte
	streamsPerTCP = 1024
)

func (l *Ledger) newServer(extra ...grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(append([]grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(l.cfg.Limits.MessageBytes + envelopeBytes),
		grpc.MaxSendMsgSize(2*l.cfg.Limits.MessageBytes + envelopeBytes),
		grpc.MaxConcurrentStreams(streamsPerTCP),
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(2 * window),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}, extra...)...)
	gateway.RegisterGatewayServer(s, service{Ledger: l})
	peer.RegisterDeliverServer(s, delivery{Ledger: l})
	return s
}

// Serve answers on a listener with TLS until the ledger is closed; it then returns nil. Without TLS it serves only
// listeners on a loopback address.
func (l *Ledger) Serve(lis net.Listener, config *tls.Config) error {
	var options []grpc.ServerOption
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	} else if !loopback(lis.Addr()) {
		return errors.New("embedded: a listener beyond loopback needs TLS")
	}
	s := l.newServer(options...)
	if !l.track(s) {
		_ = lis.Close()
		return ErrStopped
	}
	if err := s.Serve(lis); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

func loopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// InProcess connects to the ledger without a network. The connection is closed with the ledger.
func (l *Ledger) InProcess() (*grpc.ClientConn, error) {
	lis := bufconn.Listen(window)
	s := l.newServer()
	if !l.track(s) {
		return nil, ErrStopped
	}
	go func() { _ = s.Serve(lis) }() // ends with the server; the client sees the cause
	conn, err := grpc.NewClient("passthrough:///embedded",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window),
		grpc.WithInitialConnWindowSize(2*window),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(2*l.cfg.Limits.MessageBytes+envelopeBytes),
			grpc.MaxCallSendMsgSize(l.cfg.Limits.MessageBytes+envelopeBytes)))
	if err != nil {
		s.Stop()
		return nil, err
	}
	l.mu.Lock()
	l.conns = append(l.conns, conn)
	l.mu.Unlock()
	return conn, nil
}
