package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"math"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Blocks yields committed blocks in order from the given number on and then waits for more, until ctx ends
// or the stream breaks; then it yields one error (a *Error of StageBlocks) and stops. It does not connect
// again by itself: the caller knows from where to go on. Nothing about a block has been checked; Refuse is
// for what does not check.
//
// The gateways are taken in the order of the configuration. One whose stream broke or that has not the block
// is passed over by the next calls, while another can be had. So is one whose stream the caller ends by
// cancelling ctx with a cause (context.CancelCauseFunc): that says that the gateway kept silent about blocks
// which there are. Those that say they have the block come first. Once a gateway that comes before the one in
// use has been well for Config.Return, the stream breaks, so that the next call returns to it.
//
// The stream is read as it is consumed, and gRPC's flow control bounds what waits.
func (c *Client) Blocks(ctx context.Context, from uint64) iter.Seq2[*common.Block, error] {
	return func(yield func(*common.Block, error) bool) {
		ctx, leave := context.WithCancelCause(ctx)
		defer leave(nil)
		g := c.forBlocks(from, leave)
		if g == nil {
			yield(nil, blocksError(errRefused))
			return
		}
		next, err := c.stream(ctx, g, from, yield)
		if err == nil {
			return // the caller has enough
		}
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errReturn): // no fault of the gateway's
			err = cause
		case cause == nil || !errors.Is(cause, context.Canceled):
			c.broke(g, from, next, err, cause)
		}
		yield(nil, blocksError(err))
	}
}

// errReturn is why a stream ends that goes back to a gateway before its own.
var errReturn = errors.New("blocks come again from a gateway that is preferred and has been well for a while")

// forBlocks chooses the gateway of a stream, which leave ends.
func (c *Client) forBlocks(from uint64, leave context.CancelCauseFunc) *peerGateway {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	all := c.order(now, func(g *peerGateway) (until, left time.Time) { return g.blocks.until, g.blocks.left },
		func(g *peerGateway) bool {
			return g.claim.counts(now, c.cfg.Claim) && g.claim.height > from || c.settled(g, g.blocks.left, now)
		})
	if len(all) == 0 {
		return nil
	}
	if c.delivering != all[0] && c.delivering != nil {
		c.cfg.Logger.Info("blocks come from another gateway", "gateway", all[0].name, "from", from)
	}
	c.delivering, c.leave, c.got = all[0], leave, from
	return all[0]
}

// stream yields a gateway's blocks. It returns the number that follows the last one, and an error unless the
// caller has enough.
func (c *Client) stream(ctx context.Context, g *peerGateway, from uint64, yield func(*common.Block, error) bool) (next uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next = from
	request, err := c.seek(specified(from), specified(math.MaxUint64))
	if err != nil {
		return next, err
	}
	stream, err := g.deliver.Deliver(ctx)
	if err != nil {
		return next, err
	}
	if err := stream.Send(request); err != nil && !errors.Is(err, io.EOF) { // of an EOF Recv tells the cause
		return next, err
	}
	for {
		r, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return next, errEnded
		case err != nil:
			return next, err
		case r.GetBlock() == nil:
			return next, badStatus(r.GetStatus(), c.cfg.Identity.MspID())
		}
		next++
		c.delivered(g, from, next)
		if !yield(r.GetBlock(), nil) {
			return next, nil
		}
	}
}

// delivered notes that a gateway gave blocks from the one that was asked for.
func (c *Client) delivered(g *peerGateway, from, next uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = next
	if next != from+1 {
		return
	}
	g.blocks.served()
	if from >= g.claim.limit {
		g.claim.doubted, g.claim.shown = false, false
	}
}

// broke notes that a stream ended. A gateway that says it has the next block and did not give it is not
// believed any more: at once where it kept silent or turned the request down, and at the third broken stream
// in a row, because a peer that is just starting again breaks one or two.
func (c *Client) broke(g *peerGateway, from, next uint64, err, silent error) {
	if silent != nil {
		err = silent
	}
	c.metrics.failed(g, StageBlocks)
	c.mu.Lock()
	defer c.mu.Unlock()
	if next > from {
		g.blocks.served()
	}
	g.blocks.failed(time.Now(), c.cfg.Rest, c.cfg.MaxRest, err)
	var status statusError
	if g.claim.height > next && (silent != nil || errors.As(err, &status) || g.blocks.failures >= 3) {
		if !g.claim.doubted {
			c.cfg.Logger.Warn("a gateway does not deliver a block that it says it has; its height does not count until it does",
				"gateway", g.name, "says", g.claim.height, "block", next, "cause", err)
		}
		g.claim.doubted, g.claim.limit, g.claim.shown = true, next, false
	}
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
	by := c.begin()
	defer c.end(by)
	creator, err := proto.Marshal(&common.SignatureHeader{Creator: by.creator, Nonce: nonce})
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
	signature, err := by.identity.SignDigest(digest[:])
	if err != nil {
		return nil, err
	}
	return &common.Envelope{Payload: payload, Signature: signature}, nil
}
