package httpapi

import (
	"context"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Tracer follows some of the requests. Safe for concurrent use; it waits for nobody.
type Tracer interface {
	// Request is told of a request that began at start and has been admitted or refused: its route's method and path,
	// with names where ids stand, and its id. parent is the traceparent of a caller who is signed in, "" for none.
	// Where the request is followed, end is not nil and is called with the answer's status, 0 where there was none, and
	// its error code, "" where there was none; the context is handed on to Intake.
	Request(ctx context.Context, method, route, id string, start time.Time, parent string) (_ context.Context, end func(status int, code model.Code))
}

// follow has the tracer follow the request, or not.
func (x *exchange) follow(start time.Time) {
	var parent string
	if h := x.r.Header["Traceparent"]; x.caller != nil && len(h) == 1 { // nobody else says to whose trace ours belongs
		parent = h[0]
	}
	ctx, end := x.api.tracer.Request(x.r.Context(), x.rt.method, x.rt.path, x.id, start, parent)
	if end != nil {
		x.r, x.traced = x.r.WithContext(ctx), end
	}
}
