package embedded

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// metrics are the ledger's own; the owner of the process registers them through Ledger.Collectors.
type metrics struct {
	height       prometheus.GaugeFunc
	queuedTxs    prometheus.GaugeFunc
	queuedBytes  prometheus.GaugeFunc
	accepting    prometheus.GaugeFunc
	streams      prometheus.GaugeFunc
	transactions *prometheus.CounterVec
	refused      prometheus.Counter
	panics       prometheus.Counter
	blockSeconds prometheus.Histogram
	blockBytes   prometheus.Histogram
	blockTxs     prometheus.Histogram
}

func newMetrics(l *Ledger) *metrics {
	gauge := func(name, help string, value func() float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zhenglian_ledger_" + name, Help: help}, value)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "zhenglian_ledger_" + name, Help: help, Buckets: buckets})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "zhenglian_ledger_" + name, Help: help})
	}
	return &metrics{
		height: gauge("height_blocks", "Committed blocks.", func() float64 { return float64(l.Height()) }),
		queuedTxs: gauge("queue_transactions", "Transactions waiting for a block.", func() float64 {
			n, _ := l.queue.depth()
			return float64(n)
		}),
		queuedBytes: gauge("queue_bytes", "Bytes of transactions waiting for a block.", func() float64 {
			_, n := l.queue.depth()
			return float64(n)
		}),
		accepting: gauge("accepting", "1 while the ledger accepts transactions, 0 after a write failed.", func() float64 {
			if l.Err() != nil {
				return 0
			}
			return 1
		}),
		streams: gauge("streams", "Open block and event streams.", func() float64 { return float64(l.streams.Load()) }),
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "zhenglian_ledger_transactions_total", Help: "Committed transactions by validation code.",
		}, []string{"code"}),
		refused:      counter("refused_total", "Transactions refused at Submit."),
		panics:       counter("contract_panics_total", "Runs of the contract that panicked."),
		blockSeconds: histogram("block_seconds", "Time to validate, store and apply one block.", prometheus.ExponentialBuckets(0.0005, 2, 12)),
		blockBytes:   histogram("block_bytes", "Bytes of one block.", prometheus.ExponentialBuckets(1024, 4, 8)),
		blockTxs:     histogram("block_transactions", "Transactions in one block.", prometheus.ExponentialBuckets(1, 2, 10)),
	}
}

func (m *metrics) committed(b *sealedBlock, txs []*fabblock.Tx, took time.Duration) {
	m.blockSeconds.Observe(took.Seconds())
	m.blockBytes.Observe(float64(len(b.stored)))
	m.blockTxs.Observe(float64(len(txs)))
	for _, tx := range txs {
		m.transactions.WithLabelValues(tx.Code.String()).Inc()
	}
}

// Collectors are the ledger's metrics, to be registered once.
func (l *Ledger) Collectors() []prometheus.Collector {
	m := l.metrics
	return []prometheus.Collector{m.height, m.queuedTxs, m.queuedBytes, m.accepting, m.streams, m.transactions,
		m.refused, m.panics, m.blockSeconds, m.blockBytes, m.blockTxs}
}
