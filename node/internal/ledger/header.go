package ledger

import (
	"bytes"
	"errors"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// header is what a proposal of ours says, byte for byte: channel, transaction id, time, chaincode in
// channel; creator and nonce in signature; function and arguments in input.
type header struct {
	txID      string
	channel   []byte
	signature []byte
	input     []byte
}

// ownHeader reads a proposal just made by the Gateway client.
func ownHeader(p *client.Proposal) (*header, error) {
	raw, err := p.Bytes()
	if err != nil {
		return nil, err
	}
	var proposed gateway.ProposedTransaction
	if err := proto.Unmarshal(raw, &proposed); err != nil {
		return nil, err
	}
	var proposal peer.Proposal
	if err := proto.Unmarshal(proposed.GetProposal().GetProposalBytes(), &proposal); err != nil {
		return nil, err
	}
	var h common.Header
	if err := proto.Unmarshal(proposal.GetHeader(), &h); err != nil {
		return nil, err
	}
	var payload peer.ChaincodeProposalPayload
	if err := proto.Unmarshal(proposal.GetPayload(), &payload); err != nil {
		return nil, err
	}
	return &header{
		txID: p.TransactionID(), channel: h.GetChannelHeader(), signature: h.GetSignatureHeader(), input: payload.GetInput(),
	}, nil
}

// check refuses an envelope that is not the endorsed form of this proposal. What endorsers added (read and
// write set, response, endorsements) is judged by everyone who reads the block; what is ours must be ours,
// because the signature makes it so.
func (own *header) check(env *common.Envelope) error {
	var payload common.Payload
	if err := proto.Unmarshal(env.GetPayload(), &payload); err != nil {
		return err
	}
	if !bytes.Equal(payload.GetHeader().GetChannelHeader(), own.channel) {
		return errors.New("another channel header")
	}
	if !bytes.Equal(payload.GetHeader().GetSignatureHeader(), own.signature) {
		return errors.New("another creator or nonce")
	}
	var tx peer.Transaction
	if err := proto.Unmarshal(payload.GetData(), &tx); err != nil {
		return err
	}
	if len(tx.GetActions()) != 1 {
		return errors.New("not one action")
	}
	action := tx.GetActions()[0]
	if !bytes.Equal(action.GetHeader(), own.signature) {
		return errors.New("another creator or nonce in the action")
	}
	var inner peer.ChaincodeActionPayload
	if err := proto.Unmarshal(action.GetPayload(), &inner); err != nil {
		return err
	}
	var input peer.ChaincodeProposalPayload
	if err := proto.Unmarshal(inner.GetChaincodeProposalPayload(), &input); err != nil {
		return err
	}
	if !bytes.Equal(input.GetInput(), own.input) || len(input.GetTransientMap()) != 0 {
		return errors.New("other arguments")
	}
	if len(payload.ProtoReflect().GetUnknown())+len(payload.GetHeader().ProtoReflect().GetUnknown())+
		len(tx.ProtoReflect().GetUnknown())+len(action.ProtoReflect().GetUnknown())+
		len(inner.ProtoReflect().GetUnknown())+len(input.ProtoReflect().GetUnknown()) != 0 {
		return errors.New("unknown fields")
	}
	return nil
}

func serializeIdentity(id Identity) ([]byte, error) {
	return proto.Marshal(&mspproto.SerializedIdentity{Mspid: id.MspID(), IdBytes: id.Credentials()})
}
