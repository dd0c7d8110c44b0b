package ledger_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// A peer may be reached under another name than its certificate has: the configured one counts, and no other.
func TestDialServerName(t *testing.T) {
	ca, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.IssueTLS("peer", []string{"peer.beijing.test"}, msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	served := make(chan error, 1)
	go func() { served <- server.Serve(lis) }()
	defer func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Root())
	for name, reached := range map[string]bool{"peer.beijing.test": true, "": false, "peer.tianjin.test": false} {
		conn, err := ledger.Dial(lis.Addr().String(), func() (*tls.Config, error) {
			return &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// The server has no service: that it says so shows that it was reached.
		err = conn.Invoke(deadline(t), "/none/none", &emptypb.Empty{}, &emptypb.Empty{})
		if got := status.Code(err) == codes.Unimplemented; got != reached {
			t.Errorf("as %q: %v", name, err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}
