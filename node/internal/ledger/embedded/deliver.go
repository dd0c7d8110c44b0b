package embedded

import (
	"context"
	"errors"
	"io"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// delivery is the protos.Deliver service of a ledger. Each stream reads blocks by number and waits at the head, so a
// slow reader holds up nobody and costs no memory beyond one block.
type delivery struct {
	peer.UnimplementedDeliverServer
	*Ledger
}

// Deliver sends blocks.
func (d delivery) Deliver(stream peer.Deliver_DeliverServer) error {
	return d.deliver(stream, stream.Recv, func(raw []byte) (any, error) { return rawDeliverBlock(raw), nil })
}

// DeliverWithPrivateData sends blocks with the private data of the reader's organisation: none, because the ledger
// keeps none.
func (d delivery) DeliverWithPrivateData(stream peer.Deliver_DeliverWithPrivateDataServer) error {
	return d.deliver(stream, stream.Recv, func(raw []byte) (any, error) { return rawDeliverPrivateData(raw), nil })
}

// DeliverFiltered sends what became of each transaction, without its content.
func (d delivery) DeliverFiltered(stream peer.Deliver_DeliverFilteredServer) error {
	return d.deliver(stream, stream.Recv, func(raw []byte) (any, error) {
		f, err := filtered(d.channel.ID, raw)
		if err != nil {
			return nil, err
		}
		return &peer.DeliverResponse{Type: &peer.DeliverResponse_FilteredBlock{FilteredBlock: f}}, nil
	})
}

// deliver answers one request after another, as Fabric does: blocks, then a status.
func (d delivery) deliver(stream grpc.ServerStream, recv func() (*common.Envelope, error), wrap func([]byte) (any, error)) error {
	leave, err := d.enterStream()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := d.streamContext(stream.Context())
	defer cancel()
	for {
		env, err := recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		code, err := d.seek(ctx, env, func(raw []byte) error {
			m, err := wrap(raw)
			if err != nil {
				return err
			}
			return stream.SendMsg(m)
		})
		if err != nil {
			return err
		}
		if err := stream.SendMsg(&peer.DeliverResponse{Type: &peer.DeliverResponse_Status{Status: code}}); err != nil {
			return err
		}
		if code != common.Status_SUCCESS {
			return nil
		}
	}
}

// enterStream counts a stream against the limit.
func (l *Ledger) enterStream() (leave func(), err error) {
	if l.streams.Add(1) > int64(l.cfg.Limits.Streams) {
		l.streams.Add(-1)
		return nil, status.Error(codes.ResourceExhausted, "too many open streams")
	}
	return func() { l.streams.Add(-1) }, nil
}

// streamContext ends with the stream or with the ledger.
func (l *Ledger) streamContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(l.stopping, cancel)
	return ctx, func() {
		release()
		cancel()
	}
}

// seek sends the blocks that one signed request asks for. The status is Fabric's; the error ends the stream.
func (d delivery) seek(ctx context.Context, env *common.Envelope, send func([]byte) error) (common.Status, error) {
	info, code := d.readSeek(env)
	if code != common.Status_SUCCESS {
		return code, nil
	}
	height := d.head.height()
	start, ok := position(info.GetStart(), height)
	if !ok || start > height {
		return common.Status_NOT_FOUND, nil
	}
	stop, ok := position(info.GetStop(), height)
	if !ok || stop < start {
		return common.Status_BAD_REQUEST, nil
	}
	for n := start; ; n++ {
		if n >= d.head.height() {
			if info.GetBehavior() == orderer.SeekInfo_FAIL_IF_NOT_READY {
				return common.Status_NOT_FOUND, nil
			}
			if err := d.head.wait(ctx, n); err != nil {
				if d.stopping.Err() != nil {
					return common.Status_SERVICE_UNAVAILABLE, nil
				}
				return 0, status.FromContextError(err).Err()
			}
		}
		raw, err := d.head.block(n)
		if err != nil {
			d.cfg.Logger.Error("block cannot be read", "block", n, "cause", err)
			return common.Status_INTERNAL_SERVER_ERROR, nil
		}
		if err := send(raw); err != nil {
			return 0, err
		}
		if n == stop {
			return common.Status_SUCCESS, nil
		}
	}
}

// readSeek unpacks and checks a request.
func (d delivery) readSeek(env *common.Envelope) (*orderer.SeekInfo, common.Status) {
	var payload common.Payload
	var channel common.ChannelHeader
	var signature common.SignatureHeader
	var info orderer.SeekInfo
	for _, part := range []struct {
		raw func() []byte
		m   proto.Message
	}{
		{env.GetPayload, &payload},
		{func() []byte { return payload.GetHeader().GetChannelHeader() }, &channel},
		{func() []byte { return payload.GetHeader().GetSignatureHeader() }, &signature},
		{func() []byte { return payload.GetData() }, &info},
	} {
		if err := proto.Unmarshal(part.raw(), part.m); err != nil {
			return nil, common.Status_BAD_REQUEST
		}
	}
	if channel.GetChannelId() != d.channel.ID {
		return nil, common.Status_NOT_FOUND
	}
	if d.mayRead(channel.GetChannelId(), signature.GetCreator(), env.GetPayload(), env.GetSignature(), true) != nil {
		return nil, common.Status_FORBIDDEN
	}
	if info.GetStart() == nil || info.GetStop() == nil {
		return nil, common.Status_BAD_REQUEST
	}
	return &info, common.Status_SUCCESS
}

// position is the block number that a seek position means at a height.
func position(p *orderer.SeekPosition, height uint64) (uint64, bool) {
	switch t := p.GetType().(type) {
	case *orderer.SeekPosition_Oldest:
		return 0, true
	case *orderer.SeekPosition_Newest:
		return height - 1, true
	case *orderer.SeekPosition_NextCommit:
		return height, true
	case *orderer.SeekPosition_Specified:
		return t.Specified.GetNumber(), true
	}
	return 0, false
}

// filtered is a block without its content.
func filtered(channel string, raw []byte) (*peer.FilteredBlock, error) {
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	block, err := fabblock.Decode(&b)
	if err != nil {
		return nil, err
	}
	out := &peer.FilteredBlock{ChannelId: channel, Number: block.Number}
	for i := range block.Txs {
		tx := &block.Txs[i]
		f := &peer.FilteredTransaction{Txid: tx.ID, Type: common.HeaderType_CONFIG, TxValidationCode: tx.Code}
		if !tx.Config {
			actions := &peer.FilteredTransactionActions{}
			if tx.Event != nil {
				event := proto.Clone(tx.Event).(*peer.ChaincodeEvent)
				event.Payload = nil
				actions.ChaincodeActions = []*peer.FilteredChaincodeAction{{ChaincodeEvent: event}}
			}
			f.Type = common.HeaderType_ENDORSER_TRANSACTION
			f.Data = &peer.FilteredTransaction_TransactionActions{TransactionActions: actions}
		}
		out.FilteredTransactions = append(out.FilteredTransactions, f)
	}
	return out, nil
}
