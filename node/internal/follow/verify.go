package follow

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// Late is how far an operation's time may be behind ledger time before it is flagged.
const Late = 10 * time.Minute

// verified is a block whose every valid transaction did what the contract does, and whose every other is not
// valid. applied and leaves run over all transactions' receipts.
type verified struct {
	at             model.Time // ledger time after the block
	txs            []Tx
	valid, invalid []string // ids
	applied        []model.Applied
	leaves         []model.Leaf
	writes         []write
}

type recordKey struct {
	kind model.Kind
	id   model.RecordID
}

// verify derives each transaction's code, runs the contract on the valid ones and compares. data are the
// block's envelopes. The error is a *Finding, or a failure of the mirror.
func (r *run) verify(b *fabblock.Block, data [][]byte) (*verified, error) {
	_, _, _, at := r.cfg.Records.Cursor()
	v := &verified{at: at, txs: make([]Tx, len(b.Txs))}
	state := newOverlay(r.cfg.Records, b.Number)
	done := make([]outcome, len(b.Txs))
	for i := range b.Txs {
		t := &b.Txs[i]
		v.txs[i] = Tx{ID: t.ID, Code: t.Code}
		if err := r.namespaces(b.Number, t); err != nil {
			return nil, err
		}
		if err := r.judge(state, t, data); err != nil {
			return nil, err
		}
		if t.Code != peer.TxValidationCode_VALID {
			v.invalid = append(v.invalid, t.ID)
			continue
		}
		v.valid = append(v.valid, t.ID)
		if !r.ours(t) {
			continue
		}
		x, err := r.execute(state, b.Number, t)
		if err != nil {
			return nil, err
		}
		if x == nil {
			continue
		}
		for _, w := range x.Writes {
			state.set(write{"", w.Key, w.Value, uint64(i)})
		}
		done[i].applied = x.Applied
		v.at, done[i].at = moment(t, x.Applied, v.at)
	}
	if err := r.receipts(v, b.Number, done); err != nil {
		return nil, err
	}
	v.writes = state.all()
	return v, nil
}

// outcome is what a transaction applied.
type outcome struct {
	applied []model.Applied
	at      []model.Time // ledger time by which each is judged late; nil: the block's
}

// receipts makes the leaves and receipts of what each transaction applied, now that the block's ledger time is
// known.
func (r *run) receipts(v *verified, block uint64, done []outcome) error {
	_, _, position, _ := r.cfg.Records.Cursor()
	last := map[recordKey]model.Digest{}
	for i := range done {
		applied := done[i].applied
		if len(applied) == 0 {
			continue
		}
		v.txs[i].Receipts = make([]model.Receipt, 0, len(applied))
		for j := range applied {
			a := &applied[j]
			leaf, err := r.leaf(a, last)
			if err != nil {
				return err
			}
			at := v.at
			if done[i].at != nil {
				at = done[i].at[j]
			}
			receipt := model.Receipt{
				Operation: a.Op.ID, Digest: a.Digest, Kind: a.Op.Kind, Record: a.Op.Record, Version: leaf.Version, State: leaf.State,
				Position: position, Leaf: leaf.Hash(), Block: block, Tx: v.txs[i].ID, Time: a.Op.Time,
				Late: at.Time().Sub(a.Op.Time.Time()) > Late,
			}
			last[recordKey{a.Op.Kind, a.Op.Record}] = receipt.Leaf
			v.txs[i].Receipts = append(v.txs[i].Receipts, receipt)
			v.leaves = append(v.leaves, leaf)
			position++
		}
		v.applied = append(v.applied, applied...)
	}
	return nil
}

// ours reports whether a transaction is a valid one of the contract.
func (r *run) ours(t *fabblock.Tx) bool {
	return t.Code == peer.TxValidationCode_VALID && !t.Config && t.Chaincode == r.cfg.Chaincode
}

// namespaces checks of a valid transaction that the contract writes to its own namespace and nobody else does.
// Other contracts on the channel are none of ours as long as they keep to themselves.
func (r *run) namespaces(block uint64, t *fabblock.Tx) error {
	if t.Code != peer.TxValidationCode_VALID || t.Config {
		return nil
	}
	for i := range t.Writes {
		if (t.Writes[i].Namespace == r.cfg.Chaincode) != (t.Chaincode == r.cfg.Chaincode) {
			return newFinding(ForeignWrite, block, t.Index, fmt.Errorf("%q writes to %q", t.Chaincode, t.Writes[i].Namespace))
		}
	}
	return nil
}

// execute runs the contract on a transaction and compares. It is nil for one that asks and writes nothing.
func (r *run) execute(state *overlay, block uint64, t *fabblock.Tx) (*model.Execution, error) {
	fail := func(code Code, cause error) error { return newFinding(code, block, t.Index, cause) }
	if t.Init && !r.channel.SealedCodes {
		if t.Response.GetStatus() != 200 || len(t.Response.GetPayload()) > 0 {
			return nil, fail(OtherResponse, nil)
		}
		return nil, r.initialised(state, block, t)
	}
	if len(t.Args) == 0 {
		return nil, fail(RefusedCall, errors.New("no function"))
	}
	call := model.Call{
		Function: string(t.Args[0]), Args: t.Args[1:], Msp: model.MSPID(t.MSP), CommonName: t.CommonName, Time: t.Time,
	}
	if call.Function == model.FunctionGet {
		// A question that somebody had ordered, which Fabric allows. Its answer is nobody's evidence.
		return nil, r.compare(block, t, nil)
	}
	x, err := r.cfg.Contract.Execute(state, call)
	if err != nil {
		if model.AsError(err).Kind() == model.Internal {
			return nil, err // the mirror cannot be read: no fault of the block's
		}
		if model.AsError(err).Code == model.CodeLevelUnsupported {
			return nil, newerNeeded(block)
		}
		return nil, fail(RefusedCall, err)
	}
	if t.Response.GetStatus() != 200 || !bytes.Equal(t.Response.GetPayload(), x.Response) {
		if raisesLevel(x) {
			return nil, newerNeeded(block)
		}
		return nil, fail(OtherResponse, nil)
	}
	return x, r.compare(block, t, x.Writes)
}

// newerNeeded is why a block cannot be taken that members made with a newer version of the contract: its level stands
// in the mirror, where they put it, or they raise it in this block. Nobody lies, so no gateway is blamed and nothing is
// kept that an operator would have to remove: a newer program goes on from here.
func newerNeeded(block uint64) error {
	return fmt.Errorf("follow: block %d needs a newer version of this program: install it (%w)", block, model.E(model.CodeLevelUnsupported))
}

// raisesLevel reports whether the contract refused an operation because it would raise the level beyond its own.
func raisesLevel(x *model.Execution) bool {
	var r model.Response
	if err := model.DecodeCanonical(x.Response, &r); err != nil {
		return false
	}
	return slices.ContainsFunc(r.Refused, func(f model.Refusal) bool { return f.Code == model.CodeLevelUnsupported })
}

// initialised takes a call of Fabric's initialisation. The contract does nothing in it, but members that define the contract
// with init required make their peers note under a key of theirs in the contract's state that it was called, and read
// that in every call. It is no key of the contract's.
func (r *run) initialised(state *overlay, block uint64, t *fabblock.Tx) error {
	for i := range t.Writes {
		w := &t.Writes[i]
		if i > 0 || w.Key != initialisedKey || w.Delete {
			return newFinding(OtherWrites, block, t.Index, fmt.Errorf("key %q", w.Key))
		}
		state.set(write{"", w.Key, w.Value, uint64(t.Index)})
	}
	return nil
}

const initialisedKey = "\x00\U0010ffffinitialized"

// compare holds a transaction's writes, all in the contract's namespace, against the contract's own, byte
// for byte. Both are in key order.
func (r *run) compare(block uint64, t *fabblock.Tx, want []model.StateWrite) error {
	for i := range t.Writes {
		w := &t.Writes[i]
		if i >= len(want) || w.Delete || w.Key != want[i].Key || !bytes.Equal(w.Value, want[i].Value) {
			return newFinding(OtherWrites, block, t.Index, fmt.Errorf("key %q", w.Key))
		}
	}
	if n := len(t.Writes); n < len(want) {
		return newFinding(OtherWrites, block, t.Index, fmt.Errorf("key %q is missing", want[n].Key))
	}
	return nil
}

// leaf is the log's leaf for an applied operation.
func (r *run) leaf(a *model.Applied, last map[recordKey]model.Digest) (model.Leaf, error) {
	h := &a.Effect.Header
	l := model.Leaf{
		Operation: a.Digest, Kind: a.Op.Kind, ID: a.Op.Record, Version: h.Version, State: h.State,
		Record: model.RecordDigest(a.Op.Kind, a.Op.Record, *h),
	}
	if h.Version == 1 {
		return l, nil
	}
	if d, ok := last[recordKey{a.Op.Kind, a.Op.Record}]; ok {
		l.Previous = d
		return l, nil
	}
	d, _, ok, err := r.cfg.Records.Last(a.Op.Kind, a.Op.Record)
	if err == nil && !ok {
		err = fmt.Errorf("follow: records hold no version of %s %s before %d", a.Op.Kind, a.Op.Record, h.Version)
	}
	l.Previous = d
	return l, err
}
