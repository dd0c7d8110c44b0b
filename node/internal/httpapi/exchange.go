package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// exchange is one request and its answer. It is pooled: nothing keeps it after the handler returned.
type exchange struct {
	http.ResponseWriter
	r      *http.Request
	api    *API
	rt     *route
	caller Caller // nil on open routes
	id     string
	status int
	visit  visit // what the access log is told

	code   model.Code                        // of the problem that was answered, if one was
	traced func(status int, code model.Code) // ends the request's span; nil: nobody follows it

	decision Decision // the latest; of a request that is refused the one that refused it
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// handler answers an exchange, or returns the error to answer with; then it has written nothing.
type handler func(x *exchange) error

func (x *exchange) WriteHeader(status int) {
	if x.status != 0 {
		return
	}
	if err := x.note(status); err != nil {
		x.withhold(err)
		return
	}
	x.status = status
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	if v := &x.visit; v.noted && len(v.records) > 0 { // a long answer goes on
		x.flush()
	}
	if x.visit.withheld || x.visit.failed != nil {
		return 0, errWithheld
	}
	return x.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Headers that every answer has. The slices are shared and never changed.
var (
	noStore   = []string{"no-store"}
	noSniff   = []string{"nosniff"}
	noFrames  = []string{"default-src 'none'; frame-ancestors 'none'"}
	noReferer = []string{"no-referrer"}
	jsonType  = []string{"application/json"}
	problems  = []string{"application/problem+json"}
)

// wrap is the way of every request: an id, headers, the caller, limits, rights, the handler, the count.
func (a *API) wrap(rt *route, h handler) http.Handler {
	m := a.metrics.route(rt)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		x := exchanges.Get().(*exchange)
		*x = exchange{ResponseWriter: w, r: r, api: a, rt: rt, id: a.nextID(), visit: visit{records: x.visit.records[:0]}}
		header := w.Header()
		header["Cache-Control"] = noStore
		header["Content-Security-Policy"] = noFrames
		header["Referrer-Policy"] = noReferer
		header["X-Content-Type-Options"] = noSniff
		header["X-Request-Id"] = []string{x.id}
		a.metrics.inFlight.Inc()
		defer func() {
			p := recover()
			if p != nil && p != http.ErrAbortHandler {
				a.log.Error("a handler panicked", "request", x.id, "route", rt.pattern(), "panic", p, "stack", string(debug.Stack()))
				if x.status == 0 {
					x.fail(model.E(model.CodeInternal))
				}
			}
			if p == nil && x.status == 0 && x.caller != nil {
				x.WriteHeader(http.StatusOK) // as the server would, but not unlogged
			}
			a.metrics.inFlight.Dec()
			m.observe(x.status, time.Since(start))
			if x.traced != nil {
				x.traced(x.status, x.code)
			}
			*x = exchange{visit: visit{records: x.visit.records[:0]}} // the room is kept, nothing in it
			exchanges.Put(x)
			if p == http.ErrAbortHandler {
				panic(p)
			}
		}()
		err := x.admit()
		if a.tracer != nil {
			x.follow(start)
		}
		if err == nil {
			err = h(x)
		}
		if err != nil {
			x.fail(err)
		}
	})
}

// admit signs the caller in and holds him to rates and rights.
func (x *exchange) admit() error {
	gate := x.api.gate
	if x.rt.open {
		if x.rt.unlimited {
			return nil
		}
		if wait := gate.TakeOpen(x.r, x.rt.path); wait > 0 {
			return limited{wait}
		}
		return nil
	}
	if wait := gate.Wait(x.r); wait > 0 {
		x.api.access.Count(http.StatusUnauthorized)
		return limited{wait}
	}
	caller, err := gate.SignIn(x.r)
	if err != nil {
		x.api.access.Count(http.StatusUnauthorized)
		// A failed sign-in counts against the address: keys are not to be guessed at line speed.
		if wait := gate.TakeFailed(x.r); wait > 0 {
			return limited{wait}
		}
		return err
	}
	if wait := gate.TakeCaller(caller.ID()); wait > 0 {
		x.api.access.Count(http.StatusTooManyRequests) // a caller that asks too much must not fill the log
		return limited{wait}
	}
	if err := x.api.access.Ready(); err != nil {
		return err
	}
	x.caller = caller
	if x.rt.action != "" {
		return x.decide(x.rt.action, "")
	}
	return nil
}

// decide holds the caller to the policies: whether he may do an action on what belongs to an agency, "" for what
// belongs to none in particular. A denial says nothing more.
func (x *exchange) decide(action string, owner model.AgencyID) error {
	x.asked(action)
	if x.decision = x.caller.Decide(action, owner); !x.decision.Allowed {
		return model.E(model.CodeForbidden)
	}
	return nil
}

// fail answers with a problem. Failures of the node itself are logged with their cause; requests' bodies,
// keys and values never are.
func (x *exchange) fail(err error) {
	p := problemOf(err)
	x.code = p.Code
	if p.Status == http.StatusInternalServerError {
		x.api.log.Error("a request failed", "request", x.id, "route", x.rt.pattern(), "error", err)
	}
	x.api.metrics.refused(p.Code)
	h := x.Header()
	setErrorHeaders(h, err, p.Status)
	h["Content-Type"] = problems
	var b []byte
	if x.rt.envelope {
		h["Content-Type"], b = jsonType, elsspProblem(p)
	} else {
		b = appendProblem(nil, p)
	}
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	x.WriteHeader(p.Status)
	_, _ = x.Write(b) // the client may be gone; there is nobody to tell
}

// answer writes JSON that is already encoded.
func (x *exchange) answer(status int, body []byte) {
	h := x.Header()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.WriteHeader(status)
	_, _ = x.Write(body)
}

// answerValue writes a value of a route that is not hot.
func (x *exchange) answerValue(status int, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	x.answer(status, buf.Bytes())
	return nil
}

// body reads the request's body into buf, bounded by the route's limit.
func (x *exchange) body(buf []byte) ([]byte, error) {
	limit := x.rt.limit
	if x.r.ContentLength > int64(limit) {
		return nil, model.E(model.CodeTooLarge).With("at most %d bytes", limit)
	}
	if enc := x.r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, model.E(model.CodeBadValue, "Content-Encoding")
	}
	if n := int(x.r.ContentLength) + 1; n > cap(buf) { // one more, to see the end without growing
		buf = make([]byte, 0, n)
	}
	if cap(buf) == 0 {
		buf = make([]byte, 0, 4096)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := x.r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > limit {
			return nil, model.E(model.CodeTooLarge).With("at most %d bytes", limit)
		}
		switch {
		case errors.Is(err, io.EOF):
			if len(buf) == 0 {
				return nil, model.E(model.CodeInvalidJSON).With("the body is empty")
			}
			return buf, nil
		case err != nil: // cut, or slower than the server's read timeout
			return nil, model.E(model.CodeInvalidJSON).With("the body ends early")
		}
	}
}

// decode reads a small body strictly.
func (x *exchange) decode(v any) ([]byte, error) {
	raw, err := x.body(nil)
	if err != nil {
		return nil, err
	}
	_, err = model.DecodeStrict(raw, v)
	return raw, err
}

// buffers are reused for bodies and answers of the hot read route.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

const keepBuffer = 1 << 20

func putBuffer(p *[]byte, b []byte) {
	if cap(b) <= keepBuffer {
		*p = b[:0]
		buffers.Put(p)
	}
}

// nextID numbers requests: a random part of this run and a count.
func (a *API) nextID() string {
	var b [40]byte
	return string(strconv.AppendUint(append(b[:0], a.run...), a.requests.Add(1), 10))
}

// Handler errors of huma's routes pass through here on their way out.
func (a *API) refuse(ctx context.Context, rt *route, err error) error {
	p := problemOf(err)
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		x.code = p.Code
	}
	if p.Status == http.StatusInternalServerError {
		a.log.Error("a request failed", slog.String("route", rt.pattern()), slog.Any("error", err))
	}
	a.metrics.refused(p.Code)
	return (*problemError)(p)
}
