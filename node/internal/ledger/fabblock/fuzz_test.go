package fabblock_test

import (
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock/fabblocktest"
)

// updateOf is a world with a right update, and the transaction that holds it.
func updateOf(t testing.TB) (w *world, config *common.Config, tx *common.ConfigEnvelope) {
	w = newWorld(t, 0)
	guest := fabblocktest.NewOrg("CustomsMSP")
	update := fabblocktest.Update(w.ID, w.Config, func(root *common.ConfigGroup) {
		root.Groups["Orderer"].Values["BatchTimeout"].Value = fabblocktest.Marshal(&orderer.BatchTimeout{Timeout: "2s"})
		root.Groups["Application"].Groups["CustomsMSP"] = guest.Group()
	})
	config = w.Apply(update)
	return w, config, &common.ConfigEnvelope{Config: config, LastUpdate: fabblocktest.SignUpdate(w.ID, update, w.Org("BeijingMSP").Admin, w.Org("HebeiMSP").Admin)}
}

// ordered has the orderers put any bytes into a block as a configuration, and gives what the reader makes of them.
func (w *world) ordered(raw []byte) (*fabblock.Block, error) {
	w.Blocks = w.Blocks[:1]
	w.Append(nil, w.ConfigBytes(raw))
	return w.reader.Check(w.Blocks[0].GetHeader(), w.Blocks[1])
}

// TestUpdateEveryByte has lying orderers change each byte of an update: it is refused, or the byte meant nothing.
func TestUpdateEveryByte(t *testing.T) {
	w, config, tx := updateOf(t)
	raw := fabblocktest.Marshal(tx)
	if b, err := w.ordered(raw); err != nil || b.Next == nil {
		t.Fatal(err)
	}
	step := 17
	if testing.Short() {
		step = 41
	}
	for i := 0; i < len(raw); i += step {
		changed := append([]byte{}, raw...)
		changed[i] ^= 1
		b, err := w.ordered(changed)
		if err != nil {
			continue
		}
		var got common.ConfigEnvelope
		if err := proto.Unmarshal(changed, &got); err != nil || !proto.Equal(got.GetConfig(), config) {
			t.Fatalf("byte %d of %d altered and another configuration believed: %+v", i, len(raw), b.Next)
		}
	}
}

// TestTransactionEveryByte has lying orderers change each byte of a transaction.
func TestTransactionEveryByte(t *testing.T) {
	w := newWorld(t, 0)
	w.define(1, fabblocktest.Signed(fabblocktest.PeersOf(2, "BeijingMSP", "HebeiMSP", "TianjinMSP")))
	b := w.Append(nil, w.fill(fabblocktest.Transaction{Sets: put, Args: []string{"put", "k", "v"}, Endorsers: w.peers("BeijingMSP", "HebeiMSP")}).Envelope())
	if _, err := w.reader.Check(w.prev(), b); err != nil {
		t.Fatal(err)
	}
	raw := b.GetData().GetData()[0]
	for i := 0; i < len(raw); i += 11 {
		changed := append([]byte{}, raw...)
		changed[i] ^= 1
		b.Data.Data[0] = changed
		w.Seal(b)
		if _, err := w.reader.Check(w.prev(), b); err == nil {
			t.Fatalf("byte %d of %d altered and not found", i, len(raw))
		}
	}
}

func FuzzUpdate(f *testing.F) {
	w, config, tx := updateOf(f)
	raw := fabblocktest.Marshal(tx)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add(fabblocktest.Marshal(&common.ConfigEnvelope{Config: config}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := w.ordered(raw)
		if err != nil {
			return
		}
		var got common.ConfigEnvelope
		if err := proto.Unmarshal(raw, &got); err != nil || !proto.Equal(got.GetConfig(), config) {
			t.Errorf("another configuration believed: %+v", b.Next)
		}
	})
}

// FuzzTransaction has orderers order any bytes.
func FuzzTransaction(f *testing.F) {
	w := newWorld(f, 0)
	w.define(1, fabblocktest.Signed(fabblocktest.PeersOf(2, "BeijingMSP", "HebeiMSP", "TianjinMSP")))
	b := w.Append(nil, w.fill(fabblocktest.Transaction{Sets: put, Endorsers: w.peers("BeijingMSP", "HebeiMSP")}).Envelope())
	right := b.GetData().GetData()[0]
	f.Add(right)
	f.Add(fabblocktest.Marshal(w.fill(fabblocktest.Transaction{Chaincode: "_lifecycle", Endorsers: w.peers("HebeiMSP"), Sets: []*rwset.NsReadWriteSet{
		fabblocktest.Definition("kv", 2, "vscc", fabblocktest.Named("/Channel/Application/Endorsement"))}}).Envelope()))
	f.Add([]byte{0x0a, 1, 1, 0x12, 1, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b.Data.Data[0] = raw
		w.Seal(b)
		checked, err := w.reader.Check(w.prev(), b)
		if err == nil && checked.Txs[0].Verdict != peer.TxValidationCode_VALID {
			t.Errorf("called valid and believed: %s", checked.Txs[0].Verdict)
		}
		_, _ = w.reader.Advance(b)
		_, _ = fabblock.Decode(b)
	})
}
