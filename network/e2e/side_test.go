package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
)

// side is one of two ledgers, as the official Gateway client sees it under the identities of the consortium's nodes.
type side struct {
	t        testing.TB
	c        *consortium
	gateways map[string]*client.Gateway // by node
	signers  map[string]identity.Sign
	order    func(tx *client.Transaction, by string) error

	mu   sync.Mutex
	seen []seenTx // guarded by mu; the contract's transactions of all blocks, in order
	err  error    // guarded by mu
}

// seenTx is a transaction of the contract in a block.
type seenTx struct {
	id           string
	code         peer.TxValidationCode
	block, index uint64
}

const (
	ledgerChannel  = fabric.Channel
	ledgerContract = fabric.Contract
)

func newSide(t testing.TB, c *consortium) *side {
	t.Helper()
	s := &side{t: t, c: c, gateways: map[string]*client.Gateway{}, signers: map[string]identity.Sign{}}
	var embedded *grpc.ClientConn
	if c.ledger != nil {
		embedded = dialTLS(t, c.ledger.address, filepath.Join(c.nodes["beijing"].dir, "gateway-1-ca.pem"), "")
	}
	for name, n := range c.nodes {
		conn := embedded
		if c.fabric != nil {
			p := c.fabric.Peer(name)
			conn = dialTLS(t, p.Address, p.TLSRoots(), p.ServerName())
		}
		cert, err := identity.CertificateFromPEM(mustRead(t, filepath.Join(n.dir, "identity.crt")))
		if err != nil {
			t.Fatal(err)
		}
		id, err := identity.NewX509Identity(mspOf[name], cert)
		if err != nil {
			t.Fatal(err)
		}
		key, err := identity.PrivateKeyFromPEM(mustRead(t, filepath.Join(n.dir, "identity.key")))
		if err != nil {
			t.Fatal(err)
		}
		if s.signers[name], err = identity.NewPrivateKeySign(key); err != nil {
			t.Fatal(err)
		}
		g, err := client.Connect(id, client.WithSign(s.signers[name]), client.WithClientConnection(conn), client.WithEndorseTimeout(30*time.Second), client.WithSubmitTimeout(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close() })
		s.gateways[name] = g
	}
	s.order = s.submit
	if c.fabric != nil {
		s.order = s.broadcaster()
	}
	s.listen()
	return s
}

var mspOf = map[string]string{"beijing": "BeijingMSP", "tianjin": "TianjinMSP", "hebei": "HebeiMSP", "customs": "CustomsMSP"}

func dialTLS(t testing.TB, address, ca, name string) *grpc.ClientConn {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(mustRead(t, ca)) {
		t.Fatalf("%s holds no certificate", ca)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// endorse has a call endorsed. code is the contract's where it fails the whole call.
func (s *side) endorse(by, function string, args [][]byte) (tx *client.Transaction, code model.Code, err error) {
	for try := 0; ; try++ {
		p, err := s.gateways[by].GetNetwork(ledgerChannel).GetContract(ledgerContract).NewProposal(function, client.WithBytesArguments(args...))
		if err != nil {
			return nil, "", err
		}
		if tx, err = p.Endorse(); err == nil {
			return tx, "", nil
		}
		texts := []string{err.Error()}
		for _, d := range status.Convert(errors.Unwrap(err)).Details() {
			if d, ok := d.(*gateway.ErrorDetail); ok {
				texts = append(texts, d.GetMessage())
			}
		}
		for _, text := range texts {
			if m := responded.FindStringSubmatch(text); m != nil {
				return nil, model.Code(m[1]), nil
			}
		}
		if try == 20 {
			return nil, "", fmt.Errorf("%w: %q", err, texts)
		}
		time.Sleep(250 * time.Millisecond) // a gateway that does not know enough endorsers yet
	}
}

var responded = regexp.MustCompile(`chaincode response \d+, ([a-z0-9_]+)`)

// submit is the official client's.
func (s *side) submit(tx *client.Transaction, _ string) error {
	_, err := tx.Submit()
	return err
}

// broadcaster orders on Fabric as a gateway would, except that the envelopes go to the orderers of its choice: a gateway
// takes any, and those that hand on to the leader may overtake one another. With Raft it is the leader, with BFT all.
func (s *side) broadcaster() func(*client.Transaction, string) error {
	s.t.Helper()
	to := s.c.fabric.Orderers()
	if s.c.fabric.Spec().Consensus == fabric.Raft {
		leader := s.c.fabric.Leader(background(s.t))
		if leader == nil {
			s.t.Fatal("no leader")
		}
		to = []*fabric.Orderer{leader}
	}
	var clients []orderer.AtomicBroadcastClient
	for _, o := range to {
		clients = append(clients, orderer.NewAtomicBroadcastClient(dialTLS(s.t, o.Address, o.TLSRoots(), o.ServerName())))
	}
	return func(tx *client.Transaction, by string) error {
		raw, err := tx.Bytes()
		if err != nil {
			return err
		}
		var prepared gateway.PreparedTransaction
		if err := proto.Unmarshal(raw, &prepared); err != nil {
			return err
		}
		e := prepared.GetEnvelope()
		if e.Signature, err = s.signers[by](tx.Digest()); err != nil {
			return err
		}
		errs := make([]error, len(clients))
		var wg sync.WaitGroup
		for i, c := range clients {
			wg.Go(func() { errs[i] = broadcast(c, e) })
		}
		wg.Wait()
		if slices.Contains(errs, nil) {
			return nil // one that comes late has had it from the others
		}
		return errors.Join(errs...)
	}
}

// broadcast gives an orderer an envelope. An orderer ends the stream on which it turned something away.
func broadcast(c orderer.AtomicBroadcastClient, e *common.Envelope) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	stream, err := c.Broadcast(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(e); err != nil {
		return err
	}
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	if r.GetStatus() != common.Status_SUCCESS {
		return fmt.Errorf("the orderer answered %v %s", r.GetStatus(), r.GetInfo())
	}
	return nil
}

// listen notes the contract's transactions of all blocks.
func (s *side) listen() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for next := uint64(0); ctx.Err() == nil; {
			blocks, err := s.gateways["beijing"].GetNetwork(ledgerChannel).BlockEvents(ctx, client.WithStartBlock(next))
			if err == nil {
				for b := range blocks {
					found, err := contractTxs(b)
					s.mu.Lock()
					s.seen, s.err = append(s.seen, found...), errors.Join(s.err, err)
					s.mu.Unlock()
					next = b.GetHeader().GetNumber() + 1
				}
			}
			select { // the ledger was stopped: it comes again
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	s.t.Cleanup(func() { cancel(); <-done })
}

// contractTxs lists a block's transactions of the contract.
func contractTxs(b *common.Block) (out []seenTx, err error) {
	codes := b.GetMetadata().GetMetadata()[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
	for i, raw := range b.GetData().GetData() {
		var e common.Envelope
		var p common.Payload
		var h common.ChannelHeader
		var x peer.ChaincodeHeaderExtension
		if err := errors.Join(proto.Unmarshal(raw, &e), proto.Unmarshal(e.GetPayload(), &p), proto.Unmarshal(p.GetHeader().GetChannelHeader(), &h)); err != nil {
			return nil, err
		}
		if common.HeaderType(h.GetType()) != common.HeaderType_ENDORSER_TRANSACTION {
			continue
		}
		if err := proto.Unmarshal(h.GetExtension(), &x); err != nil {
			return nil, err
		}
		if x.GetChaincodeId().GetName() == ledgerContract {
			out = append(out, seenTx{h.GetTxId(), peer.TxValidationCode(codes[i]), b.GetHeader().GetNumber(), uint64(i)})
		}
	}
	return out, nil
}

// count is how many of the contract's transactions were seen.
func (s *side) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

// await waits for n transactions after the first so many, and returns them.
func (s *side) await(after, n int) []seenTx {
	s.t.Helper()
	eventually(s.t, time.Minute, fmt.Sprintf("%d more transactions stand in blocks", n), func() bool { return s.count() >= after+n })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		s.t.Fatal(s.err)
	}
	return append([]seenTx(nil), s.seen[after:]...)
}

// ordinals numbers the valid transactions by where they stand: versions of state that two ledgers have in common, though
// they cut their blocks differently.
func (s *side) ordinals() map[[2]uint64]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[[2]uint64]int{}
	for _, tx := range s.seen {
		if tx.code == peer.TxValidationCode_VALID {
			out[[2]uint64{tx.block, tx.index}] = len(out) + 1
		}
	}
	return out
}

// level waits until every peer has every block that was seen, so that whoever endorses does it at one height.
func (s *side) level() {
	s.t.Helper()
	if s.c.fabric == nil {
		return
	}
	s.mu.Lock()
	want := uint64(0)
	if len(s.seen) > 0 {
		want = s.seen[len(s.seen)-1].block + 1
	}
	s.mu.Unlock()
	ctx := context.Background()
	eventually(s.t, time.Minute, "the peers are equally far", func() bool {
		for _, p := range s.c.fabric.Peers() {
			if h, err := p.Height(ctx); err != nil || h < want {
				return false
			}
		}
		return true
	})
}
