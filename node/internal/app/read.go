package app

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/records"
	"github.com/zhenglian/zhenglian/sdk"
)

// reading gives the API its view of the records.
type reading struct {
	store *records.Store
	age   func() time.Duration
}

func (r reading) reflects(s *records.Snapshot) (sdk.Reflects, error) {
	version, err := s.RegistryVersion()
	return sdk.Reflects{Position: s.Position(), Height: s.Height(), Registry: version, AgeMS: ageMS(r.age())}, err
}

func ageMS(d time.Duration) int64 {
	if d > math.MaxInt64/2 {
		return -1 // never at the head yet
	}
	return d.Milliseconds()
}

// View shows a record.
func (r reading) View(_ context.Context, kind model.Kind, id model.RecordID) (model.View, sdk.Reflects, error) {
	s := r.store.Snapshot()
	defer s.Release()
	v, err := s.View(kind, id)
	if err != nil {
		return model.View{}, sdk.Reflects{}, model.AsError(err)
	}
	if v == nil {
		return model.View{}, sdk.Reflects{}, model.E(model.CodeNotFound, "id")
	}
	at, err := r.reflects(s)
	return *v, at, err
}

// History lists versions after a position, oldest first. The records are read backwards, from the newest,
// so a page costs the versions after it as well: records have few.
func (r reading) History(_ context.Context, kind model.Kind, id model.RecordID, after int64, limit int) ([]model.HistoryEntry, sdk.Reflects, error) {
	s := r.store.Snapshot()
	defer s.Release()
	var all []model.HistoryEntry
	for before := uint64(0); ; {
		page, err := s.History(kind, id, before, 500)
		if err != nil {
			return nil, sdk.Reflects{}, model.AsError(err)
		}
		done := len(page) < 500
		for _, e := range page {
			if int64(e.Position) <= after {
				done = true
				break
			}
			all = append(all, e)
			before = e.Version
		}
		if done {
			break
		}
	}
	if len(all) == 0 {
		if v, err := s.View(kind, id); err != nil || v == nil {
			return nil, sdk.Reflects{}, model.E(model.CodeNotFound, "id").Because(err)
		}
	}
	slices.Reverse(all)
	at, err := r.reflects(s)
	return all[:min(limit, len(all))], at, err
}

// List lists records of a kind.
func (r reading) List(_ context.Context, kind model.Kind, after model.RecordID, limit int) ([]model.View, sdk.Reflects, error) {
	s := r.store.Snapshot()
	defer s.Release()
	v, err := s.List(kind, after, limit)
	if err != nil {
		return nil, sdk.Reflects{}, model.AsError(err)
	}
	at, err := r.reflects(s)
	return v, at, err
}

// growth is the log's head and who waits for it to move.
type growth struct {
	store *records.Store

	mu    sync.Mutex
	grown chan struct{} // closed at the next commit; guarded by mu
}

func newGrowth(s *records.Store) *growth { return &growth{store: s, grown: make(chan struct{})} }

// notify wakes who waits.
func (g *growth) notify() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.grown)
	g.grown = make(chan struct{})
}

// Head is the newest position and a channel that is closed when there is a newer one.
func (g *growth) Head() (int64, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int64(g.store.Position()) - 1, g.grown
}

// Entries lists the log.
func (g *growth) Entries(_ context.Context, after int64, limit int) ([]sdk.Event, error) {
	entries, err := g.store.Entries(uint64(after+1), limit)
	if err != nil {
		return nil, model.AsError(err)
	}
	events := make([]sdk.Event, len(entries))
	for i := range entries {
		e := &entries[i]
		events[i] = sdk.Event{Kind: e.Receipt.Kind, Record: e.Receipt.Record, Leaf: e.Receipt.Leaf, HistoryEntry: model.HistoryEntry{
			Position: e.Receipt.Position, Version: e.Receipt.Version, Operation: e.Receipt.Operation, Type: e.Operation.Type,
			Agency: e.Operation.Agency, Msp: e.Msp, Person: e.Operation.Person, Time: e.Receipt.Time, State: e.Receipt.State,
			Block: e.Receipt.Block, Tx: e.Receipt.Tx, Late: e.Receipt.Late, Body: e.Operation.Body,
		}}
	}
	return events, nil
}
