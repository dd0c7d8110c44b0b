package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/contract/origin"
	"github.com/zhenglian/zhenglian/chaincode/contract/registry"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// What a ledger does that takes over another's operations (docs/spec/import-ledger.md). Init opens the import;
// Import executes the old ledger's blocks, one after the other, each transaction as its creator sent it, when
// the creator sent it; CloseImport ends it once k organisations have found position and chain to be those of
// their own records. All of it is a function of state and call, as everything here.

// source checks that Init was given block 0 of the ledger that this organisation agreed to take over, or none
// where it agreed to none.
func (c *Contract) source(channel string, blocks [][]byte) error {
	if len(blocks) == 0 {
		if !c.ImportFrom.IsZero() {
			return model.E(model.CodeImportSource).With("block 0 of the old ledger is missing")
		}
		return nil
	}
	old, err := origin.Open(blocks[0])
	switch {
	case err != nil:
		return model.E(model.CodeImportSource).Because(err)
	case model.Digest(old.Hash) != c.ImportFrom:
		return model.E(model.CodeImportSource).With("its block 0 has the hash %s", model.Digest(old.Hash))
	case old.Channel != channel:
		return model.E(model.CodeImportSource).With("its channel is %s", old.Channel)
	}
	return nil
}

// beginImport notes where an import begins: after the leaves of genesis, which both ledgers have.
func (t *tx) beginImport(source model.Digest, block0 []byte, applied []model.Applied) error {
	status := model.Import{Approvals: []model.MSPID{}, Blocks: 1, Last: source, Source: source}
	advance(&status, applied)
	t.put(model.ImportBlockKey, block0)
	return t.putImport(&status)
}

// advance counts applied operations.
func advance(status *model.Import, applied []model.Applied) {
	for i := range applied {
		a := &applied[i]
		status.Chain = model.Chain(status.Chain, a.Digest, model.RecordDigest(a.Op.Kind, a.Op.Record, a.Effect.Header))
		status.Position++
	}
}

// openImport is how far the open import is.
func (t *tx) openImport() (model.Import, error) {
	h, e, err := t.Entry(model.KindImport, model.ImportID)
	if err != nil {
		return model.Import{}, err
	}
	status, ok := e.(*model.Import)
	if !ok || h.Exists() {
		return model.Import{}, model.E(model.CodeImportClosed)
	}
	return *status, nil
}

// putImport writes how far the import is. It is no record before it is closed, so the header stays empty.
func (t *tx) putImport(status *model.Import) error {
	value, err := model.Canonical(status)
	if err != nil {
		return err
	}
	c, err := t.locate(model.KindImport, model.ImportID)
	if err != nil {
		return err
	}
	c.value, c.entry, c.dirty = value, nil, true
	return nil
}

// importBlocks executes the next blocks of the old ledger. Who calls does not matter: the blocks decide. Any
// fault fails the call as a whole.
func (c *Contract) importBlocks(t *tx, call model.Call) (*model.Execution, error) {
	if len(call.Args) == 0 || len(call.Args) > model.MaxImportBlocks {
		return nil, model.E(model.CodeTooMany)
	}
	status, err := t.openImport()
	if err != nil {
		return nil, err
	}
	block0, err := t.raw(model.ImportBlockKey)
	if err != nil {
		return nil, err
	}
	old, err := origin.Open(block0)
	if err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	var x model.Execution
	for _, raw := range call.Args {
		block, err := old.Block(raw, status.Blocks, origin.Hash(status.Last))
		switch {
		case errors.Is(err, origin.ErrOrder):
			return nil, model.E(model.CodeImportOrder).Because(err)
		case err != nil:
			return nil, model.E(model.CodeImportInvalid).With("block %d", status.Blocks).Because(err)
		}
		for i := range block.Txs {
			before := len(x.Applied)
			if err := c.again(t, &x, &block.Txs[i]); err != nil {
				return nil, at(err, block.Number, block.Txs[i].Index)
			}
			advance(&status, x.Applied[before:])
		}
		status.Blocks, status.Last = block.Number+1, model.Digest(block.Hash)
	}
	status.Approvals = []model.MSPID{} // they were given to what stood before
	if err := t.putImport(&status); err != nil {
		return nil, err
	}
	return t.finish(&x, nil)
}

// at says of which transaction an error is.
func at(err error, block uint64, index int) error {
	e := model.AsError(err)
	code := model.CodeImportDiffers
	if e.Kind() == model.Internal || e.Code == model.CodeLevelUnsupported || e.Code == model.CodeImportSource {
		code = e.Code
	}
	return model.E(code).With("block %d, transaction %d", block, index).Because(err)
}

// again executes a transaction of the old ledger as it was executed there: it must come to the same answer.
func (c *Contract) again(t *tx, x *model.Execution, old *origin.Tx) error {
	call := model.Call{
		Function: string(old.Args[0]), Args: old.Args[1:], Msp: model.MSPID(old.Msp), CommonName: old.CommonName, Time: old.Time,
	}
	switch call.Function {
	case model.FunctionGet: // a question that somebody had ordered
		return nil
	case model.FunctionInit: // its operations are this ledger's own genesis
		if len(call.Args) != 1 {
			return model.E(model.CodeImportSource).With("it took over another ledger itself")
		}
		_, digest, err := model.DecodeGenesis(call.Args[0])
		if err != nil {
			return err
		}
		if ours, err := t.raw(model.ContractKey); err != nil {
			return err
		} else if !bytes.Equal(ours, contractState(digest, true)) {
			return model.E(model.CodeImportSource).With("it began with another genesis document")
		}
		return nil
	case model.FunctionApply:
	default:
		return model.E(model.CodeUnknownOperation)
	}
	var answer model.Response
	if err := json.Unmarshal(old.Payload, &answer); err != nil {
		return model.E(model.CodeImportDiffers).Because(err)
	}
	into, y := t, x
	if len(answer.Refused) > 0 { // it wrote nothing: what it tried is tried where it leaves no trace
		into, y = newTx(t), &model.Execution{}
	}
	before := len(y.Applied)
	refused, err := c.run(into, y, call, true)
	if err != nil {
		return err
	}
	now, err := model.Canonical(model.Response{Accepted: len(y.Applied) - before, Refused: refused})
	if err != nil {
		return err
	}
	if !bytes.Equal(now, old.Payload) {
		return model.E(model.CodeImportDiffers).With("there %s, here %s", old.Payload, now)
	}
	return nil
}

// Get reads the state as this call has left it so far.
func (t *tx) Get(key string) ([]byte, error) {
	c, err := t.cell(key)
	if err != nil {
		return nil, err
	}
	if b, dirty := c.encode(); dirty {
		return b, nil
	}
	return c.bytes, nil
}

// closeImport notes that the caller's organisation finds the import whole. At the k-th it is closed, which is
// the next operation of the log; nothing is imported any more and everything else begins.
func (c *Contract) closeImport(t *tx, call model.Call) (*model.Execution, error) {
	if len(call.Args) != 2 {
		return nil, model.E(model.CodeMissingField)
	}
	position, err := strconv.ParseUint(string(call.Args[0]), 10, 53)
	if err != nil {
		return nil, model.E(model.CodeBadValue, "position")
	}
	var chain model.Digest
	if err := chain.UnmarshalText(call.Args[1]); err != nil {
		return nil, model.E(model.CodeBadValue, "chain")
	}
	status, err := t.openImport()
	if err != nil {
		return nil, err
	}
	o, err := registry.Organisation(t, call.Msp)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(o.Nodes, model.NodeID(call.CommonName)) {
		return nil, model.E(model.CodeNotActingFor)
	}
	if position != status.Position || chain != status.Chain {
		return nil, model.E(model.CodeImportMismatch).With("the import has position %d and chain %s", status.Position, status.Chain)
	}
	if slices.Contains(status.Approvals, call.Msp) {
		return nil, model.E(model.CodeAlreadyApproved)
	}
	status.Approvals = append(slices.Clone(status.Approvals), call.Msp)
	var x model.Execution
	if enough, err := registry.Enough(t, status.Approvals); err != nil {
		return nil, err
	} else if !enough {
		if err := t.putImport(&status); err != nil {
			return nil, err
		}
		return t.finish(&x, nil)
	}
	op, err := status.Operation(model.TimeOf(call.Time))
	if err != nil {
		return nil, err
	}
	body, err := model.DecodeBody(&op)
	if err != nil {
		return nil, err
	}
	effect, err := registry.ImportClosed(t, &op, body.(*model.ImportBody))
	if err != nil {
		return nil, err
	}
	raw := op.Encode()
	if err := t.accept(&x, call, raw, model.DigestOf(raw), op, body, effect); err != nil {
		return nil, err
	}
	ours, err := t.raw(model.ContractKey)
	if err != nil {
		return nil, err
	}
	t.put(model.ContractKey, append(bytes.TrimSuffix(bytes.Clone(ours), []byte(opened)), '}'))
	return t.finish(&x, nil)
}
