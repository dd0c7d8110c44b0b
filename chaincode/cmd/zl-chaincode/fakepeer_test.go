package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

const patience = 20 * time.Second

// fakePeer is the peer's side of the chaincode protocol: it registers the chaincode, sends it proposals and
// answers what it asks for from a state of its own.
type fakePeer struct {
	t      *testing.T
	conn   *grpc.ClientConn
	stream peer.Chaincode_ConnectClient
	id     string // what the chaincode registered as
	hold   chan struct{}
	asked  chan struct{} // has room for one: a request is being held

	mu      sync.Mutex
	state   map[string][]byte
	writes  map[string]map[string][]byte // by transaction
	sent    map[peer.ChaincodeMessage_Type]int
	answers map[string]chan *peer.ChaincodeMessage
	ended   chan error
}

// dial connects as a peer of 2.5 does, or, with batching offered, as one of 3.1.
func dial(t *testing.T, address string, with credentials.TransportCredentials, batching *peer.ChaincodeAdditionalParams) (*fakePeer, error) {
	t.Helper()
	if with == nil {
		with = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(with))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	stream, err := peer.NewChaincodeClient(conn).Connect(context.Background())
	if err != nil {
		return nil, err
	}
	p := &fakePeer{
		t: t, conn: conn, stream: stream, state: map[string][]byte{}, writes: map[string]map[string][]byte{}, ended: make(chan error, 1),
		sent: map[peer.ChaincodeMessage_Type]int{}, answers: map[string]chan *peer.ChaincodeMessage{}, asked: make(chan struct{}, 1),
	}
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	var id peer.ChaincodeID
	if err := proto.Unmarshal(m.GetPayload(), &id); err != nil || m.GetType() != peer.ChaincodeMessage_REGISTER {
		t.Fatalf("instead of registering: %s %v", m.GetType(), err)
	}
	p.id = id.GetName()
	ready := &peer.ChaincodeMessage{Type: peer.ChaincodeMessage_READY}
	if batching != nil {
		ready.Payload = marshal(t, batching)
	}
	for _, m := range []*peer.ChaincodeMessage{{Type: peer.ChaincodeMessage_REGISTERED}, ready} {
		if err := stream.Send(m); err != nil {
			return nil, err
		}
	}
	go p.serve()
	return p, nil
}

func connect(t *testing.T, address string, batching *peer.ChaincodeAdditionalParams) *fakePeer {
	t.Helper()
	p, err := dial(t, address, nil, batching)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *fakePeer) serve() {
	for {
		m, err := p.stream.Recv()
		if err != nil {
			p.ended <- err
			return
		}
		p.mu.Lock()
		p.sent[m.GetType()]++
		hold := p.hold
		p.mu.Unlock()
		switch m.GetType() {
		case peer.ChaincodeMessage_COMPLETED, peer.ChaincodeMessage_ERROR:
			p.mu.Lock()
			c := p.answers[m.GetTxid()]
			p.mu.Unlock()
			c <- m
		case peer.ChaincodeMessage_KEEPALIVE:
		default:
			if hold == nil {
				_ = p.stream.Send(p.answer(m))
				continue
			}
			p.asked <- struct{}{}
			go func() {
				<-hold
				_ = p.stream.Send(p.answer(m))
			}()
		}
	}
}

func (p *fakePeer) answer(m *peer.ChaincodeMessage) *peer.ChaincodeMessage {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := &peer.ChaincodeMessage{Type: peer.ChaincodeMessage_RESPONSE, Txid: m.GetTxid(), ChannelId: m.GetChannelId()}
	w := p.writes[m.GetTxid()]
	var get peer.GetState
	var many peer.GetStateMultiple
	var put peer.PutState
	var batch peer.WriteBatchState
	var err error
	switch m.GetType() {
	case peer.ChaincodeMessage_GET_STATE:
		err = proto.Unmarshal(m.GetPayload(), &get)
		out.Payload = p.state[get.GetKey()]
	case peer.ChaincodeMessage_GET_STATE_MULTIPLE:
		err = proto.Unmarshal(m.GetPayload(), &many)
		var found peer.GetStateMultipleResult
		for _, k := range many.GetKeys() {
			found.Values = append(found.Values, p.state[k])
		}
		out.Payload = marshal(p.t, &found)
	case peer.ChaincodeMessage_PUT_STATE:
		err = proto.Unmarshal(m.GetPayload(), &put)
		w[put.GetKey()] = put.GetValue()
	case peer.ChaincodeMessage_WRITE_BATCH_STATE:
		err = proto.Unmarshal(m.GetPayload(), &batch)
		for _, r := range batch.GetRec() {
			w[r.GetKey()] = r.GetValue()
		}
	default:
		err = errors.New("the contract has no use for " + m.GetType().String())
	}
	if err != nil {
		p.t.Errorf("%s: %v", m.GetType(), err)
		out.Type = peer.ChaincodeMessage_ERROR
	}
	return out
}

// begin sends a proposal of Beijing's node.
func (p *fakePeer) begin(tx string, args ...[]byte) <-chan *peer.ChaincodeMessage {
	p.t.Helper()
	c := make(chan *peer.ChaincodeMessage, 1)
	p.mu.Lock()
	p.answers[tx], p.writes[tx] = c, map[string][]byte{}
	p.mu.Unlock()
	err := p.stream.Send(&peer.ChaincodeMessage{
		Type: peer.ChaincodeMessage_TRANSACTION, Txid: tx, ChannelId: "jjj", Payload: marshal(p.t, &peer.ChaincodeInput{Args: args}),
		Proposal: proposal(p.t, tx),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// take waits for the answer to a proposal.
func (p *fakePeer) take(c <-chan *peer.ChaincodeMessage) *peer.Response {
	p.t.Helper()
	select {
	case m := <-c:
		var r peer.Response
		if err := proto.Unmarshal(m.GetPayload(), &r); err != nil || m.GetType() != peer.ChaincodeMessage_COMPLETED {
			p.t.Fatalf("%s %s %v", m.GetType(), m.GetPayload(), err)
		}
		return &r
	case err := <-p.ended:
		p.t.Fatalf("the stream ended: %v", err)
	case <-time.After(patience):
		p.t.Fatal("no answer")
	}
	return nil
}

// commit invokes, and applies what was written to the state as a block would.
func (p *fakePeer) commit(tx string, args ...[]byte) *peer.Response {
	p.t.Helper()
	r := p.take(p.begin(tx, args...))
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.Copy(p.state, p.writes[tx])
	return r
}

func (p *fakePeer) counts() map[peer.ChaincodeMessage_Type]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.sent)
}

func proposal(t *testing.T, tx string) *peer.SignedProposal {
	header := marshal(t, &common.Header{
		ChannelHeader: marshal(t, &common.ChannelHeader{
			Type: int32(common.HeaderType_ENDORSER_TRANSACTION), TxId: tx, ChannelId: "jjj", Timestamp: timestamppb.New(contracttest.Created),
			Extension: marshal(t, &peer.ChaincodeHeaderExtension{ChaincodeId: &peer.ChaincodeID{Name: "zhenglian"}}),
		}),
		SignatureHeader: marshal(t, &common.SignatureHeader{
			Nonce: []byte(tx), Creator: marshal(t, &msp.SerializedIdentity{Mspid: "BeijingMSP", IdBytes: node.certificate}),
		}),
	})
	return &peer.SignedProposal{ProposalBytes: marshal(t, &peer.Proposal{Header: header, Payload: marshal(t, &peer.ChaincodeProposalPayload{})})}
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// An authority issues certificates to tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

type issued struct{ certificate, key []byte }

var (
	ours   = newAuthority("ours")
	theirs = newAuthority("theirs")
	node   = ours.issue("beijing")
)

func newAuthority(name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) issue(name string) issued { return a.issueFor(name, time.Hour) }

func (a *authority) issueFor(name string, life time.Duration) issued {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		panic(err)
	}
	k, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return issued{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k})}
}

// client is a peer's side of TLS; a nil identity shows none.
func client(t *testing.T, trusts *authority, as *issued) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	c.RootCAs.AddCert(trusts.cert)
	if as != nil {
		pair, err := tls.X509KeyPair(as.certificate, as.key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// served is a running server.
type served struct {
	*Server
	t    *testing.T
	log  *bytes.Buffer // guarded by the handler's own lock; read after stop
	stop context.CancelFunc
	done chan error
}

// serve runs a server until the test ends, which must then be an orderly one.
func serve(t *testing.T, cfg Config, cc shim.Chaincode) *served {
	t.Helper()
	d := defaults()
	cfg.Name = d.Name
	cfg.ID, cfg.Listen, cfg.Admin, cfg.GenesisDigest = "zhenglian_1:00", "127.0.0.1:0", "127.0.0.1:0", model.DigestOf(nil).String()
	if cfg.StopWithin == 0 {
		cfg.StopWithin = d.StopWithin
	}
	cfg.LogLevel = "debug"
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	s, err := Open(&cfg, cc, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	out := &served{Server: s, t: t, log: log, stop: stop, done: make(chan error, 1)}
	go func() { out.done <- s.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case <-out.done:
		case <-time.After(patience):
			t.Error("the server does not stop")
		}
	})
	return out
}

// ended waits for the end of Serve and leaves it for the clean-up to find.
func (s *served) ended() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		s.done <- err
		return err
	case <-time.After(patience):
		s.t.Fatal("the server does not stop")
	}
	return nil
}

func (s *served) probe(path string) (int, string) {
	s.t.Helper()
	r, err := http.Get(fmt.Sprintf("http://%s%s", s.AdminAddress(), path))
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		s.t.Fatal(err)
	}
	return r.StatusCode, b.String()
}

// metric is the value of one without labels.
func (s *served) metric(name string) float64 {
	s.t.Helper()
	_, page := s.probe("/metrics")
	_, rest, _ := strings.Cut(page, "\nzhenglian_chaincode_"+name+" ")
	line, _, _ := strings.Cut(rest, "\n")
	v, err := strconv.ParseFloat(line, 64)
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	return v
}

// until polls a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// theContract is the real one, with the tests' consortium and its clock.
func theContract() (*contract.Contract, []byte) {
	l := contracttest.New()
	c := *l.Contract
	c.Clock = func() time.Time { return contracttest.Created }
	return &c, l.Document
}

func write(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
