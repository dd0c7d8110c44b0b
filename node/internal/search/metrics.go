package search

import "github.com/prometheus/client_golang/prometheus"

// metrics of the index. docs/ops/metrics.md lists them.
type metrics struct {
	position, behind, rebuilding prometheus.GaugeFunc
	rebuilds                     prometheus.Counter
	pages, batches               prometheus.Histogram
}

func newMetrics(x *Index) *metrics {
	gauge := func(name, help string, f func(Status) float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(x.Status()) })
	}
	return &metrics{
		position: gauge("zhenglian_search_position", "Leaves that the search index reflects.", func(s Status) float64 { return float64(s.Next) }),
		behind:   gauge("zhenglian_search_behind_leaves", "Leaves of the records that the search index does not reflect yet.", func(s Status) float64 { return float64(s.Of - s.Next) }),
		rebuilding: gauge("zhenglian_search_rebuilding", "1 while searches are refused because the index is made anew.", func(s Status) float64 {
			if s.Rebuilding {
				return 1
			}
			return 0
		}),
		rebuilds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "zhenglian_search_rebuilds_total", Help: "Times that the search index was set aside since the start.",
		}),
		pages: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zhenglian_search_page_seconds", Help: "Time to find a page.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2},
		}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zhenglian_search_batch_seconds", Help: "Time to apply a batch of leaves.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5},
		}),
	}
}

// Collectors are the index's metrics.
func (x *Index) Collectors() []prometheus.Collector {
	m := x.metrics
	return []prometheus.Collector{m.position, m.behind, m.rebuilding, m.rebuilds, m.pages, m.batches}
}
