package telemetry

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	room     = 2048            // spans that wait; what comes while there are so many is dropped
	most     = 512             // spans in one request to the collector
	gather   = time.Second     // spans wait for company so long
	deadline = 5 * time.Second // of one request to the collector
	farewell = 2 * time.Second // of what is sent when the node stops
)

// sender brings spans to the collector, each once: what cannot be queued or is not taken is dropped and counted. It is
// the provider's span processor; the SDK's own does not tell what it drops.
type sender struct {
	exporter sdktrace.SpanExporter
	log      *slog.Logger
	spans    chan sdktrace.ReadOnlySpan
	ctx      context.Context // ends what is being sent
	cancel   context.CancelFunc
	stop     chan struct{}
	stopOnce sync.Once
	ended    chan struct{}
	trouble  atomic.Pointer[string] // of the last request to the collector; nil: it was taken

	sent, dropped prometheus.Counter
}

func newSender(c Config) (*sender, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(u.String()),
		otlptracehttp.WithHTTPClient(&http.Client{
			Timeout: deadline,
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment, // never asked about this machine
				DialContext:         (&net.Dialer{Timeout: deadline}).DialContext,
				TLSClientConfig:     &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout: deadline,
				ForceAttemptHTTP2:   true,
				MaxIdleConnsPerHost: 1,
				IdleConnTimeout:     time.Minute,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}),
		otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithHeaders(map[string]string{}), // the configuration is one file: nothing from the environment
		otlptracehttp.WithMaxResponseSize(64<<10),
	)
	if err != nil {
		return nil, err
	}
	s := &sender{
		exporter: exporter, log: c.Logger, spans: make(chan sdktrace.ReadOnlySpan, room), stop: make(chan struct{}), ended: make(chan struct{}),
		sent:    prometheus.NewCounter(prometheus.CounterOpts{Name: "zhenglian_telemetry_spans_sent_total", Help: "Spans that the collector took."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "zhenglian_telemetry_spans_dropped_total", Help: "Spans that were dropped because the collector is down or slow."}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	go s.run()
	return s, nil
}

// OnStart does nothing.
func (s *sender) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues a span, or drops it. It never waits.
func (s *sender) OnEnd(span sdktrace.ReadOnlySpan) {
	select {
	case s.spans <- span:
	default:
		s.dropped.Inc()
	}
}

// ForceFlush does nothing: nobody asks for it.
func (s *sender) ForceFlush(context.Context) error { return nil }

// Shutdown sends what waits, within the time of a farewell.
func (s *sender) Shutdown(ctx context.Context) error {
	s.stopOnce.Do(func() { close(s.stop) })
	t := time.AfterFunc(farewell, s.cancel)
	defer t.Stop()
	<-s.ended
	s.cancel()
	return s.exporter.Shutdown(ctx)
}

func (s *sender) run() {
	defer close(s.ended)
	tick := time.NewTicker(gather)
	defer tick.Stop()
	batch := make([]sdktrace.ReadOnlySpan, 0, most)
	send := func() {
		if len(batch) > 0 {
			s.send(batch)
			clear(batch)
			batch = batch[:0]
		}
	}
	for {
		select {
		case span := <-s.spans:
			if batch = append(batch, span); len(batch) == most {
				send()
			}
		case <-tick.C:
			send()
		case <-s.stop:
			for {
				select {
				case span := <-s.spans:
					if batch = append(batch, span); len(batch) == most {
						send()
					}
				default:
					send()
					return
				}
			}
		}
	}
}

// send is one request to the collector. What it refuses, wholly or in part, counts as dropped.
func (s *sender) send(batch []sdktrace.ReadOnlySpan) {
	ctx, cancel := context.WithTimeout(s.ctx, deadline)
	defer cancel()
	err := s.exporter.ExportSpans(ctx, batch)
	if err != nil {
		s.dropped.Add(float64(len(batch)))
		text := err.Error()
		text = strings.ToValidUTF8(text[:min(len(text), 400)], "") // it holds what the collector answered
		if s.trouble.Swap(&text) == nil {
			s.log.Warn("traces are not taken; spans are dropped", "error", text)
		}
		return
	}
	s.sent.Add(float64(len(batch)))
	if s.trouble.Swap(nil) != nil {
		s.log.Info("traces are taken again")
	}
}

// Trouble is what the last request to the collector failed with, "" if it did not.
func (t *Telemetry) Trouble() string {
	if text := t.sender.trouble.Load(); text != nil {
		return *text
	}
	return ""
}

// Collectors are the metrics.
func (t *Telemetry) Collectors() []prometheus.Collector {
	return []prometheus.Collector{t.sender.sent, t.sender.dropped}
}

// Close sends what waits, for 2 s at most. Spans that end later are dropped.
func (t *Telemetry) Close() error { return t.sender.Shutdown(context.Background()) }
