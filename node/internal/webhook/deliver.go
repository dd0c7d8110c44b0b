package webhook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Config says how patiently events are delivered, and to whom.
type Config struct {
	Networks []netip.Prefix // private networks that are spoken to, too
	Roots    *x509.CertPool // of receivers' certificates; nil: the system's
	GiveUp   time.Duration  // how long an event is tried; default 24 h
	First    time.Duration  // the first pause between attempts, doubled each time; default 1 s
	Logger   *slog.Logger
}

const (
	longestPause = 10 * time.Minute // between two attempts
	lastWord     = 2 * time.Second  // that an attempt has left when the sender ends
)

// Sender delivers events of all subscriptions.
type Sender struct {
	store *Store
	log   Log
	cfg   Config
	slots chan struct{} // a token for each attempt in flight

	delivered *prometheus.CounterVec
	buried    *prometheus.GaugeVec
	lag       *prometheus.GaugeVec

	mu      sync.Mutex
	trouble map[string]string // by subscription; under mu
}

// New prepares a sender; Run delivers.
func New(store *Store, log Log, cfg Config) *Sender {
	if cfg.GiveUp <= 0 {
		cfg.GiveUp = 24 * time.Hour
	}
	if cfg.First <= 0 {
		cfg.First = time.Second
	}
	label := []string{"subscription"}
	return &Sender{
		store: store, log: log, cfg: cfg, slots: make(chan struct{}, inFlight), trouble: map[string]string{},
		delivered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_webhook_attempts_total", Help: "Attempts to deliver an event, by subscription and whether it was received.",
		}, []string{"subscription", "received"}),
		buried: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zhenglian_webhook_dead_letters", Help: "Events that were given up and wait for an operator."}, label),
		lag:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "zhenglian_webhook_lag_leaves", Help: "Leaves of the log that a subscription has not been told of yet."}, label),
	}
}

// Collectors lists the metrics.
func (s *Sender) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.delivered, s.buried, s.lag}
}

// Trouble names subscriptions that are not delivered to, with the reason.
func (s *Sender) Trouble() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, why := range s.trouble {
		out = append(out, id+": "+why)
	}
	slices.Sort(out)
	return out
}

func (s *Sender) say(id, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why == "" {
		delete(s.trouble, id)
	} else {
		s.trouble[id] = why
	}
}

// Run delivers until ctx ends. Subscriptions that are added, changed or removed meanwhile are taken up within a second.
func (s *Sender) Run(ctx context.Context) {
	type running struct {
		what  Subscription
		stop  context.CancelFunc
		ended chan struct{}
	}
	all := map[string]running{}
	end := func(id string) {
		r := all[id]
		r.stop()
		<-r.ended
		delete(all, id)
		s.say(id, "")
	}
	defer func() {
		for id := range all {
			end(id)
		}
	}()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := s.store.List()
		if err != nil {
			s.say("subscriptions", err.Error())
		} else {
			s.say("subscriptions", "")
			for id, r := range all {
				if !slices.ContainsFunc(list, func(x Subscription) bool { return reflect.DeepEqual(x, r.what) }) {
					end(id)
					if !slices.ContainsFunc(list, func(x Subscription) bool { return x.ID == id }) {
						s.delivered.DeletePartialMatch(prometheus.Labels{"subscription": id})
						s.buried.DeleteLabelValues(id)
						s.lag.DeleteLabelValues(id)
					}
				}
			}
			for _, x := range list {
				if _, ok := all[x.ID]; !ok {
					c, stop := context.WithCancel(ctx)
					t := &target{Sender: s, sub: x, client: newClient(s.cfg.Networks, s.cfg.Roots, x.InsecureLoopback)}
					r := running{x, stop, make(chan struct{})}
					all[x.ID] = r
					go func() { defer close(r.ended); t.run(c) }()
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// target is one subscription at work. Used by one goroutine: events of one receiver go one after another.
type target struct {
	*Sender
	sub    Subscription
	client *http.Client
	gone   bool // the last event was given up: those after it have one attempt each, until one is received
}

func (t *target) run(ctx context.Context) {
	defer t.client.CloseIdleConnections()
	for ctx.Err() == nil {
		if err := t.deliver(ctx); err != nil && ctx.Err() == nil {
			t.say(t.sub.ID, err.Error())
			t.cfg.Logger.Warn("webhooks cannot go on now", "subscription", t.sub.ID, "error", err)
			rest(ctx, 5*time.Second)
		}
	}
}

// deliver goes on from the cursor until an error of this node's own.
//
// Crash argument: the cursor is written after the receiver has said 2xx, or after the letter is in dead/. Killed in
// between, the event is sent again under the same id, or buried again in the same place.
func (t *target) deliver(ctx context.Context) error {
	at, ok, err := t.store.cursor(t.sub.ID)
	if err != nil {
		return err
	}
	if !ok {
		if at, _ = t.log.Head(); t.sub.From != nil {
			at = *t.sub.From
		}
		if err := t.store.move(t.sub.ID, at); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		if err := t.repeat(ctx); err != nil {
			return err
		}
		head, grown := t.log.Head()
		t.lag.WithLabelValues(t.sub.ID).Set(float64(max(0, head-at)))
		buried, err := t.store.positions(t.sub.ID, dead)
		if err != nil {
			return err
		}
		t.buried.WithLabelValues(t.sub.ID).Set(float64(len(buried)))
		if len(buried) >= maxDead {
			return fmt.Errorf("%d events were given up; deliver them again or drop them", len(buried))
		}
		entries, err := t.log.Entries(ctx, at, 100)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			if len(buried) == 0 && !t.gone {
				t.say(t.sub.ID, "")
			} else {
				t.say(t.sub.ID, fmt.Sprintf("%d events were given up", len(buried)))
			}
			select {
			case <-ctx.Done():
			case <-grown:
			case <-time.After(time.Second): // letters that are to be sent again
			}
			continue
		}
		written := at
		for i := range entries {
			e := &entries[i]
			if t.sub.Wants(e) {
				l, ok := t.attempts(ctx, e)
				if ctx.Err() != nil && !ok {
					return nil
				}
				if !ok {
					if err := t.store.bury(l); err != nil {
						return err
					}
					t.cfg.Logger.Warn("an event was given up", "subscription", t.sub.ID, "position", e.Position, "error", l.Error)
				}
				written = int64(e.Position)
				if err := t.store.move(t.sub.ID, written); err != nil {
					return err
				}
			}
			at = int64(e.Position)
		}
		if at != written {
			if err := t.store.move(t.sub.ID, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// repeat sends letters that an operator wants sent once more; what fails is dead again.
func (t *target) repeat(ctx context.Context) error {
	positions, err := t.store.positions(t.sub.ID, again)
	for _, p := range positions {
		if ctx.Err() != nil {
			return nil
		}
		entries, err := t.log.Entries(ctx, p-1, 1)
		if err != nil {
			return err
		}
		if len(entries) == 1 {
			was := t.gone
			t.gone = true // one attempt
			l, ok := t.attempts(ctx, &entries[0])
			t.gone = was && !ok
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				if err := t.store.buryAgain(l); err != nil {
					return err
				}
				continue
			}
		}
		if err := os.Remove(t.store.letter(t.sub.ID, again, p)); err != nil {
			return err
		}
	}
	return err
}

// attempts tries an event until it is received, given up, or ctx ends.
func (t *target) attempts(ctx context.Context, e *sdk.Event) (l Letter, received bool) {
	l = Letter{Subscription: t.sub.ID, Position: int64(e.Position), Operation: e.Operation.String(), Type: string(e.Type), Since: time.Now()}
	body, err := json.Marshal(Message{Type: string(e.Type), Timestamp: e.Time.String(), Data: *e})
	if err != nil {
		l.Error = err.Error()
		return l, false
	}
	for pause := t.cfg.First; ; pause = min(2*pause, longestPause) {
		wait, err := t.send(ctx, l.Operation, body)
		if ctx.Err() != nil {
			return l, err == nil
		}
		l.Attempts++
		l.Last = time.Now()
		t.delivered.WithLabelValues(t.sub.ID, strconv.FormatBool(err == nil)).Inc()
		if err == nil {
			t.gone = false
			return l, true
		}
		l.Error = err.Error()
		t.say(t.sub.ID, fmt.Sprintf("position %d: %s", l.Position, l.Error))
		if next := max(pause, wait); t.gone || time.Since(l.Since)+next > t.cfg.GiveUp {
			t.gone = true
			rest(ctx, t.cfg.First)
			return l, false
		}
		rest(ctx, max(wait, pause/2+rand.N(pause/2+1)))
	}
}

// send makes one attempt. wait is how long the receiver asks to be left alone.
func (t *target) send(ctx context.Context, id string, body []byte) (wait time.Duration, err error) {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	now := time.Now()
	signature, err := signatures(t.sub.Secrets, id, now, body)
	if err != nil {
		return 0, err
	}
	// Whoever ends the process, or changes the subscription, lets the receiver answer: what he has received comes once.
	attempt, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { rest(attempt, lastWord); cancel() })()
	req, err := http.NewRequestWithContext(attempt, http.MethodPost, t.sub.URL, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "zhenglian")
	req.Header["webhook-id"] = []string{id}
	req.Header["webhook-timestamp"] = []string{strconv.FormatInt(now.Unix(), 10)}
	req.Header["webhook-signature"] = []string{signature}
	res, err := t.client.Do(req)
	if err != nil {
		return 0, quiet(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // so that the connection can be used again
	if res.StatusCode/100 == 2 {
		return 0, nil
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		wait = min(time.Duration(s)*time.Second, longestPause)
	}
	return wait, fmt.Errorf("the receiver answered %d", res.StatusCode)
}

// quiet says what went wrong without the URL, which may hold a token.
func quiet(err error) error {
	if errors.Is(err, errGuarded) {
		return errGuarded
	}
	var u interface{ Unwrap() error }
	if errors.As(err, &u) && u.Unwrap() != nil {
		return u.Unwrap()
	}
	return model.AsError(err)
}

func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
