// Package telemetry follows some of a node's requests, from the API to the ledger, and sends what it saw to an
// OpenTelemetry collector (OTLP over HTTP, https://opentelemetry.io/docs/specs/otlp/). A node without configuration has
// no Telemetry at all.
//
// What leaves the node are names that stand in this program, error codes, numbers, times, and the ids of requests and
// transactions: never paths with ids, queries, headers, bodies, names or keys. See docs/design/0025.
package telemetry

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Config says where spans go.
type Config struct {
	URL     string         // of the collector, see CheckURL
	Ratio   float64        // of requests that are followed, above 0 and at most 1
	Roots   *x509.CertPool // of the collector's certificate; nil: the system's
	Node    model.NodeID
	Version string       // of the program
	Logger  *slog.Logger // nil: slog.Default
}

// Check refuses what cannot be right.
func (c *Config) Check() error {
	if !(c.Ratio > 0 && c.Ratio <= 1) {
		return fmt.Errorf("ratio: above 0 and at most 1")
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("otlp: want https://host:port, without user, query or fragment")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("otlp: https only (plain http on this machine)")
}

// loopback reports whether a host is this machine itself.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// Telemetry follows requests. Safe for concurrent use; nothing but Close waits for anybody.
type Telemetry struct {
	ratio  float64
	tracer trace.Tracer
	sender *sender
}

// New starts to send. The collector need not be there.
func New(c Config) (*Telemetry, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	s, err := newSender(c)
	if err != nil {
		return nil, err
	}
	// Which requests are followed is decided in Request; what gets as far as the provider is wanted.
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(s), sdktrace.WithoutPanicRecording(),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "zhenglian"), attribute.String("service.instance.id", string(c.Node)),
			attribute.String("service.version", c.Version),
		)),
	)
	return &Telemetry{ratio: c.Ratio, tracer: provider.Tracer("zhenglian"), sender: s}, nil
}

// requestKey is where a context has the span of the request that it is of: a trace.Span.
type requestKey struct{}

// Request throws the dice for a request that began at start. Where it is followed, the context knows, and end is not nil:
// it ends the span with the answer's status, 0 where there was none, and its error code, "" where there was none.
//
// parent is the caller's traceparent (https://www.w3.org/TR/trace-context/), "" for none. It never decides whether a
// request is followed, nor do its flags: else callers could have all of theirs followed. A request that is followed
// continues the caller's trace where the caller says that it keeps it, and begins one of its own otherwise.
func (t *Telemetry) Request(ctx context.Context, method, route, id string, start time.Time, parent string) (_ context.Context, end func(status int, code model.Code)) {
	if rand.Float64() >= t.ratio {
		return ctx, nil
	}
	above := trace.ContextWithRemoteSpanContext(context.Background(), caller(parent))
	_, span := t.tracer.Start(above, strings.TrimSpace(method+" "+route), trace.WithTimestamp(start), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.String("http.route", route), attribute.String("zhenglian.request", id)))
	if method != "" {
		span.SetAttributes(attribute.String("http.request.method", method))
	}
	return context.WithValue(ctx, requestKey{}, span), func(status int, code model.Code) {
		if status != 0 {
			span.SetAttributes(attribute.Int("http.response.status_code", status))
		}
		fail(span, code)
		if status >= 500 {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// caller reads a traceparent. Its ids are hexadecimal digits of the caller's choice, so they are looked at like
// everything that would leave the node.
func caller(parent string) trace.SpanContext {
	sc := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": parent}))
	if !sc.IsSampled() || model.HoldsPersonalIdentifier(sc.TraceID().String()) || model.HoldsPersonalIdentifier(sc.SpanID().String()) {
		return trace.SpanContext{}
	}
	return sc
}

// fail gives a span its error code. Codes are the model's; an error's text may hold values and is never told.
func fail(span trace.Span, code model.Code) {
	if code == "" {
		return
	}
	if !code.Known() {
		code = model.CodeInternal
	}
	span.SetAttributes(attribute.String("error.type", string(code)))
}

// Accept begins the acceptance of a request's operations; end ends it, with its error. Where the request is not followed
// it does nothing.
func (t *Telemetry) Accept(ctx context.Context, operations int) (end func(error)) {
	request, ok := ctx.Value(requestKey{}).(trace.Span)
	if !ok {
		return func(error) {}
	}
	_, span := t.tracer.Start(trace.ContextWithSpan(context.Background(), request), "accept",
		trace.WithAttributes(attribute.Int("zhenglian.operations", operations)))
	return func(err error) {
		if err != nil {
			fail(span, model.AsError(err).Code)
		}
		span.End()
	}
}

// Traced is what Transaction wants to know of a request, nil where it is not followed.
func (t *Telemetry) Traced(ctx context.Context) any {
	if request, ok := ctx.Value(requestKey{}).(trace.Span); ok {
		return request.SpanContext()
	}
	return nil
}

// mostLinks is how many requests a transaction names.
const mostLinks = 32

// Transaction begins a transaction with operations of followed requests, what Traced said of them, at least one. It
// belongs to the trace of the first, and links to the others. Step ends the step before and begins another, unless it is
// the same; end ends all, with what became of the transaction, after which both do nothing.
func (t *Telemetry) Transaction(requests []any, operations int) (step func(name string), end func(result string)) {
	first := requests[0].(trace.SpanContext)
	seen := map[trace.SpanID]bool{first.SpanID(): true}
	var links []trace.Link
	for _, r := range requests[1:] {
		if sc := r.(trace.SpanContext); !seen[sc.SpanID()] && len(links) < mostLinks {
			seen[sc.SpanID()] = true
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	ctx, span := t.tracer.Start(trace.ContextWithSpanContext(context.Background(), first), "transaction", trace.WithLinks(links...),
		trace.WithAttributes(attribute.Int("zhenglian.operations", operations)))
	var mu sync.Mutex // steps are the batcher's, the end is mostly the follower's
	var current trace.Span
	named, ended := "", false
	step = func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if ended || name == named {
			return
		}
		named = name
		if current != nil {
			current.End()
		}
		_, current = t.tracer.Start(ctx, name)
	}
	return step, func(result string) {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return
		}
		ended = true
		if current != nil {
			current.End()
		}
		span.SetAttributes(attribute.String("zhenglian.result", result))
		span.End()
	}
}
