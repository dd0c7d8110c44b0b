package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/bench/report"
)

// TestEndurance has a node read and written at half the rate that it can take, and looks whether it stays as it is:
// memory, goroutines, latencies. make soak does so for an hour, make test for half a minute, in which only what grows
// fast would show.
func TestEndurance(t *testing.T) {
	n := solo(t, t.TempDir())
	n.start()
	e := &endurance{t: t, n: n, book: newBook(t)}
	at, length := 5*time.Second, 24*time.Second
	if soak() {
		at, length = 30*time.Second, time.Hour
	}
	for range 20 { // licences to ask about
		e.issue()
	}
	most := e.rate(at)
	t.Logf("at most %.0f requests/s; half of it for %v", most, length)
	windows := e.hold(most/2, length, 12)
	for i, w := range windows {
		t.Logf("%2d: %6d requests, p50 %.2f ms, p99 %.1f ms, %.0f MB resident, %.0f goroutines", i+1, w.requests, w.p50, w.p99, w.resident/1e6, w.goroutines)
	}
	e.book.settle(n)

	// The first third fills caches. The second and the last are held to one another.
	middle, last := windows[4:8], windows[8:]
	flat := func(what string, of func(window) float64, factor, slack float64) {
		before, after := worst(middle, of), worst(last, of)
		if after > before*factor+slack {
			t.Errorf("%s: %.1f in the middle third, %.1f in the last", what, before, after)
		}
	}
	flat("goroutines", func(w window) float64 { return w.goroutines }, 1.1, 40)
	flat("resident bytes", func(w window) float64 { return w.resident }, 1.1, 64e6)
	if soak() { // in half a minute one pause of the machine is a third of all
		flat("p50 in ms", func(w window) float64 { return w.p50 }, 1.5, 0.5)
		flat("p99 in ms", func(w window) float64 { return w.p99 }, 2, 5)
	}
}

// endurance is a mixed load: of two hundred requests one issues five licences, five search, the others verify.
type endurance struct {
	t    *testing.T
	n    *node
	book *book

	mu      sync.Mutex
	numbers []string // of licences that were accepted; guarded by mu
}

const (
	enduranceCallers = 16
	cycle            = 200
)

// request sends the i-th request of the load.
func (e *endurance) request(i int64) {
	switch {
	case i%cycle == 0:
		e.issue()
	case i%(cycle/5) == 1:
		e.ask(http.MethodGet, "/v1/search/licences?limit=20&state=in_force&sort=number", nil)
	default:
		e.mu.Lock()
		number := e.numbers[rand.IntN(len(e.numbers))]
		e.mu.Unlock()
		e.ask(http.MethodPost, "/v1/verify", []byte(`{"type":"`+businessLicence+`","number":"`+number+`"}`))
	}
}

func (e *endurance) issue() {
	b := e.book
	number := b.next.Add(1)
	r := &request{node: e.n, key: fmt.Sprintf("%s-%d", b.name, number)}
	var drafts []model.Draft
	for k := range 5 {
		r.numbers = append(r.numbers, fmt.Sprintf("%s-%d", r.key, k))
		drafts = append(drafts, issueDraft(e.t, e.n.agency, r.numbers[k], int(number)*5+k))
	}
	r.body = encodeDrafts(e.t, drafts...)
	b.mu.Lock()
	b.requests = append(b.requests, r)
	b.mu.Unlock()
	if _, ok := b.send(r, true); !ok {
		b.fail("request %s was not accepted", r.key)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.numbers = append(e.numbers, r.numbers...)
}

func (e *endurance) ask(method, path string, body []byte) {
	a, err := e.n.send(context.Background(), method, e.n.url+path, e.n.keys["approver"], body)
	if err != nil || a.status != http.StatusOK {
		e.book.fail("%s: %d %v: %.300s", path, a.status, err, a.body)
	}
}

// rate is how many requests a second all callers get answered when none waits.
func (e *endurance) rate(length time.Duration) float64 {
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range enduranceCallers {
		wg.Go(func() {
			for time.Since(start) < length {
				e.request(done.Add(1))
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

// window is a part of the time: latencies are counted from when a request was due.
type window struct {
	requests             int
	p50, p99             float64 // ms
	resident, goroutines float64
}

// hold sends so many requests a second for a while, and tells of it in so many parts.
func (e *endurance) hold(rate float64, length time.Duration, parts int) []window {
	took := make([][]float64, parts)
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	every := time.Duration(float64(time.Second) / rate)
	for range enduranceCallers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				due := time.Duration(i) * every
				if due >= length {
					return
				}
				time.Sleep(due - time.Since(start))
				e.request(i)
				mu.Lock()
				part := int(due * time.Duration(parts) / length)
				took[part] = append(took[part], float64((time.Since(start)-due).Microseconds())/1000)
				mu.Unlock()
			}
		})
	}
	out := make([]window, parts)
	for i := range out {
		time.Sleep(length*time.Duration(i+1)/time.Duration(parts) - time.Since(start))
		out[i].resident, out[i].goroutines = e.n.metric("process_resident_memory_bytes"), e.n.metric("go_goroutines")
	}
	wg.Wait()
	for i := range out {
		slices.Sort(took[i])
		out[i].requests, out[i].p50, out[i].p99 = len(took[i]), report.Percentile(took[i], 0.5), report.Percentile(took[i], 0.99)
	}
	return out
}

func worst(windows []window, of func(window) float64) (most float64) {
	for _, w := range windows {
		most = max(most, of(w))
	}
	return most
}
