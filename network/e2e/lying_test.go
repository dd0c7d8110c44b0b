package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// bytesCodec passes messages on unread.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// lie changes a block on its way to the node, or withholds it.
type lie func(*common.Block) (withhold bool)

// between is a gateway that stands between nodes and their ledger and may lie: about blocks, or about the
// transactions that it is given to have endorsed.
type between struct {
	address string
	lie     atomic.Pointer[lie]
	forge   atomic.Pointer[func(payload []byte) []byte]
	carried atomic.Int64 // calls
}

func (c *consortium) between() *between {
	c.t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(c.ledger.service, "tls.crt"), filepath.Join(c.ledger.service, "tls.key"))
	if err != nil {
		c.t.Fatal(err)
	}
	return newBetween(c.t, cert, c.ledger.address, filepath.Join(c.nodes["beijing"].dir, "gateway-1-ca.pem"), "")
}

// newBetween stands between nodes and a gateway, under a certificate that the nodes believe.
func newBetween(t testing.TB, cert tls.Certificate, address, ca, name string) *between {
	t.Helper()
	b := &between{}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(mustRead(t, ca)) {
		t.Fatal("no TLS authority")
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{}), grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&cert)), grpc.ForceServerCodecV2(bytesCodec{}), grpc.MaxRecvMsgSize(64<<20),
		grpc.UnknownServiceHandler(func(_ any, in grpc.ServerStream) error { return b.pass(conn, in) }))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.address = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	})
	return b
}

// pass carries one call.
func (b *between) pass(conn *grpc.ClientConn, in grpc.ServerStream) error {
	b.carried.Add(1)
	method, _ := grpc.MethodFromServerStream(in)
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	out, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	go func() {
		for {
			var m []byte
			if err := in.RecvMsg(&m); err != nil {
				_ = out.CloseSend() // the node has said all
				return
			}
			if out.SendMsg(&m) != nil {
				return // the answer says why
			}
		}
	}()
	for {
		var m []byte
		if err := out.RecvMsg(&m); err != nil {
			in.SetTrailer(out.Trailer())
			if s, ok := status.FromError(err); ok {
				return s.Err()
			}
			return nil // the end of a stream that went well
		}
		if method == "/protos.Deliver/Deliver" {
			var withhold bool
			if m, withhold, err = b.tamper(m); err != nil {
				return status.Error(codes.Internal, err.Error())
			}
			if withhold {
				continue
			}
		}
		if method == "/gateway.Gateway/Endorse" {
			if m, err = b.endorsed(m); err != nil {
				return status.Error(codes.Internal, err.Error())
			}
		}
		if err := in.SendMsg(&m); err != nil {
			return err
		}
	}
}

func (b *between) tamper(m []byte) ([]byte, bool, error) {
	change := b.lie.Load()
	if change == nil {
		return m, false, nil
	}
	var r peer.DeliverResponse
	if err := proto.Unmarshal(m, &r); err != nil || r.GetBlock() == nil {
		return m, false, err
	}
	withhold := (*change)(r.GetBlock())
	m, err := proto.Marshal(&r)
	return m, withhold, err
}

// endorsed changes the payload of an endorsed transaction.
func (b *between) endorsed(m []byte) ([]byte, error) {
	change := b.forge.Load()
	if change == nil {
		return m, nil
	}
	var r gateway.EndorseResponse
	if err := proto.Unmarshal(m, &r); err != nil {
		return m, err
	}
	e := r.GetPreparedTransaction()
	e.Payload = (*change)(e.GetPayload())
	return proto.Marshal(&r)
}

// TestLyingLedger puts a liar between one of two nodes and the ledger. That node stops before the bad block
// and says so, also after a restart; its reads go on; and when an operator has seen to it, it has all that
// the other has.
func TestLyingLedger(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, finding string
		lie           func(from uint64) lie
	}{
		{"altered block", "block.", func(from uint64) lie {
			return func(b *common.Block) bool {
				if b.GetHeader().GetNumber() == from {
					b.Data.Data[0][len(b.Data.Data[0])/2] ^= 1
				}
				return false
			}
		}},
		{"block withheld", "block.", func(from uint64) lie {
			return func(b *common.Block) bool { return b.GetHeader().GetNumber() == from }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConsortium(t)
			c.ledger.start()
			b := c.between()
			honest, misled := c.nodes["beijing"], c.nodes["tianjin"]
			misled.configure(func(m map[string]any) { dial(m, b.address) })
			honest.start()
			misled.start()
			var issued []model.Outcome
			misled.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, misled.agency, "before-1", 1)), &issued)

			height := misled.at().Height
			change := tt.lie(height)
			b.lie.Store(&change)
			for i := range 3 {
				honest.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, honest.agency, "lied-"+string(rune('a'+i)), i)), nil)
			}
			misled.stopsFollowing(tt.finding)
			if at := misled.at(); at.Height != height {
				t.Errorf("a bad block was applied: %+v, before it %d", at, height)
			}
			var v model.Verdict
			misled.mustPost("/v1/verify", model.Query{Record: issued[0].Record}, &v)
			if v.Verdict != model.Valid {
				t.Errorf("reads: %s (%s)", v.Verdict, v.Reason)
			}
			// A write is refused, or accepted and kept; it is never called committed.
			a, err := misled.post("/v1/operations?wait=accepted", encodeDrafts(t, issueDraft(t, misled.agency, "while-1", 5)))
			accepted := err == nil && a.status == http.StatusAccepted
			if !accepted && (err != nil || a.status != http.StatusServiceUnavailable || a.problem().Written != "nothing") {
				t.Errorf("a write: %d %.300s %v", a.status, a.body, err)
			}
			misled.p.stop()
			misled.launch()
			misled.stopsFollowing(tt.finding)
			misled.p.stop()

			path := filepath.Join(misled.dir, "finding.json")
			var f struct{ Code, En, Zh string }
			if err := json.Unmarshal(mustRead(t, path), &f); err != nil || !strings.HasPrefix(f.Code, tt.finding) || f.En == "" || f.Zh == "" {
				t.Errorf("the stored finding: %+v %v", f, err)
			}
			b.lie.Store(nil)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			misled.start()
			wrote := func() bool { return tally(t, 0, misled.log())["while-1"] == 1 }
			if accepted {
				eventually(t, 20*time.Second, "what was accepted is committed", wrote)
			}
			c.sameLog(honest.name, misled.name)
			if r, err := misled.readiness(); err != nil || r.Status != sdk.OK {
				t.Errorf("readiness %+v %v", r, err)
			}
		})
	}
}
