package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"math"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Blocks yields committed blocks in order from the given number and then waits for more, until ctx ends
// or the stream breaks; then it yields one error (a *Error of StageBlocks) and stops. It does not connect
// again by itself: the caller knows from where to go on. A gateway whose stream broke is passed over by
// the next call. Nothing about a block has been checked.
//
// The stream is read as it is consumed, and gRPC's flow control bounds what waits.
func (c *Client) Blocks(ctx context.Context, from uint64) iter.Seq2[*common.Block, error] {
	return func(yield func(*common.Block, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		g := c.gateways[c.order()[0]]
		failed := func(err error) {
			g.rest(c.cfg.Rest)
			yield(nil, blocksError(err))
		}
		request, err := c.seek(specified(from), specified(math.MaxUint64))
		if err != nil {
			failed(err)
			return
		}
		stream, err := g.deliver.Deliver(ctx)
		if err != nil {
			failed(err)
			return
		}
		if err := stream.Send(request); err != nil {
			failed(err)
			return
		}
		for {
			r, err := stream.Recv()
			switch {
			case errors.Is(err, io.EOF):
				failed(errEnded)
				return
			case err != nil:
				failed(err)
				return
			case r.GetBlock() == nil:
				failed(badStatus(r.GetStatus(), c.cfg.Identity.MspID()))
				return
			}
			if !yield(r.GetBlock(), nil) {
				return
			}
		}
	}
}

// Height asks how many blocks the ledger has, which is one more than the newest block's number.
func (c *Client) Height(ctx context.Context) (uint64, error) {
	var height uint64
	err := c.call(ctx, StageBlocks, c.cfg.EvaluateTimeout, func(ctx context.Context, g *peerGateway) error {
		newest := &orderer.SeekPosition{Type: &orderer.SeekPosition_Newest{Newest: &orderer.SeekNewest{}}}
		request, err := c.seek(newest, newest)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the stream
		stream, err := g.deliver.DeliverFiltered(ctx)
		if err != nil {
			return blocksError(err)
		}
		if err := stream.Send(request); err != nil {
			return blocksError(err)
		}
		r, err := stream.Recv()
		if err != nil {
			return blocksError(err)
		}
		b, ok := r.GetType().(*peer.DeliverResponse_FilteredBlock)
		if !ok {
			return blocksError(badStatus(r.GetStatus(), c.cfg.Identity.MspID()))
		}
		height = b.FilteredBlock.GetNumber() + 1
		return nil
	})
	return height, err
}

func specified(n uint64) *orderer.SeekPosition {
	return &orderer.SeekPosition{Type: &orderer.SeekPosition_Specified{Specified: &orderer.SeekSpecified{Number: n}}}
}

// seek is a signed request for blocks. The Gateway client makes such requests too, but for no newest
// block, and it swallows the reason why a stream ended.
func (c *Client) seek(start, stop *orderer.SeekPosition) (*common.Envelope, error) {
	nonce := make([]byte, 24)
	_, _ = rand.Read(nonce) // never fails since Go 1.24
	channel, err := proto.Marshal(&common.ChannelHeader{
		Type: int32(common.HeaderType_DELIVER_SEEK_INFO), Timestamp: timestamppb.Now(), ChannelId: c.cfg.Channel,
	})
	if err != nil {
		return nil, err
	}
	creator, err := proto.Marshal(&common.SignatureHeader{Creator: c.creator, Nonce: nonce})
	if err != nil {
		return nil, err
	}
	info, err := proto.Marshal(&orderer.SeekInfo{Start: start, Stop: stop, Behavior: orderer.SeekInfo_BLOCK_UNTIL_READY})
	if err != nil {
		return nil, err
	}
	payload, err := proto.Marshal(&common.Payload{
		Header: &common.Header{ChannelHeader: channel, SignatureHeader: creator}, Data: info,
	})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(payload)
	signature, err := c.cfg.Identity.SignDigest(digest[:])
	if err != nil {
		return nil, err
	}
	return &common.Envelope{Payload: payload, Signature: signature}, nil
}
