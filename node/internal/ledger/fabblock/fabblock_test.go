package fabblock_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded/embeddedtest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// kv reads its first argument's key, writes it and deletes another.
type kv struct{}

func (kv) Init(shim.ChaincodeStubInterface) *peer.Response { return nil }

func (kv) Invoke(s shim.ChaincodeStubInterface) *peer.Response {
	args := s.GetStringArgs()
	_, err := s.GetState(args[1])
	err = errors.Join(err, s.PutState(args[1], []byte(args[2])), s.DelState("other"), s.SetEvent("wrote", []byte(args[1])))
	if err != nil {
		return &peer.Response{Status: http.StatusInternalServerError, Message: err.Error()}
	}
	return &peer.Response{Status: http.StatusOK, Payload: []byte("ok")}
}

type chain struct {
	world   *embeddedtest.World
	channel *fabblock.Channel
	blocks  []*common.Block
}

// newChain commits n transactions and reads the blocks back.
func newChain(t testing.TB, n int) *chain {
	t.Helper()
	c := &chain{world: embeddedtest.Start(t, "channel", "kv", kv{}, "BeijingMSP", "TianjinMSP")}
	id := c.world.Issue(t, "BeijingMSP", "bj-scjg")
	gw, err := client.Connect(id, client.WithSign(id.SignDigest), client.WithClientConnection(c.world.Conn))
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	network := gw.GetNetwork("channel")
	for i := range n {
		if _, err := network.GetContract("kv").SubmitTransaction("write", fmt.Sprint("key", i), "value"); err != nil {
			t.Fatal(err)
		}
	}
	events, err := network.BlockEvents(t.Context(), client.WithStartBlock(0))
	if err != nil {
		t.Fatal(err)
	}
	for range n + 1 {
		c.blocks = append(c.blocks, <-events)
	}
	if c.channel, err = fabblock.ParseConfig(c.blocks[0]); err != nil {
		t.Fatal(err)
	}
	c.channel.Chaincode = "kv"
	return c
}

func TestCheckDecodes(t *testing.T) {
	c := newChain(t, 2)
	if c.channel.ID != "channel" || !slices.Equal(c.channel.Members.IDs(), []string{"BeijingMSP", "LedgerMSP", "TianjinMSP"}) ||
		!slices.Equal(c.channel.Orderers.IDs(), []string{"LedgerMSP"}) || c.channel.Created.IsZero() ||
		c.channel.Policy("/Channel/Application/Endorsement").Err() != nil || c.channel.Definition() != nil {
		t.Errorf("channel %+v", c.channel)
	}
	genesis, err := c.channel.Check(nil, c.blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	if !genesis.Txs[0].Config || genesis.Next != nil || genesis.Txs[0].ID == "" {
		t.Errorf("genesis %+v", genesis)
	}
	b, err := c.channel.Check(c.blocks[0].GetHeader(), c.blocks[1])
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := fabblock.Decode(c.blocks[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range []*fabblock.Block{b, decoded} {
		tx := block.Txs[0]
		if tx.Code != peer.TxValidationCode_VALID || tx.Verdict != peer.TxValidationCode_VALID || tx.Config || tx.MSP != "BeijingMSP" || tx.CommonName != "bj-scjg" || tx.Chaincode != "kv" ||
			len(tx.Args) != 3 || string(tx.Args[1]) != "key0" || tx.Response.GetStatus() != 200 || tx.Event.GetEventName() != "wrote" || tx.Time.IsZero() {
			t.Errorf("transaction %+v", tx)
		}
		if len(tx.Reads) != 1 || tx.Reads[0].Key != "key0" || tx.Reads[0].Version != nil {
			t.Errorf("reads %+v", tx.Reads)
		}
		if len(tx.Writes) != 2 || tx.Writes[0].Key != "key0" || string(tx.Writes[0].Value) != "value" || !tx.Writes[1].Delete || tx.Writes[1].Namespace != "kv" {
			t.Errorf("writes %+v", tx.Writes)
		}
		if tx.Index != 0 || block.Number != 1 || string(block.PreviousHash) != string(genesis.Hash) {
			t.Errorf("block %+v", block)
		}
	}
	if !slices.Equal(b.Txs[0].Endorsers, []string{"LedgerMSP"}) {
		t.Errorf("endorsers %v", b.Txs[0].Endorsers)
	}
}

// TestCheckRefuses breaks one thing at a time.
func TestCheckRefuses(t *testing.T) {
	c := newChain(t, 3)
	clone := func(n int) *common.Block { return proto.Clone(c.blocks[n]).(*common.Block) }
	prev := c.blocks[1].GetHeader()
	reseal := func(b *common.Block) {
		if err := embeddedtest.Reseal(b, nil, c.world.Config.Identity); err != nil {
			t.Fatal(err)
		}
	}
	config := append(c.blocks[0].GetData().GetData()[0], 0x12, 1, 1) // with a signature
	rubbish, err := proto.Marshal(&common.Envelope{Payload: []byte{0xff}, Signature: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		prev *common.BlockHeader
		edit func(b *common.Block)
		want fabblock.Code
	}{
		{"untouched", prev, func(*common.Block) {}, ""},
		{"no header", prev, func(b *common.Block) { b.Header = nil }, fabblock.BadBlock},
		{"no predecessor", nil, func(*common.Block) {}, fabblock.BadNumber},
		{"wrong predecessor", c.blocks[0].GetHeader(), func(*common.Block) {}, fabblock.BadNumber},
		{"number wraps", &common.BlockHeader{Number: math.MaxUint64}, func(b *common.Block) { b.Header.Number = 0 }, fabblock.BadNumber},
		{"another previous hash", prev, func(b *common.Block) { b.Header.PreviousHash[0] ^= 1 }, fabblock.BadPrevious},
		{"another data hash", prev, func(b *common.Block) { b.Header.DataHash[0] ^= 1 }, fabblock.BadDataHash},
		{"no transactions", prev, func(b *common.Block) { b.Data.Data = nil }, fabblock.BadBlock},
		{"a transaction twice", prev, func(b *common.Block) { b.Data.Data = append(b.Data.Data, b.Data.Data[0]) }, fabblock.BadDataHash},
		{"no metadata", prev, func(b *common.Block) { b.Metadata = nil }, fabblock.BadMetadata},
		{"signature altered", prev, func(b *common.Block) { m := b.Metadata.Metadata[0]; m[len(m)-1] ^= 1 }, fabblock.BadOrderer},
		{"no signature", prev, func(b *common.Block) { b.Metadata.Metadata[0] = nil }, fabblock.BadOrderer},
		{"codes missing", prev, func(b *common.Block) { b.Metadata.Metadata[2] = nil }, fabblock.BadMetadata},
		{"too many codes", prev, func(b *common.Block) { b.Metadata.Metadata[2] = []byte{0, 0} }, fabblock.BadMetadata},
		{"another code", prev, func(b *common.Block) {
			b.Metadata.Metadata[2] = []byte{byte(peer.TxValidationCode_MVCC_READ_CONFLICT)}
		}, fabblock.BadCodes},
		{"rubbish called valid", prev, func(b *common.Block) { b.Data.Data[0] = rubbish; reseal(b) }, fabblock.BadTx},
		{"rubbish called invalid", prev, func(b *common.Block) {
			b.Data.Data[0], b.Metadata.Metadata[2] = rubbish, []byte{byte(peer.TxValidationCode_BAD_PAYLOAD)}
			reseal(b)
		}, ""},
		{"not an envelope", prev, func(b *common.Block) { b.Data.Data[0] = []byte{0xff}; reseal(b) }, fabblock.BadFraming},
		{"two transactions read as one", prev, func(b *common.Block) {
			b.Data.Data[0] = append(c.blocks[3].GetData().GetData()[0], b.Data.Data[0]...)
			reseal(b)
		}, fabblock.BadFraming},
		{"another block's transaction", prev, func(b *common.Block) { b.Data.Data[0] = c.blocks[3].GetData().GetData()[0]; reseal(b) }, ""},
		{"a configuration", prev, func(b *common.Block) { b.Data.Data[0] = config; reseal(b) }, fabblock.BadConfig},
		{"a configuration among others", prev, func(b *common.Block) {
			b.Data.Data = append(b.Data.Data, config)
			b.Metadata.Metadata[2] = []byte{0, 0}
			reseal(b)
		}, fabblock.BadConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := clone(2)
			tt.edit(b)
			_, err := c.channel.Check(tt.prev, b)
			var bad *fabblock.Error
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.As(err, &bad) || bad.Code != tt.want {
				t.Fatalf("error %v, want %s", err, tt.want)
			}
			if bad.En() == bad.Zh() || bad.Where() == "" {
				t.Errorf("texts %q %q", bad.En(), bad.Zh())
			}
		})
	}
	// A ledger that does not seal its codes, such as Fabric's.
	fabric := *c.channel
	fabric.SealedCodes = false
	b := clone(2)
	b.Metadata.Metadata[2] = []byte{byte(peer.TxValidationCode_MVCC_READ_CONFLICT)}
	if _, err := fabric.Check(prev, b); err != nil || !c.channel.SealedCodes {
		t.Errorf("codes that nothing seals: %v", err)
	}
	// Another contract than the one the reader knows.
	c.channel.Chaincode = "other"
	if _, err := c.channel.Check(prev, c.blocks[2]); err == nil {
		t.Error("another contract passed")
	}
}

// TestCheckEveryByte flips each byte of a block's transaction, seals the block anew as a lying orderer would, and
// finds that no reader is fooled.
func TestCheckEveryByte(t *testing.T) {
	c := newChain(t, 1)
	data := c.blocks[1].GetData().GetData()[0]
	for i := 0; i < len(data); i += 7 {
		b := proto.Clone(c.blocks[1]).(*common.Block)
		b.Data.Data[0][i] ^= 1
		if err := embeddedtest.Reseal(b, nil, c.world.Config.Identity); err != nil {
			t.Fatal(err)
		}
		if _, err := c.channel.Check(c.blocks[0].GetHeader(), b); err == nil {
			t.Fatalf("byte %d of %d altered and not found", i, len(data))
		}
	}
}

// TestHeaderBytes compares with DER written by hand: SEQUENCE { INTEGER, OCTET STRING, OCTET STRING }.
func TestHeaderBytes(t *testing.T) {
	for _, tt := range []struct {
		h    *common.BlockHeader
		want string
	}{
		{&common.BlockHeader{Number: 0, DataHash: []byte{0xaa}}, "3008" + "020100" + "0400" + "0401aa"},
		{&common.BlockHeader{Number: 128, PreviousHash: []byte{1, 2}, DataHash: []byte{3}}, "300b" + "02020080" + "04020102" + "040103"},
		{&common.BlockHeader{Number: math.MaxUint64}, "300f" + "020900ffffffffffffffff" + "0400" + "0400"},
	} {
		if got := hex.EncodeToString(fabblock.HeaderBytes(tt.h)); got != tt.want {
			t.Errorf("header %d: %s, want %s", tt.h.GetNumber(), got, tt.want)
		}
		want, _ := hex.DecodeString(tt.want)
		if sum := sha256.Sum256(want); string(fabblock.HeaderHash(tt.h)) != string(sum[:]) {
			t.Errorf("hash of header %d", tt.h.GetNumber())
		}
	}
}

func FuzzCheck(f *testing.F) {
	c := newChain(f, 1)
	raw, err := proto.Marshal(c.blocks[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var block common.Block
		if proto.Unmarshal(b, &block) != nil {
			return
		}
		_, _ = fabblock.Decode(&block)
		checked, err := c.channel.Check(c.blocks[0].GetHeader(), &block)
		if err == nil && string(fabblock.HeaderBytes(block.GetHeader())) != string(fabblock.HeaderBytes(c.blocks[1].GetHeader())) {
			t.Errorf("a forged block passed: %+v", checked)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	c := newChain(f, 0)
	env := c.blocks[0].GetData().GetData()[0]
	f.Add(env)
	f.Add(env[:len(env)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		channel, err := fabblock.ParseConfig(&common.Block{Header: &common.BlockHeader{}, Data: &common.BlockData{Data: [][]byte{b}}})
		if err == nil && (channel.ID == "" || channel.Policy("/Channel/Orderer/BlockValidation").Err() != nil) {
			t.Errorf("channel %+v", channel)
		}
	})
}
