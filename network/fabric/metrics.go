package fabric

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// metrics are the lines of a Prometheus page.
type metrics []byte

// scrape reads /metrics of an operations listener.
func scrape(ctx context.Context, address string) (metrics, error) {
	raw, err := operations(ctx, address, "/metrics")
	return metrics(raw), err
}

var operationsClient = &http.Client{Timeout: 3 * time.Second}

// operations reads a page of an operations or admin listener; any status but 200 is an error.
func operations(ctx context.Context, address, path string) ([]byte, error) {
	raw, status, err := fetch(ctx, operationsClient, http.MethodGet, "http://"+address+path, "", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s%s: status %d: %.300s", address, path, status, raw)
	}
	return raw, err
}

// value returns the first sample of a name whose labels hold the given pair.
func (m metrics) value(name, label, is string) (float64, bool) {
	for lines := bufio.NewScanner(bytes.NewReader(m)); lines.Scan(); {
		line := lines.Text()
		rest, ok := strings.CutPrefix(line, name)
		if !ok || (!strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ")) {
			continue
		}
		if label != "" && !strings.Contains(rest, label+"="+strconv.Quote(is)) {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		return v, err == nil
	}
	return 0, false
}
