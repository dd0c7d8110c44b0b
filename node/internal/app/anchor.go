package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// anchorPrincipal is who anchors: the node itself, under an agency that it acts for. No role has the right, and on the
// ledger the act has no person.
const anchorPrincipal = "node:access-log"

// anchorEvery is how often the node looks whether a day has ended that is not anchored.
const anchorEvery = time.Minute

// anchorClock says what day it is; tests let days pass.
var anchorClock = time.Now

// anchorLedger is the ledger as the anchorer needs it.
type anchorLedger interface {
	// Standing is what holds now: the contract's level, the newest anchor of this node (nil before the first), and an
	// agency that the node acts for ("" for none).
	Standing() (level int, last *model.AccessLog, agency model.AgencyID, err error)
	// Submit has an anchor accepted, and waits for what becomes of it; pending is no outcome yet.
	Submit(ctx context.Context, agency model.AgencyID, a model.AccessLog) (model.Outcome, error)
	// Outcome tells what became of an anchor that was pending.
	Outcome(ctx context.Context, id model.OpID) (model.Outcome, error)
}

// anchorer puts the head of the access log on the ledger once a day, after the day has ended in Beijing. Days on which the
// node was down, or the ledger, are made up by one anchor that says from when to when. It does so daily and not at each
// stop: a node that is restarted often would write of nothing else, and what an anchor is worth is that its day is known.
type anchorer struct {
	node      model.NodeID
	msp       model.MSPID
	log       *accesslog.Log
	ledger    anchorLedger
	keepYears int
	now       func() time.Time

	sent model.OpID // the anchor whose outcome is not known yet; used by run alone

	mu   sync.Mutex
	last error // why there is no anchor of the newest day; guarded by mu
}

func (a *anchorer) trouble() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *anchorer) run(ctx context.Context, log func(string, ...any)) {
	tick := time.NewTicker(anchorEvery)
	defer tick.Stop()
	for {
		err := a.look(ctx)
		if ctx.Err() != nil {
			return
		}
		a.mu.Lock()
		said := a.last != nil && err != nil && a.last.Error() == err.Error()
		a.last = err
		a.mu.Unlock()
		if err != nil && !said {
			log("the access log is not anchored", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

var errBehind = errors.New("the access log has other or fewer entries than its last anchor on the ledger says: `zhenglian audit access --verify` tells which; " +
	"no more anchors are made until the log is restored or `zhenglian audit begin` begins another")

// look anchors what is due.
func (a *anchorer) look(ctx context.Context) error {
	if a.sent != (model.OpID{}) {
		o, err := a.ledger.Outcome(ctx, a.sent)
		if err != nil || o.Status == model.Pending {
			return err
		}
		a.sent = model.OpID{} // whatever it was: the records know
	}
	level, last, agency, err := a.ledger.Standing()
	if err != nil {
		return err
	}
	today := model.DateOf(a.now())
	value := model.AccessLog{Node: a.node, Msp: a.msp, Until: model.DateFromDays(today.Days() - 1)}
	start := a.log.Head().Start
	if last != nil && last.Start == start {
		hash, ok, err := a.log.HashAt(last.Count)
		if err != nil {
			return err
		}
		if hash != last.Head && (ok || last.Count > a.log.Head().Count) {
			return fmt.Errorf("%w (anchor of %s, %d entries)", errBehind, last.Until, last.Count)
		}
		if a.keepYears > 0 {
			if _, err := a.log.Retain(a.now().AddDate(-a.keepYears, 0, 0), last.Count); err != nil {
				return err
			}
		}
	}
	if last != nil {
		value.From = model.DateFromDays(last.Until.Days() + 1)
	} else if value.From, err = a.firstDay(ctx); err != nil {
		return err
	}
	if last != nil && last.Until >= today {
		return fmt.Errorf("the last anchor of the access log is of %s, a day that is not over: the ledger's clock or this node's was or is wrong; "+
			"entries since are not anchored until that day is over", last.Until)
	}
	if value.From == "" || value.From > value.Until {
		return nil
	}
	switch {
	case level == 0:
		return nil // the ledger's first records are not here yet
	case level < model.Level(model.AnchorAccess):
		return fmt.Errorf("the ledger's contract level is %d: anchoring waits until the members have raised it to %d", level, model.Level(model.AnchorAccess))
	case agency == "":
		return errors.New("this node acts for no agency, so it has nobody to anchor its access log under")
	}
	head, err := a.log.Sync(ctx)
	if err != nil {
		return err
	}
	value.Count, value.Head, value.Start = head.Count, head.Hash, head.Start
	o, err := a.ledger.Submit(ctx, agency, value)
	if err != nil {
		return err
	}
	if o.Status == model.Pending {
		a.sent = o.Operation
		return nil
	}
	if o.Status == model.Rejected && o.Problem != nil {
		return o.Problem.Error()
	}
	return a.log.Append(&sdk.AccessEntry{
		Time: model.TimeOf(a.now()), Person: anchorPrincipal, Agency: agency, Action: string(model.AnchorAccess), Allowed: true, Policy: anchorPrincipal,
		Status: 200, Count: 1, Records: []sdk.AccessRecord{{Kind: model.KindAccessLog, ID: string(value.ID())}},
	})
}

// firstDay is that of the log's first entry, "" while it has none.
func (a *anchorer) firstDay(ctx context.Context) (model.Date, error) {
	p, err := a.log.Search(ctx, accesslog.Query{Limit: 1})
	if err != nil || len(p.Entries) == 0 {
		return "", err
	}
	return p.Entries[0].Time.Date(), nil
}

// anchoring is the node's own way to the ledger, the one that everybody's operations go.
type anchoring struct{ n *Node }

func (l anchoring) Standing() (level int, last *model.AccessLog, agency model.AgencyID, err error) {
	if l.n.importing() {
		return 0, nil, "", nil
	}
	if p, err := l.n.records.Policy(); err != nil {
		return 0, nil, "", err
	} else if p != nil {
		level = p.Level
	}
	s := l.n.records.Snapshot()
	defer s.Release()
	v, err := s.View(model.KindAccessLog, model.AccessLogID(l.n.cfg.Msp, l.n.cfg.Node))
	if err != nil {
		return 0, nil, "", err
	}
	if v != nil {
		last = new(model.AccessLog)
		if err := json.Unmarshal(v.Public, last); err != nil {
			return 0, nil, "", err
		}
	}
	for after := model.RecordID(""); agency == ""; {
		page, err := s.List(model.KindAgency, after, 256)
		if err != nil || len(page) == 0 {
			return level, last, agency, err
		}
		for _, v := range page {
			after = v.ID
			var a model.Agency
			if err := json.Unmarshal(v.Public, &a); err != nil {
				return 0, nil, "", err
			}
			if v.State == model.Active && a.Node == l.n.cfg.Node && a.Msp == l.n.cfg.Msp {
				agency = a.ID
				break
			}
		}
	}
	return level, last, agency, nil
}

func (l anchoring) Submit(ctx context.Context, agency model.AgencyID, a model.AccessLog) (model.Outcome, error) {
	body, err := model.Canonical(model.AnchorBody{Value: a})
	if err != nil {
		return model.Outcome{}, err
	}
	w := writing(l)
	ids, _, err := w.Accept(ctx, httpapi.Submission{Principal: anchorPrincipal, Agency: agency, Digest: model.DigestOf(body), Drafts: []model.Draft{{
		Agency: agency, Type: model.AnchorAccess, Kind: model.KindAccessLog, Record: a.ID(), Body: body,
	}}})
	if err != nil {
		return model.Outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, anchorEvery)
	defer cancel()
	out, err := w.Wait(ctx, ids)
	if err != nil || len(out) == 0 { // it is accepted and will be known by its id
		return model.Outcome{Operation: ids[0], Status: model.Pending}, nil
	}
	return out[0], nil
}

func (l anchoring) Outcome(ctx context.Context, id model.OpID) (model.Outcome, error) {
	return writing(l).Outcome(ctx, id)
}
