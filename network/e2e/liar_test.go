package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk"
)

// before stands between a node and its first peer.
func (c *consortium) before(p *fabric.Peer) *between {
	c.t.Helper()
	cert, key := authorityOf(c.t, orgOf(c.t, c.fabric, p.Org), "tlsca").issue(p.ServerName(), "", time.Now().AddDate(1, 0, 0), p.ServerName(), "127.0.0.1")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		c.t.Fatal(err)
	}
	return newBetween(c.t, pair, p.Address, p.TLSRoots(), p.ServerName())
}

// refusedGateway is what readiness says of a gateway that was put out of use, "" if it was not.
func (n *node) refusedGateway(address string) string {
	r, err := n.readiness()
	if err != nil {
		return ""
	}
	for _, part := range r.Components {
		if part.Name != "gateways" || part.Status == sdk.OK {
			continue
		}
		for _, line := range strings.Split(part.Detail, "; ") {
			if strings.Contains(line, address) && strings.Contains(line, "refused") {
				return line
			}
		}
	}
	return ""
}

// lyingPeer puts a liar between a node and its own peer. Whatever the lie, it is refused and reported, the next peer is
// used, and the node goes on reading and writing as if nothing were.
func lyingPeer(t *testing.T, c *consortium) {
	beijing := c.nodes["beijing"]
	for _, tt := range []struct {
		name string
		lie  func(from uint64) lie // nil: about endorsed transactions
	}{
		{"another block", func(from uint64) lie {
			var earlier *common.Block
			return func(b *common.Block) bool {
				switch {
				case b.GetHeader().GetNumber() != from:
					earlier = proto.CloneOf(b)
				case earlier != nil:
					b.Data = earlier.Data
				default:
					b.Header.PreviousHash[0] ^= 1
				}
				return false
			}
		}},
		{"an altered write set", func(from uint64) lie {
			return func(b *common.Block) bool {
				if b.GetHeader().GetNumber() >= from {
					alterWrites(b)
				}
				return false
			}
		}},
		{"a flipped validation code", func(from uint64) lie {
			return func(b *common.Block) bool {
				if b.GetHeader().GetNumber() >= from {
					codes := b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
					if codes[0] == byte(peer.TxValidationCode_VALID) {
						codes[0] = byte(peer.TxValidationCode_MVCC_READ_CONFLICT)
					} else {
						codes[0] = byte(peer.TxValidationCode_VALID)
					}
				}
				return false
			}
		}},
		{"an altered envelope", nil},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "-"), func(t *testing.T) {
			c.lend(t)
			misled := c.twin("hebei")
			b := c.before(c.fabric.Peer("hebei"))
			misled.configure(func(m map[string]any) { dial(m, b.address) })
			misled.start()
			carried := b.carried.Load()
			book := c.book()
			number := func(i int) string { return fmt.Sprintf("%s-own-%d", book.name, i) } // none of the writers'
			var issued []model.Outcome
			misled.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, misled.agency, number(1), 1)), &issued)
			if b.carried.Load() == carried {
				t.Fatal("the node does not use its first gateway")
			}
			if tt.lie != nil {
				change := tt.lie(misled.at().Height)
				b.lie.Store(&change)
			} else {
				forge := func(payload []byte) []byte { return bytes.ReplaceAll(payload, []byte(number(2)), []byte(number(3))) }
				b.forge.Store(&forge)
			}
			stop := book.writers(beijing, 1)
			var second []model.Outcome
			misled.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, misled.agency, number(2), 2)), &second)
			if second[0].Status != model.Committed {
				t.Errorf("a write past the liar: %+v", second[0])
			}
			eventually(t, 30*time.Second, "the liar is refused", func() bool { return misled.refusedGateway(b.address) != "" })
			t.Log(misled.refusedGateway(b.address))
			if got := misled.metric("zhenglian_gateway_refused"); got != 1 {
				t.Errorf("zhenglian_gateway_refused adds up to %v", got)
			}
			misled.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, misled.agency, number(4), 4)), &second)
			var v model.Verdict
			misled.mustPost("/v1/verify", model.Query{Record: issued[0].Record}, &v)
			if v.Verdict != model.Valid {
				t.Errorf("reads past the liar: %s (%s)", v.Verdict, v.Reason)
			}
			pause(book, book.accepted())
			stop()
			c.nodes["misled"] = misled
			defer delete(c.nodes, "misled")
			c.caughtUp("beijing", "misled")
			c.sameLog("beijing", "misled", "tianjin", "customs")
			counts := tally(t, c.began, misled.logFrom(c.began))
			if counts[number(1)] != 1 || counts[number(2)] != 1 || counts[number(3)] != 0 || counts[number(4)] != 1 {
				t.Errorf("the log holds %v", counts)
			}
			misled.p.stop()
		})
	}
}

// alterWrites changes what the first transaction of a block writes, and makes the block's own digest fit: only the
// signatures tell.
func alterWrites(b *common.Block) {
	var e common.Envelope
	var p common.Payload
	var tx peer.Transaction
	var action peer.ChaincodeActionPayload
	var response peer.ProposalResponsePayload
	var cc peer.ChaincodeAction
	var sets rwset.TxReadWriteSet
	if proto.Unmarshal(b.Data.Data[0], &e) != nil || proto.Unmarshal(e.Payload, &p) != nil || proto.Unmarshal(p.Data, &tx) != nil ||
		len(tx.Actions) == 0 || proto.Unmarshal(tx.Actions[0].Payload, &action) != nil ||
		proto.Unmarshal(action.GetAction().GetProposalResponsePayload(), &response) != nil ||
		proto.Unmarshal(response.Extension, &cc) != nil || proto.Unmarshal(cc.Results, &sets) != nil {
		return
	}
	for _, ns := range sets.NsRwset {
		var kv kvrwset.KVRWSet
		if proto.Unmarshal(ns.Rwset, &kv) == nil && len(kv.Writes) > 0 && len(kv.Writes[0].Value) > 0 {
			kv.Writes[0].Value[len(kv.Writes[0].Value)-1] ^= 1
			ns.Rwset = mustMarshal(&kv)
		}
	}
	cc.Results = mustMarshal(&sets)
	response.Extension = mustMarshal(&cc)
	action.Action.ProposalResponsePayload = mustMarshal(&response)
	tx.Actions[0].Payload = mustMarshal(&action)
	p.Data = mustMarshal(&tx)
	e.Payload = mustMarshal(&p)
	b.Data.Data[0] = mustMarshal(&e)
	b.Header.DataHash = dataHash(b.Data)
}

func mustMarshal(m proto.Message) []byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err) // of messages that were just read
	}
	return raw
}
