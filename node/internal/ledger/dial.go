package ledger

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	// maxMessage is more than a block with one transaction of the largest size; gRPC's default of 4 MiB is less.
	maxMessage = 100 << 20
	dialWindow = 4 << 20 // HTTP/2 flow control: a batch of records is a megabyte
)

// Dial prepares a TLS connection to a gateway at "host:port". It connects when first used and again, for
// ever, when the connection breaks. config is asked before every connecting, so that the gateway's TLS
// authority can be renewed.
func Dial(address string, config func() (*tls.Config, error)) (*grpc.ClientConn, error) {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 100*time.Millisecond, 5*time.Second
	return grpc.NewClient(address,
		grpc.WithTransportCredentials(&renewing{config: config}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(dialWindow), grpc.WithInitialConnWindowSize(2*dialWindow),
		// Finds a gateway that went away without a word; Fabric's peers tolerate one ping a minute.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second, PermitWithoutStream: true}),
	)
}

// renewing is TLS whose configuration is made anew for each connection. It is immutable.
type renewing struct {
	config func() (*tls.Config, error)
}

// ClientHandshake secures a connection.
func (r *renewing) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := r.config()
	if err != nil {
		return nil, nil, err
	}
	if c.ServerName != "" {
		authority = c.ServerName // or gRPC would check for the address's host
	}
	return credentials.NewTLS(c).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake is not for clients.
func (r *renewing) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("ledger: credentials of a client")
}

// Info says what it is.
func (r *renewing) Info() credentials.ProtocolInfo { return credentials.NewTLS(&tls.Config{}).Info() }

// Clone is itself.
func (r *renewing) Clone() credentials.TransportCredentials { return r }

// OverrideServerName is deprecated in gRPC; the configuration has the name.
func (r *renewing) OverrideServerName(string) error { return nil }
