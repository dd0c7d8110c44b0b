package embeddedtest

import (
	"errors"
	"net/http"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

type put struct{}

func (put) Init(shim.ChaincodeStubInterface) *peer.Response { return nil }

func (put) Invoke(s shim.ChaincodeStubInterface) *peer.Response {
	if err := s.PutState(s.GetStringArgs()[1], []byte(s.GetStringArgs()[2])); err != nil {
		return &peer.Response{Status: http.StatusInternalServerError, Message: err.Error()}
	}
	return &peer.Response{Status: http.StatusOK}
}

// TestLies shows which lies a reader's block check sees by itself, and that a rewritten write set passes it: that
// one is for the reader's own rules to find.
func TestLies(t *testing.T) {
	for _, tt := range []struct {
		name string
		lies func(w *World) Lies
		want fabblock.Code
	}{
		{"none", func(*World) Lies { return Lies{} }, ""},
		{"altered transaction", func(*World) Lies {
			return Lies{Delivered: func(b *common.Block) (bool, error) { b.Data.Data[0][50] ^= 1; return false, nil }}
		}, fabblock.BadDataHash},
		{"altered transaction, sealed anew", func(w *World) Lies {
			return Lies{Delivered: func(b *common.Block) (bool, error) {
				if b.GetHeader().GetNumber() == 0 {
					return false, nil
				}
				data := b.Data.Data[0]
				data[len(data)/2] ^= 1
				return false, Reseal(b, nil, w.Config.Identity)
			}}
		}, fabblock.BadCreator},
		{"left out block", func(*World) Lies {
			return Lies{Delivered: func(b *common.Block) (bool, error) { return b.GetHeader().GetNumber() == 1, nil }}
		}, fabblock.BadNumber},
		{"another ledger's signature", func(w *World) Lies {
			return Lies{Delivered: func(b *common.Block) (bool, error) {
				if b.GetHeader().GetNumber() == 0 {
					return false, nil
				}
				return false, Reseal(b, nil, w.Issue(t, "BeijingMSP", "bj"))
			}}
		}, fabblock.BadOrderer},
		{"rewritten write set", func(w *World) Lies {
			return Lies{Endorsed: func(env *common.Envelope) error {
				return Rewrite(env, w.Config.Identity, func(kv *kvrwset.KVRWSet) { kv.Writes[0].Value = []byte("lie") })
			}}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := Start(t, "channel", "kv", put{}, "BeijingMSP")
			genesis, err := w.Ledger.Genesis()
			if err != nil {
				t.Fatal(err)
			}
			channel, err := fabblock.ParseConfig(genesis)
			if err != nil {
				t.Fatal(err)
			}
			channel.Chaincode = "kv"
			id := w.Issue(t, "BeijingMSP", "bj")
			gw, err := client.Connect(id, client.WithSign(id.SignDigest), client.WithClientConnection(Proxy(t, w.Conn, tt.lies(w))))
			if err != nil {
				t.Fatal(err)
			}
			defer gw.Close()
			network := gw.GetNetwork("channel")
			for range 2 {
				if _, err := network.GetContract("kv").SubmitTransaction("put", "k", "truth"); err != nil {
					t.Fatal(err)
				}
			}
			blocks, err := network.BlockEvents(t.Context(), client.WithStartBlock(0))
			if err != nil {
				t.Fatal(err)
			}
			prev := (*common.BlockHeader)(nil)
			var found *fabblock.Error
			for range 2 {
				b := <-blocks
				if _, err := channel.Check(prev, b); err != nil {
					if !errors.As(err, &found) {
						t.Fatal(err)
					}
					break
				}
				prev = b.GetHeader()
			}
			if tt.want == "" && found != nil || tt.want != "" && (found == nil || found.Code != tt.want) {
				t.Errorf("found %v, want %q", found, tt.want)
			}
		})
	}
}
