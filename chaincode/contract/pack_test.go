package contract_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestPackedDecidesAlike: a call is what its operations are, packed or not, and what is applied has the same bytes and
// digests.
func TestPackedDecidesAlike(t *testing.T) {
	l := contracttest.New()
	bad := issue(l, "bj-scjg", 3)
	bad.Version = 7
	personal := contracttest.Licence(l.Genesis, "bj-scjg", 4)
	personal.HolderName = "某 11010519491231002X"
	for i, ops := range [][]model.Operation{
		{issue(l, "bj-scjg", 1), issue(l, "bj-scjg", 2)},
		{bad, issue(l, "bj-scjg", 3)},
		{issue(l, "bj-scjg", 3), contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, "bj-scjg.4", 1, now, model.IssueBody{Value: personal})},
	} {
		call := model.Call{Function: model.FunctionApply, Msp: "BeijingMSP", CommonName: "beijing", Time: now}
		for k := range ops {
			call.Args = append(call.Args, ops[k].Encode())
		}
		want, wantErr := l.Contract.Execute(l.State, call)
		packed := call
		packed.Args = model.Pack(call.Args)
		if len(packed.Args) != 1 || bytes.HasPrefix(packed.Args[0], []byte("{")) {
			t.Fatal("nothing was packed")
		}
		got, err := l.Contract.Execute(l.State, packed)
		if !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) || (err != nil && model.AsError(err).Code != model.AsError(wantErr).Code) {
			t.Errorf("call %d: %+v %v, want %+v %v", i, got, err, want, wantErr)
		}
	}
	call := model.Call{Function: model.FunctionApply, Args: [][]byte{{1, 2, 3}}, Msp: "BeijingMSP", CommonName: "beijing", Time: now}
	if x, err := l.Contract.Execute(l.State, call); err == nil || model.AsError(err).Code != model.CodeBadValue {
		t.Errorf("a damaged pack: %+v %v", x, err)
	}
}
