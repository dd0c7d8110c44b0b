package accesslog

import (
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// What the log is said to grow by is what its file grows by.
func TestBytesAreCounted(t *testing.T) {
	l, dir := create(t, Options{})
	size := func() (n int64) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			info, err := f.Info()
			if err != nil {
				t.Fatal(err)
			}
			n += info.Size()
		}
		return n
	}
	before := size()
	appendAll(t, l, 0, 40)
	r := prometheus.NewRegistry()
	r.MustRegister(l.Collectors()...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		counted[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	if written := int64(counted["zhenglian_accesslog_written_bytes_total"]); written == 0 || written != size()-before {
		t.Errorf("%d bytes are counted, the file grew by %d", written, size()-before)
	}
	if n := counted["zhenglian_accesslog_entries_total"]; n != 40 {
		t.Errorf("%v entries", n)
	}
}
