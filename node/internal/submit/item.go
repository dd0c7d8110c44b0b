package submit

import (
	"strconv"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// record identifies what an operation acts on.
type record struct {
	kind model.Kind
	id   model.RecordID
}

// item is one accepted operation until it is settled. Its fields are guarded by the submitter's mutex,
// except raw, which belongs to the flight that carries the item.
type item struct {
	id      model.OpID
	record  record
	version uint64
	keys    []string // model.Touches
	raw     []byte   // canonical form; its time is overwritten at each proposal
	timeAt  int      // where the time stands in raw

	order    uint64    // place in the queue, from acceptance
	since    time.Time // when it was last queued
	after    time.Time // not to be sent before
	limit    int       // the most operations it may travel with, 0 for no limit
	attempts int       // failures that were its own or its transaction's

	request any // what the tracer said of the request that it came with; nil: nobody follows it

	prev, next *item
	queued     bool
	sibling    *item // the next that waits on the same record, in no order

	waiter  *waiter   // the first to wait; a list only for more
	waiters []*waiter // the others

	settled bool
	outcome model.Outcome
}

const timeLength = len("2006-01-02T15:04:05.000Z")

func newItem(op *model.Operation, raw []byte) *item {
	it := &item{
		id: op.ID, record: record{op.Kind, op.Record}, version: op.Version, keys: model.Touches(op), raw: raw,
	}
	tail := len(`","type":"`) + len(op.Type) + len(`","version":`) + len(strconv.FormatUint(op.Version, 10)) + len(`}`)
	it.timeAt = len(raw) - tail - timeLength
	it.outcome = model.Outcome{Operation: op.ID, Status: model.Pending, Kind: op.Kind, Record: op.Record, Version: op.Version}
	return it
}

// stamp gives the operation the time of a proposal. Its digest is fixed by that.
func (it *item) stamp(now string) { copy(it.raw[it.timeAt:it.timeAt+timeLength], now) }

// queue holds items in order of acceptance, as a linked list because transactions take them from anywhere.
type queue struct {
	first, last *item
	length      int
	bytes       int
	order       uint64 // the last given
}

// push puts a new item at the end.
func (q *queue) push(it *item) {
	q.order++
	it.order = q.order
	q.insert(it, q.last)
}

// put returns an item to its place.
func (q *queue) put(it *item) {
	// What comes back was taken from near the front.
	var before *item
	for at := q.first; at != nil && at.order < it.order; at = at.next {
		before = at
	}
	q.insert(it, before)
}

func (q *queue) insert(it, before *item) {
	it.prev = before
	if before == nil {
		it.next, q.first = q.first, it
	} else {
		it.next, before.next = before.next, it
	}
	if it.next == nil {
		q.last = it
	} else {
		it.next.prev = it
	}
	it.queued = true
	q.length++
	q.bytes += len(it.raw)
}

func (q *queue) remove(it *item) {
	if it.prev == nil {
		q.first = it.next
	} else {
		it.prev.next = it.next
	}
	if it.next == nil {
		q.last = it.prev
	} else {
		it.next.prev = it.prev
	}
	it.prev, it.next, it.queued = nil, nil, false
	q.length--
	q.bytes -= len(it.raw)
}

// addSibling and forgetSibling keep the list of items of one record; mu is held.
func (s *Submitter) addSibling(it *item) {
	it.sibling = s.onRecord[it.record]
	s.onRecord[it.record] = it
}

func (s *Submitter) forgetSibling(it *item) {
	first := s.onRecord[it.record]
	if first == it {
		if it.sibling == nil {
			delete(s.onRecord, it.record)
		} else {
			s.onRecord[it.record] = it.sibling
		}
		return
	}
	for at := first; at != nil; at = at.sibling {
		if at.sibling == it {
			at.sibling = it.sibling
			return
		}
	}
}
