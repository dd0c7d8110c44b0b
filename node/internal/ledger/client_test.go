package ledger_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// store is a small contract: put KEY VALUE, append KEY VALUE (reads what it writes), get KEY, fail MESSAGE.
type store struct{}

func (store) Init(shim.ChaincodeStubInterface) *peer.Response { return &peer.Response{Status: 200} }

func (store) Invoke(s shim.ChaincodeStubInterface) *peer.Response {
	fn, args := s.GetFunctionAndParameters()
	var payload []byte
	var err error
	switch fn {
	case "put":
		payload, err = []byte("done"), s.PutState(args[0], []byte(args[1]))
	case "append":
		if payload, err = s.GetState(args[0]); err == nil {
			err = s.PutState(args[0], append(payload, args[1]...))
		}
	case "get":
		payload, err = s.GetState(args[0])
	default:
		return &peer.Response{Status: 500, Message: args[0]}
	}
	if err != nil {
		return &peer.Response{Status: 500, Message: err.Error()}
	}
	return &peer.Response{Status: 200, Payload: payload}
}

type rig struct {
	l    *embedded.Ledger
	ca   *msp.CA
	id   *msp.Identity
	conn *grpc.ClientConn
	root []byte
	tls  *tls.Config
}

func newRig(t *testing.T) *rig {
	t.Helper()
	org, err := msp.NewCA("LedgerMSP", "ca.ledger")
	if err != nil {
		t.Fatal(err)
	}
	member, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	own, err := org.Issue("ledger", msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{root: org.Root(), ca: member}
	if r.id, err = member.Issue("bj-node", msp.Validity{}); err != nil {
		t.Fatal(err)
	}
	if r.tls, err = org.ServerTLS("ledger", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	cfg := embedded.Config{
		Channel: "jjj", Chaincode: "store", Members: []msp.Config{member.Config()},
		Ledger: org.Config(), Identity: own, Contract: store{},
	}
	dir := t.TempDir()
	if err := embedded.Create(dir, cfg); err != nil {
		t.Fatal(err)
	}
	if r.l, err = embedded.Open(dir, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if r.conn, err = r.l.InProcess(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) client(t *testing.T, conns ...grpc.ClientConnInterface) *ledger.Client {
	t.Helper()
	if len(conns) == 0 {
		conns = []grpc.ClientConnInterface{r.conn}
	}
	var gateways []ledger.Gateway
	for i, conn := range conns {
		gateways = append(gateways, ledger.Gateway{Name: fmt.Sprintf("gateway-%d", i), Conn: conn})
	}
	c, err := ledger.New(ledger.Config{Gateways: gateways, Identity: r.id, Channel: "jjj", Chaincode: "store", EndorseTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func args(s ...string) [][]byte {
	var out [][]byte
	for _, a := range s {
		out = append(out, []byte(a))
	}
	return out
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestWriteAndRead(t *testing.T) {
	r := newRig(t)
	c := r.client(t)
	ctx := deadline(t)
	p, err := propose(ctx, c, "put", args("a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if string(p.Result) != "done" || len(p.TxID) != 64 {
		t.Fatalf("proposed %q %q", p.TxID, p.Result)
	}
	for range 2 { // the same envelope again is harmless
		if err := c.Submit(ctx, p.Envelope); err != nil {
			t.Fatal(err)
		}
	}
	code, block, err := c.Status(ctx, p.TxID)
	if err != nil || code != peer.TxValidationCode_VALID || block != 1 {
		t.Fatalf("status %v in block %d: %v", code, block, err)
	}
	if v, err := c.Evaluate(ctx, "get", []byte("a")); err != nil || string(v) != "1" {
		t.Fatalf("evaluated %q: %v", v, err)
	}
	if h, err := c.Height(ctx); err != nil || h != 2 {
		t.Fatalf("height %d: %v", h, err)
	}
	next := uint64(0)
	for b, err := range c.Blocks(ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if b.GetHeader().GetNumber() != next {
			t.Fatalf("block %d, want %d", b.GetHeader().GetNumber(), next)
		}
		if next++; next == 2 {
			break
		}
	}
}

func TestConflictIsSeenInTheBlock(t *testing.T) {
	c := newRig(t).client(t)
	ctx := deadline(t)
	var both []proposed
	for range 2 {
		p, err := propose(ctx, c, "append", args("a", "x"))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, p)
	}
	for i, want := range []peer.TxValidationCode{peer.TxValidationCode_VALID, peer.TxValidationCode_MVCC_READ_CONFLICT} {
		if err := c.Submit(ctx, both[i].Envelope); err != nil {
			t.Fatal(err)
		}
		if code, _, err := c.Status(ctx, both[i].TxID); err != nil || code != want {
			t.Fatalf("transaction %d: %v, want %v: %v", i, code, want, err)
		}
	}
}

func TestRefusalCarriesTheContractsCode(t *testing.T) {
	c := newRig(t).client(t)
	ctx := deadline(t)
	for said, want := range map[string]model.Code{
		"personal_identifier": model.CodePersonalIdentifier,
		"a_later_code":        "a_later_code",
		"Ouch, it broke":      model.CodeInternal,
	} {
		_, endorse := propose(ctx, c, "fail", args(said))
		_, evaluate := c.Evaluate(ctx, "fail", []byte(said))
		for _, err := range []error{endorse, evaluate} {
			var e *ledger.Error
			if !errors.As(err, &e) || e.Kind != ledger.Refused || e.Code != want || !errors.Is(err, model.E(want)) {
				t.Errorf("%q: %v", said, err)
			}
		}
	}
}

// proposed is what Propose returned.
type proposed struct {
	TxID             string
	Result, Envelope []byte
}

func propose(ctx context.Context, c *ledger.Client, function string, args [][]byte) (proposed, error) {
	txID, result, envelope, err := c.Propose(ctx, function, args)
	return proposed{txID, result, envelope}, err
}

// twisted is a connection whose calls fail or whose answers are changed.
type twisted struct {
	grpc.ClientConnInterface
	before func(method string) error
	after  func(method string, reply any) error
}

func (w *twisted) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	if w.before != nil {
		if err := w.before(method); err != nil {
			return err
		}
	}
	if err := w.ClientConnInterface.Invoke(ctx, method, in, out, opts...); err != nil {
		return err
	}
	if w.after != nil {
		return w.after(method, out)
	}
	return nil
}

func (w *twisted) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if w.before != nil {
		if err := w.before(method); err != nil {
			return nil, err
		}
	}
	return w.ClientConnInterface.NewStream(ctx, d, method, opts...)
}

func TestFailover(t *testing.T) {
	r := newRig(t)
	calls := 0
	dead := &twisted{ClientConnInterface: r.conn, before: func(string) error {
		calls++
		return status.Error(codes.Unavailable, "down")
	}}
	c := r.client(t, dead, r.conn)
	ctx := deadline(t)
	for range 3 {
		p, err := propose(ctx, c, "put", args("a", "1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Submit(ctx, p.Envelope); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("the dead gateway was asked %d times", calls)
	}
	alone := r.client(t, dead)
	_, err := propose(ctx, alone, "put", args("a", "1"))
	var e *ledger.Error
	if !errors.As(err, &e) || e.Kind != ledger.NotOrdered || model.AsError(err).Kind() != model.Unavailable {
		t.Errorf("propose: %v", err)
	}
	for _, err := range alone.Blocks(ctx, 0) {
		if !errors.As(err, &e) || e.Stage != ledger.StageBlocks {
			t.Errorf("blocks: %v", err)
		}
	}
	if _, err := alone.Height(ctx); err == nil {
		t.Error("height without a gateway")
	}
}

func TestSubmitSaysWhatIsKnown(t *testing.T) {
	r := newRig(t)
	good := r.client(t)
	ctx := deadline(t)
	for code, want := range map[codes.Code]ledger.Kind{
		codes.Unavailable: ledger.PerhapsOrdered, codes.DeadlineExceeded: ledger.PerhapsOrdered,
		codes.Unknown: ledger.PerhapsOrdered, codes.ResourceExhausted: ledger.NotOrdered,
		codes.Aborted: ledger.Refused, codes.InvalidArgument: ledger.Refused,
	} {
		p, err := propose(ctx, good, "put", args("a", code.String()))
		if err != nil {
			t.Fatal(err)
		}
		bad := r.client(t, &twisted{ClientConnInterface: r.conn, before: func(string) error { return status.Error(code, "no") }})
		var e *ledger.Error
		if err := bad.Submit(ctx, p.Envelope); !errors.As(err, &e) || e.Kind != want || e.TxID != p.TxID {
			t.Errorf("%v: %v, want %v", code, err, want)
		}
		if wantModel := model.Unavailable; want == ledger.PerhapsOrdered && model.AsError(error(e)).Kind() == wantModel {
			t.Errorf("%v: kind %v", code, model.AsError(error(e)).Kind())
		}
	}
	if err := good.Submit(ctx, []byte("not a transaction")); err == nil {
		t.Error("nonsense was submitted")
	}
}

// An envelope that is not the endorsed form of the node's own proposal is never signed.
func TestAlteredEnvelopeIsNotSigned(t *testing.T) {
	r := newRig(t)
	ctx := deadline(t)
	other, err := propose(ctx, r.client(t), "put", args("z", "9"))
	if err != nil {
		t.Fatal(err)
	}
	var foreign gateway.PreparedTransaction
	if err := proto.Unmarshal(other.Envelope, &foreign); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*common.Envelope){
		"another transaction": func(e *common.Envelope) { e.Payload = foreign.GetEnvelope().GetPayload() },
		"argument": func(e *common.Envelope) {
			e.Payload = []byte(strings.Replace(string(e.Payload), "value-1", "value-2", 1))
		},
		"channel":     func(e *common.Envelope) { e.Payload = []byte(strings.Replace(string(e.Payload), "jjj", "jjk", 1)) },
		"extra bytes": func(e *common.Envelope) { e.Payload = append(e.Payload, 0x7a, 1, 1) },
		"nothing":     func(e *common.Envelope) { e.Payload = nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			lying := &twisted{ClientConnInterface: r.conn, after: func(method string, reply any) error {
				if e, ok := reply.(*gateway.EndorseResponse); ok {
					change(e.GetPreparedTransaction())
				}
				return nil
			}}
			p, err := propose(ctx, r.client(t, lying), "put", args("a", "value-1"))
			var e *ledger.Error
			if !errors.As(err, &e) || len(p.Envelope) != 0 {
				t.Fatalf("signed: %v", err)
			}
			if name != "nothing" && e.Kind != ledger.Altered {
				t.Errorf("%v", err)
			}
			// A second gateway that is honest serves.
			if _, err := propose(ctx, r.client(t, lying, r.conn), "put", args("a", "value-1")); err != nil && name != "nothing" {
				t.Errorf("beside an honest gateway: %v", err)
			}
		})
	}
}

func TestEveryCallHasADeadline(t *testing.T) {
	r := newRig(t)
	stuck := &twisted{ClientConnInterface: hang{}}
	c, err := ledger.New(ledger.Config{
		Gateways: []ledger.Gateway{{Name: "stuck", Conn: stuck}}, Identity: r.id, Channel: "jjj", Chaincode: "store",
		EndorseTimeout: 10 * time.Millisecond, SubmitTimeout: 10 * time.Millisecond, EvaluateTimeout: 10 * time.Millisecond,
		StatusTimeout: 10 * time.Millisecond, InFlight: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx := deadline(t)
	p, err := propose(ctx, r.client(t), "put", args("a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := propose(ctx, c, "put", args("a", "1")); err == nil {
		t.Error("propose")
	}
	var e *ledger.Error
	if err := c.Submit(ctx, p.Envelope); !errors.As(err, &e) || e.Kind != ledger.PerhapsOrdered {
		t.Errorf("submit: %v", err)
	}
	if _, err := c.Evaluate(ctx, "get", []byte("a")); err == nil {
		t.Error("evaluate")
	}
	if _, _, err := c.Status(ctx, p.TxID); err == nil {
		t.Error("status")
	}
}

// hang never answers.
type hang struct{}

func (hang) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

func (hang) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	<-ctx.Done()
	return nil, status.FromContextError(ctx.Err()).Err()
}

func TestDial(t *testing.T) {
	r := newRig(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.l.Serve(lis, r.tls) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.root)
	conn, err := ledger.Dial(lis.Addr().String(), func() (*tls.Config, error) {
		return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := r.client(t, conn).Height(deadline(t)); err != nil || h != 1 {
		t.Errorf("height %d: %v", h, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := r.l.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A renewed certificate stands in what is proposed from then on; what was endorsed before stays good.
func TestRenew(t *testing.T) {
	r := newRig(t)
	c := r.client(t)
	ctx := deadline(t)
	before, err := propose(ctx, c, "put", args("a", "1"))
	if err != nil {
		t.Fatal(err)
	}
	next, err := r.ca.Issue("bj-node", msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Renew(next); err != nil {
		t.Fatal(err)
	}
	after, err := propose(ctx, c, "put", args("b", "1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		proposed
		by *msp.Identity
	}{{before, r.id}, {after, next}} {
		if !bytes.Contains(p.Envelope, p.by.Credentials()) {
			t.Errorf("%s is not of the certificate in use", p.TxID)
		}
		if err := c.Submit(ctx, p.Envelope); err != nil {
			t.Fatal(err)
		}
		if code, _, err := c.Status(ctx, p.TxID); err != nil || code != peer.TxValidationCode_VALID {
			t.Errorf("%v: %v", code, err)
		}
	}
	other, err := msp.NewCA("TianjinMSP", "ca.tianjin")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := other.Issue("bj-node", msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Renew(stranger); err == nil {
		t.Error("a certificate of another organisation was taken")
	}
}
