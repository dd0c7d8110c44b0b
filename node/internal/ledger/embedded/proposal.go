package embedded

import (
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// A proposal is a signed proposal, unpacked and checked.
type proposal struct {
	signed    *peer.SignedProposal
	header    *common.Header
	channel   *common.ChannelHeader
	signature *common.SignatureHeader
	payload   []byte // the chaincode proposal payload without transient data: what goes into the transaction
	hash      []byte // what the endorsement is bound to
	txID      string
	args      [][]byte
	transient map[string][]byte
}

// unpack reads a signed proposal. It checks the form; admit checks who signed it.
func (l *Ledger) unpack(signed *peer.SignedProposal) (*proposal, error) {
	if len(signed.GetProposalBytes()) == 0 {
		return nil, errors.New("a signed proposal is required")
	}
	var outer peer.Proposal
	if err := proto.Unmarshal(signed.GetProposalBytes(), &outer); err != nil {
		return nil, fmt.Errorf("proposal: %w", err)
	}
	p := &proposal{signed: signed, header: &common.Header{}, channel: &common.ChannelHeader{}, signature: &common.SignatureHeader{}}
	if err := proto.Unmarshal(outer.GetHeader(), p.header); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := proto.Unmarshal(p.header.GetChannelHeader(), p.channel); err != nil {
		return nil, fmt.Errorf("channel header: %w", err)
	}
	if err := proto.Unmarshal(p.header.GetSignatureHeader(), p.signature); err != nil {
		return nil, fmt.Errorf("signature header: %w", err)
	}
	var extension peer.ChaincodeHeaderExtension
	if err := proto.Unmarshal(p.channel.GetExtension(), &extension); err != nil {
		return nil, fmt.Errorf("channel header extension: %w", err)
	}
	var payload peer.ChaincodeProposalPayload
	if err := proto.Unmarshal(outer.GetPayload(), &payload); err != nil {
		return nil, fmt.Errorf("proposal payload: %w", err)
	}
	var spec peer.ChaincodeInvocationSpec
	if err := proto.Unmarshal(payload.GetInput(), &spec); err != nil {
		return nil, fmt.Errorf("invocation: %w", err)
	}
	if spec.GetChaincodeSpec().GetInput() == nil {
		return nil, errors.New("the proposal has no input")
	}
	p.txID = p.channel.GetTxId()
	p.args = spec.GetChaincodeSpec().GetInput().GetArgs()
	p.transient = payload.GetTransientMap()
	p.payload = marshal(&peer.ChaincodeProposalPayload{Input: payload.GetInput()})
	p.hash = fabblock.ProposalHash(p.header.GetChannelHeader(), p.header.GetSignatureHeader(), p.payload)
	return p, l.checkForm(p, extension.GetChaincodeId().GetName(), spec.GetChaincodeSpec().GetChaincodeId().GetName())
}

func (l *Ledger) checkForm(p *proposal, headerName, specName string) error {
	switch {
	case p.channel.GetType() != int32(common.HeaderType_ENDORSER_TRANSACTION):
		return fmt.Errorf("invalid header type %s", common.HeaderType(p.channel.GetType()))
	case p.channel.GetChannelId() != l.channel.ID:
		return fmt.Errorf("channel '%s' not found", p.channel.GetChannelId())
	case headerName != l.cfg.Chaincode || specName != l.cfg.Chaincode:
		return fmt.Errorf("chaincode '%s' not found", headerName)
	case p.channel.GetEpoch() != 0:
		return errors.New("epoch is non-zero")
	case len(p.signature.GetNonce()) == 0:
		return errors.New("nonce is empty")
	case len(p.signature.GetCreator()) == 0:
		return errors.New("creator is empty")
	}
	if want := fabblock.TxID(p.signature.GetNonce(), p.signature.GetCreator()); p.txID != want {
		return fmt.Errorf("incorrectly computed txid '%s' -- expected '%s'", p.txID, want)
	}
	return nil
}

// admit checks that a member signed the proposal, with a certificate that is valid now. The answer names no more
// than Fabric's does; the log says what was wrong.
func (l *Ledger) admit(p *proposal) error {
	creator, err := l.channel.Members.Identify(p.signature.GetCreator())
	if err != nil {
		l.cfg.Logger.Warn("proposal refused", "tx", p.txID, "cause", err)
		return fmt.Errorf("access denied: channel [%s] creator org unknown, creator is malformed", l.channel.ID)
	}
	if err := creator.ValidAt(l.cfg.Clock()); err != nil {
		l.cfg.Logger.Warn("proposal refused", "tx", p.txID, "msp", creator.MSP, "cause", err)
		return fmt.Errorf("access denied: channel [%s] creator org [%s]: certificate expired or not yet valid", l.channel.ID, creator.MSP)
	}
	if err := creator.Verify(p.signed.GetSignature(), p.signed.GetProposalBytes()); err != nil {
		l.cfg.Logger.Warn("proposal refused", "tx", p.txID, "msp", creator.MSP, "cause", err)
		return fmt.Errorf("access denied: channel [%s] creator org [%s]", l.channel.ID, creator.MSP)
	}
	return nil
}
