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
	well                   time.Time // since when it has answered every question for its height, and well; zero: it did not
	goal                   uint64    // blocks that there were at its last answer, so that it should have them at the next
	asking                 bool      // a question for its height is under way
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
	left     time.Time // when it was last left for another; zero when it has served since
}

func (r *rest) failed(now time.Time, first, most time.Duration, cause error) {
	d := first
	for range min(r.failures, 16) {
		d = min(2*d, most)
	}
	// Jitter, so that nodes which lost a peer together do not come back together.
	d = d*3/4 + time.Duration(rand.Int64N(int64(d)/2+1))
	r.failures++
	r.until, r.cause, r.left = now.Add(min(d, most)), cause, now
}

func (r *rest) served() { *r = rest{} }

func (r *rest) at(now time.Time) bool { return r.until.After(now) }

// order lists the gateways that may be used: better ones, the others, and last those that rest, the first to be back
// first. Among equals the configuration decides, but those that were left for another come after those that were not,
// until they are settled; the one that was left the longest ago is the first of them. mu is held.
func (c *Client) order(now time.Time, use func(*peerGateway) (until, left time.Time), better func(*peerGateway) bool) []*peerGateway {
	var out []*peerGateway
	for _, g := range c.gateways {
		if g.refused == nil {
			out = append(out, g)
		}
	}
	waits := func(g *peerGateway) (until, left time.Time) {
		until, left = use(g)
		if !until.After(now) {
			until = time.Time{}
		}
		if c.settled(g, left, now) {
			left = time.Time{}
		}
		return until, left
	}
	slices.SortStableFunc(out, func(a, b *peerGateway) int {
		untilA, leftA := waits(a)
		untilB, leftB := waits(b)
		return cmp.Or(untilA.Compare(untilB), falseFirst(!better(a), !better(b)), leftA.Compare(leftB))
	})
	return out
}

// settled reports whether a gateway that was left at an instant may be returned to: it has been well for
// Config.Return. mu is held.
func (c *Client) settled(g *peerGateway, left, now time.Time) bool {
	since := g.well
	if left.After(since) {
		since = left
	}
	return g.refused == nil && !g.well.IsZero() && now.Sub(since) >= c.cfg.Return && now.Sub(g.claim.at) <= c.cfg.Claim &&
		(!g.claim.beyond() || g.claim.shown)
}

// falseFirst puts false before true.
func falseFirst(a, b bool) int {
	rank := map[bool]int{true: 1}
	return cmp.Compare(rank[a], rank[b])
}

// forCalls lists the gateways to try with a call. A gateway that may be returned to gets this one call: the others
// follow when it has served.
func (c *Client) forCalls() []*peerGateway {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	all := c.callOrder(now)
	if len(all) > 0 && !all[0].calls.left.IsZero() && c.settled(all[0], all[0].calls.left, now) {
		all[0].calls.left = now
	}
	return all
}

// callOrder is the order for calls. A gateway that does not even say its height in time hangs: a call would cost its
// whole deadline to find that out. mu is held.
func (c *Client) callOrder(now time.Time) []*peerGateway {
	return c.order(now, func(g *peerGateway) (until, left time.Time) {
		if g.heights.until.After(g.calls.until) {
			return g.heights.until, g.calls.left
		}
		return g.calls.until, g.calls.left
	}, func(*peerGateway) bool { return false })
}

// call makes a call on the first gateway that serves, each attempt with its own deadline. Gateways that cannot
// be reached, are overloaded, hang or know too little are passed over: any other failure is the ledger's
// answer. When attempts on several gateways failed, the error is the last one's, but PerhapsOrdered if any
// attempt may have been ordered.
func (c *Client) call(ctx context.Context, stage Stage, timeout time.Duration, do func(context.Context, *peerGateway, *speaker) error) error {
	last := &Error{Stage: stage, Kind: NotOrdered, Cause: errRefused}
	perhaps := false
	gateways := c.forCalls()
	began := time.Now()
	for _, g := range gateways {
		err := c.attempt(ctx, stage, timeout, g, do)
		if err == nil {
			c.served(g, began)
			return nil
		}
		if !errors.As(err, &last) {
			last = &Error{Stage: stage, Kind: NotOrdered, Cause: err}
		}
		perhaps = perhaps || last.Kind == PerhapsOrdered
		if ctx.Err() != nil {
			break // the caller gave up: this says nothing of the gateway
		}
		c.failed(g, last, began)
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

// served notes that a gateway answered a call that began at an instant. A call from before the gateway was left says
// nothing.
func (c *Client) served(g *peerGateway, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !g.calls.left.After(began) {
		g.calls.served()
	}
}

// failed draws the consequence for the gateway.
func (c *Client) failed(g *peerGateway, e *Error, began time.Time) {
	switch {
	case e.Kind == Refused && !e.busy: // an answer
		c.served(g, began)
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
		g.calls.left = time.Now()
		c.mu.Unlock()
	}
}

// attempt makes a call on one gateway. It is given up before its deadline when the gateway turns out to hang and
// another may serve: nothing is lost by that, since an endorsement is only an answer and an envelope may be sent
// many times.
func (c *Client) attempt(ctx context.Context, stage Stage, timeout time.Duration, g *peerGateway, do func(context.Context, *peerGateway, *speaker) error) error {
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
	by := c.begin()
	defer c.end(by)
	err := do(ctx, g, by)
	var e *Error
	if alive.Err() != nil && errors.As(err, &e) && status.Code(e.Cause) == codes.Canceled {
		e.Cause, e.busy = fmt.Errorf("%w: %w", context.Cause(alive), e.Cause), true
	}
	return err
}
