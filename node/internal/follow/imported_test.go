package follow

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// oldTx is a transaction of an imported block: so many operations, whether they were refused, and when.
type oldTx struct {
	code    peer.TxValidationCode
	ops     int
	refused bool
	at      time.Time
}

func oldBlockOf(t *testing.T, number uint64, id *msp.Identity, txs ...oldTx) []byte {
	t.Helper()
	m := func(x proto.Message) []byte {
		b, err := proto.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := &common.Block{Header: &common.BlockHeader{Number: number}, Data: &common.BlockData{}, Metadata: &common.BlockMetadata{Metadata: make([][]byte, 5)}}
	for i, x := range txs {
		name := &peer.ChaincodeID{Name: cc, Version: "1"}
		channel := m(&common.ChannelHeader{Type: int32(common.HeaderType_ENDORSER_TRANSACTION), ChannelId: "jjj", TxId: fmt.Sprint(number, i),
			Timestamp: timestamppb.New(x.at), Extension: m(&peer.ChaincodeHeaderExtension{ChaincodeId: name})})
		signature := m(&common.SignatureHeader{Creator: id.Serialized(), Nonce: []byte("nonce")})
		args := [][]byte{[]byte(model.FunctionApply)}
		for range x.ops {
			args = append(args, []byte("operation"))
		}
		answer := model.Response{Accepted: x.ops}
		if x.refused {
			answer = model.Response{Accepted: x.ops - 1, Refused: []model.Refusal{{Code: model.CodeNotFound}}}
		}
		payload, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		proposal := m(&peer.ChaincodeProposalPayload{Input: m(&peer.ChaincodeInvocationSpec{
			ChaincodeSpec: &peer.ChaincodeSpec{ChaincodeId: name, Input: &peer.ChaincodeInput{Args: args}}})})
		action := &peer.ChaincodeActionPayload{ChaincodeProposalPayload: proposal, Action: &peer.ChaincodeEndorsedAction{
			ProposalResponsePayload: m(&peer.ProposalResponsePayload{
				ProposalHash: fabblock.ProposalHash(channel, signature, proposal),
				Extension:    m(&peer.ChaincodeAction{ChaincodeId: name, Response: &peer.Response{Status: 200, Payload: payload}}),
			})}}
		b.Data.Data = append(b.Data.Data, m(&common.Envelope{Payload: m(&common.Payload{
			Header: &common.Header{ChannelHeader: channel, SignatureHeader: signature},
			Data:   m(&peer.Transaction{Actions: []*peer.TransactionAction{{Header: signature, Payload: m(action)}}}),
		}), Signature: []byte("signature")}))
		b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = append(b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER], byte(x.code))
	}
	return m(b)
}

// TestMoment: ledger time moves with what is applied; of an import as it did on the old ledger, block by block.
func TestMoment(t *testing.T) {
	ca, err := msp.NewCA("BeijingMSP", "ca.beijing")
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.Issue("beijing", msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 6, 1, 2, 0, 0, 0, time.UTC)
	minute := func(n int) time.Time { return day.Add(time.Duration(n) * time.Minute) }
	at := func(n int) model.Time { return model.TimeOf(minute(n)) }
	blocks := [][]byte{
		oldBlockOf(t, 1, id, oldTx{ops: 2, at: minute(0)}, oldTx{ops: 1, at: minute(12)}),
		oldBlockOf(t, 2, id, oldTx{ops: 1, at: minute(60), code: peer.TxValidationCode_MVCC_READ_CONFLICT}, oldTx{ops: 3, at: minute(50), refused: true}, oldTx{ops: 1, at: minute(5)}),
		oldBlockOf(t, 3, id, oldTx{ops: 1, at: minute(1440)}),
	}
	var applied []model.Applied
	for _, n := range []int{0, 0, 12, 5, 1440} {
		applied = append(applied, model.Applied{Msp: "BeijingMSP", At: at(n)})
	}
	now := day.AddDate(1, 0, 0)
	tx := &fabblock.Tx{MSP: "CustomsMSP", Time: now, Args: append([][]byte{[]byte(model.FunctionImport)}, blocks...)}
	after, each := moment(tx, applied, at(-5))
	if after != at(1440) || fmt.Sprint(each) != fmt.Sprint([]model.Time{at(12), at(12), at(12), at(12), at(1440)}) {
		t.Errorf("ledger time %s, operations judged at %v", after, each)
	}
	if applied[0].Msp != "BeijingMSP" {
		t.Errorf("the importer's word: %+v", applied[0])
	}
	// What the old ledger had before counts on.
	if _, each := moment(tx, applied, at(100)); each[0] != at(100) || each[4] != at(1440) {
		t.Errorf("operations judged at %v", each)
	}

	own := []model.Applied{{}, {Msp: "HebeiMSP", At: at(3)}}
	tx = &fabblock.Tx{MSP: "BeijingMSP", Time: minute(7), Args: [][]byte{[]byte(model.FunctionApply), nil}}
	if after, each := moment(tx, own, at(5)); after != at(7) || each != nil || own[0].Msp != "BeijingMSP" || own[0].At != at(7) || own[1].Msp != "HebeiMSP" {
		t.Errorf("ledger time %s, %+v", after, own)
	}
	if after, _ := moment(tx, nil, at(5)); after != at(5) {
		t.Errorf("ledger time %s after nothing was applied", after)
	}
	genesis := []model.Applied{{Op: model.Operation{Time: at(0)}, Msp: "BeijingMSP", At: model.TimeOf(now)}}
	tx = &fabblock.Tx{MSP: "BeijingMSP", Time: now, Args: [][]byte{[]byte(model.FunctionInit), nil, nil}}
	if after, _ := moment(tx, genesis, model.Time{}); after != at(0) {
		t.Errorf("ledger time %s after the genesis of a ledger that takes over another", after)
	}
}
