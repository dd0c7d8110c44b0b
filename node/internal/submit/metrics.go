package submit

import (
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the submitter's own; the owner of the process registers them through Collectors.
type metrics struct {
	transactions *prometheus.CounterVec
	operations   prometheus.Histogram
	seconds      prometheus.Histogram
	refused      prometheus.Counter
	repeated     prometheus.Counter
	bisected     prometheus.Counter
	abandoned    prometheus.Counter
	inFlight     prometheus.GaugeFunc
	degraded     prometheus.GaugeFunc
}

func newMetrics(s *Submitter) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "zhenglian_submit_" + name, Help: help})
	}
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zhenglian_submit_" + name, Help: help}, value)
	}
	return &metrics{
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_submit_transactions_total", Help: "Own transactions seen in blocks, by validation code.",
		}, []string{"code"}),
		operations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zhenglian_submit_transaction_operations", Help: "Operations in one transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "zhenglian_submit_transaction_seconds", Help: "From proposal until a valid transaction is applied here.",
			Buckets: prometheus.ExponentialBuckets(time.Millisecond.Seconds(), 2, 16),
		}),
		refused:   counter("refused_total", "Operations refused for good."),
		repeated:  counter("repeated_total", "Operations put back because their transaction did not become valid."),
		bisected:  counter("bisected_total", "Proposals that failed as a whole and were halved."),
		abandoned: counter("abandoned_total", "Envelopes given up because the ledger turned them down."),
		inFlight: gauge("in_flight", "Transactions in flight.", func() float64 {
			s.mu.Lock()
			defer s.mu.Unlock()
			return float64(s.lanes)
		}),
		degraded: gauge("degraded", "1 while operations wait for a reason that readiness names.", func() float64 {
			if reason, _ := s.Degraded(); reason != "" {
				return 1
			}
			return 0
		}),
	}
}

// Collectors are the submitter's metrics.
func (s *Submitter) Collectors() []prometheus.Collector {
	m := s.metrics
	return []prometheus.Collector{
		m.transactions, m.operations, m.seconds, m.refused, m.repeated, m.bisected, m.abandoned, m.inFlight, m.degraded,
	}
}

// label names a validation code; the set is Fabric's.
func label(code peer.TxValidationCode) string {
	if name, ok := peer.TxValidationCode_name[int32(code)]; ok {
		return strings.ToLower(name)
	}
	return "unknown"
}
