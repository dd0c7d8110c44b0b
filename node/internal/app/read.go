package app

import (
	"context"
	"math"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/records"
	"github.com/zhenglian/zhenglian/sdk"
)

// reading gives the API its view of the records.
type reading struct {
	n     *Node
	store *records.Store
}

func (r reading) reflects(s *records.Snapshot) (sdk.Reflects, error) {
	version, err := s.RegistryVersion()
	return sdk.Reflects{Position: s.Position(), Height: s.Height(), Registry: version, AgeMS: ageMS(r.n.age())}, err
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
		return model.View{}, sdk.Reflects{}, r.n.absent()
	}
	at, err := r.reflects(s)
	return *v, at, err
}

// History lists versions after a position, oldest first.
func (r reading) History(_ context.Context, kind model.Kind, id model.RecordID, after int64, limit int) ([]model.HistoryEntry, sdk.Reflects, error) {
	s := r.store.Snapshot()
	defer s.Release()
	versions, err := s.Versions(kind, id, after, limit)
	if err != nil {
		return nil, sdk.Reflects{}, model.AsError(err)
	}
	if len(versions) == 0 {
		if v, err := s.View(kind, id); err != nil || v == nil {
			return nil, sdk.Reflects{}, r.n.absent().Because(err)
		}
	}
	at, err := r.reflects(s)
	return versions, at, err
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

// log gives the API the log of all operations.
type log struct{ store *records.Store }

// Head is the newest position and a channel that is closed when there is a newer one.
func (l log) Head() (int64, <-chan struct{}) {
	position, grown := l.store.Grown()
	return int64(position) - 1, grown
}

// Entries lists the log.
func (l log) Entries(_ context.Context, after int64, limit int) ([]sdk.Event, error) {
	entries, err := l.store.Entries(uint64(after+1), limit)
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
