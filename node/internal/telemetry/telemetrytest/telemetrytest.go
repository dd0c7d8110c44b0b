// Package telemetrytest is an OpenTelemetry collector for tests: a real server on this machine that decodes what it is
// sent.
package telemetrytest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Span is a span as the collector was sent it. Ids are hexadecimal.
type Span struct {
	Name, Trace, ID, Parent string
	Links                   []string // ids of spans
	Attributes              map[string]string
	Resource                map[string]string
	Start, End              time.Time
}

// Collector takes traces at URL. Safe for concurrent use.
type Collector struct {
	URL    string
	Server *httptest.Server

	mu          sync.Mutex
	answer      int // status to answer with; 0: 200
	spans       []Span
	text        bytes.Buffer // all that came, as text, with headers
	connections int
}

// Start starts a collector, over TLS or not, which the test's end stops.
func Start(t testing.TB, overTLS bool) *Collector {
	c := &Collector{}
	c.Server = httptest.NewUnstartedServer(c)
	c.Server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.mu.Lock()
			c.connections++
			c.mu.Unlock()
		}
	}
	if overTLS {
		c.Server.StartTLS()
	} else {
		c.Server.Start()
	}
	c.URL = c.Server.URL
	t.Cleanup(c.Server.Close)
	return c
}

// Answer has the collector answer with a status from now on.
func (c *Collector) Answer(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = status
}

// Connections is how many connections were ever made.
func (c *Collector) Connections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connections
}

// Spans is what has come.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// Text is all that has come, headers and bodies, as text. Ids are hexadecimal.
func (c *Collector) Text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answer != 0 {
		w.WriteHeader(c.answer)
		return
	}
	var sent collector.ExportTraceServiceRequest
	if err := read(r, &sent); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.text.WriteString(r.URL.String() + "\n")
	_ = r.Header.Write(&c.text) // a buffer takes everything
	c.text.WriteString(protojson.Format(&sent) + "\n")
	for _, rs := range sent.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				span := Span{
					Name: s.Name, Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
					Attributes: attributes(s.Attributes), Resource: attributes(rs.Resource.GetAttributes()),
					Start: time.Unix(0, int64(s.StartTimeUnixNano)), End: time.Unix(0, int64(s.EndTimeUnixNano)),
				}
				for _, l := range s.Links {
					span.Links = append(span.Links, hex.EncodeToString(l.SpanId))
				}
				c.text.WriteString(span.Trace + " " + span.ID + " " + span.Parent + " " + strings.Join(span.Links, " ") + "\n")
				c.spans = append(c.spans, span)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func read(r *http.Request, into proto.Message) error {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return proto.Unmarshal(raw, into)
}

func attributes(list []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		switch v := kv.Value.GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			out[kv.Key] = strconv.FormatInt(v.IntValue, 10)
		default:
			out[kv.Key] = protojson.Format(kv.Value)
		}
	}
	return out
}
