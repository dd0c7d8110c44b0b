package fabric

import (
	"context"
	"encoding/hex"
	"strconv"

	"github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	gateway "github.com/hyperledger/fabric-gateway/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

type gatewayID struct {
	msp  string
	cert []byte
}

func (i gatewayID) MspID() string       { return i.msp }
func (i gatewayID) Credentials() []byte { return i.cert }

func signDigest(id Identity, digest []byte) ([]byte, error) {
	key, err := identity.ReadPrivateKey(id.Key)
	if err != nil {
		return nil, err
	}
	sign, err := gateway.NewPrivateKeySign(key)
	if err != nil {
		return nil, err
	}
	return sign(digest)
}

// previousHash asks a peer which hash a block names as its predecessor's.
func previousHash(ctx context.Context, p *Peer, number uint64) (string, error) {
	var out string
	err := p.asAdmin(func(conn grpc.ClientConnInterface, id identity.SigningIdentity) error {
		proposal, err := signedProposal(id, "qscc", "GetBlockByNumber", []byte(Channel), []byte(strconv.FormatUint(number, 10)))
		if err != nil {
			return err
		}
		r, err := peer.NewEndorserClient(conn).ProcessProposal(ctx, proposal)
		if err != nil {
			return err
		}
		b := &common.Block{}
		if err := proto.Unmarshal(r.GetResponse().GetPayload(), b); err != nil {
			return err
		}
		out = hex.EncodeToString(b.GetHeader().GetPreviousHash())
		return nil
	})
	return out, err
}
