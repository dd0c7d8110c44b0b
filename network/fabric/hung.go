package fabric

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Fabric 2.5.0 to 2.5.2 have a deadlock: a restarted orderer, replaying its log, can wait for ever for itself
// (issue 4199, fixed in 2.5.3). It answers /healthz and takes broadcasts, which then wait too. What gives it away is
// that its Raft loop stands still: a live member stores something with every heartbeat, ten times in an election
// timeout, whether anybody writes or not. On a busy network its height stands still besides while others grow.

// pulse is what shows that an orderer goes on.
type pulse struct {
	active bool   // takes part in consensus, as opposed to fetching blocks first
	height uint64 // blocks
	leads  bool
	beats  float64 // times that its Raft loop stored something; -1 where it does not say
	err    error   // it did not answer
}

func (o *Orderer) pulse(ctx context.Context) pulse {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	m, err := o.Membership(ctx)
	if err != nil {
		return pulse{err: err}
	}
	page, err := scrape(ctx, o.Operations)
	if err != nil {
		return pulse{err: err}
	}
	beats, ok := page.value("consensus_etcdraft_data_persist_duration_count", "channel", Channel)
	if !ok {
		beats = -1
	}
	leads, _ := page.value("consensus_etcdraft_is_leader", "channel", Channel)
	return pulse{m.Status == "active", m.Height, leads == 1, beats, nil}
}

// hung judges two pulses of every orderer, some ticks apart: the indexes of those that hang. An orderer that does not
// run or answer is not among them; that is another fault.
func hung(before, after []pulse) []int {
	led, top, grew := false, uint64(0), uint64(0)
	for i := range before {
		if before[i].err != nil || after[i].err != nil {
			continue
		}
		led = led || (before[i].leads && after[i].leads && after[i].beats > before[i].beats)
		top = max(top, after[i].height)
		grew = max(grew, after[i].height-min(before[i].height, after[i].height))
	}
	var out []int
	for i := range before {
		b, a := before[i], after[i]
		if b.err != nil || a.err != nil || !b.active || !a.active || a.height > b.height {
			continue
		}
		// Without a leader nobody sends heartbeats, and a live member may be silent for two election timeouts.
		silent := led && b.beats >= 0 && a.beats == b.beats
		behind := grew >= 2 && a.height < top && (b.beats < 0 || a.beats == b.beats)
		if silent || behind {
			out = append(out, i)
		}
	}
	return out
}

// Hung watches the orderers for eight ticks and returns those that hang.
func (n *Network) Hung(ctx context.Context) ([]*Orderer, error) {
	look := func() []pulse {
		out := make([]pulse, len(n.orderers))
		_ = together(n.orderers, func(o *Orderer) error {
			out[o.Number-1] = o.pulse(ctx) // what is wrong stands in the pulse
			return nil
		})
		return out
	}
	before := look()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(max(8*n.Spec().Tick, time.Second)):
	}
	var out []*Orderer
	for _, i := range hung(before, look()) {
		out = append(out, n.orderers[i])
	}
	return out, nil
}

// maxCures is how often a hung orderer is restarted before somebody has to look: the deadlock strikes about one
// restart in four.
const maxCures = 8

// Cure restarts orderers that hang until none does, and returns those that it restarted.
func (n *Network) Cure(ctx context.Context) ([]*Orderer, error) {
	var cured []*Orderer
	for range maxCures {
		found, err := n.Hung(ctx)
		if err != nil || len(found) == 0 {
			return cured, err
		}
		if err := together(found, func(o *Orderer) error {
			// It would not end by itself: what it would flush is what hangs.
			if err := o.Kill(); err != nil {
				return err
			}
			if err := o.Start(); err != nil {
				return err
			}
			return o.waitFor(ctx, "does not answer", func() error {
				_, err := o.Membership(ctx)
				return err
			})
		}); err != nil {
			return cured, err
		}
		for _, o := range found {
			if !slices.Contains(cured, o) {
				cured = append(cured, o)
			}
		}
	}
	return cured, fmt.Errorf("%s hang after %d restarts: run Fabric 2.5.3 or newer (--fabric-bin)", names(cured), maxCures)
}

func names(orderers []*Orderer) string {
	var out []string
	for _, o := range orderers {
		out = append(out, o.Name)
	}
	return strings.Join(out, ", ")
}

// cure is the step of `up`: on a network that orders already, hung orderers are restarted.
func (n *Network) cure(ctx context.Context) (string, error) {
	heights := make([]uint64, len(n.orderers))
	err := together(n.orderers, func(o *Orderer) (err error) {
		heights[o.Number-1], err = o.Height(ctx)
		return err
	})
	if err != nil {
		return "", err
	}
	if slices.Max(heights) <= 1 {
		return "", nil // nobody was restarted yet
	}
	cured, err := n.Cure(ctx)
	if err != nil || len(cured) == 0 {
		return "", err
	}
	return names(cured) + " hung and was restarted (a fault of Fabric 2.5.0 to 2.5.2)", n.waitLeader(ctx)
}

// errNoLeader says that the orderers cannot order.
var errNoLeader = errors.New("the orderers have no leader")
