package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/network/bench/report"
	"github.com/zhenglian/zhenglian/sdk"
)

// search asks for a page.
func (n *node) search(ctx context.Context, query url.Values) (page sdk.LicencePage, took time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/v1/search/licences?"+query.Encode(), nil)
	if err != nil {
		return page, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+n.key)
	start := time.Now()
	r, err := n.client.Do(req)
	if err != nil {
		return page, 0, err
	}
	defer r.Body.Close()
	out, err := io.ReadAll(r.Body)
	took = time.Since(start)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("search: status %d: %.300s", r.StatusCode, out)
	}
	if err == nil {
		err = json.Unmarshal(out, &page)
	}
	return page, took, err
}

// searched waits until the search index reflects everything that the records do.
func (n *node) searched(ctx context.Context) error {
	for {
		page, _, err := n.search(ctx, url.Values{"limit": {"1"}})
		if err == nil && page.Behind == 0 {
			return nil
		}
		if err != nil && !strings.Contains(err.Error(), "search_rebuilding") {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// searchFilters are what people look for among the licences of draft, each with values drawn anew for every page, and
// what every licence of its answer must show.
var searchFilters = []struct {
	name string
	draw func(licences int) (query url.Values, fits func(*sdk.FoundLicence) bool)
}{
	{"two characters", func(int) (url.Values, func(*sdk.FoundLicence) bool) {
		return url.Values{"text": {"科技"}}, func(l *sdk.FoundLicence) bool { return strings.Contains(l.HolderName, "科技") }
	}},
	{"a branch's number in the name", func(n int) (url.Values, func(*sdk.FoundLicence) bool) {
		word := fmt.Sprintf("第%d", 1+rand.IntN(n/2000))
		return url.Values{"text": {word}}, func(l *sdk.FoundLicence) bool { return strings.Contains(l.HolderName, word) }
	}},
	{"words, region, state and type", func(int) (url.Values, func(*sdk.FoundLicence) bool) {
		return url.Values{"text": {"样例 发展"}, "region": {"110000"}, "state": {"in_force"}, "type": {"11100000MB0143028R001"}},
			func(l *sdk.FoundLicence) bool {
				return strings.Contains(l.HolderName, "样例") && l.State == "in_force"
			}
	}},
	{"number prefix", func(n int) (url.Values, func(*sdk.FoundLicence) bool) {
		prefix := fmt.Sprintf("BJ%010d", rand.IntN(n))[:10]
		return url.Values{"number_prefix": {prefix}}, func(l *sdk.FoundLicence) bool { return strings.HasPrefix(l.Number, prefix) }
	}},
	{"owner and days", func(int) (url.Values, func(*sdk.FoundLicence) bool) {
		return url.Values{"owner": {agency}, "issued_on_min": {"2026-01-01"}, "issued_on_max": {"2026-01-31"}, "valid_until_min": {"2040-01-01"}},
			func(l *sdk.FoundLicence) bool { return l.Owner == agency && l.IssuedOn == "2026-01-05" }
	}},
	{"by number", func(int) (url.Values, func(*sdk.FoundLicence) bool) {
		return url.Values{"state": {"in_force"}, "sort": {"number"}}, func(l *sdk.FoundLicence) bool { return l.State == "in_force" }
	}},
}

// searchPage: p50 of a filtered page of 50, one caller, every kind of filter as often as any other, the first page and
// the one after it.
func searchPage(ctx context.Context, env *environment) (report.Measurement, error) {
	var m report.Measurement
	g, err := env.million(ctx)
	if err != nil {
		return m, err
	}
	start := time.Now()
	if err := g.searched(ctx); err != nil {
		return m, err
	}
	behind := time.Since(start)
	each := make([][]float64, len(searchFilters))
	for range env.runs() {
		var all []float64
		for i := range env.scale(1200, 120) {
			kind := i % len(searchFilters)
			query, fits := searchFilters[kind].draw(g.licences)
			for range 2 {
				page, took, err := g.search(ctx, query)
				if err != nil {
					return m, fmt.Errorf("%s: %w", searchFilters[kind].name, err)
				}
				if len(page.Licences) == 0 || len(page.Licences) > 50 || page.Next != "" && len(page.Licences) != 50 ||
					slices.ContainsFunc(page.Licences, func(l sdk.FoundLicence) bool { return !fits(&l) }) {
					return m, fmt.Errorf("%s: a page of %d that does not fit", searchFilters[kind].name, len(page.Licences))
				}
				ms := float64(took.Microseconds()) / 1000
				all, each[kind] = append(all, ms), append(each[kind], ms)
				if page.Next == "" {
					break
				}
				query.Set("after", page.Next)
			}
		}
		slices.Sort(all)
		m.Runs = append(m.Runs, report.Percentile(all, 0.5))
	}
	var parts []string
	for i, took := range each {
		slices.Sort(took)
		parts = append(parts, fmt.Sprintf("%s %.1f (p99 %.1f)", searchFilters[i].name, report.Percentile(took, 0.5), report.Percentile(took, 0.99)))
	}
	m.Note = fmt.Sprintf("%d licences, one caller, 50 a page; ms by filter: %s; the index was %.1f s behind when asked", g.licences, strings.Join(parts, ", "), behind.Seconds())
	return m, nil
}
