package push

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what all sources do. Labels are bounded: sources stand in the configuration, states are States.
type Metrics struct {
	answers  *prometheus.CounterVec
	failures *prometheus.CounterVec
	degraded *prometheus.GaugeVec
}

// NewMetrics makes the metrics; Collectors are to be registered.
func NewMetrics() *Metrics {
	return &Metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_push_answers_total", Help: "Answers given to operations that were pushed in, by source and state; one operation may be answered accepted and then committed.",
		}, []string{"source", "state"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_push_failures_total", Help: "Times that a source could not be worked off and was tried again.",
		}, []string{"source"}),
		degraded: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "zhenglian_push_degraded", Help: "1 while a source cannot be worked off.",
		}, []string{"source"}),
	}
}

// Collectors lists the metrics.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.answers, m.failures, m.degraded}
}

// Watch tells how one source is. Safe for concurrent use.
type Watch struct {
	Source  string
	metrics *Metrics

	mu      sync.Mutex
	trouble error // under mu; nil while the source is well
}

// NewWatch begins with a source that is well.
func NewWatch(source string, m *Metrics) *Watch {
	m.degraded.WithLabelValues(source).Set(0)
	m.failures.WithLabelValues(source)
	for _, s := range States {
		m.answers.WithLabelValues(source, string(s))
	}
	return &Watch{Source: source, metrics: m}
}

// Failed says that the source could not be worked off.
func (w *Watch) Failed(err error) {
	w.metrics.failures.WithLabelValues(w.Source).Inc()
	w.set(err)
}

// Well says that the source was worked off.
func (w *Watch) Well() { w.set(nil) }

func (w *Watch) set(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trouble = err
	v := 0.0
	if err != nil {
		v = 1
	}
	w.metrics.degraded.WithLabelValues(w.Source).Set(v)
}

// Trouble is why the source cannot be worked off, nil if it can.
func (w *Watch) Trouble() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trouble
}

// Answered counts an answer.
func (w *Watch) Answered(s State) { w.metrics.answers.WithLabelValues(w.Source, string(s)).Inc() }
