package auth

import "github.com/prometheus/client_golang/prometheus"

// Collectors are the metrics of signing in, to be registered by who owns the registry. docs/ops/metrics.md lists them.
// The labels are the configured issuers.
func (s *SignIn) Collectors() []prometheus.Collector {
	gauge := func(name, help string, labels prometheus.Labels, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f)
	}
	out := []prometheus.Collector{
		gauge("zhenglian_signin_directory_unreadable", "1 while people.json or api-keys.json cannot be read and what they said before stays in force.", nil, func() float64 {
			if s.People.unreadable.Load() {
				return 1
			}
			return 0
		}),
		gauge("zhenglian_signin_sessions", "Browsers that are signed in.", nil, func() float64 {
			if s.Login == nil {
				return 0
			}
			return float64(s.Login.sessions.count())
		}),
	}
	if s.Issuers == nil {
		return out
	}
	for _, i := range s.Issuers.list {
		out = append(out, gauge("zhenglian_signin_issuer_unreachable", "1 if an identity provider did not answer when it was last asked.",
			prometheus.Labels{"issuer": i.Issuer}, func() float64 {
				i.mu.Lock()
				defer i.mu.Unlock()
				if i.trouble != nil {
					return 1
				}
				return 0
			}))
	}
	return out
}
