package submit_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/submit"
)

// world is a ledger with its contract and a follower with its records, both of the simplest kind that keep
// the rules: an operation must make the next version of its record; what a transaction read must not have
// changed; a transaction id counts once. It outlives the submitters that use it.
type world struct {
	t testing.TB

	mu       sync.Mutex
	versions map[string]uint64 // of records, on the ledger
	writes   map[string]uint64 // of state keys: how often written
	txs      map[string]peer.TxValidationCode
	blocks   []block
	applied  int // blocks that the follower has applied
	receipts map[model.OpID]model.Receipt
	known    map[string]uint64 // of records, in this node's records
	doubled  []model.OpID
	times    map[model.OpID]model.Time
	most     int // operations in one transaction
	flying   map[string]string
	clashes  int

	rng           *mrand.Rand
	faults        float64                    // chance that a call fails
	mvcc          float64                    // chance that somebody else writes a key that a transaction read
	late          [][]byte                   // submitted, and ordered some time
	hold          func(envelope []byte) bool // Submit turns it down
	beforeJudge   func()                     // set before the start
	beforePropose func()                     // called with mu held
	down          bool                       // the ledger answers nobody
	stall         bool                       // the follower applies nothing
	lag           map[string]bool            // state keys on which the endorser is one block late and refuses

	node *submit.Submitter // whom the follower tells
}

type block struct {
	txID string
	code peer.TxValidationCode
	ops  []model.Operation
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{
		t: t, versions: map[string]uint64{}, writes: map[string]uint64{}, txs: map[string]peer.TxValidationCode{},
		receipts: map[model.OpID]model.Receipt{}, known: map[string]uint64{}, times: map[model.OpID]model.Time{},
		flying: map[string]string{}, lag: map[string]bool{}, rng: mrand.New(mrand.NewPCG(seed, 1)),
	}
}

type body struct {
	Pad    string `json:"pad"`
	Poison string `json:"poison"` // a code with which the contract fails the whole proposal
	Refuse string `json:"refuse"` // a code with which it refuses the operation
}

type envelope struct {
	TxID  string
	Ops   []string
	Reads map[string]uint64
}

func recordKey(op *model.Operation) string { return string(op.Kind) + "/" + string(op.Record) }

// step runs the contract's rule on versions; mu is held.
func (w *world) step(versions map[string]uint64, op *model.Operation) error {
	var b body
	if err := json.Unmarshal(op.Body, &b); err != nil {
		return err
	}
	if b.Refuse != "" {
		return model.E(model.Code(b.Refuse))
	}
	if versions[recordKey(op)]+1 != op.Version {
		return model.E(model.CodeVersionConflict, "version")
	}
	return nil
}

func (w *world) fault() bool { return w.down || w.rng.Float64() < w.faults }

var (
	errAway    = model.E(model.CodeLedgerUnavailable)
	errPerhaps = model.E(model.CodeOutcomeUnknown)
)

// client is one process's connection; a dead process reaches nothing.
type client struct {
	*world
	dead *bool // guarded by world.mu
}

func (c client) Propose(ctx context.Context, function string, args [][]byte) (string, []byte, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *c.dead || ctx.Err() != nil || c.fault() {
		return "", nil, nil, errAway
	}
	if c.beforePropose != nil {
		c.beforePropose()
	}
	if function != model.FunctionApply {
		c.t.Errorf("function %q", function)
	}
	args, err := model.Unpack(args)
	if err != nil {
		return "", nil, nil, err
	}
	e := envelope{Reads: map[string]uint64{}}
	overlay := map[string]uint64{}
	for k, v := range c.versions {
		overlay[k] = v
	}
	var r model.Response
	for i, raw := range args {
		op, err := model.DecodeOperation(raw)
		if err != nil {
			return "", nil, nil, err
		}
		if d := time.Since(op.Time.Time()); d > time.Minute || d < -time.Minute {
			c.t.Errorf("operation time is %v off", d)
		}
		var b body
		if err := json.Unmarshal(op.Body, &b); err != nil {
			c.t.Error(err)
		}
		if b.Poison != "" {
			return "", nil, nil, model.E(model.Code(b.Poison))
		}
		for _, k := range model.Touches(&op) {
			e.Reads[k] = c.writes[k]
			if c.lag[k] {
				err = model.E(model.CodeVersionConflict)
			}
		}
		if err == nil {
			err = c.step(overlay, &op)
		}
		if err != nil {
			r.Refused = append(r.Refused, model.Refusal{Index: i, Code: model.AsError(err).Code})
			continue
		}
		r.Accepted++
		overlay[recordKey(&op)] = op.Version
		e.Ops = append(e.Ops, string(raw))
	}
	c.most = max(c.most, len(args))
	var id [32]byte
	_, _ = rand.Read(id[:])
	e.TxID = hex.EncodeToString(id[:])
	result, err := model.Canonical(r)
	if err != nil {
		return "", nil, nil, err
	}
	b, err := json.Marshal(e)
	return e.TxID, result, b, err
}

func (c client) Submit(ctx context.Context, b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *c.dead || ctx.Err() != nil {
		return errPerhaps
	}
	if c.hold != nil && c.hold(b) {
		return errAway
	}
	for len(c.late) > 0 && c.rng.IntN(3) == 0 {
		c.order(c.late[0])
		c.late = c.late[1:]
	}
	switch n := c.rng.IntN(4); {
	case !c.fault():
	case n == 0:
		return errAway
	case n == 1:
		return errPerhaps // and it was not ordered
	case n == 2:
		c.late = append(c.late, b)
		return errPerhaps // and it will be, some time
	default:
		c.order(b)
		return errPerhaps
	}
	c.order(b)
	return nil
}

// order makes a block of one transaction; mu is held.
func (w *world) order(b []byte) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		w.t.Error(err)
		return
	}
	if _, known := w.txs[e.TxID]; known {
		return
	}
	if w.rng.Float64() < w.mvcc {
		for k := range e.Reads {
			w.writes[k]++
			break
		}
	}
	blk := block{txID: e.TxID}
	for k, n := range e.Reads {
		if w.writes[k] != n {
			blk.code = peer.TxValidationCode_MVCC_READ_CONFLICT
			w.clashes++
		}
	}
	for _, raw := range e.Ops {
		op, err := model.DecodeOperation([]byte(raw))
		if err != nil {
			w.t.Error(err)
		}
		if blk.code == peer.TxValidationCode_VALID {
			if w.versions[recordKey(&op)]+1 != op.Version {
				w.t.Errorf("operation %s made version %d of a record at %d", op.ID, op.Version, w.versions[recordKey(&op)])
			}
			w.versions[recordKey(&op)] = op.Version
			for _, k := range model.Touches(&op) {
				w.writes[k]++
			}
		}
		blk.ops = append(blk.ops, op)
	}
	w.txs[e.TxID] = blk.code
	w.blocks = append(w.blocks, blk)
}

func (c client) Status(ctx context.Context, txID string) (peer.TxValidationCode, uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	code, ok := c.txs[txID]
	if *c.dead || !ok || c.fault() {
		return 0, 0, errAway
	}
	return code, 1, nil
}

// follow applies one more block and tells the node; it reports whether there was one.
func (w *world) follow() bool {
	w.mu.Lock()
	if w.stall || w.applied == len(w.blocks) {
		w.mu.Unlock()
		return false
	}
	b := w.blocks[w.applied]
	w.applied++
	a := submit.Applied{TxID: b.txID, Code: b.code}
	for _, op := range b.ops {
		if b.code != peer.TxValidationCode_VALID {
			break
		}
		r := model.Receipt{
			Operation: op.ID, Kind: op.Kind, Record: op.Record, Version: op.Version, Tx: b.txID,
			Block: uint64(w.applied), Position: uint64(len(w.receipts)), Time: op.Time, Digest: op.Digest(),
		}
		if _, twice := w.receipts[op.ID]; twice {
			w.doubled = append(w.doubled, op.ID)
		}
		w.receipts[op.ID] = r
		w.known[recordKey(&op)] = op.Version
		if w.rng.IntN(2) == 0 {
			a.Receipts = append(a.Receipts, r)
		}
	}
	if len(a.Receipts) != len(b.ops) {
		a.Receipts = nil
	}
	node := w.node
	w.mu.Unlock()
	if node != nil {
		node.Applied([]submit.Applied{a})
	}
	return true
}

// run follows until the test ends.
func (w *world) run(t testing.TB) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if !w.follow() {
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		wg.Wait()
	})
}

func (w *world) Receipt(id model.OpID) (model.Receipt, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.receipts[id]
	return r, ok, nil
}

func (w *world) Judge(op model.Operation) error {
	if w.beforeJudge != nil {
		w.beforeJudge()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var b body
	if err := json.Unmarshal(op.Body, &b); err != nil {
		return err
	}
	if b.Poison != "" {
		return model.E(model.Code(b.Poison))
	}
	return w.step(w.known, &op)
}

func (w *world) AtHead(ctx context.Context, _ time.Time) error {
	w.mu.Lock()
	head, down := len(w.blocks), w.down
	w.mu.Unlock()
	if down {
		return errors.New("the ledger is away")
	}
	for {
		w.mu.Lock()
		there := w.applied >= head
		w.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Microsecond):
		}
	}
}

func (w *world) set(change func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

// operation makes one on a licence of a serial.
func operation(serial, version uint64, b body) model.Operation {
	kind := model.LicenceIssue
	if version > 1 {
		kind = model.LicenceAmend
	}
	raw, err := model.Canonical(b)
	if err != nil {
		panic(err)
	}
	return model.Operation{
		Agency: "bj-scjg", Body: raw, ID: model.NewOpID(), Kind: model.KindLicence,
		Record: model.NewRecordID("bj-scjg", serial), Type: kind, Version: version,
	}
}

func idsOf(ops []model.Operation) []model.OpID {
	out := make([]model.OpID, len(ops))
	for i := range ops {
		out[i] = ops[i].ID
	}
	return out
}

func pad(n int) string { return strings.Repeat("x", n) }
