package main

import (
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// metrics of the server. docs/ops/zl-chaincode.md lists them; a test holds the list to what is registered.
type metrics struct {
	registry    *prometheus.Registry
	invocations *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	operations  *prometheus.HistogramVec
	refusals    *prometheus.CounterVec
	panics      prometheus.Counter
	peers       prometheus.Gauge
	running     prometheus.Gauge
	tlsFailures prometheus.Counter
}

func newMetrics() *metrics {
	name := func(s string) string { return "zhenglian_chaincode_" + s }
	m := &metrics{
		registry: prometheus.NewRegistry(),
		invocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("invocations_total"), Help: "Calls answered, by function and code (ok; refused: operations were; a code: the call failed).",
		}, []string{"function", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name("invocation_seconds"), Help: "Time from a call until its answer, the peer's part included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"function"}),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name("invocation_operations"), Help: "Operations in one call.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}, []string{"function"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("refusals_total"), Help: "Operations refused, by code.",
		}, []string{"code"}),
		panics:      prometheus.NewCounter(prometheus.CounterOpts{Name: name("panics_total"), Help: "Calls in which the contract panicked."}),
		peers:       prometheus.NewGauge(prometheus.GaugeOpts{Name: name("peers"), Help: "Peers that are connected."}),
		running:     prometheus.NewGauge(prometheus.GaugeOpts{Name: name("invocations_running"), Help: "Calls being answered."}),
		tlsFailures: prometheus.NewCounter(prometheus.CounterOpts{Name: name("tls_reload_failures_total"), Help: "Times that the TLS files were looked at and could not be used; those read before stay in use."}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: name("build_info"), Help: "Always 1; the build is in the labels.",
	}, []string{"version", "revision", "goversion"})
	version, revision := buildOf()
	build.WithLabelValues(version, revision, runtime.Version()).Set(1)
	level := prometheus.NewGauge(prometheus.GaugeOpts{Name: name("max_level"), Help: "The highest contract level that this build can run."})
	level.Set(contract.MaxLevel)
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.invocations, m.seconds, m.operations, m.refusals, m.panics, m.peers, m.running, m.tlsFailures, build, level,
	)
	return m
}

// expires adds the end of the TLS certificate in use.
func (m *metrics) expires(c *certificates) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "zhenglian_chaincode_tls_expires_timestamp_seconds", Help: "When the TLS certificate in use expires.",
	}, func() float64 { return float64(c.Expires().Unix()) }))
}

func buildOf() (version, revision string) {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "", ""
	}
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return b.Main.Version, revision
}

// functionLabel is the function of a call, "other" for what the contract does not know.
func functionLabel(args [][]byte) string {
	if len(args) > 0 {
		switch f := string(args[0]); f {
		case model.FunctionInit, model.FunctionApply, model.FunctionGet, model.FunctionImport, model.FunctionCloseImport:
			return f
		}
	}
	return "other"
}

var known = model.Codes()

// codeLabel keeps labels to the table of codes.
func codeLabel(c model.Code) string {
	if slices.Contains(known, c) {
		return string(c)
	}
	return "other"
}
