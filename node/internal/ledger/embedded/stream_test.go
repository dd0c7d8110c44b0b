package embedded

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"testing"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// seekEnvelope is a signed request for blocks.
func (r *rig) seekEnvelope(info *orderer.SeekInfo, channel string) *common.Envelope {
	r.t.Helper()
	payload := marshal(&common.Payload{
		Header: &common.Header{
			ChannelHeader:   marshal(&common.ChannelHeader{Type: int32(common.HeaderType_DELIVER_SEEK_INFO), ChannelId: channel}),
			SignatureHeader: marshal(&common.SignatureHeader{Creator: r.user.Serialized()}),
		},
		Data: marshal(info),
	})
	sig, err := r.user.Sign(payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return &common.Envelope{Payload: payload, Signature: sig}
}

var (
	oldest = &orderer.SeekPosition{Type: &orderer.SeekPosition_Oldest{Oldest: &orderer.SeekOldest{}}}
	newest = &orderer.SeekPosition{Type: &orderer.SeekPosition_Newest{Newest: &orderer.SeekNewest{}}}
	next   = &orderer.SeekPosition{Type: &orderer.SeekPosition_NextCommit{NextCommit: &orderer.SeekNextCommit{}}}
)

func at(n uint64) *orderer.SeekPosition {
	return &orderer.SeekPosition{Type: &orderer.SeekPosition_Specified{Specified: &orderer.SeekSpecified{Number: n}}}
}

func TestDeliverPositions(t *testing.T) {
	r := newRig(t, nil)
	for i := range 4 {
		r.submit("put", fmt.Sprint("k", i), "v")
	}
	for _, tt := range []struct {
		name    string
		info    *orderer.SeekInfo
		channel string
		want    []uint64
		status  common.Status
	}{
		{"all", &orderer.SeekInfo{Start: oldest, Stop: newest}, testChannel, []uint64{0, 1, 2, 3, 4}, common.Status_SUCCESS},
		{"newest", &orderer.SeekInfo{Start: newest, Stop: newest}, testChannel, []uint64{4}, common.Status_SUCCESS},
		{"some", &orderer.SeekInfo{Start: at(1), Stop: at(2)}, testChannel, []uint64{1, 2}, common.Status_SUCCESS},
		{"beyond, not waiting", &orderer.SeekInfo{Start: at(4), Stop: at(9), Behavior: orderer.SeekInfo_FAIL_IF_NOT_READY}, testChannel, []uint64{4}, common.Status_NOT_FOUND},
		{"next, not waiting", &orderer.SeekInfo{Start: next, Stop: at(math.MaxUint64), Behavior: orderer.SeekInfo_FAIL_IF_NOT_READY}, testChannel, nil, common.Status_NOT_FOUND},
		{"far beyond", &orderer.SeekInfo{Start: at(6), Stop: at(9)}, testChannel, nil, common.Status_NOT_FOUND},
		{"backwards", &orderer.SeekInfo{Start: at(3), Stop: at(2)}, testChannel, nil, common.Status_BAD_REQUEST},
		{"no positions", &orderer.SeekInfo{}, testChannel, nil, common.Status_BAD_REQUEST},
		{"other channel", &orderer.SeekInfo{Start: oldest, Stop: newest}, "elsewhere", nil, common.Status_NOT_FOUND},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stream, err := peer.NewDeliverClient(r.conn).Deliver(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(r.seekEnvelope(tt.info, tt.channel)); err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for {
				m, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if b := m.GetBlock(); b != nil {
					got = append(got, b.GetHeader().GetNumber())
					continue
				}
				if m.GetStatus() != tt.status {
					t.Errorf("status %v, want %v", m.GetStatus(), tt.status)
				}
				break
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("blocks %v, want %v", got, tt.want)
			}
		})
	}
	// A second request on the same stream, and one whose signature does not fit.
	stream, err := peer.NewDeliverClient(r.conn).Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stream.Send(r.seekEnvelope(&orderer.SeekInfo{Start: newest, Stop: newest}, testChannel)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
	}
	env := r.seekEnvelope(&orderer.SeekInfo{Start: newest, Stop: newest}, testChannel)
	env.Signature[10] ^= 1
	if err := stream.Send(env); err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Recv(); err != nil || m.GetStatus() != common.Status_FORBIDDEN {
		t.Errorf("%v %v", m, err)
	}
}

// TestDeliverSameBlock compares the three kinds of delivery and what the store holds.
func TestDeliverSameBlock(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.RecentBytes = 1 }) // the head keeps one block: older ones come from the store
	r.submit("event", "changed", "payload")
	r.submit("put", "k", "v")
	plain, err := r.network().BlockEvents(t.Context(), client.WithStartBlock(0))
	if err != nil {
		t.Fatal(err)
	}
	private, err := r.network().BlockAndPrivateDataEvents(t.Context(), client.WithStartBlock(0))
	if err != nil {
		t.Fatal(err)
	}
	filtered, err := r.network().FilteredBlockEvents(t.Context(), client.WithStartBlock(0))
	if err != nil {
		t.Fatal(err)
	}
	var prev *common.BlockHeader
	genesis, err := r.l.Genesis()
	if err != nil {
		t.Fatal(err)
	}
	channel, err := fabblock.ParseConfig(genesis)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		b, p, f := <-plain, <-private, <-filtered
		stored, err := r.l.store.block(n)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(b, stored) || !proto.Equal(p.GetBlock(), stored) {
			t.Errorf("block %d differs", n)
		}
		checked, err := channel.Check(prev, b)
		if err != nil {
			t.Fatal(err)
		}
		if f.GetNumber() != n || f.GetFilteredTransactions()[0].GetTxid() != checked.Txs[0].ID {
			t.Errorf("filtered %v", f)
		}
		if n == 1 {
			e := f.GetFilteredTransactions()[0].GetTransactionActions().GetChaincodeActions()[0].GetChaincodeEvent()
			if e.GetEventName() != "changed" || len(e.GetPayload()) != 0 {
				t.Errorf("filtered event %v", e)
			}
			if tx := checked.Txs[0]; tx.MSP != "BeijingMSP" || tx.CommonName != "bj-scjg" || string(tx.Args[0]) != "event" || tx.Endorsers[0] != "LedgerMSP" {
				t.Errorf("transaction %+v", tx)
			}
		}
		prev = b.GetHeader()
	}
}

func TestChaincodeEvents(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fromNow, err := r.network().ChaincodeEvents(ctx, testChaincode)
	if err != nil {
		t.Fatal(err)
	}
	// The call is open once it counts as a stream.
	for r.l.streams.Load() == 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	for i := range 3 {
		r.submit("event", fmt.Sprint("e", i), fmt.Sprint("p", i))
		r.submit("put", "k", fmt.Sprint(i))
	}
	var ids []string
	for i := range 3 {
		e := <-fromNow
		if e == nil || e.EventName != fmt.Sprint("e", i) || string(e.Payload) != fmt.Sprint("p", i) || e.BlockNumber != uint64(2*i+1) {
			t.Fatalf("event %+v", e)
		}
		ids = append(ids, e.TransactionID)
	}
	fromStart, err := r.network().ChaincodeEvents(ctx, testChaincode, client.WithStartBlock(3))
	if err != nil {
		t.Fatal(err)
	}
	if e := <-fromStart; e.EventName != "e1" {
		t.Errorf("from block 3: %+v", e)
	}
	cp := new(client.InMemoryCheckpointer)
	cp.CheckpointTransaction(3, ids[1])
	after, err := r.network().ChaincodeEvents(ctx, testChaincode, client.WithCheckpoint(cp))
	if err != nil {
		t.Fatal(err)
	}
	if e := <-after; e.EventName != "e2" {
		t.Errorf("after %s: %+v", ids[1], e)
	}
	cancel()
	for _, events := range []<-chan *client.ChaincodeEvent{fromNow, fromStart, after} {
		for range events { // the client's goroutine ends when its channel is empty
			continue
		}
	}
}

// TestSlowReader lets one reader stand still while another follows and the ledger commits.
func TestSlowReader(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.RecentBytes = 64 << 10 })
	slow, err := peer.NewDeliverClient(r.conn).Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Send(r.seekEnvelope(&orderer.SeekInfo{Start: oldest, Stop: at(math.MaxUint64)}, testChannel)); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, 200<<10)
	const n = 60 // more than the flow control windows hold
	for i := range n {
		r.submit("put", fmt.Sprint("k", i), string(big))
	}
	if used := r.l.head.bytes; used > 512<<10 {
		t.Errorf("%d bytes of blocks kept in memory", used)
	}
	for want := range uint64(n + 1) {
		m, err := slow.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetBlock().GetHeader().GetNumber() != want {
			t.Fatalf("block %d, want %d", m.GetBlock().GetHeader().GetNumber(), want)
		}
	}
}

func TestStreamLimit(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Streams = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open := func(ctx context.Context) (peer.Deliver_DeliverClient, error) {
		s, err := peer.NewDeliverClient(r.conn).Deliver(ctx)
		if err != nil {
			return nil, err
		}
		// A stream that was refused at once ends sending; receiving then tells why.
		if err := s.Send(r.seekEnvelope(&orderer.SeekInfo{Start: oldest, Stop: at(math.MaxUint64)}, testChannel)); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		_, err = s.Recv()
		return s, err
	}
	if _, err := open(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := open(ctx); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("second stream: %v", err)
	}
}

// serveTLS serves the ledger on TLS TCP and gives a way to connect.
func (r *rig) serveTLS() func() *grpc.ClientConn {
	r.t.Helper()
	config, err := r.ledger.ServerTLS("ledger", "127.0.0.1", "localhost")
	if err != nil {
		r.t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	served := make(chan error, 1)
	l := r.l
	go func() { served <- l.Serve(lis, config) }()
	r.t.Cleanup(func() {
		r.close()
		if err := <-served; err != nil {
			r.t.Error(err)
		}
	})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ledger.Root())
	return func() *grpc.ClientConn {
		conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})))
		if err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
}

// TestSeveralNodes has two organisations share one ledger over TLS.
func TestSeveralNodes(t *testing.T) {
	r := newRig(t, nil)
	dial := r.serveTLS()
	bj := connect(t, dial(), issue(t, r.beijing, "bj", msp.Validity{})).GetNetwork(testChannel)
	tj := connect(t, dial(), issue(t, r.tianjin, "tj", msp.Validity{})).GetNetwork(testChannel)
	blocks, err := tj.BlockEvents(t.Context(), client.WithStartBlock(0))
	if err != nil {
		t.Fatal(err)
	}
	<-blocks
	if _, err := bj.GetContract(testChaincode).SubmitTransaction("put", "from", "beijing"); err != nil {
		t.Fatal(err)
	}
	if b := <-blocks; b.GetHeader().GetNumber() != 1 {
		t.Errorf("block %d", b.GetHeader().GetNumber())
	}
	v, err := tj.GetContract(testChaincode).EvaluateTransaction("get", "from")
	if err != nil || string(v) != "beijing" {
		t.Errorf("%q %v", v, err)
	}
	if err := r.l.Serve(fakeListener{}, nil); err == nil {
		t.Error("served without TLS beyond loopback")
	}
}

type fakeListener struct{ net.Listener }

func (fakeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: 1} }
