package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Gateway is one way to the ledger: a peer, by the name under which operators know it.
type Gateway struct {
	Name string
	Conn grpc.ClientConnInterface // not closed by the Client
}

// peerGateway is a gateway in use.
type peerGateway struct {
	name    string
	index   int // in Config.Gateways
	deliver peer.DeliverClient
	slots   chan struct{} // one token a call in flight; streams and questions for the height take none

	// All below is guarded by Client.mu. A peer may serve one kind of use and fail another: one that was
	// restored from a snapshot endorses and has no early blocks.
	calls, blocks, heights rest
	refused                *Refusal // for good; nil while it may be used
	claim                  claim
	asking                 bool // a question for its height is under way
	alive                  context.Context
	hangs                  context.CancelCauseFunc // ends alive, and so the calls under way; never nil
}

// revive lets calls begin. mu is held.
func (g *peerGateway) revive() { g.alive, g.hangs = context.WithCancelCause(context.Background()) }

// errHangs is why a call was given up.
var errHangs = errors.New("the gateway hangs: it does not even say its height in time")

// rest keeps a gateway that fails from being asked at every turn. It is passed over while another can be
// had: first for Config.Rest, twice as long each time that it fails again, up to Config.MaxRest.
type rest struct {
	until    time.Time
	failures int // in a row
	cause    error
}

func (r *rest) failed(now time.Time, first, most time.Duration, cause error) {
	d := first
	for range min(r.failures, 16) {
		d = min(2*d, most)
	}
	// Jitter, so that nodes which lost a peer together do not come back together.
	d = d*3/4 + time.Duration(rand.Int64N(int64(d)/2+1))
	r.failures++
	r.until, r.cause = now.Add(min(d, most)), cause
}

func (r *rest) served() { *r = rest{} }

func (r *rest) at(now time.Time) bool { return r.until.After(now) }

// order lists the gateways that may be used: from the one given on those that serve, better ones first, then
// those that rest, the first to be back first. mu is held.
func (c *Client) order(first int, until func(*peerGateway) time.Time, better func(*peerGateway) bool) []*peerGateway {
	now := time.Now()
	var out []*peerGateway
	for i := range c.gateways {
		if g := c.gateways[(first+i)%len(c.gateways)]; g.refused == nil {
			out = append(out, g)
		}
	}
	slices.SortStableFunc(out, func(a, b *peerGateway) int {
		x, y := until(a), until(b)
		if restX, restY := x.After(now), y.After(now); restX || restY {
			if restX && restY {
				return x.Compare(y)
			}
			return falseFirst(restX, restY)
		}
		return falseFirst(!better(a), !better(b))
	})
	return out
}

// falseFirst puts false before true.
func falseFirst(a, b bool) int {
	rank := map[bool]int{true: 1}
	return cmp.Compare(rank[a], rank[b])
}

// forCalls lists the gateways to try with a call. One that does not even say its height in time hangs: a call
// would cost its whole deadline to find that out.
func (c *Client) forCalls() []*peerGateway {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order(c.current, func(g *peerGateway) time.Time {
		if g.heights.until.After(g.calls.until) {
			return g.heights.until
		}
		return g.calls.until
	}, func(*peerGateway) bool { return false })
}

// call makes a call on the first gateway that serves, each attempt with its own deadline. Gateways that cannot
// be reached, are overloaded, hang or know too little are passed over: any other failure is the ledger's
// answer. When attempts on several gateways failed, the error is the last one's, but PerhapsOrdered if any
// attempt may have been ordered.
func (c *Client) call(ctx context.Context, stage Stage, timeout time.Duration, do func(context.Context, *peerGateway) error) error {
	last := &Error{Stage: stage, Kind: NotOrdered, Cause: errRefused}
	perhaps := false
	for _, g := range c.forCalls() {
		err := c.attempt(ctx, stage, timeout, g, do)
		if err == nil {
			c.served(g)
			return nil
		}
		if !errors.As(err, &last) {
			last = &Error{Stage: stage, Kind: NotOrdered, Cause: err}
		}
		perhaps = perhaps || last.Kind == PerhapsOrdered
		if ctx.Err() != nil {
			break // the caller gave up: this says nothing of the gateway
		}
		c.failed(g, last)
		if !last.elsewhere() {
			break
		}
	}
	if perhaps && last.Kind != PerhapsOrdered {
		e := *last
		e.Kind = PerhapsOrdered
		return &e
	}
	return last
}

func (c *Client) served(g *peerGateway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.calls.served()
	if g.refused == nil {
		c.current = slices.Index(c.gateways, g)
	}
}

// failed draws the consequence for the gateway.
func (c *Client) failed(g *peerGateway, e *Error) {
	switch {
	case e.Kind == Altered:
		c.refuse(g, e)
	case e.busy:
		c.metrics.failed(g, e.Stage)
		c.mu.Lock()
		g.calls.failed(time.Now(), c.cfg.Rest, c.cfg.MaxRest, e)
		c.mu.Unlock()
	case e.Kind == Conflict && e.Stage == StageEndorse:
		// Endorsers at different heights, perhaps because this gateway's own peer lags: another begins next time.
		c.mu.Lock()
		if at := slices.Index(c.gateways, g); at == c.current {
			c.current = (at + 1) % len(c.gateways)
		}
		c.mu.Unlock()
	}
}

// attempt makes a call on one gateway. It is given up before its deadline when the gateway turns out to hang and
// another may serve: nothing is lost by that, since an endorsement is only an answer and an envelope may be sent
// many times.
func (c *Client) attempt(ctx context.Context, stage Stage, timeout time.Duration, g *peerGateway, do func(context.Context, *peerGateway) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c.mu.Lock()
	alive := g.alive
	c.mu.Unlock()
	defer context.AfterFunc(alive, cancel)()
	select {
	case g.slots <- struct{}{}:
	case <-ctx.Done():
		return &Error{Stage: stage, Kind: NotOrdered, Cause: ctx.Err(), busy: true}
	}
	defer func() { <-g.slots }()
	err := do(ctx, g)
	var e *Error
	if alive.Err() != nil && errors.As(err, &e) && status.Code(e.Cause) == codes.Canceled {
		e.Cause, e.busy = fmt.Errorf("%w: %w", context.Cause(alive), e.Cause), true
	}
	return err
}
