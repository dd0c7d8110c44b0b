package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/sdk"
)

// A node killed under load has, after each kill, an entry for every write that it acknowledged, and a log that is whole.
func TestKilledWithoutLosingEntries(t *testing.T) {
	p := newPilot(t)
	var mu sync.Mutex
	acked := map[model.RecordID]bool{}
	next := 0
	for round := range 3 {
		p.start(t)
		p.ready(t)
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for range 8 {
			callers.Go(func() {
				c := p.client("drafter")
				c.Attempts = 1
				for ctx.Err() == nil {
					mu.Lock()
					next++
					n := next
					mu.Unlock()
					uscc, err := model.InventUSCC("91110105X", n)
					if err != nil {
						t.Error(err)
						return
					}
					o, err := c.Issue(ctx, sdk.NewLicence{Type: demo.BusinessLicence, Number: fmt.Sprint("kill-", n),
						Holder: sdk.Holder{Code: string(uscc), Name: "样例有限公司"}}, sdk.Write{NoWait: true})
					if err != nil {
						continue // whatever it was, it was not acknowledged
					}
					mu.Lock()
					acked[o.Record] = true
					mu.Unlock()
				}
			})
		}
		soon(t, "there are acknowledged writes", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(acked) > 150*(round+1)
		})
		p.stop(t, syscall.SIGKILL)
		cancel()
		callers.Wait()

		logged := map[model.RecordID]bool{}
		q := accesslog.Query{Limit: accesslog.MaxPage}
		for {
			page, err := accesslog.Search(t.Context(), p.dir+"/access-log", q)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				for _, r := range e.Records {
					if e.Action == string(model.LicenceIssue) && e.Status == 202 && e.Allowed && e.Name != "" {
						logged[model.RecordID(r.ID)] = true
					}
				}
			}
			if !page.More {
				break
			}
			q.After = page.Next
		}
		for id := range acked {
			if !logged[id] {
				t.Errorf("%s was acknowledged and is not in the log of %d", id, len(logged))
			}
		}
		var r accesslog.Report
		if err := json.Unmarshal([]byte(p.run(t, "audit", "access", "--verify", "--dir", p.dir, "--json")), &r); err != nil || len(r.Findings) != 0 || r.Count == 0 {
			t.Errorf("%v %+v", err, r)
		}
	}
	if t.Failed() {
		return
	}
	// The node comes back over its log and goes on.
	p.start(t)
	p.ready(t)
	var last sdk.AccessEntry
	for e, err := range p.client("auditor").Access(t.Context(), sdk.AccessQuery{Record: sdk.AccessRecord{Kind: model.KindLicence, ID: "bj-scjg.1"}}) {
		if err != nil {
			t.Fatal(err)
		}
		last = e
	}
	if last.Action != "access.read" && last.Action != string(model.LicenceIssue) || time.Since(last.Time.Time()) > time.Hour {
		t.Errorf("%+v", last)
	}
}
