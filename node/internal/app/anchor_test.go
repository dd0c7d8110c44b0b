package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// paper is a ledger that holds one access log's anchors to the contract's rule.
type paper struct {
	level   int
	agency  model.AgencyID
	anchors []model.AccessLog
	down    error
	pending bool // anchors stay under way
	sent    int
}

func (p *paper) Standing() (int, *model.AccessLog, model.AgencyID, error) {
	if len(p.anchors) == 0 {
		return p.level, nil, p.agency, nil
	}
	return p.level, &p.anchors[len(p.anchors)-1], p.agency, nil
}

func (p *paper) Submit(_ context.Context, _ model.AgencyID, a model.AccessLog) (model.Outcome, error) {
	if p.down != nil {
		return model.Outcome{}, p.down
	}
	p.sent++
	if len(p.anchors) > 0 {
		if err := a.Follows(&p.anchors[len(p.anchors)-1]); err != nil {
			return model.Outcome{Status: model.Rejected, Problem: model.AsError(err).Problem()}, nil
		}
	}
	if p.pending {
		return model.Outcome{Operation: model.OpID{1}, Status: model.Pending}, nil
	}
	p.anchors = append(p.anchors, a)
	return model.Outcome{Status: model.Committed}, nil
}

func (p *paper) Outcome(context.Context, model.OpID) (model.Outcome, error) {
	if p.pending {
		return model.Outcome{Status: model.Pending}, nil
	}
	return model.Outcome{Status: model.Committed}, nil
}

// A day is anchored after it has ended in Beijing, once; days on which the node or the ledger was down are made up by one
// anchor that says from when to when; a log that is not the one that was anchored is not anchored again.
func TestAnchorEachDay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), AccessLogDir)
	if err := accesslog.Create(dir); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, model.Shanghai)
	clock := func() time.Time { return now }
	open := func() *accesslog.Log {
		l, err := accesslog.Open(dir, accesslog.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	p := &paper{level: 2, agency: "bj-scjg"}
	a := &anchorer{node: "beijing", msp: "BeijingMSP", log: open(), ledger: p, now: clock}
	defer func() { a.log.Close() }()
	look := func(want int, spans ...string) {
		t.Helper()
		for range 3 { // once, however often it looks
			if err := a.look(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if len(p.anchors) != want {
			t.Fatalf("%d anchors at %s, want %d", len(p.anchors), now, want)
		}
		if len(spans) > 0 {
			last := p.anchors[want-1]
			if got := string(last.From + " " + last.Until); got != spans[0] {
				t.Errorf("the anchor is of %s, want %s", got, spans[0])
			}
		}
	}
	enter := func() {
		t.Helper()
		if err := a.log.Append(&sdk.AccessEntry{Time: model.TimeOf(now), Person: "key-a", Agency: "bj-scjg", Action: "verify", Status: 200}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.log.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look(0) // nothing to anchor
	enter()
	look(0) // the day has not ended
	now = time.Date(2026, 11, 2, 23, 59, 59, 0, model.Shanghai)
	look(0)
	now = now.Add(2 * time.Second)
	look(1, "2026-11-02 2026-11-02")
	if p.anchors[0].Count != 1 || p.anchors[0].Node != "beijing" || p.anchors[0].Msp != "BeijingMSP" {
		t.Errorf("%+v", p.anchors[0])
	}
	enter()
	now = now.AddDate(0, 0, 1)
	look(2, "2026-11-03 2026-11-03")
	// The clock goes back, by a day and by many: days that are anchored are not over, and that is said.
	for _, days := range []int{1, 40} {
		now = now.AddDate(0, 0, -days)
		if err := a.look(t.Context()); err == nil || !strings.Contains(err.Error(), "of 2026-11-03, a day that is not over") || len(p.anchors) != 2 {
			t.Errorf("%d days back: %v, %d anchors", days, err, len(p.anchors))
		}
		now = now.AddDate(0, 0, days)
	}
	look(2)
	now = now.AddDate(0, 0, 5) // down for five days
	look(3, "2026-11-04 2026-11-08")

	now = now.AddDate(0, 0, 1)
	p.down = errors.New("no ledger")
	if err := a.look(t.Context()); !errors.Is(err, p.down) {
		t.Errorf("%v", err)
	}
	p.down, p.pending = nil, true
	sent := p.sent
	for range 3 {
		if err := a.look(t.Context()); err != nil || p.sent != sent+1 {
			t.Errorf("sent %d times, %v", p.sent-sent, err)
		}
	}
	p.pending = false
	look(4, "2026-11-09 2026-11-09")
	for _, broken := range []func() func(){
		func() func() { p.level = 1; return func() { p.level = 2 } },
		func() func() { p.agency = ""; return func() { p.agency = "bj-scjg" } },
	} {
		now = now.AddDate(0, 0, 1)
		mend := broken()
		if err := a.look(t.Context()); err == nil {
			t.Error("nothing is said of a ledger that takes no anchor")
		}
		mend()
	}
	look(5, "2026-11-10 2026-11-11")

	var anchors []accesslog.Anchor
	for i, v := range p.anchors {
		anchors = append(anchors, accesslog.Anchor{AccessLog: v, Version: uint64(i + 1)})
	}
	if r, err := accesslog.Verify(dir, anchors); err != nil || len(r.Findings) != 0 || r.Anchors != 5 {
		t.Errorf("%v %+v", err, r)
	}
	// A restored backup: the log has fewer entries than was anchored. Nothing is anchored on top of it.
	p.anchors[4].Count, p.anchors[4].Head = 100, model.Digest{1}
	now = now.AddDate(0, 0, 1)
	if err := a.look(t.Context()); !errors.Is(err, errBehind) || !strings.Contains(err.Error(), "100 entries") {
		t.Errorf("%v", err)
	}
	p.anchors[4].Count = 3 // as many, and others
	if err := a.look(t.Context()); !errors.Is(err, errBehind) {
		t.Errorf("%v", err)
	}
	if err := a.log.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := &Config{dir: filepath.Dir(dir)}
	old, err := BeginAccessLog(cfg, now)
	if err != nil || !strings.Contains(old, setAside) {
		t.Fatalf("%q, %v", old, err)
	}
	a.log = open()
	enter()
	look(6, "2026-11-12 2026-11-12")
	if p.anchors[5].Start == p.anchors[4].Start {
		t.Error("another log has the same start")
	}
}

// What was answered before an auditor asks is in what he sees, though files get it some time after the answer.
func TestAccessIsReadToItsEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), AccessLogDir)
	if err := accesslog.Create(dir); err != nil {
		t.Fatal(err)
	}
	l, err := accesslog.Open(dir, accesslog.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := &access{log: l}
	for n := 1; n <= 20; n++ {
		if err := a.Append(&sdk.AccessEntry{Time: model.TimeOf(time.Now()), Person: "key-a", Agency: "bj-scjg", Action: "verify", Status: 200}); err != nil {
			t.Fatal(err)
		}
		p, err := a.Read(t.Context(), httpapi.AccessQuery{Limit: 100, Sees: func(model.AgencyID) bool { return true }})
		if err != nil || len(p.Entries) != n {
			t.Fatalf("%d of %d entries, %v", len(p.Entries), n, err)
		}
	}
}
