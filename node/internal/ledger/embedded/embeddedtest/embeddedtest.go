// Package embeddedtest is a ledger for tests, and a way to make it lie.
//
// Start makes a ledger in a temporary folder with fresh authorities. Proxy stands between a client and the ledger
// and changes what passes, with the ledger's own key if need be: that is all a dishonest ledger can do. Nothing in
// package embedded knows of it.
package embeddedtest

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// LedgerMSP is the id of the organisation that endorses and orders.
const LedgerMSP = "LedgerMSP"

// A World is a running ledger and the authorities of its organisations.
type World struct {
	Dir    string
	Config embedded.Config
	Ledger *embedded.Ledger
	Conn   *grpc.ClientConn // in-process
	CA     map[string]*msp.CA
}

// Start makes and opens a ledger of the given members. It is closed when the test ends.
func Start(t testing.TB, channel, chaincode string, contract shim.Chaincode, members ...string) *World {
	t.Helper()
	w := &World{Dir: t.TempDir(), CA: map[string]*msp.CA{}}
	for _, id := range append([]string{LedgerMSP}, members...) {
		ca, err := msp.NewCA(id, "ca."+id)
		if err != nil {
			t.Fatal(err)
		}
		w.CA[id] = ca
	}
	w.Config = embedded.Config{
		Channel: channel, Chaincode: chaincode, Contract: contract, Ledger: w.CA[LedgerMSP].Config(),
		Identity: w.Issue(t, LedgerMSP, "ledger"),
	}
	for _, id := range members {
		w.Config.Members = append(w.Config.Members, w.CA[id].Config())
	}
	if err := embedded.Create(w.Dir, w.Config); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.Ledger, err = embedded.Open(w.Dir, w.Config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Ledger.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if w.Conn, err = w.Ledger.InProcess(); err != nil {
		t.Fatal(err)
	}
	return w
}

// Issue makes an identity of an organisation.
func (w *World) Issue(t testing.TB, mspID, name string) *msp.Identity {
	t.Helper()
	id, err := w.CA[mspID].Issue(name, msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Lies are what a Proxy does to what passes. Nil fields pass everything on. They may be called concurrently.
type Lies struct {
	// Endorsed may change the prepared transaction on its way to the client.
	Endorsed func(*common.Envelope) error
	// Submitted may change the envelope on its way to the ledger; drop answers success without passing it on.
	Submitted func(*common.Envelope) (drop bool, err error)
	// Delivered may change a block on its way to the reader; drop leaves it out.
	Delivered func(*common.Block) (drop bool, err error)
	// Status may change the outcome that CommitStatus tells.
	Status func(*gateway.CommitStatusResponse)
}

// Proxy gives a connection to the ledger through the lies. It is closed when the test ends.
func Proxy(t testing.TB, upstream grpc.ClientConnInterface, lies Lies) *grpc.ClientConn {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	const limit = 64 << 20
	s := grpc.NewServer(grpc.MaxRecvMsgSize(limit), grpc.MaxSendMsgSize(limit))
	p := proxy{lies: lies, gateway: gateway.NewGatewayClient(upstream), deliver: peer.NewDeliverClient(upstream)}
	gateway.RegisterGatewayServer(s, gatewayProxy{proxy: p})
	peer.RegisterDeliverServer(s, deliverProxy{proxy: p})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(lis) // ends with Stop
	}()
	conn, err := grpc.NewClient("passthrough:///proxy",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limit), grpc.MaxCallSendMsgSize(limit)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		<-done
	})
	return conn
}

type proxy struct {
	lies    Lies
	gateway gateway.GatewayClient
	deliver peer.DeliverClient
}

type gatewayProxy struct {
	gateway.UnimplementedGatewayServer
	proxy
}

func (p gatewayProxy) Endorse(ctx context.Context, in *gateway.EndorseRequest) (*gateway.EndorseResponse, error) {
	out, err := p.gateway.Endorse(ctx, in)
	if err == nil && p.lies.Endorsed != nil {
		err = p.lies.Endorsed(out.GetPreparedTransaction())
	}
	return out, err
}

func (p gatewayProxy) Submit(ctx context.Context, in *gateway.SubmitRequest) (*gateway.SubmitResponse, error) {
	if p.lies.Submitted != nil {
		drop, err := p.lies.Submitted(in.GetPreparedTransaction())
		if err != nil {
			return nil, err
		}
		if drop {
			return &gateway.SubmitResponse{}, nil
		}
	}
	return p.gateway.Submit(ctx, in)
}

func (p gatewayProxy) CommitStatus(ctx context.Context, in *gateway.SignedCommitStatusRequest) (*gateway.CommitStatusResponse, error) {
	out, err := p.gateway.CommitStatus(ctx, in)
	if err == nil && p.lies.Status != nil {
		p.lies.Status(out)
	}
	return out, err
}

func (p gatewayProxy) Evaluate(ctx context.Context, in *gateway.EvaluateRequest) (*gateway.EvaluateResponse, error) {
	return p.gateway.Evaluate(ctx, in)
}

func (p gatewayProxy) ChaincodeEvents(in *gateway.SignedChaincodeEventsRequest, down grpc.ServerStreamingServer[gateway.ChaincodeEventsResponse]) error {
	up, err := p.gateway.ChaincodeEvents(down.Context(), in)
	if err != nil {
		return err
	}
	for {
		m, err := up.Recv()
		if err != nil {
			return err
		}
		if err := down.Send(m); err != nil {
			return err
		}
	}
}

type deliverProxy struct {
	peer.UnimplementedDeliverServer
	proxy
}

type bidirectional interface {
	Send(*common.Envelope) error
	Recv() (*peer.DeliverResponse, error)
	CloseSend() error
}

func (p deliverProxy) Deliver(down peer.Deliver_DeliverServer) error {
	up, err := p.deliver.Deliver(down.Context())
	return p.pass(down, up, err)
}

func (p deliverProxy) DeliverFiltered(down peer.Deliver_DeliverFilteredServer) error {
	up, err := p.deliver.DeliverFiltered(down.Context())
	return p.pass(down, up, err)
}

func (p deliverProxy) DeliverWithPrivateData(down peer.Deliver_DeliverWithPrivateDataServer) error {
	up, err := p.deliver.DeliverWithPrivateData(down.Context())
	return p.pass(down, up, err)
}

func (p deliverProxy) pass(down grpc.BidiStreamingServer[common.Envelope, peer.DeliverResponse], up bidirectional, err error) error {
	if err != nil {
		return err
	}
	go func() { // ends with the stream's context
		for {
			env, err := down.Recv()
			if err != nil {
				_ = up.CloseSend()
				return
			}
			if up.Send(env) != nil {
				return
			}
		}
	}()
	for {
		m, err := up.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b := m.GetBlock()
		if b == nil {
			b = m.GetBlockAndPrivateData().GetBlock()
		}
		if b != nil && p.lies.Delivered != nil {
			drop, err := p.lies.Delivered(b)
			if err != nil {
				return err
			}
			if drop {
				continue
			}
		}
		if err := down.Send(m); err != nil {
			return err
		}
	}
}

// Reseal makes a changed block consistent and signs it as the ledger does: the data hash, the given hash of its
// predecessor (nil keeps the one it names), the hash of the validation codes and the orderer's signature.
func Reseal(b *common.Block, previous []byte, ledger *msp.Identity) error {
	if previous != nil {
		b.Header.PreviousHash = previous
	}
	b.Header.DataHash = fabblock.DataHash(b.GetData().GetData())
	index := int(common.BlockMetadataIndex_SIGNATURES)
	var md common.Metadata
	if err := proto.Unmarshal(b.GetMetadata().GetMetadata()[index], &md); err != nil {
		return err
	}
	var sealed common.OrdererBlockMetadata
	if err := proto.Unmarshal(md.GetValue(), &sealed); err != nil {
		return err
	}
	sealed.ConsenterMetadata = fabblock.CodesHash(b.GetMetadata().GetMetadata()[common.BlockMetadataIndex_TRANSACTIONS_FILTER])
	value, err := proto.Marshal(&sealed)
	if err != nil {
		return err
	}
	md.Value = value
	for _, s := range md.GetSignatures() {
		sig, err := ledger.Sign(md.GetValue(), s.GetSignatureHeader(), fabblock.HeaderBytes(b.GetHeader()))
		if err != nil {
			return err
		}
		s.Signature = sig
	}
	raw, err := proto.Marshal(&md)
	b.Metadata.Metadata[index] = raw
	return err
}

// Rewrite changes the writes of an endorsed transaction and endorses the result with the ledger's key, as a ledger
// that lies about what the contract did would. A transaction that its creator has signed loses that signature.
func Rewrite(env *common.Envelope, ledger *msp.Identity, change func(*kvrwset.KVRWSet)) error {
	var payload common.Payload
	var tx peer.Transaction
	var action peer.ChaincodeActionPayload
	var response peer.ProposalResponsePayload
	var result peer.ChaincodeAction
	var set rwset.TxReadWriteSet
	for _, step := range []func() error{
		func() error { return proto.Unmarshal(env.GetPayload(), &payload) },
		func() error { return proto.Unmarshal(payload.GetData(), &tx) },
		func() error { return proto.Unmarshal(tx.GetActions()[0].GetPayload(), &action) },
		func() error { return proto.Unmarshal(action.GetAction().GetProposalResponsePayload(), &response) },
		func() error { return proto.Unmarshal(response.GetExtension(), &result) },
		func() error { return proto.Unmarshal(result.GetResults(), &set) },
		func() error { return rewriteNamespaces(&set, change) },
		func() (err error) { result.Results, err = proto.Marshal(&set); return err },
		func() (err error) { response.Extension, err = proto.Marshal(&result); return err },
		func() (err error) {
			action.Action.ProposalResponsePayload, err = proto.Marshal(&response)
			return err
		},
		func() error { return endorse(&action, ledger) },
		func() (err error) { tx.Actions[0].Payload, err = proto.Marshal(&action); return err },
		func() (err error) { payload.Data, err = proto.Marshal(&tx); return err },
		func() (err error) { env.Payload, err = proto.Marshal(&payload); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	env.Signature = nil
	return nil
}

func rewriteNamespaces(set *rwset.TxReadWriteSet, change func(*kvrwset.KVRWSet)) error {
	for _, ns := range set.GetNsRwset() {
		var kv kvrwset.KVRWSet
		if err := proto.Unmarshal(ns.GetRwset(), &kv); err != nil {
			return err
		}
		change(&kv)
		raw, err := proto.Marshal(&kv)
		if err != nil {
			return err
		}
		ns.Rwset = raw
	}
	return nil
}

func endorse(action *peer.ChaincodeActionPayload, ledger *msp.Identity) error {
	sig, err := ledger.Sign(action.GetAction().GetProposalResponsePayload(), ledger.Serialized())
	if err != nil {
		return err
	}
	action.Action.Endorsements = []*peer.Endorsement{{Endorser: ledger.Serialized(), Signature: sig}}
	return nil
}
