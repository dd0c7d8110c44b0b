package httpapi

import (
	"context"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

const (
	pagesAtOnce   = 2               // searches of one caller; the index has four readers for all
	pagesPatience = 2 * time.Second // for which a caller's next search waits for those before it: as long as one may take
)

// turns lets each caller do a few things at a time; his next waits for one of them and for nobody else's. The zero value
// is ready.
type turns struct {
	mu sync.Mutex
	of map[string]*turn // guarded by mu: who does something, or waits
}

type turn struct {
	at    chan struct{} // holds a token for each that goes on
	users int           // guarded by turns.mu: who goes on or waits
}

// take waits for the caller's turn, at most so long, and returns what ends it. Its errors are rate_limited, and
// shutting_down where ctx ended first.
func (t *turns) take(ctx context.Context, caller string, patience time.Duration) (end func(), err error) {
	t.mu.Lock()
	if t.of == nil {
		t.of = map[string]*turn{}
	}
	mine := t.of[caller]
	if mine == nil {
		mine = &turn{at: make(chan struct{}, pagesAtOnce)}
		t.of[caller] = mine
	}
	mine.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.of, caller)
		}
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case mine.at <- struct{}{}:
		return func() { <-mine.at; leave() }, nil
	case <-late.C:
		err = limited{time.Second}
	case <-ctx.Done():
		err = model.E(model.CodeShuttingDown).Because(ctx.Err())
	}
	leave()
	return nil, err
}

// find is a page of a search for the caller, in his turn: one caller's slow searches hold up nobody else's.
func (x *exchange) find(s sdk.LicenceSearch, after string, limit int, count bool) (sdk.LicencePage, error) {
	end, err := x.api.pages.take(x.r.Context(), x.caller.ID(), pagesPatience)
	if err != nil {
		return sdk.LicencePage{}, err
	}
	defer end()
	return x.api.search.Page(x.r.Context(), s, x.caller.Agency(), after, limit, count)
}
