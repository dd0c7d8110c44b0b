package auth

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
)

// TestMetrics holds the metrics to their page, and to what they tell of.
func TestMetrics(t *testing.T) {
	at := authtest.New(t)
	s, _ := trusting(t, at, "https://node.example.gov.cn/auth/callback")
	r := prometheus.NewRegistry()
	r.MustRegister(s.Collectors()...)
	read := func() map[string]float64 {
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			out[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
		}
		return out
	}
	was := read()
	doc, err := os.ReadFile("../../../docs/ops/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, registered []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(zhenglian_signin_[a-z_]+)`").FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1])
	}
	for name, v := range was {
		registered = append(registered, name)
		if v != 0 {
			t.Errorf("%s is %v", name, v)
		}
	}
	slices.Sort(documented)
	slices.Sort(registered)
	if !slices.Equal(documented, registered) {
		t.Errorf("registered %v\ndocumented %v", registered, documented)
	}
	at.Down(true)
	if _, err := s.with("Bearer " + at.Token("wangfang", nil)); err == nil {
		t.Error("an issuer that is down signs in")
	}
	s.Login.sessions.begin(Subject{at.URL, "wangfang"})
	if err := replaceFile(s.People.path(PeopleFile), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := s.People.Refresh(); err == nil {
		t.Error("a broken file is read")
	}
	for name, v := range read() {
		if v != 1 {
			t.Errorf("%s is %v", name, v)
		}
	}
}
