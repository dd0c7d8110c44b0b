package follow

import (
	"bytes"
	"cmp"
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

// verified is a block whose every valid transaction did what the contract does. applied and leaves run
// over all transactions' receipts.
type verified struct {
	at      model.Time // ledger time after the block
	txs     []Tx
	msps    []model.MSPID // creators, one a transaction
	applied []model.Applied
	leaves  []model.Leaf
	writes  []model.StateWrite
}

// overlay is the mirror with the writes of the block's earlier transactions.
type overlay struct {
	base   Mirror
	writes map[string][]byte
}

func (o *overlay) Get(key string) ([]byte, error) {
	if v, ok := o.writes[key]; ok {
		return v, nil
	}
	return o.base.Get(key)
}

type recordKey struct {
	kind model.Kind
	id   model.RecordID
}

// verify runs the contract on the block's valid transactions and compares. The error is a *Finding, or a
// failure of the mirror.
func (r *run) verify(b *fabblock.Block) (*verified, error) {
	_, _, position, at := r.cfg.Records.Cursor()
	v := &verified{at: at, txs: make([]Tx, len(b.Txs)), msps: make([]model.MSPID, len(b.Txs))}
	for i := range b.Txs {
		if t := &b.Txs[i]; r.ours(t) && model.TimeOf(t.Time).Time().After(v.at.Time()) {
			v.at = model.TimeOf(t.Time)
		}
	}
	state := &overlay{r.cfg.Records, map[string][]byte{}}
	last := map[recordKey]model.Digest{}
	for i := range b.Txs {
		t := &b.Txs[i]
		v.txs[i] = Tx{ID: t.ID, Code: t.Code}
		v.msps[i] = model.MSPID(t.MSP)
		if t.Code != peer.TxValidationCode_VALID || t.Config {
			continue
		}
		if err := r.namespaces(b.Number, t); err != nil {
			return nil, err
		}
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
			state.writes[w.Key] = w.Value
		}
		v.txs[i].Receipts = make([]model.Receipt, 0, len(x.Applied))
		for j := range x.Applied {
			a := &x.Applied[j]
			leaf, err := r.leaf(a, last)
			if err != nil {
				return nil, err
			}
			receipt := model.Receipt{
				Operation: a.Op.ID, Digest: a.Digest, Kind: a.Op.Kind, Record: a.Op.Record, Version: leaf.Version, State: leaf.State,
				Position: position, Leaf: leaf.Hash(), Block: b.Number, Tx: t.ID, Time: a.Op.Time,
				Late: v.at.Time().Sub(a.Op.Time.Time()) > Late,
			}
			last[recordKey{a.Op.Kind, a.Op.Record}] = receipt.Leaf
			v.txs[i].Receipts = append(v.txs[i].Receipts, receipt)
			v.leaves = append(v.leaves, leaf)
			position++
		}
		v.applied = append(v.applied, x.Applied...)
	}
	for key, value := range state.writes {
		v.writes = append(v.writes, model.StateWrite{Key: key, Value: value})
	}
	slices.SortFunc(v.writes, func(a, b model.StateWrite) int { return cmp.Compare(a.Key, b.Key) })
	return v, nil
}

// ours reports whether a transaction is a valid one of the contract.
func (r *run) ours(t *fabblock.Tx) bool {
	return t.Code == peer.TxValidationCode_VALID && !t.Config && t.Chaincode == r.cfg.Chaincode
}

// namespaces checks that the contract writes to its own namespace and nobody else does. Other contracts
// on the channel are none of ours as long as they keep to themselves.
func (r *run) namespaces(block uint64, t *fabblock.Tx) error {
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
		return nil, fail(RefusedCall, err)
	}
	if t.Response.GetStatus() != 200 || !bytes.Equal(t.Response.GetPayload(), x.Response) {
		return nil, fail(OtherResponse, nil)
	}
	return x, r.compare(block, t, x.Writes)
}

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
