package origin_test

import (
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/contract/origin"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// pilot is a ledger with one block after Init.
func pilot() *contracttest.Pilot {
	p := contracttest.NewPilot()
	at := contracttest.Created.Add(time.Hour)
	op := contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, "bj-scjg.1", 1, at,
		model.IssueBody{Value: contracttest.Licence(p.Genesis, "bj-scjg", 1)})
	if _, err := p.Call("BeijingMSP", "beijing", at, model.FunctionApply, op.Encode()); err != nil {
		panic(err)
	}
	p.Cut()
	return p
}

// TestBlock reads what a transaction says, and no byte of a block can change without the block being refused or
// saying the same: what nothing signs is not read.
func TestBlock(t *testing.T) {
	p := pilot()
	l, err := origin.Open(p.Blocks[0])
	if err != nil || model.Digest(l.Hash) != p.Source() || l.Channel != "jjj" {
		t.Fatal(err)
	}
	previous := origin.Hash(contracttest.HeaderHash(p.Headers[1]))
	good, err := l.Block(p.Blocks[2], 2, previous)
	if err != nil {
		t.Fatal(err)
	}
	if len(good.Txs) != 1 || model.Digest(good.Hash) != contracttest.HeaderHash(p.Headers[2]) {
		t.Fatalf("%+v", good)
	}
	tx := good.Txs[0]
	if tx.Msp != "BeijingMSP" || tx.CommonName != "beijing" || !tx.Time.Equal(contracttest.Created.Add(time.Hour)) ||
		len(tx.Args) != 2 || string(tx.Args[0]) != "Apply" || string(tx.Payload) != `{"accepted":1}` {
		t.Fatalf("%+v", tx)
	}
	refused := 0
	for i := range p.Blocks[2] {
		b := append([]byte{}, p.Blocks[2]...)
		b[i] ^= 1 << (i % 8)
		got, err := l.Block(b, 2, previous)
		if err != nil {
			refused++
			continue
		}
		if got.Hash != good.Hash || len(got.Txs) != 1 || string(got.Txs[0].Args[1]) != string(tx.Args[1]) || got.Txs[0].Msp != tx.Msp ||
			got.Txs[0].CommonName != tx.CommonName || !got.Txs[0].Time.Equal(tx.Time) {
			t.Fatalf("with byte %d flipped it says something else", i)
		}
	}
	t.Logf("%d of %d flips are refused", refused, len(p.Blocks[2]))
	if refused < len(p.Blocks[2])*9/10 {
		t.Errorf("only %d of %d flips are refused", refused, len(p.Blocks[2]))
	}
}

// TestOpenKind: a ledger whose validation codes nobody signs cannot be taken over.
func TestOpenKind(t *testing.T) {
	p := pilot()
	var b common.Block
	if err := proto.Unmarshal(p.Blocks[0], &b); err != nil {
		t.Fatal(err)
	}
	other := []byte("etcdraft")
	data := b.GetData().GetData()[0]
	for i := range len(data) - len(other) + 1 {
		if string(data[i:i+8]) == "embedded" { // of the same length, so that all lengths stay right
			copy(data[i:], other)
		}
	}
	sum := model.DigestOf(data)
	b.Header.DataHash = sum[:]
	raw, err := proto.Marshal(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := origin.Open(raw); err == nil {
		t.Error("it is opened")
	}
}

func FuzzBlock(f *testing.F) {
	p := pilot()
	for _, b := range p.Blocks {
		f.Add(b)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := origin.Open(p.Blocks[0])
		if err != nil {
			t.Fatal(err)
		}
		previous := origin.Hash(contracttest.HeaderHash(p.Headers[1]))
		if b, err := l.Block(raw, 2, previous); err == nil && model.Digest(b.Hash) != contracttest.HeaderHash(p.Headers[2]) {
			t.Fatal("a block that the ledger did not sign")
		}
		if l, err := origin.Open(raw); err == nil && l.Channel == "" {
			t.Fatal("a ledger without a channel")
		}
	})
}
