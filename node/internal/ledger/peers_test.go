package ledger_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakePeer delivers empty blocks and says what it is told to say.
type fakePeer struct {
	peer.UnimplementedDeliverServer
	gateway.UnimplementedGatewayServer
	conn *grpc.ClientConn

	mu     sync.Mutex
	has    uint64 // blocks that it delivers
	says   uint64 // blocks that it says it has; 0: as many as it has
	first  uint64 // blocks before this are not there
	hangs  bool   // it answers nothing
	away   bool   // it cannot be reached
	more   chan struct{}
	opened int // streams of blocks
	asked  int // questions for its height

	endorse func() error
}

func newPeer(t *testing.T, blocks uint64) *fakePeer {
	t.Helper()
	p := &fakePeer{has: blocks, more: make(chan struct{})}
	lis := bufconn.Listen(1 << 16)
	s := grpc.NewServer()
	peer.RegisterDeliverServer(s, p)
	gateway.RegisterGatewayServer(s, p)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(lis) // ends with Stop
	}()
	var err error
	if p.conn, err = grpc.NewClient("passthrough:///peer",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.conn.Close()
		s.Stop()
		<-served
	})
	return p
}

// set changes the peer; its open streams notice.
func (p *fakePeer) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.more)
	p.more = make(chan struct{})
}

func (p *fakePeer) now() (has, says, first uint64, hangs, away bool, more chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	says = p.says
	if says == 0 {
		says = p.has
	}
	return p.has, says, p.first, p.hangs, p.away, p.more
}

func (p *fakePeer) seek(s grpc.BidiStreamingServer[common.Envelope, peer.DeliverResponse]) (from uint64, err error) {
	env, err := s.Recv()
	if err != nil {
		return 0, err
	}
	var payload common.Payload
	var info orderer.SeekInfo
	if err := errors.Join(proto.Unmarshal(env.GetPayload(), &payload), proto.Unmarshal(payload.GetData(), &info)); err != nil {
		return 0, err
	}
	_, _, _, hangs, away, _ := p.now()
	if away {
		return 0, status.Error(codes.Unavailable, "away")
	}
	if hangs {
		<-s.Context().Done()
		return 0, s.Context().Err()
	}
	return info.GetStart().GetSpecified().GetNumber(), nil
}

func (p *fakePeer) DeliverFiltered(s peer.Deliver_DeliverFilteredServer) error {
	p.mu.Lock()
	p.asked++
	p.mu.Unlock()
	if _, err := p.seek(s); err != nil {
		return err
	}
	_, says, _, _, _, _ := p.now()
	return s.Send(&peer.DeliverResponse{Type: &peer.DeliverResponse_FilteredBlock{FilteredBlock: &peer.FilteredBlock{Number: says - 1}}})
}

func (p *fakePeer) Deliver(s peer.Deliver_DeliverServer) error {
	p.mu.Lock()
	p.opened++
	p.mu.Unlock()
	next, err := p.seek(s)
	if err != nil {
		return err
	}
	for {
		has, _, first, _, away, more := p.now()
		switch {
		case away:
			return status.Error(codes.Unavailable, "away")
		case next < first:
			return s.Send(&peer.DeliverResponse{Type: &peer.DeliverResponse_Status{Status: common.Status_NOT_FOUND}})
		case next < has:
			b := &common.Block{Header: &common.BlockHeader{Number: next}}
			if err := s.Send(&peer.DeliverResponse{Type: &peer.DeliverResponse_Block{Block: b}}); err != nil {
				return err
			}
			next++
			continue
		}
		select {
		case <-more:
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

func (p *fakePeer) Endorse(ctx context.Context, _ *gateway.EndorseRequest) (*gateway.EndorseResponse, error) {
	_, _, _, hangs, _, _ := p.now()
	if hangs {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return nil, p.endorse()
}

// several makes a client of several peers, named a, b, c.
func several(t *testing.T, change func(*ledger.Config), peers ...*fakePeer) *ledger.Client {
	t.Helper()
	ca, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Issue("beijing", msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := ledger.Config{
		Identity: id, Channel: "jjj", Chaincode: "store", Rest: time.Minute, MaxRest: time.Minute,
		HeightTimeout: 500 * time.Millisecond, HeightGrace: 20 * time.Millisecond, EndorseTimeout: 500 * time.Millisecond,
	}
	for i, p := range peers {
		cfg.Gateways = append(cfg.Gateways, ledger.Gateway{Name: string(rune('a' + i)), Conn: p.conn})
	}
	if change != nil {
		change(&cfg)
	}
	c, err := ledger.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// take reads blocks from a number on up to another, and returns what ended the stream before that.
func take(t *testing.T, c *ledger.Client, from, to uint64) (next uint64, err error) {
	t.Helper()
	next = from
	for b, err := range c.Blocks(deadline(t), from) {
		if err != nil {
			return next, err
		}
		if b.GetHeader().GetNumber() != next {
			t.Fatalf("block %d, want %d", b.GetHeader().GetNumber(), next)
		}
		if next++; next == to {
			return next, nil
		}
	}
	return next, nil
}

// silence reads from a number on and after the last block ends the stream as of a gateway that keeps silent.
func silence(t *testing.T, c *ledger.Client, from, last uint64) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(deadline(t))
	defer cancel(nil)
	if from == last {
		time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("silent")) })
	}
	for b, err := range c.Blocks(ctx, from) {
		if err != nil {
			return
		}
		if b.GetHeader().GetNumber()+1 == last {
			time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("silent")) })
		}
	}
}

func words(c *ledger.Client) string {
	var out []string
	for _, s := range c.States() {
		out = append(out, s.Word)
	}
	return strings.Join(out, " ")
}

func height(t *testing.T, c *ledger.Client) uint64 {
	t.Helper()
	h, err := c.Height(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHeightOfSeveral: the largest height that is believed counts; a peer that hangs holds nobody up.
func TestHeightOfSeveral(t *testing.T) {
	a, b, c := newPeer(t, 5), newPeer(t, 9), newPeer(t, 7)
	client := several(t, nil, a, b, c)
	eventually(t, "the largest height", func() bool { return height(t, client) == 9 })
	b.set(func() { b.hangs = true })
	begun := time.Now()
	for range 20 {
		if h := height(t, client); h != 9 { // its last word counts for a while
			t.Fatalf("height %d", h)
		}
	}
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("20 questions took %v beside a peer that hangs", d)
	}
	eventually(t, "the peer that hangs to rest", func() bool { height(t, client); return words(client) == "ok resting ok" })

	short := several(t, func(c *ledger.Config) { c.Claim = 50 * time.Millisecond }, a, b, c)
	eventually(t, "the first answers", func() bool { return height(t, short) == 7 })
	b.set(func() { b.hangs = false })
	for _, p := range []*fakePeer{a, b, c} {
		p.set(func() { p.away = true })
	}
	if _, err := several(t, nil, a, b, c).Height(deadline(t)); err == nil {
		t.Error("a height of nobody")
	}
	time.Sleep(60 * time.Millisecond) // until what was said does not count
	if _, err := short.Height(deadline(t)); err == nil {
		t.Error("a height from memory")
	}
}

// TestFalseHeight: what a peer claims and does not deliver does not count any more, until it delivers it.
func TestFalseHeight(t *testing.T) {
	honest, liar := newPeer(t, 10), newPeer(t, 10)
	liar.says = 1 << 40
	client := several(t, func(c *ledger.Config) { c.Rest = time.Millisecond; c.MaxRest = 2 * time.Millisecond }, honest, liar)
	eventually(t, "the claim", func() bool { return height(t, client) == 1<<40 })
	if _, err := take(t, client, 0, 10); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 3 && words(client) != "ok doubted"; i++ {
		silence(t, client, 10, 10) // the honest one, which is rightly left for the one that says it has more
	}
	if w := words(client); !strings.HasSuffix(w, "doubted") {
		t.Fatalf("states %s", w)
	}
	if h := height(t, client); h != 10 {
		t.Errorf("height %d", h)
	}
	// A peer that was only slow is believed again once it has delivered.
	liar.set(func() { liar.has, liar.says = 12, 0 })
	honest.set(func() { honest.away = true })
	if _, err := take(t, client, 10, 12); err != nil {
		if _, err = take(t, client, 10, 12); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the peer to be believed", func() bool { return height(t, client) == 12 })

	// An only peer is not believed either: better no answer than a wrong one.
	alone := newPeer(t, 3)
	alone.says = 9
	single := several(t, nil, alone)
	height(t, single)
	silence(t, single, 0, 3)
	if h, err := single.Height(deadline(t)); err == nil {
		t.Errorf("height %d of a liar alone", h)
	}
}

// TestBlocksFailOver: a stream goes on at another peer when one is away, lacks old blocks or keeps silent.
func TestBlocksFailOver(t *testing.T) {
	for name, broken := range map[string]func(*fakePeer){
		"away":                     func(p *fakePeer) { p.away = true },
		"restored from snapshot":   func(p *fakePeer) { p.first = 6 },
		"silent":                   func(p *fakePeer) { p.hangs = true },
		"lags and says so":         func(p *fakePeer) { p.has = 2 },
		"lags and does not say so": func(p *fakePeer) { p.has, p.says = 2, 10 },
	} {
		for at := range 2 {
			t.Run(name, func(t *testing.T) {
				peers := []*fakePeer{newPeer(t, 10), newPeer(t, 10)}
				broken(peers[at])
				client := several(t, nil, peers...)
				_, _ = client.Height(deadline(t))
				next := uint64(0)
				for tries := 0; next < 10; tries++ {
					if tries == 3 {
						t.Fatalf("at block %d after %d streams: %s", next, tries, words(client))
					}
					ctx, cancel := context.WithCancelCause(deadline(t))
					silent := time.AfterFunc(200*time.Millisecond, func() { cancel(errors.New("silent")) })
					for b, err := range client.Blocks(ctx, next) {
						if err != nil {
							break
						}
						if b.GetHeader().GetNumber() != next {
							t.Fatalf("block %d, want %d", b.GetHeader().GetNumber(), next)
						}
						if next++; next == 10 {
							break
						}
					}
					silent.Stop()
					cancel(nil)
				}
				if peers[0].opened+peers[1].opened > 3 {
					t.Errorf("%d and %d streams", peers[0].opened, peers[1].opened)
				}
			})
		}
	}
}

// TestRefused: a peer that gave what does not check is not asked for anything again; when none is left, every
// call says why.
func TestRefused(t *testing.T) {
	a, b := newPeer(t, 3), newPeer(t, 3)
	client := several(t, nil, a, b)
	if client.Refuse(errors.New("nothing was given")) != false {
		t.Error("refused nobody")
	}
	if _, err := take(t, client, 0, 3); err != nil {
		t.Fatal(err)
	}
	if !client.Refuse(fault{}) {
		t.Fatal("nobody left of two")
	}
	r := client.Refused()
	if len(r) != 1 || r[0].Gateway != "a" || r[0].Code != "tx.hidden" || r[0].Block != 2 || r[0].Tx != 1 || r[0].Zh != "隐藏" {
		t.Errorf("%+v", r)
	}
	if _, err := take(t, client, 0, 3); err != nil || a.opened != 1 || b.opened != 1 {
		t.Errorf("%d and %d streams: %v", a.opened, b.opened, err)
	}
	if client.Refuse(fault{}) {
		t.Error("somebody is left of none")
	}
	_, _, _, err := client.Propose(deadline(t), "put", nil)
	var e *ledger.Error
	if !errors.As(err, &e) || e.Kind != ledger.NotOrdered || model.AsError(err).Code != model.CodeLedgerUnavailable || !strings.Contains(err.Error(), "refused") {
		t.Errorf("propose: %v", err)
	}
	if _, err := client.Height(deadline(t)); err == nil || !strings.Contains(err.Error(), "believed") {
		t.Errorf("height: %v", err)
	}
	if _, err := take(t, client, 0, 3); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("blocks: %v", err)
	}
	if words(client) != "refused refused" || !strings.Contains(client.States()[0].String(), "tx.hidden") {
		t.Errorf("states %v", client.States())
	}

	// An only peer stays in use: the follower stops, and a restart would ask the same one.
	single := several(t, nil, a)
	if _, err := take(t, single, 0, 3); err != nil {
		t.Fatal(err)
	}
	if single.Refuse(fault{}) || len(single.Refused()) != 0 {
		t.Error("the only peer was put out of use")
	}
}

type fault struct{}

func (fault) Error() string { return "hidden" }

func (fault) Fault() (code, en, zh string, block uint64, tx int) {
	return "tx.hidden", "hidden", "隐藏", 2, 1
}

// TestHungGateway: a peer that hangs costs its deadline once, and nothing once it did not even say its height.
func TestHungGateway(t *testing.T) {
	a, b := newPeer(t, 3), newPeer(t, 3)
	a.hangs = true
	served := 0
	b.endorse = func() error { served++; return status.Error(codes.Aborted, "chaincode response 500, not_found") }
	for _, asked := range []bool{false, true} {
		client := several(t, nil, a, b)
		if asked {
			eventually(t, "the hung peer to rest", func() bool { _, _ = client.Height(deadline(t)); return words(client) == "resting ok" })
		}
		served = 0
		begun := time.Now()
		for range 10 {
			_, _, _, err := client.Propose(deadline(t), "put", nil)
			var e *ledger.Error
			if !errors.As(err, &e) || e.Code != model.CodeNotFound {
				t.Fatalf("%v", err)
			}
		}
		if d := time.Since(begun); served != 10 || d > 4*time.Second {
			t.Errorf("%d served in %v", served, d)
		}
	}
}

// TestCallUnderWayIsGivenUp: calls that wait for a peer when it turns out to hang go on at another, long before
// their deadline; an envelope that was sent is perhaps ordered.
func TestCallUnderWayIsGivenUp(t *testing.T) {
	a, b := newPeer(t, 3), newPeer(t, 3)
	a.hangs = true
	b.endorse = func() error { return status.Error(codes.Aborted, "chaincode response 500, not_found") }
	client := several(t, func(c *ledger.Config) { c.EndorseTimeout, c.HeightTimeout = time.Minute, 100*time.Millisecond }, a, b)
	answered := make(chan error, 3)
	for range cap(answered) {
		go func() {
			_, _, _, err := client.Propose(deadline(t), "put", nil)
			answered <- err
		}()
	}
	for n := 0; n < cap(answered); {
		_, _ = client.Height(deadline(t))
		select {
		case err := <-answered:
			var e *ledger.Error
			if n++; !errors.As(err, &e) || e.Code != model.CodeNotFound {
				t.Errorf("%v", err)
			}
		case <-time.After(5 * time.Millisecond):
		}
	}
	// Where there is nobody else, there is nothing to give a call up for.
	alone := several(t, func(c *ledger.Config) { c.EndorseTimeout, c.HeightTimeout = 300*time.Millisecond, 50*time.Millisecond }, a)
	go func() {
		_, _, _, err := alone.Propose(deadline(t), "put", nil)
		answered <- err
	}()
	for ended := false; !ended; {
		_, _ = alone.Height(deadline(t))
		select {
		case err := <-answered:
			if ended = true; !strings.Contains(err.Error(), "DeadlineExceeded") {
				t.Errorf("%v", err)
			}
		default:
		}
	}
}

// TestRestGrows: a peer that keeps failing is passed over longer and longer, and is used again when it serves.
func TestRestGrows(t *testing.T) {
	a, b := newPeer(t, 3), newPeer(t, 3)
	asked := 0
	a.endorse = func() error { asked++; return status.Error(codes.Unavailable, "away") }
	b.endorse = func() error { return status.Error(codes.Unavailable, "away") }
	client := several(t, func(c *ledger.Config) { c.Rest, c.MaxRest = 10*time.Millisecond, 80*time.Millisecond }, a, b)
	for range 50 { // both rest, so both are still asked
		_, _, _, _ = client.Propose(deadline(t), "put", nil)
	}
	if asked != 50 {
		t.Errorf("asked %d times while all rest", asked)
	}
	b.endorse = func() error { return status.Error(codes.Aborted, "chaincode response 500, not_found") }
	asked = 0
	begun := time.Now()
	for time.Since(begun) < 400*time.Millisecond {
		_, _, _, _ = client.Propose(deadline(t), "put", nil)
		time.Sleep(time.Millisecond)
	}
	// Refusals are answers: the peer that gives them stays the one in use.
	if asked > 10 {
		t.Errorf("the failing peer was asked %d times in 400 ms", asked)
	}
}

// TestConflictMovesOn: endorsers that disagree may do so because the gateway's own peer lags.
func TestConflictMovesOn(t *testing.T) {
	a, b := newPeer(t, 3), newPeer(t, 3)
	asked := map[string]int{}
	for name, p := range map[string]*fakePeer{"a": a, "b": b} {
		p.endorse = func() error {
			asked[name]++
			st, err := status.New(codes.Aborted, "failed to collect enough transaction endorsements, see attached details for more info").
				WithDetails(&gateway.ErrorDetail{Address: "peer0", MspId: "TianjinMSP", Message: "ProposalResponsePayloads do not match"})
			if err != nil {
				return err
			}
			return st.Err()
		}
	}
	client := several(t, nil, a, b)
	for range 4 {
		_, _, _, err := client.Propose(deadline(t), "put", nil)
		var e *ledger.Error
		if !errors.As(err, &e) || e.Kind != ledger.Conflict || !strings.Contains(err.Error(), "peer0 (TianjinMSP): ProposalResponsePayloads") {
			t.Fatalf("%v", err)
		}
	}
	if asked["a"] != 2 || asked["b"] != 2 || words(client) != "ok ok" {
		t.Errorf("asked %v, states %s", asked, words(client))
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out: %s", what)
		}
	}
}
