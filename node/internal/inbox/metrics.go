package inbox

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the inbox's own; the owner of the process registers them through Collectors.
type metrics struct {
	waiting prometheus.GaugeFunc
	oldest  prometheus.GaugeFunc
	unsent  prometheus.GaugeFunc
	bytes   prometheus.GaugeFunc
	held    *prometheus.CounterVec
	decided *prometheus.CounterVec
}

func newMetrics(in *Inbox) *metrics {
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zhenglian_inbox_" + name, Help: help}, value)
	}
	m := &metrics{
		waiting: gauge("drafts", "Requests that wait for another person's approval.", func() float64 {
			n, _ := in.Waiting()
			return float64(n)
		}),
		oldest: gauge("oldest_age_seconds", "Age of the oldest of them, 0 when there is none.", func() float64 {
			_, at := in.Waiting()
			if at.IsZero() {
				return 0
			}
			return max(0, in.cfg.Clock().Sub(at).Seconds())
		}),
		unsent: gauge("unsent", "Approved requests that have not reached the outbox yet.", func() float64 {
			in.mu.Lock()
			defer in.mu.Unlock()
			return float64(len(in.unsent))
		}),
		bytes: gauge("bytes", "Bytes of what the waiting requests ask for.", func() float64 {
			in.mu.Lock()
			defer in.mu.Unlock()
			return float64(in.bytes)
		}),
		held: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_inbox_held_total", Help: "Requests that were made to wait, by rule.",
		}, []string{"rule"}),
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_inbox_decided_total", Help: "Requests that wait no longer, by what became of them.",
		}, []string{"state"}),
	}
	for r := range Rules {
		m.held.WithLabelValues(string(r))
	}
	for _, s := range states[1:] {
		m.decided.WithLabelValues(string(s))
	}
	return m
}

// Collectors are the inbox's metrics.
func (in *Inbox) Collectors() []prometheus.Collector {
	m := in.metrics
	return []prometheus.Collector{m.waiting, m.oldest, m.unsent, m.bytes, m.held, m.decided}
}
