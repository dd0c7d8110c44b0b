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
//
// It happens where the log is replayed from its beginning, in which the members were added: after each of those entries
// the applying side waits for the storing side to sync, and the storing side may just wait to hand over what comes next.
// The longer the log, the likelier; after the first snapshot (Spec.Snapshot) those entries are not replayed any more.

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

// watch judges what the orderers show over some ticks of the Raft clock.
type watch struct {
	tick  time.Duration
	began time.Time
	first []pulse     // of each orderer, since it is judged
	last  []pulse     //
	since []time.Time // when it last went on
	grown bool        // somebody wrote two blocks or more
}

// How many beats or blocks show that an orderer lives: one that hangs right after its start shows two or three. How many ticks
// of silence show that it does not while somebody leads, and while nobody does: nobody sends heartbeats then, but whoever
// lives stands for election within twenty. After how many ticks the watch ends, whatever was seen.
const (
	lively, silent = 4, 8
	leaderless     = 5 * silent
	longest        = 3 * silent
)

// see takes a pulse of every orderer. done: there is no use in watching further; hung are the indexes of the orderers
// that hang. One that does not run or answer is not among them: that is another fault.
func (w *watch) see(now time.Time, pulses []pulse) (done bool, hung []int) {
	if w.first == nil {
		w.began = now
		w.first, w.last = slices.Clone(pulses), slices.Clone(pulses)
		w.since = slices.Repeat([]time.Time{now}, len(pulses))
		return false, nil
	}
	led, top := false, uint64(0)
	for i, p := range pulses {
		before := w.last[i]
		switch {
		case p.err != nil || before.err != nil || !p.active || !before.active || p.beats < before.beats || p.height < before.height:
			w.first[i], w.since[i] = p, now // down, catching up, or just started
		case p.beats > before.beats || p.height > before.height:
			w.since[i] = now
		}
		led = led || (p.err == nil && p.leads && before.leads && now.Sub(w.since[i]) < silent*w.tick)
		if p.err == nil {
			top = max(top, p.height)
			w.grown = w.grown || (w.first[i].err == nil && p.height >= w.first[i].height+2)
		}
	}
	w.last = slices.Clone(pulses)
	done = true
	limit := longest
	for i, p := range pulses {
		if p.err != nil || !p.active || p.beats >= w.first[i].beats+lively || p.height >= w.first[i].height+lively {
			continue
		}
		still := now.Sub(w.since[i]) >= silent*w.tick
		if still && ((led && p.beats >= 0) || (w.grown && p.height < top)) {
			hung = append(hung, i)
			continue
		}
		// All that were restarted together may hang together.
		if still && !led && p.beats >= 0 {
			limit = leaderless
			if now.Sub(w.since[i]) >= leaderless*w.tick {
				hung = append(hung, i)
				continue
			}
		}
		// Where no beats are counted, an idle orderer cannot be told from one that hangs.
		if p.beats >= 0 || !still {
			done = false
		}
	}
	return done || now.Sub(w.began) >= time.Duration(limit)*w.tick, hung
}

// Hung watches the orderers and returns those that hang: after a second where all go on, after some where one does not.
func (n *Network) Hung(ctx context.Context) ([]*Orderer, error) {
	w := watch{tick: n.Spec().Tick}
	every := time.NewTicker(w.tick)
	defer every.Stop()
	dumb := make([]error, len(n.orderers)) // asked once too often: a frozen one would hold up the watch
	for {
		pulses := make([]pulse, len(n.orderers))
		_ = together(n.orderers, func(o *Orderer) error {
			i := o.Number - 1
			if pulses[i] = (pulse{err: dumb[i]}); dumb[i] == nil {
				pulses[i] = o.pulse(ctx) // what is wrong stands in the pulse
				dumb[i] = pulses[i].err
			}
			return nil
		})
		done, found := w.see(time.Now(), pulses)
		if done {
			var out []*Orderer
			for _, i := range found {
				out = append(out, n.orderers[i])
			}
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-every.C:
		}
	}
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
