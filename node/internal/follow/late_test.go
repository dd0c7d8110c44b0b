package follow

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// stateOnly is a mirror of a contract's state in which no record has a second version.
type stateOnly struct {
	contracttest.State
	at model.Time
}

func (s stateOnly) Last(model.Kind, model.RecordID) (model.Digest, uint64, bool, error) {
	return model.Digest{}, 0, false, nil
}

func (s stateOnly) Cursor() (uint64, model.Digest, uint64, model.Time) {
	return 1, model.Digest{}, 5, s.at
}

func (stateOnly) Version(string, string) (uint64, uint64, bool, error)                { return 0, 0, false, nil }
func (stateOnly) Known(string) (uint64, bool, bool, error)                            { return 0, false, false, nil }
func (stateOnly) Block(uint64, model.Digest, model.Time, []string, []string) error    { return nil }
func (stateOnly) Write(string, string, []byte, uint64) error                          { return nil }
func (stateOnly) Leaf(*model.Applied, *model.Leaf, *model.Receipt, model.MSPID) error { return nil }
func (stateOnly) Gap() (uint64, bool, error)                                          { return 0, false, nil }
func (stateOnly) Restore(uint64, string, [][]byte) error                              { return nil }
func (stateOnly) Commit() error                                                       { return nil }
func (stateOnly) Reset()                                                              {}

// TestLate: an operation is late when its time is more than ten minutes behind the largest timestamp of a
// valid transaction up to its block; invalid transactions and other contracts do not move that.
func TestLate(t *testing.T) {
	l := contracttest.New()
	start := time.Date(2026, 6, 1, 2, 0, 0, 0, time.UTC)
	tx := func(index, serial int, at time.Time) fabblock.Tx {
		op := contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, model.NewRecordID("bj-scjg", uint64(serial)), 1, at,
			model.IssueBody{Value: contracttest.Licence(l.Genesis, "bj-scjg", serial)})
		before := l.State.Clone()
		x, _, err := l.Submit(op)
		if err != nil {
			t.Fatal(err)
		}
		l.State = before // both transactions were endorsed on one state; they touch different pages
		f := fabblock.Tx{Index: index, ID: fmt.Sprint(serial), MSP: "BeijingMSP", CommonName: "beijing", Time: at, Chaincode: "zhenglian",
			Args: [][]byte{[]byte(model.FunctionApply), op.Encode()}, Response: &peer.Response{Status: 200, Payload: x.Response}}
		for _, w := range x.Writes {
			f.Writes = append(f.Writes, fabblock.Write{Namespace: "zhenglian", Key: w.Key, Value: w.Value})
		}
		return f
	}
	invalid := fabblock.Tx{Index: 2, Code: peer.TxValidationCode_MVCC_READ_CONFLICT, Verdict: peer.TxValidationCode_BAD_RWSET, Chaincode: "zhenglian", Time: start.Add(9 * time.Hour)}
	foreign := fabblock.Tx{Index: 3, Chaincode: "another", Time: start.Add(9 * time.Hour)}
	for _, tt := range []struct {
		name   string
		ledger time.Time     // before the block
		other  time.Duration // the block's other transaction's time, after start
		late   bool
		at     time.Time // after it
	}{
		{"alone", start.Add(-time.Hour), 0, false, start},
		{"ten minutes behind in its block", start, 10 * time.Minute, false, start.Add(10 * time.Minute)},
		{"more", start, 10*time.Minute + time.Millisecond, true, start.Add(10*time.Minute + time.Millisecond)},
		{"behind earlier blocks", start.Add(time.Hour), 0, true, start.Add(time.Hour)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			txs := []fabblock.Tx{tx(0, 1, start), tx(1, 100, start.Add(tt.other)), invalid, foreign}
			r := &run{cfg: &Config{
				Chaincode: "zhenglian", Contract: l.Contract,
				Records: stateOnly{l.State, model.TimeOf(tt.ledger)},
			}}
			v, err := r.verify(&fabblock.Block{Number: 1, Txs: txs}, nil)
			if err != nil {
				t.Fatal(err)
			}
			first := v.txs[0].Receipts[0]
			if first.Late != tt.late || v.at != model.TimeOf(tt.at) || first.Position != 5 || v.txs[1].Receipts[0].Position != 6 {
				t.Errorf("late %v, ledger time %s, receipt %+v", first.Late, v.at, first)
			}
			if len(v.txs) != 4 || v.txs[2].Code != invalid.Code || len(v.txs[2].Receipts)+len(v.txs[3].Receipts) != 0 {
				t.Errorf("transactions %+v", v.txs)
			}
		})
	}
}

// TestNamespaces: the contract keeps to its own state, and others keep out of it.
func TestNamespaces(t *testing.T) {
	r := &run{cfg: &Config{Chaincode: "zhenglian"}}
	for _, tt := range []struct {
		chaincode, writes string
		ok                bool
	}{
		{"zhenglian", "zhenglian", true}, {"zhenglian", "another", false}, {"another", "zhenglian", false},
		{"another", "another", true}, {"_lifecycle", "_lifecycle", true}, {"_lifecycle", "zhenglian", false},
	} {
		err := r.namespaces(3, &fabblock.Tx{Chaincode: tt.chaincode, Writes: []fabblock.Write{{Namespace: tt.writes, Key: "k"}}})
		if (err == nil) != tt.ok {
			t.Errorf("%s writes to %s: %v", tt.chaincode, tt.writes, err)
		}
	}
}

// TestHead: only a height that was asked for and then reached proves that nothing was missing when asked.
func TestHead(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	var h head
	h.applied(5)
	h.answered(at(1), 7)
	if h.age(at(2)) < time.Hour {
		t.Error("at the head while behind it")
	}
	h.answered(at(3), 9) // a later question does not put off the first
	h.applied(7)
	if got := h.age(at(4)); got != 3*time.Second {
		t.Errorf("age %v, want 3s since the question that was reached", got)
	}
	h.answered(at(5), 4) // a source that is behind proves nothing
	if got := h.age(at(6)); got != 5*time.Second {
		t.Errorf("age %v", got)
	}
	h.answered(at(7), 7)
	if got := h.age(at(7)); got != 0 {
		t.Errorf("age %v at the head", got)
	}
	if h.reached(at(6)) != nil || h.reached(at(8)) == nil {
		t.Error("reached")
	}
}

// saying is a contract that answers one thing.
type saying struct {
	x   *model.Execution
	err error
}

func (s saying) Execute(model.StateReader, model.Call) (*model.Execution, error) { return s.x, s.err }

// TestNewerNeeded: a node whose contract is older than the ledger blames nobody. It waits for a newer program, without a
// finding that somebody has to remove.
func TestNewerNeeded(t *testing.T) {
	answer := func(refused ...model.Refusal) *model.Execution {
		raw, err := model.Canonical(model.Response{Refused: refused})
		if err != nil {
			t.Fatal(err)
		}
		return &model.Execution{Response: raw}
	}
	tx := &fabblock.Tx{Chaincode: "zhenglian", Args: [][]byte{[]byte("Apply")}, Response: &peer.Response{Status: 200, Payload: []byte(`{"accepted":1}`)}}
	for _, tt := range []struct {
		name string
		saying
		want Code // "" for none
	}{
		{"the level was raised before", saying{err: model.E(model.CodeLevelUnsupported)}, ""},
		{"it is raised here", saying{x: answer(model.Refusal{Code: model.CodeNotOwner}, model.Refusal{Index: 1, Code: model.CodeLevelUnsupported})}, ""},
		{"another answer", saying{x: answer(model.Refusal{Code: model.CodeNotOwner})}, OtherResponse},
		{"another error", saying{err: model.E(model.CodePersonalIdentifier)}, RefusedCall},
	} {
		r := &run{cfg: &Config{Chaincode: "zhenglian", Contract: tt.saying}, channel: &fabblock.Channel{}}
		_, err := r.execute(nil, 5, tx)
		var f *Finding
		switch {
		case tt.want == "" && (errors.As(err, &f) || model.AsError(err).Code != model.CodeLevelUnsupported):
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (!errors.As(err, &f) || f.Code != tt.want):
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}
