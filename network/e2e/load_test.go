package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

const businessLicence = "11100000MB0143028R001"

// issueDraft is one licence with a natural number of its own.
func issueDraft(t testing.TB, agency, number string, n int) model.Draft {
	t.Helper()
	uscc, err := model.InventUSCC("91110105X", n%10_000_000)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{"value": map[string]any{
		"type": businessLicence, "number": number, "holder_kind": "001", "holder_code": uscc, "holder_name": "北京样例科技发展有限公司",
		"issued_on": "2026-01-05", "valid_from": "2026-01-05", "valid_until": "2046-01-04",
		"face": map[string]any{"entity_type": "有限责任公司", "address": "北京市朝阳区样例街道1号院", "scope": "技术服务"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return model.Draft{Agency: model.AgencyID(agency), Type: model.LicenceIssue, Body: body}
}

// suspendDraft suspends a licence under a decision of its own.
func suspendDraft(t testing.TB, agency string, record model.RecordID, decision string) model.Draft {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"decision": map[string]any{"date": "2026-02-03", "number": decision}, "effective": "2026-02-03", "from_start": false, "reason": "inspection",
	})
	if err != nil {
		t.Fatal(err)
	}
	return model.Draft{Agency: model.AgencyID(agency), Type: model.LicenceSuspend, Record: record, Body: body}
}

func encodeDrafts(t testing.TB, drafts ...model.Draft) []byte {
	t.Helper()
	raw, err := json.Marshal(drafts)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// request is one array of drafts under one idempotency key. Every draft carries a number that no other has,
// by which the log shows what became of it whether or not it was answered.
type request struct {
	node    *node
	key     string
	body    []byte
	numbers []string
	ids     []model.OpID // once accepted
}

// book is what writers asked for and what they were told.
type book struct {
	t    testing.TB
	name string
	next atomic.Int64
	// diskFails allows the answer outcome_unknown: the disk failed while a request was being written.
	diskFails bool
	// hasty writers never wait for a commit, so that they end at once while nothing is committed.
	hasty bool
	// from is the position at which the log begins that is judged; shared that others write to the same log.
	from   uint64
	shared bool

	mu       sync.Mutex
	requests []*request // guarded by mu
	failures []string   // guarded by mu; answers that must not be
}

func newBook(t testing.TB) *book {
	return &book{t: t, name: fmt.Sprintf("%08x", rand.Uint32())}
}

// writers keeps a node busy until stop, which returns once they have ended. A writer whose node is gone
// waits for it: what was not answered stays on the book.
func (b *book) writers(n *node, count int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range count {
		wg.Go(func() {
			var issued []model.RecordID // committed and not yet suspended
			for ctx.Err() == nil {
				r, acted := b.compose(n, &issued)
				b.mu.Lock()
				b.requests = append(b.requests, r)
				b.mu.Unlock()
				outcomes, ok := b.send(r, !b.hasty && rand.IntN(2) == 0)
				if !ok {
					select {
					case <-ctx.Done():
					case <-time.After(20 * time.Millisecond):
					}
				}
				for _, o := range outcomes {
					if o.Status == model.Committed && !acted && len(issued) < 100 {
						issued = append(issued, o.Record)
					}
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// ask notes a request for one licence, for the caller to send.
func (b *book) ask(n *node, number string, i int) *request {
	b.t.Helper()
	r := &request{node: n, key: number, numbers: []string{number}, body: encodeDrafts(b.t, issueDraft(b.t, n.agency, number, i))}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests = append(b.requests, r)
	return r
}

func (b *book) compose(n *node, issued *[]model.RecordID) (r *request, acted bool) {
	number := b.next.Add(1)
	r = &request{node: n, key: fmt.Sprintf("%s-%d", b.name, number)}
	var drafts []model.Draft
	if len(*issued) > 3 && rand.IntN(3) == 0 {
		for i := range 2 {
			r.numbers = append(r.numbers, fmt.Sprintf("%s-%d-%d", b.name, number, i))
			drafts = append(drafts, suspendDraft(b.t, n.agency, (*issued)[i], r.numbers[i]))
		}
		*issued = (*issued)[2:]
		acted = true
	} else {
		for i := range []int{1, 5, 20}[rand.IntN(3)] {
			r.numbers = append(r.numbers, fmt.Sprintf("%s-%d-%d", b.name, number, i))
			drafts = append(drafts, issueDraft(b.t, n.agency, r.numbers[i], int(number)*100+i))
		}
	}
	r.body = encodeDrafts(b.t, drafts...)
	return r, acted
}

// send sends a request and notes the answer. ok is false where nothing was accepted.
func (b *book) send(r *request, wait bool) (outcomes []model.Outcome, ok bool) {
	path := "/v1/operations?wait=accepted"
	if wait {
		path = "/v1/operations"
	}
	a, err := r.node.post(path, r.body, "Idempotency-Key", r.key)
	if err != nil {
		return nil, false
	}
	switch a.status {
	case http.StatusOK, http.StatusAccepted:
		if err := json.Unmarshal(a.body, &outcomes); err != nil || len(outcomes) != len(r.numbers) {
			b.fail("request %s: %d outcomes for %d operations: %v: %.300s", r.key, len(outcomes), len(r.numbers), err, a.body)
			return nil, false
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		r.ids = nil
		for _, o := range outcomes {
			r.ids = append(r.ids, o.Operation)
			if o.Status == model.Rejected {
				b.failures = append(b.failures, fmt.Sprintf("request %s: refused: %.300s", r.key, a.body))
			}
		}
		return outcomes, true
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout: // must say that nothing was written
		p := a.problem()
		if b.diskFails && p.Code == model.CodeOutcomeUnknown && p.Written == "perhaps" {
			break
		}
		if p.Written != "nothing" || !slices.Contains([]model.Code{model.CodeShuttingDown, model.CodeStorageFull, model.CodeOutboxFull}, p.Code) {
			b.fail("request %s: status %d: %.300s", r.key, a.status, a.body)
		}
	default:
		b.fail("request %s: status %d: %.300s", r.key, a.status, a.body)
	}
	return nil, false
}

func (b *book) fail(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = append(b.failures, fmt.Sprintf(format, args...))
}

// accepted counts requests that were answered as accepted.
func (b *book) accepted() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		if r.ids != nil {
			n++
		}
	}
	return n
}

// settle is the judgement after a fault: everything accepted gets committed; everything stands in the log
// once; a request stands there as a whole or not at all; and what was never answered, sent again under its
// key, gets committed once as well.
func (b *book) settle(n *node) []sdk.Event {
	b.t.Helper()
	b.complete(n, false)
	for _, r := range b.requests {
		if r.ids != nil {
			continue
		}
		eventually(b.t, 20*time.Second, "request "+r.key+" is accepted when repeated", func() bool {
			_, ok := b.send(r, false)
			return ok
		})
	}
	return b.complete(n, true)
}

// complete waits until all accepted operations are in the log and no request stands there in part: a request
// is accepted as a whole, also one whose answer a kill has cut off, but may be spread over transactions. Then
// it judges the log. With all, nothing may be missing.
func (b *book) complete(n *node, all bool) []sdk.Event {
	b.t.Helper()
	b.mu.Lock()
	failures := slices.Clone(b.failures)
	b.mu.Unlock()
	if len(failures) > 0 {
		b.t.Fatalf("%d answers that must not be: %s", len(failures), strings.Join(failures[:min(3, len(failures))], "\n"))
	}
	var events []sdk.Event
	var counts map[string]int
	deadline := time.Now().Add(60 * time.Second)
	for {
		events = n.logFrom(b.from)
		counts = tally(b.t, b.from, events)
		bad := b.partial(events, counts, all)
		if len(bad) == 0 {
			break
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%d requests are not what they should be: %s", len(bad), strings.Join(bad[:min(5, len(bad))], "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
	for number, count := range counts {
		own := strings.HasPrefix(number, b.name)
		switch {
		case own && count != 1:
			b.t.Errorf("%s stands in the log %d times", number, count)
		case !own && !b.shared:
			b.t.Errorf("the log holds %s, which nobody asked for", number)
		}
	}
	return events
}

// partial names the requests of which something is missing.
func (b *book) partial(events []sdk.Event, counts map[string]int, all bool) (bad []string) {
	there := map[model.OpID]bool{}
	for i := range events {
		there[events[i].Operation] = true
	}
	for _, r := range b.requests {
		found, known := 0, 0
		for _, number := range r.numbers {
			found += min(counts[number], 1)
		}
		for _, id := range r.ids {
			if there[id] {
				known++
			}
		}
		whole := found == len(r.numbers) && known == len(r.ids)
		if !whole && (found != 0 || r.ids != nil || all) {
			bad = append(bad, fmt.Sprintf("request %s: %d of %d operations stand in the log (accepted: %v)", r.key, found, len(r.numbers), r.ids != nil))
		}
	}
	return bad
}

// tally checks that the log from a position on is without gaps (positions, and versions of each record) and that
// no operation stands in it twice, and counts the numbers that issues and acts carry.
func tally(t testing.TB, from uint64, events []sdk.Event) map[string]int {
	t.Helper()
	counts := map[string]int{}
	seen := map[model.OpID]bool{}
	versions := map[string]uint64{}
	for i := range events {
		e := &events[i]
		if e.Position != from+uint64(i) {
			t.Fatalf("event %d has position %d", from+uint64(i), e.Position)
		}
		if seen[e.Operation] {
			t.Errorf("operation %s stands in the log twice", e.Operation)
		}
		seen[e.Operation] = true
		record := string(e.Kind) + "/" + string(e.Record)
		if _, known := versions[record]; !known && from > 0 {
			versions[record] = e.Version - 1 // earlier ones stand before the beginning
		}
		if versions[record]++; e.Version != versions[record] {
			t.Errorf("%s: version %d follows version %d", record, e.Version, versions[record]-1)
		}
		if e.Kind != model.KindLicence {
			continue
		}
		var body struct {
			Value    struct{ Number string }
			Decision struct{ Number string }
		}
		if err := json.Unmarshal(e.Body, &body); err != nil {
			t.Fatal(err)
		}
		// An amendment would carry both; the writers make none.
		counts[body.Value.Number+body.Decision.Number]++
	}
	return counts
}

// log reads the whole log from the stream of events, as far as the node has applied it now.
func (n *node) log() []sdk.Event { n.t.Helper(); return n.logFrom(0) }

// logFrom reads it from a position on.
func (n *node) logFrom(from uint64) []sdk.Event {
	n.t.Helper()
	end := n.at().Position
	if end <= from {
		return nil
	}
	length := end - from
	events := make([]sdk.Event, 0, length)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/v1/events?from="+strconv.FormatInt(int64(from)-1, 10), nil) // from is exclusive
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.keys["auditor"])
	r, err := n.client.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		n.t.Fatalf("%s: events: status %d", n.name, r.StatusCode)
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 1<<20)
	for uint64(len(events)) < length && lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		var e sdk.Event
		if err := json.Unmarshal(data, &e); err != nil {
			n.t.Fatalf("event %q: %v", data, err)
		}
		events = append(events, e)
	}
	if uint64(len(events)) < length {
		n.t.Fatalf("%s: the stream ended after %d of %d events: %v", n.name, len(events), length, lines.Err())
	}
	return events
}
