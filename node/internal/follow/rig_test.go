package follow_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded/embeddedtest"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

const chaincode = "zhenglian"

// world is a ledger with the real contract, initialised.
type world struct {
	*embeddedtest.World
	genesis  *model.GenesisDocument
	contract *contract.Contract
	serial   int
	mu       sync.Mutex // held by tests that run beside one another and make blocks
}

func newWorld(t testing.TB) *world {
	t.Helper()
	g := contracttest.Genesis()
	doc, err := model.Canonical(g)
	if err != nil {
		t.Fatal(err)
	}
	c := &contract.Contract{Genesis: model.DigestOf(doc), Verify: func(string, []byte, []byte, []byte) error { return nil }}
	w := &world{
		World:   embeddedtest.Start(t, "jjj", chaincode, c, "BeijingMSP", "TianjinMSP", "HebeiMSP", "CustomsMSP"),
		genesis: g, contract: c,
	}
	w.call(t, w.client(t, "BeijingMSP", "beijing", w.Conn), model.FunctionInit, doc)
	return w
}

// client makes a client of one or more ways to the ledger, named by their places: "0", "1" and so on.
func (w *world) client(t testing.TB, msp, name string, conns ...grpc.ClientConnInterface) *ledger.Client {
	t.Helper()
	cfg := ledger.Config{
		Identity: w.Issue(t, msp, name), Channel: "jjj", Chaincode: chaincode,
		Rest: 100 * time.Millisecond, HeightTimeout: 100 * time.Millisecond, HeightGrace: 50 * time.Millisecond, Claim: time.Second,
	}
	for i, conn := range conns {
		cfg.Gateways = append(cfg.Gateways, ledger.Gateway{Name: fmt.Sprint(i), Conn: conn})
	}
	c, err := ledger.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// call has a call committed and returns its transaction's id.
func (w *world) call(t testing.TB, c *ledger.Client, function string, args ...[]byte) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tx, _, envelope, err := c.Propose(ctx, function, args)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Submit(ctx, envelope); err != nil {
		t.Fatal(err)
	}
	code, _, err := c.Status(ctx, tx)
	if err != nil || code != peer.TxValidationCode_VALID {
		t.Fatalf("%s: %v %v", function, code, err)
	}
	return tx
}

// apply has operations committed in one transaction, as Beijing's node does it.
func (w *world) apply(t testing.TB, c *ledger.Client, ops ...model.Operation) string {
	t.Helper()
	args := make([][]byte, len(ops))
	for i := range ops {
		args[i] = ops[i].Encode()
	}
	return w.call(t, c, model.FunctionApply, model.Pack(args)...)
}

// issues makes n operations that issue new licences of bj-scjg.
func (w *world) issues(n int) []model.Operation {
	ops := make([]model.Operation, n)
	for i := range ops {
		w.serial++
		ops[i] = contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, model.NewRecordID("bj-scjg", uint64(w.serial)), 1,
			time.Now(), model.IssueBody{Value: contracttest.Licence(w.genesis, "bj-scjg", w.serial)})
	}
	return ops
}

func (w *world) act(typ model.Type, serial int, version uint64) model.Operation {
	return contracttest.Op("bj-scjg", typ, model.KindLicence, model.NewRecordID("bj-scjg", uint64(serial)), version, time.Now(),
		contracttest.Act(model.DateOf(time.Now())))
}

// node is a follower with its stores.
type node struct {
	t       testing.TB
	dir     string
	cfg     follow.Config
	archive *archive.Archive
	records *records.Store
	f       *follow.Follower
	faults  *fault // of the stores; nil: none

	cancel context.CancelFunc
	ended  chan error

	mu   sync.Mutex
	seen map[string]follow.Tx // guarded by mu; transactions told of
}

func (w *world) node(t testing.TB, source follow.Source) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), seen: map[string]follow.Tx{}}
	n.cfg = follow.Config{
		Source: source, Contract: w.contract, Chaincode: chaincode, Finding: filepath.Join(n.dir, "finding.json"),
		Notify: n.notify, Poll: 10 * time.Millisecond, Backoff: 50 * time.Millisecond, Silence: 300 * time.Millisecond,
	}
	n.open()
	t.Cleanup(func() {
		n.close()
		n.check()
	})
	return n
}

func (n *node) notify(group []follow.Committed) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range group {
		for _, tx := range b.Txs {
			n.seen[tx.ID] = tx
		}
	}
}

func (n *node) told(tx string) (follow.Tx, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	x, ok := n.seen[tx]
	return x, ok
}

// open opens the stores and starts to follow.
func (n *node) open() {
	n.t.Helper()
	var err error
	if n.archive, err = archive.Open(filepath.Join(n.dir, "archive"), archive.Options{}); err != nil {
		n.t.Fatal(err)
	}
	if n.records, err = records.Open(filepath.Join(n.dir, "records"), records.Options{}); err != nil {
		n.t.Fatal(err)
	}
	n.cfg.Archive, n.cfg.Records = n.archive, n.records.Writer()
	if n.faults != nil {
		n.cfg.Archive, n.cfg.Records = faultyArchive{n.archive, n.faults}, faultyRecords{n.records.Writer(), n.faults}
	}
	if n.f, err = follow.New(n.cfg); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan error, 1)
	go func() { n.ended <- n.f.Run(ctx) }()
}

func (n *node) close() {
	n.t.Helper()
	if n.cancel == nil {
		return
	}
	n.cancel()
	n.cancel = nil
	<-n.ended
	if err := errors.Join(n.records.Close(), n.archive.Close()); err != nil {
		n.t.Error(err)
	}
}

// check reopens the stores and checks them in full: the records against themselves, and against records
// rebuilt from the archive.
func (n *node) check() {
	n.t.Helper()
	a, err := archive.Open(filepath.Join(n.dir, "archive"), archive.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	defer a.Close()
	r, err := records.Open(filepath.Join(n.dir, "records"), records.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	defer r.Close()
	if err := r.Check(context.Background()); err != nil {
		n.t.Error(err)
	}
	fresh, err := records.Open(n.t.TempDir(), records.Options{})
	if err != nil {
		n.t.Fatal(err)
	}
	defer fresh.Close()
	cfg := n.cfg
	cfg.Archive, cfg.Records = upTo{a, r.Height()}, fresh.Writer()
	if err := follow.Reindex(context.Background(), cfg, nil); err != nil {
		n.t.Error(err)
		return
	}
	want, _, err := r.Digest()
	if err != nil {
		n.t.Fatal(err)
	}
	if got, _, err := fresh.Digest(); err != nil || got != want {
		n.t.Errorf("rebuilt records differ (%v)", err)
	}
}

// upTo is an archive's beginning: the records may be behind it after a crash.
type upTo struct {
	*archive.Archive
	height uint64
}

func (u upTo) Height() uint64 { return u.height }

// wait polls until a condition holds.
func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func (n *node) caughtUp(w *world) {
	n.t.Helper()
	wait(n.t, "the node to catch up", func() bool {
		if f := n.f.Finding(); f != nil {
			n.t.Fatalf("finding: %v", f)
		}
		return n.records.Height() == w.Ledger.Height()
	})
}

func (n *node) finding() *follow.Finding {
	n.t.Helper()
	wait(n.t, "a finding", func() bool { return n.f.Finding() != nil })
	return n.f.Finding()
}

func name(i int) string { return fmt.Sprintf("N%08d", i) }
