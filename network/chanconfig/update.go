package chanconfig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// Update is a change of a channel's configuration on its way through the organisations: the change and the signatures
// that it has.
type Update struct {
	channel    string
	config     []byte // ConfigUpdate
	signatures []*common.ConfigSignature
}

// ParseUpdate reads an update from a file, as Fabric's tools write and read it.
func ParseUpdate(raw []byte) (*Update, error) {
	if len(raw) > MaxBlock {
		return nil, fmt.Errorf("larger than %d bytes: no configuration update", MaxBlock)
	}
	var e common.Envelope
	var p common.Payload
	var h common.ChannelHeader
	var u common.ConfigUpdateEnvelope
	if err := errors.Join(proto.Unmarshal(raw, &e), proto.Unmarshal(e.GetPayload(), &p)); err != nil {
		return nil, err
	}
	if err := errors.Join(proto.Unmarshal(p.GetHeader().GetChannelHeader(), &h), proto.Unmarshal(p.GetData(), &u)); err != nil {
		return nil, err
	}
	if common.HeaderType(h.GetType()) != common.HeaderType_CONFIG_UPDATE || h.GetChannelId() == "" || len(u.GetConfigUpdate()) == 0 {
		return nil, errors.New("not a configuration update")
	}
	return &Update{channel: h.GetChannelId(), config: u.GetConfigUpdate(), signatures: u.GetSignatures()}, nil
}

// Channel is the channel that the update is for.
func (u *Update) Channel() string { return u.channel }

// Signers lists the organisations whose administrators signed.
func (u *Update) Signers() []string {
	var out []string
	for _, s := range u.signatures {
		var h common.SignatureHeader
		var id msp.SerializedIdentity
		if proto.Unmarshal(s.GetSignatureHeader(), &h) == nil && proto.Unmarshal(h.GetCreator(), &id) == nil {
			out = append(out, id.GetMspid())
		}
	}
	return out
}

// Sign adds an administrator's signature.
func (u *Update) Sign(id identity.SigningIdentity) error {
	header, err := signatureHeader(id)
	if err != nil {
		return err
	}
	signature, err := id.Sign(append(append([]byte{}, header...), u.config...))
	if err != nil {
		return err
	}
	u.signatures = append(u.signatures, &common.ConfigSignature{SignatureHeader: header, Signature: signature})
	return nil
}

// Marshal is the update as a file.
func (u *Update) Marshal() ([]byte, error) {
	e, err := u.envelope(nil)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(e)
}

func (u *Update) envelope(id identity.SigningIdentity) (*common.Envelope, error) {
	channel, err := proto.Marshal(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG_UPDATE), ChannelId: u.channel})
	if err != nil {
		return nil, err
	}
	h := &common.Header{ChannelHeader: channel}
	if id != nil {
		if h.SignatureHeader, err = signatureHeader(id); err != nil {
			return nil, err
		}
	}
	data, err := proto.Marshal(&common.ConfigUpdateEnvelope{ConfigUpdate: u.config, Signatures: u.signatures})
	if err != nil {
		return nil, err
	}
	e := &common.Envelope{}
	if e.Payload, err = proto.Marshal(&common.Payload{Header: h, Data: data}); err != nil || id == nil {
		return e, err
	}
	e.Signature, err = id.Sign(e.Payload)
	return e, err
}

// Submit sends the update to an orderer, in an administrator's name. The orderer's yes says that the policies were met
// and the update will be ordered; peers have it some moments later.
func (u *Update) Submit(ctx context.Context, conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
	e, err := u.envelope(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := orderer.NewAtomicBroadcastClient(conn).Broadcast(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(e); err != nil {
		return err
	}
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	if r.GetStatus() != common.Status_SUCCESS {
		return &RefusedError{r.GetStatus(), r.GetInfo()}
	}
	return nil
}

// RefusedError is an orderer's no.
type RefusedError struct {
	Status common.Status
	Info   string
}

func (e *RefusedError) Error() string {
	next := "see whether the update was made on the newest configuration"
	switch e.Status {
	case common.Status_SERVICE_UNAVAILABLE, common.Status_INTERNAL_SERVER_ERROR:
		next = "try again, or another orderer"
	case common.Status_FORBIDDEN, common.Status_BAD_REQUEST:
		next = "have more administrators sign it, or make it anew on the newest configuration"
	}
	return fmt.Sprintf("the orderer refused the update (%s: %s): %s", e.Status, e.Info, next)
}

func signatureHeader(id identity.SigningIdentity) ([]byte, error) {
	creator, err := proto.Marshal(&msp.SerializedIdentity{Mspid: id.MspID(), IdBytes: id.Credentials()})
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return proto.Marshal(&common.SignatureHeader{Creator: creator, Nonce: nonce})
}
