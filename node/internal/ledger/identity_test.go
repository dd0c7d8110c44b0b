package ledger_test

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// slow is a gateway that answers a question when told to, with the question itself.
type slow struct {
	grpc.ClientConnInterface
	asked  chan struct{}
	answer chan struct{}
}

func (s *slow) Invoke(ctx context.Context, _ string, in, out any, _ ...grpc.CallOption) error {
	s.asked <- struct{}{}
	select {
	case <-s.answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	signed := in.(*gateway.EvaluateRequest).GetProposedTransaction()
	proto.Merge(out.(*gateway.EvaluateResponse), &gateway.EvaluateResponse{
		Result: &peer.Response{Status: 200, Payload: signed.GetProposalBytes()},
	})
	return nil
}

// TestRenewalsDoNotGather renews an identity again and again: the client holds the one in use and those whose calls
// have not ended, and a call ends with the one that it began with.
func TestRenewalsDoNotGather(t *testing.T) {
	ca, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	issue := func() *msp.Identity {
		id, err := ca.Issue("bj-node", msp.Validity{})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	conn := &slow{asked: make(chan struct{}), answer: make(chan struct{})}
	c, err := ledger.New(ledger.Config{
		Gateways: []ledger.Gateway{{Name: "slow", Conn: conn}}, Identity: issue(), Channel: "jjj", Chaincode: "store",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := deadline(t)

	var renewals []weak.Pointer[msp.Identity]
	renew := func(times int) (last []byte) {
		t.Helper()
		for range times {
			id := issue()
			if err := c.Renew(id); err != nil {
				t.Fatal(err)
			}
			renewals, last = append(renewals, weak.Make(id)), id.Credentials()
		}
		return last
	}
	held := func(want int, when string) {
		t.Helper()
		n := 0
		for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
			runtime.GC()
			n = 0
			for _, p := range renewals {
				if p.Value() != nil {
					n++
				}
			}
			if n == want {
				return
			}
		}
		t.Fatalf("%s %d of %d identities are held, not %d", when, n, len(renewals), want)
	}
	ask := func() <-chan []byte {
		out := make(chan []byte, 1)
		go func() {
			answer, err := c.Evaluate(ctx, "get")
			if err != nil {
				t.Error(err)
			}
			out <- answer
		}()
		select {
		case <-conn.asked:
		case <-ctx.Done():
			t.Fatal("no call came")
		}
		return out
	}
	tell := func(calls int) {
		t.Helper()
		for range calls { // any of those that are open
			select {
			case conn.answer <- struct{}{}:
			case <-ctx.Done():
				t.Fatal("no call waits for its answer")
			}
		}
	}

	first := renew(20)
	held(1, "after renewals without calls")
	open := []<-chan []byte{ask(), ask()}
	last := renew(20)
	held(2, "while calls of an old one are under way")
	tell(2)
	for _, answer := range open {
		if !bytes.Contains(<-answer, first) {
			t.Error("a call did not end with the certificate that it began with")
		}
	}
	held(1, "after the calls of the old one")
	answer := ask()
	tell(1)
	if !bytes.Contains(<-answer, last) {
		t.Error("a call did not begin with the certificate in use")
	}
}
