package httpapi_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// slowSearch answers a search for words when the test lets it.
type slowSearch struct {
	fakeSearch
	begun chan struct{}
	end   chan struct{}
}

func (f *slowSearch) Page(ctx context.Context, s sdk.LicenceSearch, agency model.AgencyID, after string, limit int, count bool) (sdk.LicencePage, error) {
	if s.Text != "" {
		f.begun <- struct{}{}
		<-f.end
	}
	return f.fakeSearch.Page(ctx, s, agency, after, limit, count)
}

// Two searches of a caller run at once. His third waits for them, and for nobody else; others go on.
func TestSearchesOfOneCaller(t *testing.T) {
	f := &slowSearch{begun: make(chan struct{}, 8), end: make(chan struct{})}
	s := open(t, func(c *httpapi.Config, _ *auth.Rates) { c.Search = f })
	var wg sync.WaitGroup
	slow := func() {
		wg.Go(func() {
			if status, _, raw := s.ask(t, auth.Drafter, "GET", "/v1/search/licences?text=%E5%8C%97%E4%BA%AC", ""); status != http.StatusOK {
				t.Errorf("%d %s", status, raw)
			}
		})
		<-f.begun
	}
	slow()
	slow()
	if status, h, raw := s.ask(t, auth.Drafter, "GET", "/v1/search/licences", ""); status != http.StatusTooManyRequests || h.Get("Retry-After") == "" {
		t.Errorf("a third that waited too long: %d %s", status, raw)
	}
	if status, _, raw := s.ask(t, auth.Auditor, "GET", "/v1/search/licences", ""); status != http.StatusOK {
		t.Errorf("another caller: %d %s", status, raw)
	}
	third := make(chan int)
	go func() {
		status, _, _ := s.ask(t, auth.Drafter, "GET", "/v1/search/licences", "")
		third <- status
	}()
	f.end <- struct{}{}
	if status := <-third; status != http.StatusOK {
		t.Errorf("a third whose turn came: %d", status)
	}
	close(f.end)
	wg.Wait()
}
