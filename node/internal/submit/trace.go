package submit

import "context"

// Tracer follows the operations of some requests into their transactions. Safe for concurrent use; it waits for nobody.
type Tracer interface {
	// Traced is what Transaction wants to know of the request of a context; nil where nobody follows it.
	Traced(ctx context.Context) any
	// Transaction is told that a transaction begins, and which requests that are followed its operations came with, in
	// their order, an element for each operation. Step is called as the transaction goes on, perhaps twice with the
	// same, end once it is known what becomes of it; end may come while step is called, and step after end.
	Transaction(requests []any, operations int) (step, end func(string))
}

// The steps of a transaction, and what becomes of one that no block shows. Else it is a validation code.
const (
	stepPropose = "propose" // until it is endorsed
	stepStore   = "store"   // until the envelope is on the disk
	stepOrder   = "order"   // until the ledger has said that it took it, or a block shows it
	stepCommit  = "commit"  // until it is applied here

	resultNotSent   = "not_sent" // its operations were refused or put back
	resultAbandoned = "abandoned"
	resultStopped   = "stopped" // the node; it goes on after the start
)

// trace is how a flight is followed; the zero value is of one that is not.
type trace struct{ step, done func(string) }

func (t trace) to(step string) {
	if t.step != nil {
		t.step(step)
	}
}

func (t trace) end(result string) {
	if t.done != nil {
		t.done(result)
	}
}

// follow has the tracer follow a flight with operations of requests that it follows.
func (s *Submitter) follow(f *flight) {
	if s.cfg.Tracer == nil {
		return
	}
	var requests []any
	for _, it := range f.items {
		if it.request != nil {
			requests = append(requests, it.request)
		}
	}
	if len(requests) > 0 {
		f.trace.step, f.trace.done = s.cfg.Tracer.Transaction(requests, len(f.items))
	}
}
