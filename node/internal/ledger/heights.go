package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// claim is what a gateway last said of its height. It is a claim: a gateway that says more than it delivers
// would otherwise keep the node behind for ever.
type claim struct {
	height  uint64
	at      time.Time
	doubted bool   // it did not deliver block limit though it said that it has it
	limit   uint64 // while doubted: what it says counts up to here
	shown   bool   // while doubted: it gave its newest block when asked for it alone
}

// beyond reports whether it is more than a doubted gateway has shown.
func (k *claim) beyond() bool { return k.doubted && k.height > k.limit }

// counts reports whether the claim counts: it is recent, and not more than a doubted gateway has shown.
func (k *claim) counts(now time.Time, life time.Duration) bool {
	return k.height > 0 && now.Sub(k.at) <= life && !k.beyond()
}

// Height asks all gateways at once how many blocks the ledger has, and returns the most that any of them says
// and may be believed. It waits for the first answer and a little longer for the others; one that comes later
// counts from the next call on. What a gateway said that does not answer any more counts for Config.Claim. A
// gateway that did not deliver what it claimed does not count until it has.
//
// The error is a *Error of StageBlocks when no gateway that may be believed answered this very call.
func (c *Client) Height(ctx context.Context) (uint64, error) {
	asked := c.askAll()
	var patience <-chan time.Time
	fresh := false
	var failures []error
	for range cap(asked) {
		select {
		case a := <-asked:
			if a.err != nil {
				failures = append(failures, a.err)
				continue
			}
			fresh = fresh || a.believed
			if a.believed && patience == nil {
				patience = time.After(c.cfg.HeightGrace)
			}
			continue
		case <-patience:
		case <-ctx.Done():
			failures = append(failures, ctx.Err())
		}
		break
	}
	if !fresh {
		if len(failures) == 0 {
			failures = []error{errNobody}
		}
		return 0, blocksError(errors.Join(failures...))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.believed(time.Now()), nil
}

var errNobody = errors.New("no gateway that may be believed says how many blocks there are")

// believed is the largest claim that counts. mu is held.
func (c *Client) believed(now time.Time) (height uint64) {
	for _, g := range c.gateways {
		if g.refused == nil && g.claim.counts(now, c.cfg.Claim) {
			height = max(height, g.claim.height)
		}
	}
	return height
}

type heightAnswer struct {
	believed bool
	err      error
}

// askAll asks every gateway that does not rest, or all of them where all rest; one at most at a time each.
// The channel gets as many answers as it has places.
func (c *Client) askAll() chan heightAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var ask, resting []*peerGateway
	for _, g := range c.gateways {
		switch {
		case g.refused != nil || g.asking:
		case g.heights.at(now):
			resting = append(resting, g)
		default:
			ask = append(ask, g)
		}
	}
	if len(ask) == 0 {
		ask = resting
	}
	answers := make(chan heightAnswer, len(ask))
	if c.ctx.Err() != nil {
		return make(chan heightAnswer)
	}
	for _, g := range ask {
		g.asking = true
		c.asking.Go(func() {
			ctx, cancel := context.WithTimeout(c.ctx, c.cfg.HeightTimeout)
			defer cancel()
			height, err := c.newest(ctx, g)
			believed := c.claimed(g, height, err)
			answers <- heightAnswer{believed, err}
			if err == nil && !believed {
				c.prove(ctx, g, height-1)
			}
		})
	}
	return answers
}

// claimed notes what a gateway said and reports whether it counts.
func (c *Client) claimed(g *peerGateway, height uint64, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.asking = false
	now := time.Now()
	if err != nil {
		if c.ctx.Err() == nil {
			c.metrics.failed(g, StageBlocks)
			g.heights.failed(now, c.cfg.Rest, c.cfg.MaxRest, err)
			g.calls.left, g.well, g.goal = now, time.Time{}, max(c.believed(now), c.got)
			if status.Code(err) == codes.DeadlineExceeded && c.another(g, now) {
				g.hangs(errHangs)
				g.revive()
			}
		}
		return false
	}
	g.heights.served()
	g.claim.height, g.claim.at = height, now
	head := max(c.believed(now), c.got)
	switch well := min(g.goal, head) <= height && height <= head; {
	case !well:
		g.well = time.Time{}
	case g.well.IsZero():
		g.well = now
	}
	g.goal = head
	if d := c.delivering; d != nil && g.index < d.index && !g.blocks.at(now) && c.settled(g, g.blocks.left, now) {
		c.leave(fmt.Errorf("%w: %s", errReturn, g.name))
	}
	return g.claim.counts(now, c.cfg.Claim)
}

// prove asks a doubted gateway that would otherwise be settled for the newest block that it says it has. Whether it gives
// it decides about its return only: its word counts when it has delivered.
func (c *Client) prove(ctx context.Context, g *peerGateway, newest uint64) {
	c.mu.Lock()
	due := !g.asking && !g.claim.shown && !g.well.IsZero() && time.Since(g.well) >= c.cfg.Return
	if due {
		g.asking = true
	}
	c.mu.Unlock()
	if !due {
		return
	}
	r, err := c.one(ctx, g.deliver.Deliver, specified(newest))
	c.mu.Lock()
	defer c.mu.Unlock()
	g.asking = false
	if g.claim.shown = err == nil && r.GetBlock() != nil; !g.claim.shown {
		g.well = time.Now() // not asked again before long
	}
}

// another reports whether a gateway beside g may serve. mu is held.
func (c *Client) another(g *peerGateway, now time.Time) bool {
	for _, x := range c.gateways {
		if x != g && x.refused == nil && !x.heights.at(now) {
			return true
		}
	}
	return false
}

// newest asks one gateway for its newest block's number.
func (c *Client) newest(ctx context.Context, g *peerGateway) (uint64, error) {
	position := &orderer.SeekPosition{Type: &orderer.SeekPosition_Newest{Newest: &orderer.SeekNewest{}}}
	r, err := c.one(ctx, g.deliver.DeliverFiltered, position)
	if err != nil {
		return 0, err
	}
	b, ok := r.GetType().(*peer.DeliverResponse_FilteredBlock)
	if !ok {
		return 0, badStatus(r.GetStatus(), c.cfg.Identity.MspID())
	}
	if b.FilteredBlock.GetNumber() == ^uint64(0) {
		return 0, errors.New("the gateway says a height that there cannot be")
	}
	return b.FilteredBlock.GetNumber() + 1, nil
}

// one asks for one block in a stream of its own, which ends with ctx.
func (c *Client) one(ctx context.Context, open func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[common.Envelope, peer.DeliverResponse], error),
	at *orderer.SeekPosition) (*peer.DeliverResponse, error) {
	request, err := c.seek(at, at)
	if err != nil {
		return nil, err
	}
	stream, err := open(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(request); err != nil {
		return nil, err
	}
	return stream.Recv()
}
