package e2e

import (
	"path/filepath"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestDraw runs the groups of the comparison through the contract alone, without conflicts: they are worth comparing
// only if most of it is accepted, of every kind, and some of it is refused.
func TestDraw(t *testing.T) {
	t.Parallel()
	dir, err := founded()
	if err != nil {
		t.Fatal(err)
	}
	genesis := mustRead(t, filepath.Join(dir, "genesis.json"))
	g, _, err := model.DecodeGenesis(genesis)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(3) {
		d, l := newDraw(t, seed, genesis), contracttest.NewOf(g)
		accepted, types, refused, failed := 0, map[model.Type]int{}, map[model.Code]int{}, map[model.Code]int{}
		for range 60 {
			group := d.group()
			stamp(group)
			for _, tx := range group {
				_, r, err := l.SubmitAs(model.MSPID(mspOf[tx.by]), tx.by, tx.ops...)
				if err != nil {
					failed[model.AsError(err).Code]++
					continue
				}
				for _, x := range r.Refused {
					refused[x.Code]++
				}
				if len(r.Refused) > 0 {
					continue
				}
				accepted += len(tx.ops)
				for i := range tx.ops {
					types[tx.ops[i].Type]++
					tx.then[i]()
				}
			}
		}
		t.Logf("seed %d: %d accepted %v, refused %v, failed %v", seed, accepted, types, refused, failed)
		if accepted < 350 || len(refused) < 4 || len(failed) < 1 || len(types) < 12 {
			t.Errorf("seed %d: the groups show little", seed)
		}
	}
}
