package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirEnv); dir != "" {
		os.Exit(serveChild(dir))
	}
	// goleveldb's pool drain notices within a second that its database is closed.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"))
}

const (
	testChannel   = "testchannel"
	testChaincode = "kv"
)

// kv is a small key/value contract. hook, if set, is the function "hook".
type kv struct {
	hook func(shim.ChaincodeStubInterface) *peer.Response
}

func success(payload []byte) *peer.Response {
	return &peer.Response{Status: http.StatusOK, Payload: payload}
}

func failed(format string, args ...any) *peer.Response {
	return &peer.Response{Status: http.StatusInternalServerError, Message: fmt.Sprintf(format, args...)}
}

func (kv) Init(shim.ChaincodeStubInterface) *peer.Response { return success(nil) }

func (c kv) Invoke(s shim.ChaincodeStubInterface) *peer.Response {
	fn, args := s.GetFunctionAndParameters()
	switch {
	case fn == "put" && len(args)%2 == 0:
		for i := 0; i < len(args); i += 2 {
			if err := s.PutState(args[i], []byte(args[i+1])); err != nil {
				return failed("put: %v", err)
			}
		}
		return success([]byte("done"))
	case fn == "del" && len(args) == 1:
		if err := s.DelState(args[0]); err != nil {
			return failed("del: %v", err)
		}
		return success(nil)
	case fn == "get" && len(args) == 1:
		v, err := s.GetState(args[0])
		if err != nil {
			return failed("get: %v", err)
		}
		return success(v)
	case fn == "append" && len(args) == 2: // reads what it writes, so that concurrent ones conflict
		v, err := s.GetState(args[0])
		if err != nil {
			return failed("append: %v", err)
		}
		if err := s.PutState(args[0], append(v, args[1]...)); err != nil {
			return failed("append: %v", err)
		}
		return success(nil)
	case fn == "count" && len(args) == 3: // writes how many keys lie in a range
		it, err := s.GetStateByRange(args[0], args[1])
		if err != nil {
			return failed("count: %v", err)
		}
		n := 0
		for it.HasNext() {
			if _, err := it.Next(); err != nil {
				return failed("count: %v", err)
			}
			n++
		}
		if err := s.PutState(args[2], fmt.Append(nil, n)); err != nil {
			return failed("count: %v", err)
		}
		return success(fmt.Append(nil, n))
	case fn == "event" && len(args) == 2:
		if err := s.SetEvent(args[0], []byte(args[1])); err != nil {
			return failed("event: %v", err)
		}
		return success(nil)
	case fn == "history" && len(args) == 1:
		return c.history(s, args[0])
	case fn == "refuse":
		return &peer.Response{Status: 404, Message: "no such thing"}
	case fn == "fail":
		return failed("out of order")
	case fn == "panic":
		panic("the contract's own fault")
	case fn == "nil":
		return nil
	case fn == "hook" && c.hook != nil:
		return c.hook(s)
	}
	return failed("unknown function %q", fn)
}

func (kv) history(s shim.ChaincodeStubInterface, key string) *peer.Response {
	it, err := s.GetHistoryForKey(key)
	if err != nil {
		return failed("history: %v", err)
	}
	defer it.Close()
	out := []string{}
	for it.HasNext() {
		m, err := it.Next()
		if err != nil {
			return failed("history: %v", err)
		}
		if m.GetIsDelete() {
			out = append(out, "deleted")
		} else {
			out = append(out, string(m.GetValue()))
		}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return failed("history: %v", err)
	}
	return success(b)
}

// world is a ledger's organisations.
type world struct {
	ledger, beijing, tianjin *msp.CA
	identity                 *msp.Identity // the ledger's
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{}
	for id, ca := range map[string]**msp.CA{"LedgerMSP": &w.ledger, "BeijingMSP": &w.beijing, "TianjinMSP": &w.tianjin} {
		made, err := msp.NewCA(id, "ca."+id)
		if err != nil {
			t.Fatal(err)
		}
		*ca = made
	}
	w.identity = issue(t, w.ledger, "ledger", msp.Validity{})
	return w
}

func issue(t testing.TB, ca *msp.CA, name string, v msp.Validity) *msp.Identity {
	t.Helper()
	id, err := ca.Issue(name, v)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (w *world) config(contract shim.Chaincode) Config {
	return Config{
		Channel: testChannel, Chaincode: testChaincode,
		Members: []msp.Config{w.beijing.Config(), w.tianjin.Config()}, Ledger: w.ledger.Config(),
		Identity: w.identity, Contract: contract,
	}
}

// rig is an open ledger with one member's client.
type rig struct {
	*world
	t    testing.TB
	dir  string
	cfg  Config
	l    *Ledger
	conn *grpc.ClientConn
	user *msp.Identity
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{world: newWorld(t), t: t, dir: t.TempDir()}
	r.cfg = r.config(kv{})
	if change != nil {
		change(&r.cfg)
	}
	if err := Create(r.dir, r.cfg); err != nil {
		t.Fatal(err)
	}
	r.user = issue(t, r.beijing, "bj-scjg", msp.Validity{})
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *rig) open() {
	r.t.Helper()
	l, err := Open(r.dir, r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := l.InProcess()
	if err != nil {
		r.t.Fatal(err)
	}
	r.l, r.conn = l, conn
}

func (r *rig) close() {
	r.t.Helper()
	if r.l == nil {
		return
	}
	if err := r.l.Close(context.Background()); err != nil {
		r.t.Error(err)
	}
	r.l = nil
}

func (r *rig) reopen() {
	r.t.Helper()
	r.close()
	r.open()
}

func connect(t testing.TB, conn grpc.ClientConnInterface, id *msp.Identity) *client.Gateway {
	t.Helper()
	g, err := client.Connect(id, client.WithSign(id.SignDigest), client.WithClientConnection(conn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func (r *rig) network() *client.Network {
	r.t.Helper()
	return connect(r.t, r.conn, r.user).GetNetwork(testChannel)
}

func (r *rig) contract() *client.Contract { return r.network().GetContract(testChaincode) }

func (r *rig) submit(args ...string) {
	r.t.Helper()
	if _, err := r.contract().SubmitTransaction(args[0], args[1:]...); err != nil {
		r.t.Fatalf("%v: %v", args, err)
	}
}

func (r *rig) get(key string) string {
	r.t.Helper()
	v, err := r.contract().EvaluateTransaction("get", key)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(v)
}

// endorse makes a transaction without submitting it.
func (r *rig) endorse(args ...string) *client.Transaction {
	r.t.Helper()
	p, err := r.contract().NewProposal(args[0], client.WithArguments(args[1:]...))
	if err != nil {
		r.t.Fatal(err)
	}
	tx, err := p.Endorse()
	if err != nil {
		r.t.Fatal(err)
	}
	return tx
}

// commit submits an endorsed transaction and gives what became of it.
func (r *rig) commit(tx *client.Transaction) peer.TxValidationCode {
	r.t.Helper()
	c, err := tx.Submit()
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := c.Status()
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Code
}

// details are the texts that a gateway error carries.
func details(err error) string {
	var out []string
	for _, d := range status.Convert(err).Details() {
		if e, ok := d.(*gateway.ErrorDetail); ok {
			out = append(out, e.GetMspId()+": "+e.GetMessage())
		}
	}
	return strings.Join(out, "; ")
}

func TestClientThinPath(t *testing.T) {
	r := newRig(t, nil)
	events, err := r.network().BlockEvents(t.Context(), client.WithStartBlock(0))
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.contract().SubmitTransaction("put", "a", "1")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "done" {
		t.Errorf("result %q", got)
	}
	if v := r.get("a"); v != "1" {
		t.Errorf("a = %q", v)
	}
	for n := range uint64(2) {
		b := <-events
		if b.GetHeader().GetNumber() != n {
			t.Fatalf("block %d, want %d", b.GetHeader().GetNumber(), n)
		}
	}
	if h := r.l.Height(); h != 2 {
		t.Errorf("height %d", h)
	}
	r.reopen()
	if v := r.get("a"); v != "1" {
		t.Errorf("a = %q after reopening", v)
	}
}

func TestEndorseErrors(t *testing.T) {
	r := newRig(t, nil)
	for _, tt := range []struct{ fn, want string }{
		{"fail", "LedgerMSP: chaincode response 500, out of order"},
		{"refuse", "LedgerMSP: chaincode response 404, no such thing"},
		{"panic", "LedgerMSP: error in simulation: the contract panicked: the contract's own fault"},
		{"nil", "LedgerMSP: error in simulation: the contract gave no response"},
	} {
		t.Run(tt.fn, func(t *testing.T) {
			_, err := r.contract().SubmitTransaction(tt.fn)
			var endorse *client.EndorseError
			if !errors.As(err, &endorse) {
				t.Fatalf("error %v is no EndorseError", err)
			}
			if code := status.Code(endorse); code != codes.Aborted {
				t.Errorf("code %v", code)
			}
			if d := details(endorse); d != tt.want {
				t.Errorf("details %q, want %q", d, tt.want)
			}
			_, err = r.contract().EvaluateTransaction(tt.fn)
			if err == nil || details(err) != tt.want {
				t.Errorf("evaluate: details %q, want %q", details(err), tt.want)
			}
		})
	}
	r.submit("put", "still", "here")
}
