package outbox

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the outbox's own; the owner of the process registers them through Collectors.
type metrics struct {
	operations  prometheus.GaugeFunc
	bytes       prometheus.GaugeFunc
	oldest      prometheus.GaugeFunc
	storageFull prometheus.Gauge
	quarantined prometheus.GaugeFunc
	refused     prometheus.Counter
	syncSeconds prometheus.Histogram
	groupWrites prometheus.Histogram
}

func newMetrics(o *Outbox) *metrics {
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zhenglian_outbox_" + name, Help: help}, value)
	}
	return &metrics{
		operations: gauge("operations", "Operations accepted and neither committed nor refused.", func() float64 {
			n, _, _ := o.Depth()
			return float64(n)
		}),
		bytes: gauge("bytes", "Bytes of those operations.", func() float64 {
			_, n, _ := o.Depth()
			return float64(n)
		}),
		oldest: gauge("oldest_age_seconds", "Age of the oldest of them, 0 when there is none.", func() float64 {
			_, _, at := o.Depth()
			if at.IsZero() {
				return 0
			}
			return max(0, o.cfg.Clock().Sub(at).Seconds())
		}),
		storageFull: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "zhenglian_outbox_storage_full", Help: "1 while nothing is accepted because the disk is full or failed.",
		}),
		quarantined: gauge("quarantined", "Accepted operations set aside because this build cannot read them.", func() float64 {
			return float64(o.Quarantined())
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_outbox_refused_total", Help: "Operations refused by the contract for good.",
		}),
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zhenglian_outbox_sync_seconds", Help: "Time to write and sync one group.",
			Buckets: prometheus.ExponentialBuckets((50 * time.Microsecond).Seconds(), 2, 14),
		}),
		groupWrites: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zhenglian_outbox_group_writes", Help: "Requests, refusals and envelopes in one group.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
	}
}

// Collectors are the outbox's metrics.
func (o *Outbox) Collectors() []prometheus.Collector {
	m := o.metrics
	return []prometheus.Collector{m.operations, m.bytes, m.oldest, m.storageFull, m.quarantined, m.refused, m.syncSeconds, m.groupWrites}
}
