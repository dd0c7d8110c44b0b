package e2e

import (
	"bytes"
	"net/http"
	"sync"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// idempotency sends one request again and again: at once from many callers, later, after a clean stop
// and after a kill. There is one record, and every answer is the first one.
func idempotency(t *testing.T, c *consortium) {
	c.start("beijing")
	n := c.nodes["beijing"]
	body := encodeDrafts(t, issueDraft(t, n.agency, "idem-1", 1), issueDraft(t, n.agency, "idem-2", 2))
	const callers = 16
	answers := make([]answer, callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { answers[i], errs[i] = n.post("/v1/operations", body, "Idempotency-Key", "k-1") })
	}
	wg.Wait()
	first := answers[0]
	same := func(when string, a answer, err error) {
		t.Helper()
		if err != nil || a.status != http.StatusOK || !bytes.Equal(a.body, first.body) {
			t.Errorf("%s: %d %.400s %v\nthe first answer was %d %.400s", when, a.status, a.body, err, first.status, first.body)
		}
	}
	for i := range callers {
		same("together", answers[i], errs[i])
	}
	refuse := func(when string) {
		t.Helper()
		other := encodeDrafts(t, issueDraft(t, n.agency, "idem-3", 3))
		a, err := n.post("/v1/operations", other, "Idempotency-Key", "k-1")
		if p := a.problem(); err != nil || a.status != http.StatusConflict || p.Code != model.CodeIdempotencyMismatch || p.Written != "nothing" {
			t.Errorf("%s, another body: %d %.300s %v", when, a.status, a.body, err)
		}
		a, err = n.post("/v1/licences", body, "Idempotency-Key", "k-1")
		if err != nil || a.status/100 != 4 {
			t.Errorf("%s, another route: %d %.300s %v", when, a.status, a.body, err)
		}
	}
	refuse("in the same process")

	n.p.stop()
	n.start()
	a, err := n.post("/v1/operations", body, "Idempotency-Key", "k-1")
	same("after a stop", a, err)
	refuse("after a stop")

	n.p.kill()
	n.start()
	a, err = n.post("/v1/operations", body, "Idempotency-Key", "k-1")
	same("after a kill", a, err)
	refuse("after a kill")

	counts := tally(t, c.began, n.logFrom(c.began))
	if counts["idem-1"] != 1 || counts["idem-2"] != 1 || counts["idem-3"] != 0 {
		t.Errorf("the log holds %v", counts)
	}
	// The key is the caller's own: another's is another request, and these numbers are taken.
	a, err = n.send(t.Context(), http.MethodPost, n.url+"/v1/operations", n.keys["drafter"], body, "Idempotency-Key", "k-1")
	if p := a.problem(); err != nil || a.status != http.StatusConflict || p.Code != model.CodeNumberTaken {
		t.Errorf("another caller's: %d %.300s %v", a.status, a.body, err)
	}
}
