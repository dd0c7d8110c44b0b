package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unicode/utf8"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// A simulation is one run of the contract over one proposal: it reads the state as of the last committed block and
// gathers what it read and what it would write. It changes nothing.
type simulation struct {
	proposal *proposal
	state    view
	store    *store
	set      *readWriteSet
	event    *peer.ChaincodeEvent
	limit    int // results of one query

	wrote     bool // a write was made: paged queries are refused from then on
	paged     bool // a paged query was made: writes are refused from then on
	iterators []*scanner
	expired   atomic.Bool // the deadline has passed: every call fails
}

var errExpired = errors.New("the contract's time is up")

// outcome is what a simulation came to.
type outcome struct {
	response *peer.Response
	rwset    []byte
	event    []byte
}

// simulate runs the contract. It returns when the contract has answered, or when ctx or the execution limit ends; a
// contract that goes on regardless keeps its place among the running ones until it ends, and its answer is dropped.
//
// A panic of the contract is an error, as is a nil response.
func (l *Ledger) simulate(ctx context.Context, p *proposal) (*outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Limits.Execution)
	defer cancel()
	select {
	case l.running <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	snapshot, err := l.store.state.GetSnapshot()
	if err != nil {
		<-l.running
		return nil, err
	}
	sim := &simulation{
		proposal: p, state: view{snapshot}, store: l.store,
		set: newReadWriteSet(l.cfg.Chaincode), limit: l.cfg.Limits.QueryResults,
	}
	type answer struct {
		outcome *outcome
		err     error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-l.running }()
		out, err := sim.run(l, snapshot)
		done <- answer{out, err}
	}()
	select {
	case a := <-done:
		return a.outcome, a.err
	case <-ctx.Done():
		sim.expired.Store(true)
		return nil, fmt.Errorf("the contract did not answer in time: %w", ctx.Err())
	}
}

func (sim *simulation) run(l *Ledger, snapshot *leveldb.Snapshot) (out *outcome, err error) {
	defer func() {
		for _, it := range sim.iterators {
			it.close()
		}
		snapshot.Release()
		if p := recover(); p != nil {
			l.metrics.panics.Inc()
			l.cfg.Logger.Error("contract panicked", "tx", sim.proposal.txID, "panic", p, "stack", string(debug.Stack()))
			out, err = nil, fmt.Errorf("the contract panicked: %v", p)
		}
	}()
	s := &stub{sim: sim}
	response := l.cfg.Contract.Invoke(s)
	if response == nil {
		return nil, errors.New("the contract gave no response")
	}
	if !utf8.ValidString(response.GetMessage()) {
		return nil, errors.New("the contract's message is not a valid utf8 string")
	}
	if err := s.flush(); err != nil {
		return nil, err
	}
	out = &outcome{response: response, rwset: sim.set.encode()}
	if sim.event != nil {
		out.event = marshal(sim.event)
	}
	return out, nil
}

// get reads one key and records the version seen.
func (sim *simulation) get(key string) ([]byte, error) {
	if sim.expired.Load() {
		return nil, errExpired
	}
	if !utf8.ValidString(key) {
		return nil, fmt.Errorf("not a valid utf8 string: [%x]", key)
	}
	value, version, err := sim.state.get(sim.set.namespace, key)
	if err != nil {
		return nil, err
	}
	sim.set.read(key, version)
	return value, nil
}

func errPaged(txID string) error {
	return fmt.Errorf("txid [%s]: paginated queries are supported only in a read-only transaction", txID)
}

// put records one write; an empty value deletes.
func (sim *simulation) put(key string, value []byte) error {
	if sim.expired.Load() {
		return errExpired
	}
	if sim.paged {
		return errPaged(sim.proposal.txID)
	}
	sim.wrote = true
	sim.set.write(key, value)
	return nil
}

// query opens a range and records what is read of it.
func (sim *simulation) query(start, end string) (*recordedRange, error) {
	if sim.expired.Load() {
		return nil, errExpired
	}
	if !utf8.ValidString(start) || !utf8.ValidString(end) {
		return nil, fmt.Errorf("not a valid utf8 string: [%x] or [%x]", start, end)
	}
	sc := sim.state.scan(sim.set.namespace, start, end, false)
	sim.iterators = append(sim.iterators, sc)
	q := &rangeQuery{start: start, seen: newRangeReads(maxDegree)}
	sim.set.ranges = append(sim.set.ranges, q)
	return &recordedRange{sim: sim, scan: sc, query: q, end: end}, nil
}

// recordedRange walks over a range and keeps the simulation's record of it true to what was handed out.
type recordedRange struct {
	sim   *simulation
	scan  *scanner
	query *rangeQuery
	end   string
}

func (r *recordedRange) next() (key string, value []byte, ok bool, err error) {
	if r.sim.expired.Load() {
		return "", nil, false, errExpired
	}
	if r.query.exhausted {
		return "", nil, false, nil
	}
	key, value, version, ok, err := r.scan.next()
	if err != nil {
		return "", nil, false, err
	}
	if !ok {
		r.query.exhausted, r.query.end = true, r.end
		return "", nil, false, nil
	}
	r.query.seen.add(key, version)
	r.query.end = key
	return key, append([]byte(nil), value...), true, nil
}

// history opens the versions of a key, newest first. It leaves no record: history is not validated.
func (sim *simulation) history(key string) (*historyScan, error) {
	if sim.expired.Load() {
		return nil, errExpired
	}
	prefix := appendHistoryPrefix(nil, sim.set.namespace, key)
	it := sim.state.db.NewIterator(util.BytesPrefix(prefix), nil)
	sc := &scanner{it: it}
	sim.iterators = append(sim.iterators, sc)
	return &historyScan{sim: sim, key: key, prefix: prefix, it: it}, nil
}

var _ committed = (*store)(nil)

// findWrite is what tx did to a key.
func findWrite(tx *fabblock.Tx, namespace, key string) (fabblock.Write, bool) {
	for _, w := range tx.Writes {
		if w.Namespace == namespace && w.Key == key {
			return w, true
		}
	}
	return fabblock.Write{}, false
}
