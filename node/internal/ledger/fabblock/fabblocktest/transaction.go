// Package fabblocktest makes Fabric transactions, configurations and blocks with keys of its own, right ones and
// wrong ones, for tests of those who read blocks. The program in fabblock/testdata/record sends its transactions
// through a real Fabric and records what becomes of them.
package fabblocktest

import (
	"crypto/rand"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// A Signer signs as an identity: *msp.Identity is one.
type Signer interface {
	Serialized() []byte
	Sign(message ...[]byte) ([]byte, error)
}

// A Transaction is what an endorsed transaction is made of. The zero value of a field is what an honest client and
// honest peers would put there; the Edit functions change what they have made.
type Transaction struct {
	Channel   string
	Chaincode string
	Version   string // of the chaincode; default 1
	Creator   Signer
	Endorsers []Signer
	Args      []string
	Sets      []*rwset.NsReadWriteSet

	EditChannel     func(*common.ChannelHeader)      // before anything is signed
	EditAction      func(*peer.ChaincodeAction)      // before it is endorsed
	EditEndorsement func(i int, e *peer.Endorsement) // after it is signed
	EditPayload     func(*peer.ChaincodeActionPayload)
	EditOuter       func(*common.SignatureHeader) // of the envelope, from which the transaction id is computed
	EditInner       func(*common.SignatureHeader) // of the proposal, before it is endorsed
	EditEnvelope    func(*common.Envelope)        // at last
	EditTransaction func(*peer.Transaction)
}

// Set is a namespace's reads and writes.
func Set(namespace string, kv *kvrwset.KVRWSet, collections ...*rwset.CollectionHashedReadWriteSet) *rwset.NsReadWriteSet {
	return &rwset.NsReadWriteSet{Namespace: namespace, Rwset: Marshal(kv), CollectionHashedRwset: collections}
}

// Put is a set that writes one key.
func Put(namespace, key, value string) *rwset.NsReadWriteSet {
	return Set(namespace, &kvrwset.KVRWSet{Writes: []*kvrwset.KVWrite{{Key: key, Value: []byte(value)}}})
}

// Hashed is a collection's writes of keys by hash.
func Hashed(collection string, hashes ...[]byte) *rwset.CollectionHashedReadWriteSet {
	set := &kvrwset.HashedRWSet{}
	for _, h := range hashes {
		set.HashedWrites = append(set.HashedWrites, &kvrwset.KVWriteHash{KeyHash: h, ValueHash: h})
	}
	return &rwset.CollectionHashedReadWriteSet{CollectionName: collection, HashedRwset: Marshal(set)}
}

// Envelope makes the transaction. It panics where a key does not sign, which does not happen.
func (t Transaction) Envelope() *common.Envelope {
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		panic(err)
	}
	inner := &common.SignatureHeader{Creator: t.Creator.Serialized(), Nonce: nonce}
	signature := proto.Clone(inner).(*common.SignatureHeader)
	apply(t.EditOuter, signature)
	apply(t.EditInner, inner)
	channel := &common.ChannelHeader{
		Type: int32(common.HeaderType_ENDORSER_TRANSACTION), ChannelId: t.Channel, Timestamp: timestamppb.Now(),
		TxId:      fabblock.TxID(signature.GetNonce(), signature.GetCreator()),
		Extension: Marshal(&peer.ChaincodeHeaderExtension{ChaincodeId: &peer.ChaincodeID{Name: t.Chaincode}}),
	}
	apply(t.EditChannel, channel)
	header := &common.Header{ChannelHeader: Marshal(channel), SignatureHeader: Marshal(inner)}

	args := make([][]byte, len(t.Args))
	for i, a := range t.Args {
		args[i] = []byte(a)
	}
	proposal := Marshal(&peer.ChaincodeProposalPayload{Input: Marshal(&peer.ChaincodeInvocationSpec{ChaincodeSpec: &peer.ChaincodeSpec{
		Type: peer.ChaincodeSpec_GOLANG, ChaincodeId: &peer.ChaincodeID{Name: t.Chaincode}, Input: &peer.ChaincodeInput{Args: args},
	}})})
	version := t.Version
	if version == "" {
		version = "1"
	}
	action := &peer.ChaincodeAction{
		Results: Marshal(&rwset.TxReadWriteSet{DataModel: rwset.TxReadWriteSet_KV, NsRwset: t.Sets}), Response: &peer.Response{Status: 200},
		ChaincodeId: &peer.ChaincodeID{Name: t.Chaincode, Version: version},
	}
	apply(t.EditAction, action)
	response := Marshal(&peer.ProposalResponsePayload{
		ProposalHash: fabblock.ProposalHash(header.GetChannelHeader(), header.GetSignatureHeader(), proposal), Extension: Marshal(action),
	})
	payload := &peer.ChaincodeActionPayload{ChaincodeProposalPayload: proposal, Action: &peer.ChaincodeEndorsedAction{ProposalResponsePayload: response}}
	for i, e := range t.Endorsers {
		endorsement := &peer.Endorsement{Endorser: e.Serialized(), Signature: sign(e, response, e.Serialized())}
		if t.EditEndorsement != nil {
			t.EditEndorsement(i, endorsement)
		}
		payload.Action.Endorsements = append(payload.Action.Endorsements, endorsement)
	}
	apply(t.EditPayload, payload)
	tx := &peer.Transaction{Actions: []*peer.TransactionAction{{Header: header.GetSignatureHeader(), Payload: Marshal(payload)}}}
	apply(t.EditTransaction, tx)
	outer := Marshal(&common.Payload{
		Header: &common.Header{ChannelHeader: header.GetChannelHeader(), SignatureHeader: Marshal(signature)}, Data: Marshal(tx),
	})
	env := &common.Envelope{Payload: outer, Signature: sign(t.Creator, outer)}
	apply(t.EditEnvelope, env)
	return env
}

func apply[T any](edit func(T), to T) {
	if edit != nil {
		edit(to)
	}
}

func sign(s Signer, message ...[]byte) []byte {
	sig, err := s.Sign(message...)
	if err != nil {
		panic(err)
	}
	return sig
}

// Marshal encodes a message that always encodes.
func Marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// A Form is an identity written with other bytes: the same certificate, but not the same serialized identity.
type Form struct {
	*msp.Identity
	Bytes []byte
}

// Serialized is the other form.
func (f Form) Serialized() []byte { return f.Bytes }
