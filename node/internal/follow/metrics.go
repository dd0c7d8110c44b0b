package follow

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the follower's own; docs/ops/metrics.md lists them.
type metrics struct {
	all      []prometheus.Collector
	height   prometheus.Gauge
	position prometheus.Gauge
	source   prometheus.Gauge
	blocks   prometheus.Counter
	leaves   prometheus.Counter
	failures prometheus.Counter
	silences prometheus.Counter
	refusals prometheus.Counter
}

func newMetrics(f *Follower) *metrics {
	m := &metrics{
		height: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "zhenglian_follow_height_blocks", Help: "Blocks applied to this node's records."}),
		position: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "zhenglian_follow_position_leaves", Help: "Leaves of the log applied to this node's records."}),
		source: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "zhenglian_follow_ledger_height_blocks", Help: "Blocks that the ledger had when last asked."}),
		blocks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_follow_blocks_total", Help: "Blocks verified and applied since the start."}),
		leaves: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_follow_leaves_total", Help: "Operations verified and applied since the start."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_follow_failures_total", Help: "Times that following failed and was tried again."}),
		silences: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_follow_silences_total", Help: "Times that a source kept silent about blocks that there are and was left for another."}),
		refusals: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_follow_refusals_total", Help: "Times that what a source gave did not check and it was left for another for good."}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "zhenglian_follow_age_seconds", Help: "Time since this node last knew that it was at the ledger's head; +Inf before the first time.",
	}, func() float64 {
		if d := f.Age(); d != math.MaxInt64 {
			return d.Seconds()
		}
		return math.Inf(1)
	})
	finding := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "zhenglian_follow_findings", Help: "1 when a fault of the ledger has stopped the follower.",
	}, func() float64 {
		if f.Finding() != nil {
			return 1
		}
		return 0
	})
	m.all = []prometheus.Collector{m.height, m.position, m.source, m.blocks, m.leaves, m.failures, m.silences, m.refusals, age, finding}
	return m
}

func (m *metrics) at(height, position uint64) {
	m.height.Set(float64(height))
	m.position.Set(float64(position))
}

func (m *metrics) ledger(height uint64) { m.source.Set(float64(height)) }

func (m *metrics) committed(blocks, leaves int, height, position uint64) {
	m.blocks.Add(float64(blocks))
	m.leaves.Add(float64(leaves))
	m.at(height, position)
}

// Collectors are the follower's metrics, for the node's registry.
func (f *Follower) Collectors() []prometheus.Collector { return f.metrics.all }
