package httpapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// metrics of the API. docs/ops/metrics.md lists them; a test holds the list to what is registered.
// Labels are bounded: routes are the table's, codes are the model's.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refusals *prometheus.CounterVec
	inFlight prometheus.Gauge
	streams  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_http_requests_total", Help: "Requests answered, by route and class of status.",
		}, []string{"route", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "zhenglian_http_request_duration_seconds", Help: "Time from a request's header to its answer, by route.",
			Buckets: []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10},
		}, []string{"route"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_http_refusals_total", Help: "Requests answered with a problem, by its code.",
		}, []string{"code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "zhenglian_http_requests_in_flight", Help: "Requests being answered.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "zhenglian_http_event_streams", Help: "Clients that follow the stream of events.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.duration, m.refusals, m.inFlight, m.streams)
	}
	return m
}

// routeMetrics are one route's, looked up once.
type routeMetrics struct {
	class    [6]prometheus.Counter
	duration prometheus.Observer
}

func (m *metrics) route(rt *route) *routeMetrics {
	r := &routeMetrics{duration: m.duration.WithLabelValues(rt.pattern())}
	for i, class := range []string{"aborted", "1xx", "2xx", "3xx", "4xx", "5xx"} {
		r.class[i] = m.requests.WithLabelValues(rt.pattern(), class)
	}
	return r
}

func (r *routeMetrics) observe(status int, took time.Duration) {
	if status < 100 || status > 599 {
		status = 0 // the handler gave up without an answer: the client was gone
	}
	r.class[status/100].Inc()
	r.duration.Observe(took.Seconds())
}

func (m *metrics) refused(code model.Code) {
	if !code.Known() {
		code = model.CodeInternal
	}
	m.refusals.WithLabelValues(string(code)).Inc()
}
