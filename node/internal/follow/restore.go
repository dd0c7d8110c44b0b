package follow

import (
	"encoding/json"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// restore gives the records the operations of a block that they applied before.
func (r *run) restore(b *fabblock.Block) error {
	for i := range b.Txs {
		t := &b.Txs[i]
		if !r.ours(t) || len(t.Args) == 0 {
			continue
		}
		ops, err := r.operations(t)
		if err != nil {
			return err
		}
		if err := r.cfg.Records.Restore(b.Number, t.ID, ops); err != nil {
			return err
		}
	}
	return nil
}

// operations lists the bytes of the operations that a transaction carries or makes, in order, and perhaps some
// that it did not apply: the records know which they miss.
func (r *run) operations(t *fabblock.Tx) (ops [][]byte, err error) {
	args := t.Args[1:]
	switch string(t.Args[0]) {
	case model.FunctionApply:
		return model.Unpack(args)
	case model.FunctionInit:
		if len(args) == 0 {
			return nil, nil
		}
		doc, _, err := model.DecodeGenesis(args[0])
		if err != nil {
			return nil, err
		}
		derived, err := doc.Operations()
		for i := range derived {
			ops = append(ops, derived[i].Encode())
		}
		return ops, err
	case model.FunctionImport:
		old, err := oldTransactions(args)
		for i := range old {
			of, err := model.Unpack(old[i].Args[1:])
			if err != nil {
				return nil, err
			}
			ops = append(ops, of...)
		}
		return ops, err
	case model.FunctionCloseImport:
		return r.closing(t)
	}
	return nil, nil
}

// closing is the operation that closed an import: it says what the contract's state then said and still does.
func (r *run) closing(t *fabblock.Tx) ([][]byte, error) {
	raw, err := r.cfg.Records.Get(model.StateKey(model.KindImport, model.ImportID))
	if err != nil || raw == nil {
		return nil, err
	}
	var entry model.StateEntry
	if err := json.Unmarshal(raw, &entry); err != nil {
		return nil, err
	}
	value, err := model.DecodeEntry(model.KindImport, model.ImportID, entry.Value)
	if err != nil {
		return nil, err
	}
	status, ok := value.(*model.Import)
	if !ok {
		return nil, nil
	}
	op, err := status.Operation(model.TimeOf(t.Time))
	if err != nil {
		return nil, err
	}
	return [][]byte{op.Encode()}, nil
}

// oldTransactions lists the valid transactions of an imported ledger's blocks that brought operations.
func oldTransactions(blocks [][]byte) (txs []fabblock.Tx, err error) {
	for _, raw := range blocks {
		of, err := oldBlock(raw)
		if err != nil {
			return nil, err
		}
		txs = append(txs, of...)
	}
	return txs, nil
}

func oldBlock(raw []byte) (txs []fabblock.Tx, err error) {
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	decoded, err := fabblock.Decode(&b)
	if err != nil {
		return nil, err
	}
	for _, t := range decoded.Txs {
		if t.Code == peer.TxValidationCode_VALID && len(t.Args) > 1 && string(t.Args[0]) == model.FunctionApply {
			txs = append(txs, t)
		}
	}
	return txs, nil
}
