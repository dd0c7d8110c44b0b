package follow

import (
	"encoding/json"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// Ledger time moves with the transactions that apply operations, and with no others: a question that somebody
// had ordered is no news of the ledger's. Of what is taken over from an older ledger it moves as it did there,
// block by block, so that the same operations are late and no others.

// moment gives each applied operation of a transaction the ledger time by which it is judged late, where that is
// not the whole block's, and moves the ledger time on. An operation that the contract left without a word about
// whose and when has the transaction's.
func moment(t *fabblock.Tx, applied []model.Applied, at model.Time) (after model.Time, each []model.Time) {
	for i := range applied {
		a := &applied[i]
		if a.Msp == "" {
			a.Msp = model.MSPID(t.MSP)
		}
		switch {
		case string(t.Args[0]) == model.FunctionInit && len(t.Args) > 2:
			// The genesis of a ledger that takes over an older one: that one's time has still to come.
			a.At = a.Op.Time
		case a.At == (model.Time{}):
			a.At = model.TimeOf(t.Time)
		}
	}
	if string(t.Args[0]) == model.FunctionImport {
		each = importedAt(t.Args[1:], applied, at)
	}
	for i := range applied {
		at = later(at, applied[i].At)
	}
	return at, each
}

func later(a, b model.Time) model.Time {
	if b.Time().After(a.Time()) {
		return b
	}
	return a
}

// importedAt is the ledger time after the old block of each operation.
func importedAt(blocks [][]byte, applied []model.Applied, at model.Time) []model.Time {
	each := make([]model.Time, 0, len(applied))
	for _, raw := range blocks {
		txs, err := oldBlock(raw)
		if err != nil {
			break
		}
		n := len(each)
		for i := range txs {
			var answer model.Response
			if err := json.Unmarshal(txs[i].Response.GetPayload(), &answer); err != nil || len(answer.Refused) > 0 {
				continue
			}
			at = later(at, model.TimeOf(txs[i].Time))
			ops, err := model.Unpack(txs[i].Args[1:])
			if err != nil {
				break
			}
			for range ops {
				each = append(each, at)
			}
		}
		for i := n; i < len(each); i++ {
			each[i] = at
		}
	}
	if len(each) != len(applied) { // the contract has executed these blocks, so it cannot be
		return nil
	}
	return each
}
