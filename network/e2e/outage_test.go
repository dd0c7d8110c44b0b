package e2e

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// TestLedgerAway stops the ledger's process and lets time pass: reads go on and say how old they are, writes
// are accepted and wait, readiness names the cause to operators only; when the ledger is back everything
// drains by itself.
func TestLedgerAway(t *testing.T) {
	t.Parallel()
	c := newConsortium(t)
	c.start("beijing")
	n := c.nodes["beijing"]
	var issued []model.Outcome
	n.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, n.agency, "away-0", 1)), &issued)
	c.ledger.p.stop()

	b := newBook(t)
	b.name = "away"
	for i := range 40 {
		r := &request{node: n, key: "away-" + string(rune('a'+i%26)) + string(rune('a'+i/26))}
		r.numbers = []string{r.key}
		r.body = encodeDrafts(t, issueDraft(t, n.agency, r.key, 10+i))
		b.requests = append(b.requests, r)
		outcomes, ok := b.send(r, false)
		if !ok || outcomes[0].Status != model.Pending {
			t.Fatalf("write %d while the ledger is away: %v %+v", i, b.failures, outcomes)
		}
	}
	// One that waits to be committed is told that it is accepted and pending.
	begun := time.Now()
	a, err := n.post("/v1/operations", encodeDrafts(t, issueDraft(t, n.agency, "away-waited", 99)))
	var waited []model.Outcome
	if err == nil {
		err = json.Unmarshal(a.body, &waited)
	}
	if err != nil || a.status != http.StatusAccepted || waited[0].Status != model.Pending || time.Since(begun) > 15*time.Second {
		t.Errorf("waiting for a commit: %d %.300s after %v %v", a.status, a.body, time.Since(begun), err)
	}
	first := n.at().AgeMS
	eventually(t, 30*time.Second, "readiness names the ledger", func() bool {
		r, err := n.readiness()
		if err != nil || r.Status != sdk.Degraded {
			return false
		}
		named := 0
		for _, part := range r.Components {
			if part.Status == sdk.Degraded && part.Code == model.CodeLedgerUnavailable {
				named++
			}
		}
		return named == 2 // follower and writes
	})
	if age := n.at().AgeMS; first < 0 || age <= first || age < 10_000 {
		t.Errorf("age went from %d to %d ms", first, age)
	}
	if a, err := n.get(n.url + "/readyz"); err != nil || a.status != http.StatusOK || string(a.body) != "{\"status\":\"degraded\"}\n" {
		t.Errorf("public readiness: %d %q %v", a.status, a.body, err)
	}
	var v model.Verdict
	n.mustPost("/v1/verify", model.Query{Record: issued[0].Record}, &v)
	if v.Verdict != model.Valid || v.AgeMS < 10_000 {
		t.Errorf("verdict %s (%s), age %d ms", v.Verdict, v.Reason, v.AgeMS)
	}
	n.mustPost("/v1/verify", model.Query{Record: "bj-scjg.99999"}, &v)
	if v.Verdict == model.Valid {
		t.Errorf("unknown licence: %s (%s)", v.Verdict, v.Reason)
	}
	var pending model.Outcome
	n.mustGet("/v1/operations/"+b.requests[0].ids[0].String(), &pending)
	if pending.Status != model.Pending {
		t.Errorf("outcome %+v", pending)
	}

	c.ledger.start()
	b.complete(n, true)
	n.ready()
	eventually(t, 10*time.Second, "the age is small again", func() bool { return n.at().AgeMS < 3000 })
}
