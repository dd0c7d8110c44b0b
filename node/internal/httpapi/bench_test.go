package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// sampleVerdict is a verdict as a valid enterprise licence has it, with one version of history.
func sampleVerdict(tb testing.TB) model.Verdict {
	tb.Helper()
	l := newLicence("京食经营许可〔2026〕第000001号")
	value, err := model.Canonical(model.Licence{
		Type: l.Type, Number: l.Number, HolderKind: model.HolderEnterprise, HolderCode: model.USCC(l.Holder.Code), HolderName: l.Holder.Name,
		IssuedOn: "2026-03-01", ValidFrom: "2026-03-01", ValidUntil: "2031-02-28", Region: "110105",
		Face:      map[string]any{"KZ_JYCS": "北京市朝阳区某某路1号", "KZ_JYXM": "预包装食品销售"},
		Signature: &model.Signature{Alg: "ES256", Key: "bj-scjg-1", Value: string(bytes.Repeat([]byte{'A'}, 86))},
	})
	if err != nil {
		tb.Fatal(err)
	}
	r := model.ReasonInForce
	view := &model.View{Kind: model.KindLicence, ID: "bj-scjg.1", Public: value,
		Header: model.Header{Version: 1, State: model.InForce, Owner: "bj-scjg", From: "2026-03-01", Until: "2031-02-28", Value: model.DigestOf(value)}}
	return model.Verdict{
		Verdict: model.Valid, Reason: r, Check: r.Check(), Zh: r.Zh(), En: r.En(), Since: "2026-03-01", At: "2026-04-01", KnownAt: "2026-04-01",
		Record: view, Position: 200_000, Height: 900, AgeMS: 12,
		History: []model.HistoryEntry{{Version: 1, Type: model.LicenceIssue, Agency: "bj-scjg", Msp: "BeijingMSP", Person: "0123456789abcdef0123456789abcdef",
			Time: model.TimeOf(time.Unix(1_790_000_000, 0)), State: model.InForce, Tx: string(bytes.Repeat([]byte{'a'}, 64)), Body: append(append([]byte(`{"under":"","value":`), value...), '}')}},
	}
}

// callers runs n callers that repeat one request over kept connections.
func callers(b *testing.B, n int, url, key, body string) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	defer client.CloseIdleConnections()
	work := make(chan struct{}, n)
	var wg sync.WaitGroup
	for range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range work {
				req, err := http.NewRequest("POST", url, bytes.NewReader([]byte(body)))
				if err != nil {
					b.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+key)
				req.Header.Set("Content-Type", "application/json")
				res, err := client.Do(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != 200 {
					b.Errorf("status %d", res.StatusCode)
					return
				}
			}
		}()
	}
	b.ResetTimer()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

// BenchmarkVerifyHTTP and BenchmarkBareHTTP stand side by side: the API with a verifier that costs nothing,
// and a bare handler that reads the same request and returns the same bytes.
func BenchmarkVerifyHTTP(b *testing.B) {
	s := open(b, func(c *httpapi.Config, _ *auth.Rates) { c.Verifier = constant{sampleVerdict(b)} })
	callers(b, 64, s.url+"/v1/verify", s.keys[auth.Verifier], identifierQuery(b))
}

// BenchmarkVerifyLogged is BenchmarkVerifyHTTP with every request entered in a real access log.
func BenchmarkVerifyLogged(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "access")
	if err := accesslog.Create(dir); err != nil {
		b.Fatal(err)
	}
	l, err := accesslog.Open(dir, accesslog.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	s := open(b, func(c *httpapi.Config, _ *auth.Rates) {
		c.Verifier, c.Access = constant{sampleVerdict(b)}, realLog{l}
	})
	callers(b, 64, s.url+"/v1/verify", s.keys[auth.Verifier], identifierQuery(b))
	b.ReportMetric(float64(l.Head().Count)/float64(b.N), "entries/op")
}

type realLog struct{ *accesslog.Log }

func (realLog) Count(int) {}

func BenchmarkBareHTTP(b *testing.B) {
	v := sampleVerdict(b)
	raw, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(raw)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	callers(b, 64, "http://"+l.Addr().String()+"/", "zlk_x", identifierQuery(b))
}

func identifierQuery(tb testing.TB) string {
	tb.Helper()
	l := newLicence("")
	id, err := model.NewLicenceID(model.LicenceIDParts{Type: string(l.Type), Issuer: l.Holder.Code, Serial: "0000001", Version: 1})
	if err != nil {
		tb.Fatal(err)
	}
	return `{"identifier":"` + string(id) + `"}`
}

// constant gives every query the same verdict.
type constant struct{ v model.Verdict }

func (c constant) Verify(_ context.Context, queries []model.Query) []model.Verdict {
	out := make([]model.Verdict, len(queries))
	for i := range out {
		out[i] = c.v
	}
	return out
}

// BenchmarkSubmit100 sends arrays of 100 licences of 1 KB; the node behind keeps nothing. It measures what
// the API and the client add to a record.
func BenchmarkSubmit100(b *testing.B) {
	s := open(b, func(c *httpapi.Config, _ *auth.Rates) { c.Intake = &sink{ids: make([]model.OpID, 100)} })
	v := sampleVerdict(b)
	drafts := make([]model.Draft, 100)
	for i := range drafts {
		drafts[i] = model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Body: append(append([]byte(`{"under":"","value":`), v.Record.Public...), '}')}
	}
	c := s.client(auth.Drafter)
	b.ReportAllocs()
	b.SetBytes(int64(100 * len(drafts[0].Body)))
	for b.Loop() {
		if _, err := c.Submit(context.Background(), drafts, sdk.Write{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/record")
}

// sink commits everything and keeps nothing.
type sink struct{ ids []model.OpID }

func (s *sink) Accept(context.Context, httpapi.Submission) ([]model.OpID, int, error) {
	return s.ids, -1, nil
}

func (s *sink) Wait(_ context.Context, ids []model.OpID) ([]model.Outcome, error) {
	out := make([]model.Outcome, len(ids))
	for i := range out {
		out[i] = model.Outcome{Status: model.Committed, Kind: model.KindLicence, Record: "bj-scjg.123456", Version: 1,
			Receipt: &model.Receipt{Kind: model.KindLicence, Record: "bj-scjg.123456", Version: 1, State: model.InForce, Time: model.TimeOf(time.Unix(1_790_000_000, 0)), Tx: string(bytes.Repeat([]byte{'a'}, 64))}}
	}
	return out, nil
}

func (s *sink) Outcome(context.Context, model.OpID) (model.Outcome, error) {
	return model.Outcome{}, nil
}
