package outbox

import (
	"container/list"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// index knows the pending operations. A request's entry on the disk goes when the last of its operations
// has left.
type index struct {
	ops      map[model.OpID]entry
	requests *list.List // of *request, in order of acceptance
	bytes    int
}

type entry struct {
	request *request
	kind    model.Kind
	record  model.RecordID
	version uint64
}

type request struct {
	seq      uint64
	left     int
	bytes    int // of all its operations, counted until the last has left
	accepted time.Time
	place    *list.Element
	refused  []model.OpID // of its operations
}

func newIndex() index { return index{ops: map[model.OpID]entry{}, requests: list.New()} }

func (x *index) add(seq uint64, ops []model.Operation, bytes int) *request {
	r := &request{seq: seq, left: len(ops), bytes: bytes, accepted: ops[0].Time.Time()}
	r.place = x.requests.PushBack(r)
	x.bytes += bytes
	for i := range ops {
		op := &ops[i]
		x.ops[op.ID] = entry{r, op.Kind, op.Record, op.Version}
	}
	return r
}

// remove takes an operation out; when it was its request's last, the request is returned.
func (x *index) remove(id model.OpID) *request {
	e, ok := x.ops[id]
	if !ok {
		return nil
	}
	delete(x.ops, id)
	if e.request.left--; e.request.left > 0 {
		return nil
	}
	x.requests.Remove(e.request.place)
	x.bytes -= e.request.bytes
	return e.request
}

func (x *index) oldest() time.Time {
	if first := x.requests.Front(); first != nil {
		return first.Value.(*request).accepted
	}
	return time.Time{}
}
