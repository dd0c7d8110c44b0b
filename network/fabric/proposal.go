package fabric

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"

	"github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// signedProposal is a call of a contract for one peer. The gateway would choose endorsers by what it knows of the
// others; this asks a peer what it can do by itself.
func signedProposal(id identity.SigningIdentity, contract, function string, args ...[]byte) (*peer.SignedProposal, error) {
	return proposalIn(Channel, id, contract, function, args...)
}

// proposalIn is a call in a channel, or of the peer itself where the channel is "".
func proposalIn(channel string, id identity.SigningIdentity, contract, function string, args ...[]byte) (*peer.SignedProposal, error) {
	creator, err := proto.Marshal(&msp.SerializedIdentity{Mspid: id.MspID(), IdBytes: id.Credentials()})
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	tx := sha256.Sum256(append(append([]byte{}, nonce...), creator...))
	name := &peer.ChaincodeID{Name: contract}
	var m marshaller
	proposal := m.bytes(&peer.Proposal{
		Header: m.bytes(&common.Header{
			ChannelHeader: m.bytes(&common.ChannelHeader{
				Type: int32(common.HeaderType_ENDORSER_TRANSACTION), Timestamp: timestamppb.Now(), ChannelId: channel,
				TxId: hex.EncodeToString(tx[:]), Extension: m.bytes(&peer.ChaincodeHeaderExtension{ChaincodeId: name}),
			}),
			SignatureHeader: m.bytes(&common.SignatureHeader{Creator: creator, Nonce: nonce}),
		}),
		Payload: m.bytes(&peer.ChaincodeProposalPayload{Input: m.bytes(&peer.ChaincodeInvocationSpec{ChaincodeSpec: &peer.ChaincodeSpec{
			ChaincodeId: name, Input: &peer.ChaincodeInput{Args: append([][]byte{[]byte(function)}, args...)},
		}})}),
	})
	if m.err != nil {
		return nil, m.err
	}
	signature, err := id.Sign(proposal)
	return &peer.SignedProposal{ProposalBytes: proposal, Signature: signature}, err
}

// marshaller keeps the first error of many encodings.
type marshaller struct{ err error }

func (m *marshaller) bytes(v proto.Message) []byte {
	raw, err := proto.Marshal(v)
	if m.err == nil {
		m.err = err
	}
	return raw
}
