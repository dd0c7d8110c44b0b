package contract_test

import (
	"reflect"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestDecodedDecidesAlike: an execution is the same whether its operations were decoded before or not, also
// after the memory has turned over, and refused ones are refused again.
func TestDecodedDecidesAlike(t *testing.T) {
	l := contracttest.New()
	bad := issue(l, "bj-scjg", 3)
	bad.Version = 7
	personal := contracttest.Licence(l.Genesis, "bj-scjg", 4)
	personal.HolderName = "某 11010519491231002X"
	calls := [][]model.Operation{
		{issue(l, "bj-scjg", 1), issue(l, "bj-scjg", 2)},
		{bad, issue(l, "bj-scjg", 3)},
		{contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, "bj-scjg.4", 1, now, model.IssueBody{Value: personal})},
	}
	with := *l.Contract
	with.Decoded = contract.NewDecoded(2)
	for round := range 3 {
		for i, ops := range calls {
			call := model.Call{Function: model.FunctionApply, Msp: "BeijingMSP", CommonName: "beijing", Time: now}
			for k := range ops {
				call.Args = append(call.Args, ops[k].Encode())
			}
			want, wantErr := l.Contract.Execute(l.State, call)
			got, err := with.Execute(l.State, call)
			if !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) {
				t.Fatalf("round %d, call %d: %+v %v, want %+v %v", round, i, got, err, want, wantErr)
			}
		}
	}
}

// TestDecodedKeepsNoMore: what is remembered of an operation does not hold the block or pack that it came in.
func TestDecodedKeepsNoMore(t *testing.T) {
	l := contracttest.New()
	k := *l.Contract
	k.Decoded = contract.NewDecoded(10)
	execute := func() weak.Pointer[byte] {
		op := issue(l, "bj-scjg", 1)
		raw := op.Encode()
		block := append(make([]byte, 1<<20), raw...)
		call := model.Call{Function: model.FunctionApply, Args: [][]byte{block[1<<20:]}, Msp: "BeijingMSP", CommonName: "beijing", Time: now}
		if x, err := k.Execute(l.State, call); err != nil || len(x.Applied) != 1 {
			t.Fatal(x, err)
		}
		return weak.Make(&block[0])
	}
	held := execute()
	for end := time.Now().Add(5 * time.Second); held.Value() != nil; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("the block is still held")
		}
	}
	runtime.KeepAlive(k.Decoded)
}
