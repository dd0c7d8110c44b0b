package ledger

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the client's own; docs/ops/metrics.md lists them. Their labels are the configured names of
// gateways, the stages, and calls or blocks.
type metrics struct {
	failures *prometheus.CounterVec
	states   states
}

func newMetrics(c *Client) *metrics {
	m := &metrics{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_gateway_failures_total", Help: "Calls and streams on which a gateway did not serve, by stage."}, []string{"gateway", "stage"}),
		states: states{c,
			prometheus.NewDesc("zhenglian_gateway_height_blocks", "Blocks that the gateway last said it has.", []string{"gateway"}, nil),
			prometheus.NewDesc("zhenglian_gateway_in_flight", "Calls in flight on the gateway.", []string{"gateway"}, nil),
			prometheus.NewDesc("zhenglian_gateway_in_use", "1 for the gateway on which calls begin, and for the one that blocks come from.", []string{"gateway", "use"}, nil),
			prometheus.NewDesc("zhenglian_gateway_refused", "1 when the gateway is not used any more because what it gave did not check.", []string{"gateway"}, nil),
			prometheus.NewDesc("zhenglian_gateway_resting", "1 while the gateway is passed over because it failed.", []string{"gateway"}, nil),
		},
	}
	for _, g := range c.gateways {
		for _, s := range []Stage{StageEndorse, StageSubmit, StageStatus, StageEvaluate, StageBlocks} {
			m.failures.WithLabelValues(g.name, string(s))
		}
	}
	return m
}

func (m *metrics) failed(g *peerGateway, s Stage) {
	m.failures.WithLabelValues(g.name, string(s)).Inc()
}

// Collectors are the client's metrics, for the node's registry.
func (c *Client) Collectors() []prometheus.Collector {
	return []prometheus.Collector{c.metrics.failures, c.metrics.states}
}

// states tells how the gateways are at the moment.
type states struct {
	c                                      *Client
	height, flying, used, refused, resting *prometheus.Desc
}

// Describe names them.
func (s states) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.height, s.flying, s.used, s.refused, s.resting} {
		out <- d
	}
}

// Collect tells them.
func (s states) Collect(out chan<- prometheus.Metric) {
	type values struct {
		name                                            string
		height, flying, calls, blocks, refused, resting float64
	}
	var all []values
	s.c.mu.Lock()
	now := time.Now()
	order := s.c.callOrder(now)
	for _, g := range s.c.gateways {
		all = append(all, values{
			g.name, float64(g.claim.height), float64(len(g.slots)), number(len(order) > 0 && g == order[0]),
			number(g.refused == nil && g == s.c.delivering), number(g.refused != nil),
			number(g.calls.at(now) || g.blocks.at(now) || g.heights.at(now)),
		})
	}
	s.c.mu.Unlock()
	for _, v := range all {
		for d, x := range map[*prometheus.Desc]float64{s.height: v.height, s.flying: v.flying, s.refused: v.refused, s.resting: v.resting} {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, x, v.name)
		}
		out <- prometheus.MustNewConstMetric(s.used, prometheus.GaugeValue, v.calls, v.name, "calls")
		out <- prometheus.MustNewConstMetric(s.used, prometheus.GaugeValue, v.blocks, v.name, "blocks")
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
