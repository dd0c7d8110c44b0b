package fabblocktest

import (
	"crypto/rand"

	"github.com/hyperledger/fabric-config/configtx"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// Update is what makes one configuration out of another. Fabric's own library works it out.
func Update(channel string, config *common.Config, edit func(root *common.ConfigGroup)) *common.ConfigUpdate {
	c := configtx.New(proto.Clone(config).(*common.Config))
	edit(c.UpdatedConfig().GetChannelGroup())
	raw, err := c.ComputeMarshaledUpdate(channel)
	if err != nil {
		panic(err)
	}
	update := &common.ConfigUpdate{}
	if err := proto.Unmarshal(raw, update); err != nil {
		panic(err)
	}
	return update
}

// SignUpdate is the transaction that asks for an update in the name of the signers, of whom the first sends it.
func SignUpdate(channel string, update *common.ConfigUpdate, signers ...Signer) *common.Envelope {
	signed := &common.ConfigUpdateEnvelope{ConfigUpdate: Marshal(update)}
	for _, s := range signers {
		header := Marshal(signatureHeader(s))
		signed.Signatures = append(signed.Signatures, &common.ConfigSignature{
			SignatureHeader: header, Signature: sign(s, header, signed.GetConfigUpdate())})
	}
	return envelope(common.HeaderType_CONFIG_UPDATE, channel, signed, signers[0])
}

func signatureHeader(s Signer) *common.SignatureHeader {
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		panic(err)
	}
	return &common.SignatureHeader{Creator: s.Serialized(), Nonce: nonce}
}

func envelope(kind common.HeaderType, channel string, data proto.Message, s Signer) *common.Envelope {
	return envelopeOf(kind, channel, Marshal(data), s)
}

func envelopeOf(kind common.HeaderType, channel string, data []byte, s Signer) *common.Envelope {
	signature := signatureHeader(s)
	payload := Marshal(&common.Payload{Header: &common.Header{
		ChannelHeader: Marshal(&common.ChannelHeader{Type: int32(kind), ChannelId: channel, Timestamp: timestamppb.Now(),
			TxId: fabblock.TxID(signature.GetNonce(), signature.GetCreator())}),
		SignatureHeader: Marshal(signature)}, Data: data})
	return &common.Envelope{Payload: payload, Signature: sign(s, payload)}
}

// ConfigBytes is a configuration transaction of any content.
func (c *Channel) ConfigBytes(raw []byte) *common.Envelope {
	return envelopeOf(common.HeaderType_CONFIG, c.ID, raw, c.Orgs[0].Orderer)
}
