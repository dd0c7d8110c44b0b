package contract_test

import (
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestCalledByAnother: what another chaincode has the contract write would stand in that one's transaction.
func TestCalledByAnother(t *testing.T) {
	l := contracttest.New()
	op := issue(l, "bj-scjg", 1)
	for _, tt := range []struct {
		name, own, proposal string
		args                []string
		want                model.Code
	}{
		{"its own", "zhenglian", "zhenglian", []string{"Apply", string(op.Encode())}, ""},
		{"another's", "zhenglian", "relay", []string{"Apply", string(op.Encode())}, model.CodeForbidden},
		{"another's Init", "zhenglian", "relay", []string{"Init", "{}"}, model.CodeForbidden},
		{"another's function that is not there", "zhenglian", "relay", []string{"Burn"}, model.CodeForbidden},
		{"another's question", "zhenglian", "relay", []string{"Get", "agency", "bj-scjg"}, ""},
		{"none", "zhenglian", "", []string{"Apply", string(op.Encode())}, model.CodeForbidden},
		{"nobody asks", "", "relay", []string{"Apply", string(op.Encode())}, ""},
	} {
		c := &contract.Contract{Name: tt.own, Genesis: l.Contract.Genesis, Verify: l.Contract.Verify, Clock: op.Time.Time}
		s := &stub{state: map[string][]byte{}, writes: map[string][]byte{}, creator: creator("BeijingMSP", "beijing"), at: op.Time.Time(), name: tt.proposal}
		for k, v := range l.State {
			s.state[k] = v
		}
		for _, a := range tt.args {
			s.args = append(s.args, []byte(a))
		}
		r := c.Invoke(s)
		if model.Code(r.GetMessage()) != tt.want || (r.GetStatus() == 200) != (tt.want == "") {
			t.Errorf("%s: %d %q %s, want %q", tt.name, r.GetStatus(), r.GetMessage(), r.GetPayload(), tt.want)
		}
		if tt.want != "" && len(s.writes) > 0 {
			t.Errorf("%s: wrote %d keys", tt.name, len(s.writes))
		}
	}
}
