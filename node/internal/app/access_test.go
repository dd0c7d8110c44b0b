package app_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/sdk"
)

// A node's access log is anchored on a real ledger, where every member reads the anchor, and nothing in it is about a
// person; the log agrees with it; a log that was cut or is gone does not, and says so.
func TestAccessLogOfANode(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	w.serve("tianjin")
	stop := w.serve("beijing")
	agency := string(organisations[0].agency)
	w.until("the agency is there", func() bool {
		_, err := w.client("beijing", "verifier").Record(t.Context(), model.KindAgency, model.RecordID(agency))
		return err == nil
	})
	stop()

	restore := app.SetAnchorClock(func() time.Time { return time.Now().Add(24 * time.Hour) })
	stop = w.serve("beijing")
	var anchor model.HistoryEntry
	for deadline := time.Now().Add(30 * time.Second); anchor.Version == 0; time.Sleep(20 * time.Millisecond) {
		for v, err := range w.client("tianjin", "auditor").History(t.Context(), model.KindAccessLog, model.AccessLogID("BeijingMSP", "beijing")) {
			if err == nil {
				anchor = v
			} else if model.AsError(err).Code != model.CodeNotFound {
				t.Fatal(err)
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no anchor came")
		}
	}
	a, err := app.AnchorOf(anchor)
	if err != nil || anchor.Type != model.AnchorAccess || anchor.Person != "" || string(anchor.Agency) != agency || a.Count == 0 || a.Node != "beijing" || a.Until != model.DateOf(time.Now()) {
		t.Errorf("%v: %+v", err, anchor)
	}
	if body := string(anchor.Body); strings.Contains(body, "key-") || strings.Contains(body, agency) {
		t.Errorf("the anchor tells of persons or records: %s", body)
	}
	seen := map[string]bool{}
	for e, err := range w.client("beijing", "auditor").Access(t.Context(), sdk.AccessQuery{Record: sdk.AccessRecord{Kind: model.KindAgency, ID: agency}}) {
		if err != nil {
			t.Fatal(err)
		}
		seen[e.Name+" "+e.Action] = true
	}
	if !seen["first verifier record.read"] {
		t.Errorf("who looked: %v", seen)
	}
	stop()
	restore()

	cfg := w.config("beijing")
	dir := app.AccessLogPath(cfg)
	anchors, err := app.Anchors(cfg)
	if err != nil || len(anchors) != 1 || anchors[0].Head != a.Head {
		t.Fatalf("%v %+v", err, anchors)
	}
	r, err := accesslog.Verify(dir, anchors)
	if err != nil || len(r.Findings) != 0 || r.Anchors != 1 {
		t.Errorf("%v %+v", err, r)
	}
	// Cut to nothing, cleanly: the anchor tells.
	files, err := filepath.Glob(filepath.Join(dir, "*.access"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.Truncate(files[0], 100); err != nil {
		t.Fatal(err)
	}
	if r, err = accesslog.Verify(dir, anchors); err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].En, "are gone") {
		t.Errorf("%v %+v", err, r)
	}
	// Gone altogether: the node does not begin another unasked, and answers nobody.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	stop = background(t, func(ctx context.Context) error { return app.Run(ctx, cfg, quietLog) })
	c := w.client("beijing", "auditor")
	c.Attempts = 1
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := c.Record(t.Context(), model.KindAgency, model.RecordID(agency))
		if errors.Is(err, model.E(model.CodeAccessLogUnavailable)) {
			break
		}
		if err == nil || time.Now().After(deadline) {
			t.Fatalf("answered without a log: %v", err)
		}
	}
	stop()
	if old, err := app.BeginAccessLog(cfg, time.Now()); err != nil || old != "" {
		t.Fatal(old, err)
	}
	stop = w.serve("beijing")
	if _, err := w.client("beijing", "auditor").Record(t.Context(), model.KindAgency, model.RecordID(agency)); err != nil {
		t.Error(err)
	}
	stop()
}
