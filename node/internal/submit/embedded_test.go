package submit_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/submit"
)

// versions is a contract that keeps only the version rule: one key a page, the page's versions in it.
type versions struct{}

func (versions) Init(shim.ChaincodeStubInterface) *peer.Response { return &peer.Response{Status: 200} }

type page [model.PageSize]uint64

func (p *page) encode() []byte { return fmt.Append(nil, *p) }

func decodePage(b []byte) (p page, err error) {
	for i, f := range bytes.Fields(bytes.Trim(b, "[]")) {
		if p[i], err = strconv.ParseUint(string(f), 10, 64); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (versions) Invoke(s shim.ChaincodeStubInterface) *peer.Response {
	fail := func(code model.Code) *peer.Response { return &peer.Response{Status: 500, Message: string(code)} }
	pages := map[string]*page{}
	var r model.Response
	args, err := model.Unpack(s.GetArgs()[1:])
	if err != nil {
		return fail(model.CodeBadValue)
	}
	for i, raw := range args {
		op, err := model.DecodeOperation(raw)
		if err != nil {
			return fail(model.AsError(err).Code)
		}
		if bytes.Contains(op.Body, []byte("personal")) {
			return fail(model.CodePersonalIdentifier)
		}
		key := model.Touches(&op)[0]
		if pages[key] == nil {
			b, err := s.GetState(key)
			if err != nil {
				return fail(model.CodeInternal)
			}
			p, err := decodePage(b)
			if err != nil {
				return fail(model.CodeInternal)
			}
			pages[key] = &p
		}
		v := &pages[key][model.PageSlot(op.Record)]
		if *v+1 != op.Version {
			r.Refused = append(r.Refused, model.Refusal{Index: i, Code: model.CodeVersionConflict})
			continue
		}
		*v = op.Version
		r.Accepted++
	}
	if len(r.Refused) == 0 {
		for k, p := range pages {
			if err := s.PutState(k, p.encode()); err != nil {
				return fail(model.CodeInternal)
			}
		}
	}
	payload, err := model.Canonical(r)
	if err != nil {
		return fail(model.CodeInternal)
	}
	return &peer.Response{Status: 200, Payload: payload}
}

// site is an embedded ledger with one member's client.
type site struct {
	dir string
	cfg embedded.Config
	l   *embedded.Ledger
	id  *msp.Identity
}

func newSite(t testing.TB) *site {
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
	s := &site{dir: t.TempDir()}
	if s.id, err = member.Issue("bj-node", msp.Validity{}); err != nil {
		t.Fatal(err)
	}
	s.cfg = embedded.Config{
		Channel: "jjj", Chaincode: "zhenglian", Members: []msp.Config{member.Config()}, Ledger: org.Config(),
		Identity: own, Contract: versions{}, Logger: slog.New(slog.DiscardHandler),
	}
	if err := embedded.Create(s.dir, s.cfg); err != nil {
		t.Fatal(err)
	}
	s.open(t)
	t.Cleanup(func() { s.close(t) })
	return s
}

func (s *site) open(t testing.TB) {
	t.Helper()
	var err error
	if s.l, err = embedded.Open(s.dir, s.cfg); err != nil {
		t.Fatal(err)
	}
}

func (s *site) close(t testing.TB) {
	t.Helper()
	if err := s.l.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// reader is a follower and records of the simplest kind over real blocks.
type reader struct {
	mu       sync.Mutex
	height   uint64
	receipts map[model.OpID]model.Receipt
	versions map[string]uint64
	doubled  int
	client   *ledger.Client
	node     *submit.Submitter
}

func (r *reader) Receipt(id model.OpID) (model.Receipt, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, ok := r.receipts[id]
	return x, ok, nil
}

func (r *reader) Judge(op model.Operation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if bytes.Contains(op.Body, []byte("personal")) {
		return model.E(model.CodePersonalIdentifier)
	}
	if r.versions[string(op.Record)]+1 != op.Version {
		return model.E(model.CodeVersionConflict)
	}
	return nil
}

func (r *reader) AtHead(ctx context.Context, _ time.Time) error {
	r.mu.Lock()
	c := r.client
	r.mu.Unlock()
	head, err := c.Height(ctx)
	for err == nil {
		r.mu.Lock()
		there := r.height >= head
		r.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return err
}

func (r *reader) follow(ctx context.Context, t testing.TB) {
	for ctx.Err() == nil {
		for raw, err := range r.client.Blocks(ctx, r.height) {
			if err != nil {
				break
			}
			b, err := fabblock.Decode(raw)
			if err != nil {
				t.Error(err)
				return
			}
			var txs []submit.Applied
			r.mu.Lock()
			for _, tx := range b.Txs {
				a := submit.Applied{TxID: tx.ID, Code: tx.Code}
				if tx.Config || tx.Code != peer.TxValidationCode_VALID {
					txs = append(txs, a)
					continue
				}
				a.Receipts = make([]model.Receipt, 0, len(tx.Args)-1)
				args, err := model.Unpack(tx.Args[1:])
				if err != nil {
					t.Error(err)
				}
				for _, arg := range args {
					op, err := model.DecodeOperation(arg)
					if err != nil {
						t.Error(err)
					}
					if _, twice := r.receipts[op.ID]; twice {
						r.doubled++
					}
					x := model.Receipt{Operation: op.ID, Record: op.Record, Version: op.Version, Tx: tx.ID, Kind: op.Kind}
					r.receipts[op.ID] = x
					r.versions[string(op.Record)] = op.Version
					a.Receipts = append(a.Receipts, x)
				}
				txs = append(txs, a)
			}
			r.height = b.Number + 1
			node := r.node
			r.mu.Unlock()
			if node != nil {
				node.Applied(txs)
			}
		}
	}
}

// node is the write path of a node on a site.
type node struct {
	*submit.Submitter
	*reader
	out  *outbox.Outbox
	stop func()
}

func (s *site) node(t testing.TB, dir string, r *reader, cfg submit.Config) *node {
	t.Helper()
	conn, err := s.l.InProcess()
	if err != nil {
		t.Fatal(err)
	}
	c, err := ledger.New(ledger.Config{Gateways: []ledger.Gateway{{Name: "gateway", Conn: conn}}, Identity: s.id, Channel: "jjj", Chaincode: "zhenglian", Rest: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		r = &reader{receipts: map[model.OpID]model.Receipt{}, versions: map[string]uint64{}}
	}
	out, err := outbox.Open(dir, outbox.Config{MinFree: 1, MaxOperations: 1 << 20, MaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{reader: r, out: out}
	if n.Submitter, err = submit.New(cfg, c, out, out, r); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.client, r.node = c, n.Submitter
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { r.follow(ctx, t) })
	n.Start()
	n.stop = func() {
		if err := n.Submitter.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		following.Wait()
		if err := out.Check(); err != nil {
			t.Error(err)
		}
		if err := out.Close(); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	return n
}

// On the embedded ledger, with the ledger and the node stopped and started in between.
func TestEmbeddedLedger(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	cfg := quick()
	cfg.Logger = slog.New(slog.DiscardHandler)
	n := s.node(t, dir, nil, cfg)
	r := n.reader
	ctx := deadline(t)
	var all, bad []model.OpID
	var serial uint64
	for round := range 3 {
		for range 20 {
			serial++
			ops := []model.Operation{operation(serial, 1, body{Pad: pad(100)}), operation(serial, 2, body{})}
			if serial%7 == 0 {
				ops = append(ops, operation(serial, 3, body{Pad: "personal"}))
				bad = append(bad, ops[2].ID)
			}
			if _, err := n.Accept(ctx, [16]byte{}, model.Digest{}, time.Now(), ops); err != nil {
				t.Fatal(err)
			}
			all = append(all, idsOf(ops[:2])...)
		}
		switch round {
		case 0: // both are stopped under load
			n.stop()
			s.close(t)
			s.open(t)
			n = s.node(t, dir, r, cfg)
		case 1: // the node alone
			n.stop()
			n = s.node(t, dir, r, cfg)
		}
	}
	for status, of := range map[model.Progress][]model.OpID{model.Committed: all, model.Rejected: bad} {
		out, err := n.Wait(ctx, of)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range out {
			if o.Status != status || (status == model.Committed && o.Receipt == nil) {
				t.Errorf("%d: %+v, want %s", i, o, status)
			}
		}
	}
	if r.doubled != 0 || len(r.receipts) != len(all) {
		t.Errorf("%d committed, %d doubled, want %d", len(r.receipts), r.doubled, len(all))
	}
	n.stop()
}

func BenchmarkEmbedded(b *testing.B) {
	for _, c := range []struct{ callers, operations int }{{1, 1}, {64, 1}, {8, 100}, {32, 100}} {
		b.Run(fmt.Sprintf("callers=%d/operations=%d", c.callers, c.operations), func(b *testing.B) {
			s := newSite(b)
			n := s.node(b, b.TempDir(), nil, submit.Config{Logger: slog.New(slog.DiscardHandler)})
			defer n.stop()
			var serial uint64
			var mu sync.Mutex
			left := b.N
			took := make([]time.Duration, 0, b.N)
			var wg sync.WaitGroup
			b.ResetTimer()
			for range c.callers {
				wg.Go(func() {
					for {
						mu.Lock()
						if left == 0 {
							mu.Unlock()
							return
						}
						left--
						first := serial
						serial += uint64(c.operations)
						mu.Unlock()
						ops := make([]model.Operation, c.operations)
						for i := range ops {
							ops[i] = operation(first+uint64(i)+1, 1, body{Pad: padding})
						}
						begun := time.Now()
						if _, err := n.Accept(context.Background(), [16]byte{}, model.Digest{}, begun, ops); err != nil {
							b.Error(err)
							return
						}
						if _, err := n.Wait(context.Background(), idsOf(ops)); err != nil {
							b.Error(err)
						}
						mu.Lock()
						took = append(took, time.Since(begun))
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N*c.operations)/b.Elapsed().Seconds(), "operations/s")
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
		})
	}
}

var padding = pad(700)
