package intake

import (
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// What this node signed is known to be good once it is committed as it was accepted, and only then.
func TestSignedIsVouchedFor(t *testing.T) {
	f := newFixture(t)
	var told []Signature
	f.Intake.Signed = func(s []Signature) { told = append(told, s...) }
	ids := make([]model.OpID, 2)
	for i := range ids {
		got, err := f.accept("", f.issueDraft(20+i))
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = got[0]
	}
	f.Settled(ids[:1], nil) // refused, or carried by a transaction of another's
	if len(told) != 0 {
		t.Errorf("told of %v", told)
	}
	f.Settled(ids[1:], []model.Receipt{{Operation: ids[1], Position: 77}})
	agency, err := f.Ledger.Agency("bj-scjg")
	if err != nil {
		t.Fatal(err)
	}
	public, err := agency.Keys[0].PublicBytes()
	if err != nil {
		t.Fatal(err)
	}
	if want := (Signature{Position: 77, Alg: agency.Keys[0].Alg, Public: string(public)}); len(told) != 1 || told[0] != want {
		t.Errorf("told of %v, want %v", told, want)
	}
}
