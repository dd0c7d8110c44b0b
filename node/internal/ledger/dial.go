package ledger

import (
	"crypto/tls"
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
// ever, when the connection breaks.
func Dial(address string, config *tls.Config) (*grpc.ClientConn, error) {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = 100*time.Millisecond, 5*time.Second
	return grpc.NewClient(address,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(dialWindow), grpc.WithInitialConnWindowSize(2*dialWindow),
		// Finds a gateway that went away without a word; Fabric's peers tolerate one ping a minute.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second, PermitWithoutStream: true}),
	)
}
