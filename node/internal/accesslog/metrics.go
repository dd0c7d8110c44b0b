package accesslog

import "github.com/prometheus/client_golang/prometheus"

// metrics of the access log. docs/ops/metrics.md lists them.
type metrics struct {
	entries prometheus.Counter
	bytes   prometheus.Counter
	failed  prometheus.Gauge
	group   prometheus.Histogram
	sync    prometheus.Histogram
}

func newMetrics() *metrics {
	return &metrics{
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_accesslog_entries_total", Help: "Entries written to the access log.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_accesslog_written_bytes_total", Help: "Bytes of those entries.",
		}),
		failed: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "zhenglian_accesslog_unavailable", Help: "1 while the access log cannot be written and signed-in requests are refused.",
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zhenglian_accesslog_group_entries", Help: "Entries in one synced group.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		sync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zhenglian_accesslog_sync_seconds", Help: "Time to write and sync one group.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12),
		}),
	}
}

// Collectors are the log's metrics, to be registered by who owns the registry.
func (l *Log) Collectors() []prometheus.Collector {
	m := l.metrics
	return []prometheus.Collector{m.entries, m.bytes, m.failed, m.group, m.sync}
}
