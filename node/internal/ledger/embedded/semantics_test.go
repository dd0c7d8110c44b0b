package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// TestValidationCodes endorses a group of transactions at one height, submits them in order and compares what
// becomes of each with what Fabric's rules say.
func TestValidationCodes(t *testing.T) {
	const (
		valid   = peer.TxValidationCode_VALID
		read    = peer.TxValidationCode_MVCC_READ_CONFLICT
		phantom = peer.TxValidationCode_PHANTOM_READ_CONFLICT
	)
	type step struct {
		args []string
		want peer.TxValidationCode
	}
	many := func(n int) []string {
		args := []string{"put"}
		for i := range n {
			args = append(args, fmt.Sprintf("m%04d", i), "v")
		}
		return args
	}
	for _, tt := range []struct {
		name  string
		setup [][]string
		steps []step
	}{
		{"two blind writes", nil, []step{{[]string{"put", "k", "1"}, valid}, {[]string{"put", "k", "2"}, valid}}},
		{"read of a written key", [][]string{{"put", "k", "0"}}, []step{{[]string{"append", "k", "1"}, valid}, {[]string{"append", "k", "2"}, read}}},
		{"read of an absent key", nil, []step{{[]string{"append", "k", "1"}, valid}, {[]string{"append", "k", "2"}, read}}},
		{"read of a deleted key", [][]string{{"put", "k", "0"}}, []step{{[]string{"del", "k"}, valid}, {[]string{"append", "k", "2"}, read}}},
		{"invalid write leaves no trace", [][]string{{"put", "k", "0"}}, []step{
			{[]string{"append", "k", "1"}, valid}, {[]string{"append", "k", "2"}, read}, {[]string{"put", "x", "1"}, valid}}},
		{"key appears in a range", [][]string{{"put", "a1", "0"}}, []step{{[]string{"put", "a2", "1"}, valid}, {[]string{"count", "a", "b", "n"}, phantom}}},
		{"key vanishes from a range", [][]string{{"put", "a1", "0"}}, []step{{[]string{"del", "a1"}, valid}, {[]string{"count", "a", "b", "n"}, phantom}}},
		{"key of a range changes", [][]string{{"put", "a1", "0"}}, []step{{[]string{"put", "a1", "1"}, valid}, {[]string{"count", "a", "b", "n"}, phantom}}},
		{"key outside a range", [][]string{{"put", "a1", "0"}}, []step{{[]string{"put", "b", "1"}, valid}, {[]string{"count", "a", "b", "n"}, valid}}},
		{"empty range stays empty", nil, []step{{[]string{"put", "c", "1"}, valid}, {[]string{"count", "a", "b", "n"}, valid}}},
		{"open end", nil, []step{{[]string{"put", "zzz", "1"}, valid}, {[]string{"count", "a", "", "n"}, phantom}}},
		{"hashed range unchanged", [][]string{many(300)}, []step{{[]string{"put", "q", "1"}, valid}, {[]string{"count", "m", "n", "c"}, valid}}},
		{"hashed range changed", [][]string{many(300)}, []step{{[]string{"put", "m0170", "w"}, valid}, {[]string{"count", "m", "n", "c"}, phantom}}},
		{"hashed range grown", [][]string{many(3000)}, []step{{[]string{"put", "m2999x", "w"}, valid}, {[]string{"count", "m", "n", "c"}, phantom}}},
	} {
		for _, together := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/together=%v", tt.name, together), func(t *testing.T) {
				r := newRig(t, nil)
				for _, s := range tt.setup {
					r.submit(s...)
				}
				var txs []*client.Transaction
				for _, s := range tt.steps {
					txs = append(txs, r.endorse(s.args...))
				}
				var got []peer.TxValidationCode
				if together {
					got = r.commitTogether(txs)
				} else {
					for _, tx := range txs {
						got = append(got, r.commit(tx))
					}
				}
				for i, s := range tt.steps {
					if got[i] != s.want {
						t.Errorf("step %d %v: %v, want %v", i, s.args, got[i], s.want)
					}
				}
				r.close()
				mustBeSound(t, r.dir)
			})
		}
	}
}

// commitTogether puts transactions into one block in the given order.
func (r *rig) commitTogether(txs []*client.Transaction) []peer.TxValidationCode {
	r.t.Helper()
	var batch []*pending
	for _, tx := range txs {
		tx, err := r.l.accept(r.signed(tx))
		if err != nil {
			r.t.Fatal(err)
		}
		batch = append(batch, &pending{tx: tx})
	}
	for i, tx := range txs {
		batch[i].encoded, batch[i].done = marshal(r.signed(tx)), make(chan struct{})
	}
	// The queue wakes the committer once; holding its lock, all of them are there when it looks.
	r.l.queue.mu.Lock()
	r.l.queue.items = append(r.l.queue.items, batch...)
	for _, p := range batch {
		r.l.queue.bytes += len(p.encoded)
	}
	r.l.queue.signal()
	r.l.queue.mu.Unlock()
	var out []peer.TxValidationCode
	for i, p := range batch {
		<-p.done
		if p.err != nil {
			r.t.Fatal(p.err)
		}
		if p.tx.Index != i {
			r.t.Fatalf("transaction %d stands at %d: not in one block", i, p.tx.Index)
		}
		out = append(out, p.tx.Code)
	}
	return out
}

// signed is the envelope of an endorsed transaction with its creator's signature.
func (r *rig) signed(tx *client.Transaction) *common.Envelope {
	r.t.Helper()
	raw, err := tx.Bytes()
	if err != nil {
		r.t.Fatal(err)
	}
	var p gateway.PreparedTransaction
	if err := proto.Unmarshal(raw, &p); err != nil {
		r.t.Fatal(err)
	}
	if p.GetEnvelope().Signature, err = r.user.SignDigest(tx.Digest()); err != nil {
		r.t.Fatal(err)
	}
	return p.GetEnvelope()
}

func (r *rig) submitEnvelope(txID string, env *common.Envelope) error {
	_, err := gateway.NewGatewayClient(r.conn).Submit(r.t.Context(), &gateway.SubmitRequest{
		TransactionId: txID, ChannelId: testChannel, PreparedTransaction: env})
	return err
}

func TestDuplicateTransactions(t *testing.T) {
	r := newRig(t, nil)
	tx := r.endorse("put", "k", "1")
	env := r.signed(tx)
	if err := r.submitEnvelope(tx.TransactionID(), env); err != nil {
		t.Fatal(err)
	}
	if err := r.submitEnvelope(tx.TransactionID(), env); status.Code(err) != codes.AlreadyExists {
		t.Errorf("second submit: %v", err)
	}
	// Inside the ledger the same rule stands once more, in the block's validation.
	other := r.endorse("put", "k", "2")
	if got := r.commitTogether([]*client.Transaction{other, other, tx}); got[0] != peer.TxValidationCode_VALID ||
		got[1] != peer.TxValidationCode_DUPLICATE_TXID || got[2] != peer.TxValidationCode_DUPLICATE_TXID {
		t.Errorf("codes %v", got)
	}
	if v := r.get("k"); v != "2" {
		t.Errorf("k = %q", v)
	}
	// An endorsement of a known id is refused.
	p, err := r.contract().NewProposal("put", client.WithArguments("k", "3"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := p.Endorse()
	if err != nil {
		t.Fatal(err)
	}
	r.commit(first)
	if _, err := p.Endorse(); err == nil || !strings.Contains(details(err), "duplicate transaction found") {
		t.Errorf("endorsing again: %v %s", err, details(err))
	}
	// Replayed after a restart.
	r.reopen()
	if err := r.submitEnvelope(tx.TransactionID(), env); status.Code(err) != codes.AlreadyExists {
		t.Errorf("submit after reopening: %v", err)
	}
	r.close()
	mustBeSound(t, r.dir)
}

// TestAlteredEnvelope changes every byte of a transaction on its way, one at a time.
func TestAlteredEnvelope(t *testing.T) {
	r := newRig(t, nil)
	tx := r.endorse("put", "k", "1")
	env := r.signed(tx)
	height := r.l.Height()
	for i := range env.GetPayload() {
		altered := proto.Clone(env).(*common.Envelope)
		altered.Payload[i] ^= 1
		if _, err := r.l.accept(altered); err == nil {
			t.Fatalf("payload byte %d of %d altered and accepted", i, len(env.GetPayload()))
		}
	}
	for i := range env.GetSignature() {
		altered := proto.Clone(env).(*common.Envelope)
		altered.Signature[i] ^= 1
		if _, err := r.l.accept(altered); err == nil {
			t.Fatalf("signature byte %d altered and accepted", i)
		}
	}
	cut := proto.Clone(env).(*common.Envelope)
	cut.Payload = cut.Payload[:len(cut.GetPayload())/2]
	if err := r.submitEnvelope(tx.TransactionID(), cut); err == nil {
		t.Error("half an envelope accepted")
	}
	if r.l.Height() != height {
		t.Error("a refused transaction made a block")
	}
	if r.commit(tx) != peer.TxValidationCode_VALID {
		t.Error("the transaction itself")
	}
}

// TestResignedEnvelope has the member's own key sign what the ledger did not endorse.
func TestResignedEnvelope(t *testing.T) {
	r := newRig(t, nil)
	mine, other := r.endorse("put", "k", "1"), r.endorse("put", "k", "2")
	resign := func(change func(p *common.Payload, tx *peer.Transaction, a *peer.ChaincodeActionPayload)) *common.Envelope {
		env := r.signed(mine)
		var p common.Payload
		var tx peer.Transaction
		var a peer.ChaincodeActionPayload
		unmarshal(t, env.GetPayload(), &p)
		unmarshal(t, p.GetData(), &tx)
		unmarshal(t, tx.GetActions()[0].GetPayload(), &a)
		change(&p, &tx, &a)
		if len(tx.GetActions()) > 0 {
			tx.Actions[0].Payload = marshal(&a)
		}
		p.Data = marshal(&tx)
		env.Payload = marshal(&p)
		sig, err := r.user.Sign(env.GetPayload())
		if err != nil {
			t.Fatal(err)
		}
		env.Signature = sig
		return env
	}
	var op common.Payload
	var ot peer.Transaction
	var oa peer.ChaincodeActionPayload
	unmarshal(t, r.signed(other).GetPayload(), &op)
	unmarshal(t, op.GetData(), &ot)
	unmarshal(t, ot.GetActions()[0].GetPayload(), &oa)
	for _, tt := range []struct {
		name   string
		change func(*common.Payload, *peer.Transaction, *peer.ChaincodeActionPayload)
	}{
		{"another proposal's endorsement", func(_ *common.Payload, _ *peer.Transaction, a *peer.ChaincodeActionPayload) {
			a.Action = oa.GetAction()
		}},
		{"another proposal's arguments", func(_ *common.Payload, _ *peer.Transaction, a *peer.ChaincodeActionPayload) {
			a.ChaincodeProposalPayload = oa.GetChaincodeProposalPayload()
		}},
		{"no endorsement", func(_ *common.Payload, _ *peer.Transaction, a *peer.ChaincodeActionPayload) {
			a.Action.Endorsements = nil
		}},
		{"a member's own endorsement", func(_ *common.Payload, _ *peer.Transaction, a *peer.ChaincodeActionPayload) {
			sig, err := r.user.Sign(a.GetAction().GetProposalResponsePayload(), r.user.Serialized())
			if err != nil {
				t.Fatal(err)
			}
			a.Action.Endorsements = []*peer.Endorsement{{Endorser: r.user.Serialized(), Signature: sig}}
		}},
		{"no action", func(_ *common.Payload, tx *peer.Transaction, _ *peer.ChaincodeActionPayload) { tx.Actions = nil }},
		{"two actions", func(_ *common.Payload, tx *peer.Transaction, _ *peer.ChaincodeActionPayload) {
			tx.Actions = append(tx.Actions, ot.GetActions()[0])
		}},
		{"another channel", func(p *common.Payload, _ *peer.Transaction, _ *peer.ChaincodeActionPayload) {
			var h common.ChannelHeader
			unmarshal(t, p.GetHeader().GetChannelHeader(), &h)
			h.ChannelId = "elsewhere"
			p.Header.ChannelHeader = marshal(&h)
		}},
		{"another txid", func(p *common.Payload, _ *peer.Transaction, _ *peer.ChaincodeActionPayload) {
			var h common.ChannelHeader
			unmarshal(t, p.GetHeader().GetChannelHeader(), &h)
			h.TxId = other.TransactionID()
			p.Header.ChannelHeader = marshal(&h)
		}},
		{"a configuration", func(p *common.Payload, _ *peer.Transaction, _ *peer.ChaincodeActionPayload) {
			var h common.ChannelHeader
			unmarshal(t, p.GetHeader().GetChannelHeader(), &h)
			h.Type = int32(common.HeaderType_CONFIG)
			p.Header.ChannelHeader = marshal(&h)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := r.submitEnvelope(mine.TransactionID(), resign(tt.change)); err == nil {
				t.Error("accepted")
			} else if c := status.Code(err); c != codes.Aborted {
				t.Errorf("code %v: %v", c, err)
			}
		})
	}
	if r.l.Height() != 1 {
		t.Error("a refused transaction made a block")
	}
}

func unmarshal(t testing.TB, b []byte, m proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
}

// TestIdentities lets strangers and expired members try.
func TestIdentities(t *testing.T) {
	r := newRig(t, nil)
	impostor, err := msp.NewCA("BeijingMSP", "ca.BeijingMSP") // the same names, another key
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := msp.NewCA("ShanghaiMSP", "ca.ShanghaiMSP")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	past := msp.Validity{From: now.Add(-2 * time.Minute), Until: now.Add(-time.Minute)}
	future := msp.Validity{From: now.AddDate(1, 0, 0), Until: now.AddDate(2, 0, 0)}
	for _, tt := range []struct {
		name string
		id   *msp.Identity
		want string
	}{
		{"forged certificate", issue(t, impostor, "bj-scjg", msp.Validity{}), "creator org unknown"},
		{"foreign organisation", issue(t, stranger, "sh-scjg", msp.Validity{}), "creator org unknown"},
		{"expired certificate", issue(t, r.beijing, "bj-scjg", past), "certificate expired or not yet valid"},
		{"certificate of the future", issue(t, r.beijing, "bj-scjg", future), "certificate expired or not yet valid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			network := connect(t, r.conn, tt.id).GetNetwork(testChannel)
			_, err := network.GetContract(testChaincode).SubmitTransaction("put", "k", "1")
			if status.Code(err) != codes.Aborted || !strings.Contains(details(err), tt.want) {
				t.Errorf("submit: %v %s", err, details(err))
			}
			if _, err := network.GetContract(testChaincode).EvaluateTransaction("get", "k"); status.Code(err) != codes.FailedPrecondition {
				t.Errorf("evaluate: %v", err)
			}
			events, err := network.BlockEvents(t.Context(), client.WithStartBlock(0))
			if err != nil {
				t.Fatal(err)
			}
			if b, ok := <-events; ok {
				t.Errorf("read block %d", b.GetHeader().GetNumber())
			}
		})
	}
	// A proposal signed by another member's key.
	bad, err := client.Connect(r.user, client.WithSign(issue(t, r.tianjin, "tj", msp.Validity{}).SignDigest), client.WithClientConnection(r.conn))
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if _, err := bad.GetNetwork(testChannel).GetContract(testChaincode).SubmitTransaction("put", "k", "1"); status.Code(err) != codes.Aborted {
		t.Errorf("wrong key: %v", err)
	}
}

// TestExpiryAfterEndorse has a certificate expire between Endorse and Submit, and blocks outlive their certificates.
func TestExpiryAfterEndorse(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	set := func(at time.Time) {
		mu.Lock()
		defer mu.Unlock()
		now = at
	}
	r := newRig(t, func(c *Config) {
		c.Clock = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	r.user = issue(t, r.beijing, "bj-scjg", msp.Validity{Until: now.Add(time.Hour)})
	r.submit("put", "k", "1")
	tx := r.endorse("put", "k", "2")
	set(now.Add(2 * time.Hour))
	if _, err := tx.Submit(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("submit with an expired certificate: %v", err)
	}
	set(now.AddDate(30, 0, 0))
	r.close()
	mustBeSound(t, r.dir) // expired by now, and still a valid block
	r.open()
	if r.l.Height() != 2 {
		t.Errorf("height %d", r.l.Height())
	}
}

func TestCommitStatusWaits(t *testing.T) {
	r := newRig(t, nil)
	tx := r.endorse("put", "k", "1")
	env := r.signed(tx)
	id, err := proto.Marshal(&gateway.CommitStatusRequest{ChannelId: testChannel, TransactionId: tx.TransactionID(), Identity: r.user.Serialized()})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := r.user.Sign(id)
	if err != nil {
		t.Fatal(err)
	}
	gw := gateway.NewGatewayClient(r.conn)
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := gw.CommitStatus(short, &gateway.SignedCommitStatusRequest{Request: id, Signature: sig}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("status of a transaction that is not ordered: %v", err)
	}
	type answer struct {
		r   *gateway.CommitStatusResponse
		err error
	}
	answers := make(chan answer, 3)
	for range cap(answers) {
		go func() {
			resp, err := gw.CommitStatus(t.Context(), &gateway.SignedCommitStatusRequest{Request: id, Signature: sig})
			answers <- answer{resp, err}
		}()
	}
	if err := r.submitEnvelope(tx.TransactionID(), env); err != nil {
		t.Fatal(err)
	}
	for range cap(answers) {
		if a := <-answers; a.err != nil || a.r.GetResult() != peer.TxValidationCode_VALID || a.r.GetBlockNumber() != 1 {
			t.Errorf("%v %v", a.r, a.err)
		}
	}
	sig[8] ^= 1
	if _, err := gw.CommitStatus(t.Context(), &gateway.SignedCommitStatusRequest{Request: id, Signature: sig}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("bad signature: %v", err)
	}
	// A call that its client gave up leaves when the ledger notices.
	left := func() int {
		r.l.waiting.mu.Lock()
		defer r.l.waiting.mu.Unlock()
		return r.l.waiting.count + len(r.l.waiting.byTx)
	}
	for deadline := time.Now().Add(10 * time.Second); left() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d waiters left", left())
		}
	}
}

// TestRunawayContract gives the contract a deadline that it ignores.
func TestRunawayContract(t *testing.T) {
	release, late := make(chan struct{}), make(chan error, 1)
	r := newRig(t, func(c *Config) {
		c.Limits.Execution = 50 * time.Millisecond
		c.Limits.Executions = 1
		c.Contract = kv{hook: func(s shim.ChaincodeStubInterface) *peer.Response {
			<-release
			_, err := s.GetState("k")
			late <- err
			return success(nil)
		}}
	})
	if _, err := r.contract().EvaluateTransaction("hook"); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("runaway: %v", err)
	}
	// It still occupies its place, so the next run does not start.
	if _, err := r.contract().EvaluateTransaction("get", "k"); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("next: %v", err)
	}
	close(release)
	if err := <-late; !errors.Is(err, errExpired) {
		t.Errorf("a call after the deadline: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err := r.contract().EvaluateTransaction("get", "k")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestQueueBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.QueuedTxs = 2 })
	q := newQueue(r.l.cfg.Limits)
	put := func() error {
		tx := r.endorse("put", "k", "1")
		accepted, err := r.l.accept(r.signed(tx))
		if err != nil {
			t.Fatal(err)
		}
		return q.put(&pending{tx: accepted, encoded: make([]byte, 10), done: make(chan struct{})})
	}
	for range 2 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("full queue: %v", err)
	}
	if n := len(q.take()); n != 2 {
		t.Errorf("took %d", n)
	}
	q.close()
	if err := put(); status.Code(err) != codes.Unavailable {
		t.Errorf("closed queue: %v", err)
	}
}

func TestGroupCommit(t *testing.T) {
	r := newRig(t, nil)
	const n = 200
	var wg sync.WaitGroup
	contract := r.contract()
	for i := range n {
		wg.Go(func() {
			if _, err := contract.SubmitTransaction("put", fmt.Sprint("k", i), "v"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if h := r.l.Height(); h > n {
		t.Errorf("%d blocks for %d transactions", h-1, n)
	} else {
		t.Logf("%d blocks for %d transactions", h-1, n)
	}
	r.close()
	if report := mustBeSound(t, r.dir); report.Transactions != n+1 {
		t.Errorf("%d transactions", report.Transactions)
	}
}
