package search

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// fakeLog is a log that a test writes.
type fakeLog struct {
	mu     sync.Mutex
	leaves []Leaf
	last   map[model.RecordID]int // position of a record's latest leaf
	value  map[model.RecordID]model.Licence
	state  map[model.RecordID]model.State
	grown  chan struct{}
	names  map[model.OpID][2]string // the vault
}

func newFakeLog() *fakeLog {
	return &fakeLog{last: map[model.RecordID]int{}, value: map[model.RecordID]model.Licence{}, state: map[model.RecordID]model.State{},
		grown: make(chan struct{}), names: map[model.OpID][2]string{}}
}

func (l *fakeLog) Grown() (uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.leaves)), l.grown
}

func (l *fakeLog) Leaves(from uint64, limit int) ([]Leaf, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := min(int(from), len(l.leaves))
	return l.leaves[at:min(len(l.leaves), at+limit)], nil
}

func (l *fakeLog) Holder(id model.OpID) (string, string, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, ok := l.names[id]
	return h[0], h[1], ok, nil
}

const (
	typeA  = "11100000MB0143028R001"
	typeB  = "11100000MB0143028R002"
	issuer = "11110000X000100145"
)

func mustCanonical(v any) []byte {
	raw, err := model.Canonical(v)
	if err != nil {
		panic(err)
	}
	return raw
}

// add appends a leaf and wakes whoever follows.
func (l *fakeLog) add(typ model.Type, id model.RecordID, agency model.AgencyID, state model.State, body any) uint64 {
	p := len(l.leaves)
	leaf := Leaf{Position: uint64(p), State: state, Block: uint64(p / 3), Hash: model.DigestOf([]byte(fmt.Sprint(p, id))), Operation: model.Operation{
		Agency: agency, Body: mustCanonical(body), ID: model.OpID{byte(p), byte(p >> 8), byte(p >> 16), 1}, Kind: model.KindLicence, Record: id,
		Time: model.TimeOf(time.UnixMilli(1764000000000 + int64(p))), Type: typ, Version: 1,
	}}
	if was, ok := l.last[id]; ok {
		leaf.Previous = uint64(was + 1)
		leaf.Operation.Version = l.leaves[was].Operation.Version + 1
	}
	l.last[id], l.state[id] = p, state
	l.leaves = append(l.leaves, leaf)
	close(l.grown)
	l.grown = make(chan struct{})
	return uint64(p)
}

// issue issues the next licence of an agency.
func (l *fakeLog) issue(agency model.AgencyID, change func(*model.Licence)) model.RecordID {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.value) + 1
	id := model.NewRecordID(agency, uint64(n))
	code, err := model.InventUSCC("91110105X", n)
	if err != nil {
		panic(err)
	}
	v := model.Licence{
		Face: map[string]any{}, HolderCode: code, HolderKind: model.HolderEnterprise, HolderName: fmt.Sprintf("北京样例%d有限公司", n),
		IssuedOn: "2026-01-05", Issuer: issuer, Number: fmt.Sprintf("BJ%07d", n), Region: "110105", Type: typeA,
		ValidFrom: "2026-01-05", ValidUntil: "2036-01-04", Signature: &model.Signature{Alg: "ES256", Key: "k1", Value: string(make64())},
	}
	if change != nil {
		change(&v)
	}
	v.Identifier = identifier(&v, n, 1)
	l.value[id] = v
	l.add(model.LicenceIssue, id, agency, model.InForce, &model.IssueBody{Value: v})
	return id
}

func identifier(v *model.Licence, n, version int) model.LicenceID {
	id, err := model.NewLicenceID(model.LicenceIDParts{Type: string(v.Type), Issuer: string(v.Issuer), Serial: fmt.Sprintf("%07d", n), Version: version})
	if err != nil {
		panic(err)
	}
	return id
}

// person issues a licence to a person whose name this node keeps, or does not.
func (l *fakeLog) person(agency model.AgencyID, code, name string, kept bool) model.RecordID {
	id := l.issue(agency, func(v *model.Licence) {
		v.HolderKind, v.HolderCode, v.HolderName = model.HolderPerson, "", ""
		v.Commitments = map[string]model.Digest{"holder_code": {1}, "holder_name": {2}}
		if kept {
			l.names[model.OpID{byte(len(l.leaves)), byte(len(l.leaves) >> 8), byte(len(l.leaves) >> 16), 1}] = [2]string{code, name}
		}
	})
	return id
}

var act = model.Act{Decision: model.Decision{Date: "2026-03-01", Number: "京〔2026〕1号"}, Effective: "2026-03-01", Reason: "test-reason"}

func (l *fakeLog) act(typ model.Type, id model.RecordID, state model.State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(typ, id, "bj-scjg", state, &model.ActBody{Act: act})
}

func (l *fakeLog) transfer(id model.RecordID, to model.AgencyID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(model.LicenceTransfer, id, "bj-scjg", l.state[id], &model.TransferBody{Act: act, To: to, Value: l.value[id]})
}

func (l *fakeLog) amend(id model.RecordID, change func(*model.Licence)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.value[id]
	v := was
	change(&v)
	parts := was.Identifier.Parts()
	v.Identifier = identifier(&v, number(parts.Serial), parts.Version+1)
	l.value[id] = v
	l.add(model.LicenceAmend, id, "bj-scjg", l.state[id], &model.AmendBody{Act: act, How: model.ChangeOf, Previous: was, Value: v})
}

// rig is an index that runs.
type rig struct {
	t    *testing.T
	log  *fakeLog
	x    *Index
	path string
	stop func()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, log: newFakeLog(), path: t.TempDir() + "/search.db"}
	r.start()
	return r
}

func (r *rig) start() {
	r.x = New(Config{Path: r.path, Log: r.log, Vault: r.log, Secret: make([]byte, 32), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.x.Run(ctx) }()
	r.stop = func() { cancel(); <-done }
	r.t.Cleanup(r.stop)
}

// caughtUp waits until the index reflects the whole log.
func (r *rig) caughtUp() {
	r.t.Helper()
	r.until("the index catches up", func(s Status) bool { return !s.Rebuilding && s.Next == s.Of })
}

func (r *rig) until(what string, ok func(Status) bool) {
	r.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok(r.x.Status()) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not within a minute: %+v", what, r.x.Status())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// patience is how long a page may take in tests, which share the machine.
const patience = time.Minute

const today = model.Date("2026-11-24")

var everyone = []model.AgencyID{"bj-scjg", "bj-cy", "tj-scjg"}

func (r *rig) find(s sdk.LicenceSearch, see ...model.AgencyID) []model.RecordID {
	r.t.Helper()
	var out []model.RecordID
	q := &Query{LicenceSearch: s, See: see, Today: today}
	if s.Owner != "" {
		q.Owners = []model.AgencyID{s.Owner}
	}
	if s.Issuer != "" {
		q.Issuers = []model.USCC{model.USCC(s.Issuer)}
	}
	counted, more := 0, false
	for after := ""; ; {
		f, err := r.x.page(context.Background(), q, after, 7, after == "", patience)
		if err != nil {
			r.t.Fatalf("%s: %v", s.Query().Encode(), err)
		}
		if after == "" {
			counted, more = f.Count, f.More
		}
		for _, l := range f.Licences {
			out = append(out, l.Record)
		}
		if after = f.Next; after == "" {
			if !more && counted != len(out) {
				r.t.Errorf("%s: counted %d, found %d", s.Query().Encode(), counted, len(out))
			}
			return out
		}
	}
}
