package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
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
}

// counts reports whether the claim counts: it is recent, and not more than a doubted gateway has shown.
func (k *claim) counts(now time.Time, life time.Duration) bool {
	return k.height > 0 && now.Sub(k.at) <= life && (!k.doubted || k.height <= k.limit)
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
	return c.believed(), nil
}

var errNobody = errors.New("no gateway that may be believed says how many blocks there are")

// believed is the largest claim that counts.
func (c *Client) believed() (height uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
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
			answers <- heightAnswer{c.claimed(g, height, err), err}
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
			if status.Code(err) == codes.DeadlineExceeded && c.another(g, now) {
				g.hangs(errHangs)
				g.revive()
			}
		}
		return false
	}
	g.heights.served()
	g.claim.height, g.claim.at = height, now
	return g.claim.counts(now, c.cfg.Claim)
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
	request, err := c.seek(position, position)
	if err != nil {
		return 0, err
	}
	stream, err := g.deliver.DeliverFiltered(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(request); err != nil {
		return 0, err
	}
	r, err := stream.Recv()
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
