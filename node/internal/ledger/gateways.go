package ledger

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// peerGateway is one way to the ledger.
type peerGateway struct {
	gateway *client.Gateway
	deliver peer.DeliverClient
	slots   chan struct{} // one token a call in flight
	resting atomic.Int64  // unix nanoseconds until which it is passed over
}

func (g *peerGateway) contract(cfg Config) *client.Contract {
	return g.gateway.GetNetwork(cfg.Channel).GetContract(cfg.Chaincode)
}

func (g *peerGateway) rest(d time.Duration) { g.resting.Store(time.Now().Add(d).UnixNano()) }

func (g *peerGateway) isResting() bool { return g.resting.Load() > time.Now().UnixNano() }

// order lists the gateways to try: the one in use first, then the others, those that failed lately last.
func (c *Client) order() []int {
	first := int(c.current.Load())
	out := make([]int, 0, len(c.gateways))
	for _, resting := range []bool{false, true} {
		for i := range c.gateways {
			n := (first + i) % len(c.gateways)
			if c.gateways[n].isResting() == resting {
				out = append(out, n)
			}
		}
	}
	return out
}

// call makes a call on the first gateway that can be reached, each attempt with its own deadline. Only
// unreachable and overloaded gateways are passed over: any other failure is the ledger's answer. When
// attempts on several gateways failed, the error is the last one's, but PerhapsOrdered if any attempt may
// have been ordered.
func (c *Client) call(ctx context.Context, stage Stage, timeout time.Duration, do func(context.Context, *peerGateway) error) error {
	var last *Error
	perhaps := false
	for _, n := range c.order() {
		g := c.gateways[n]
		err := c.attempt(ctx, stage, timeout, g, do)
		if err == nil {
			c.current.Store(int64(n))
			return nil
		}
		if !errors.As(err, &last) {
			last = &Error{Stage: stage, Kind: NotOrdered, Cause: err}
		}
		perhaps = perhaps || last.Kind == PerhapsOrdered
		if !last.elsewhere() || ctx.Err() != nil {
			break
		}
		g.rest(c.cfg.Rest)
	}
	if perhaps && last.Kind != PerhapsOrdered {
		e := *last
		e.Kind = PerhapsOrdered
		return &e
	}
	return last
}

func (c *Client) attempt(ctx context.Context, stage Stage, timeout time.Duration, g *peerGateway, do func(context.Context, *peerGateway) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return &Error{Stage: stage, Kind: NotOrdered, Cause: ctx.Err(), busy: true}
	}
	defer func() { <-g.slots }()
	return do(ctx, g)
}
