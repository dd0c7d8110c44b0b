package telemetry_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/telemetry"
	"github.com/zhenglian/zhenglian/node/internal/telemetry/telemetrytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, c telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	if c.Ratio == 0 {
		c.Ratio = 1
	}
	c.Node, c.Version, c.Logger = "beijing", "v1", slog.New(slog.DiscardHandler)
	tel, err := telemetry.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Close() })
	return tel
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// counts are the spans that were sent and dropped.
func counts(tel *telemetry.Telemetry) (sent, dropped float64) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(tel.Collectors()...)
	families, err := r.Gather()
	if err != nil {
		panic(err)
	}
	value := func(i int) float64 { return families[i].GetMetric()[0].GetCounter().GetValue() }
	return value(1), value(0) // by name
}

func request(tel *telemetry.Telemetry, parent string) (context.Context, func(int, model.Code)) {
	return tel.Request(context.Background(), "POST", "/v1/licences", "r-1", time.Now(), parent)
}

func TestCheck(t *testing.T) {
	for url, good := range map[string]bool{
		"https://collector.example:4318": true, "https://collector.example/otlp/v1/traces": true, "http://127.0.0.1:4318": true, "http://[::1]:4318": true,
		"http://localhost:4318": true, "http://collector.example:4318": false, "http://10.0.0.1:4318": false, "http://127.0.0.1.example:4318": false,
		"collector:4318": false, "": false, "grpc://127.0.0.1:4317": false, "https://user:secret@collector.example": false, "https://collector.example/?key=secret": false,
	} {
		c := telemetry.Config{URL: url, Ratio: 1}
		err := c.Check()
		if (err == nil) != good {
			t.Errorf("%q: %v", url, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the message repeats it", url)
		}
	}
	for _, ratio := range []float64{-1, 0, 1.1} {
		c := telemetry.Config{URL: "https://collector.example", Ratio: ratio}
		if c.Check() == nil {
			t.Errorf("ratio %v passes", ratio)
		}
	}
}

// A caller's traceparent says where the spans of a request belong that is followed anyway, and never that it is.
func TestCallersTrace(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	c := telemetrytest.Start(t, false)
	tel := open(t, telemetry.Config{URL: c.URL})
	for _, x := range []struct {
		parent string
		taken  bool
	}{
		{"00-" + trace + "-" + span + "-01", true},
		{"00-" + trace + "-" + span + "-00", false}, // the caller keeps nothing of it
		{"00-0000000000000011010119900307803X-" + span + "-01", false},
		{"00-00000000000000110101199003078", false},
		{"00-f1101011990030777580000000000000-" + span + "-01", false}, // a citizen identity number
		{"", false},
		{strings.Repeat("0", 4000), false},
	} {
		before := len(c.Spans())
		_, end := request(tel, x.parent)
		end(200, "")
		until(t, "the span comes", func() bool { return len(c.Spans()) == before+1 })
		s := c.Spans()[before]
		if x.taken != (s.Trace == trace) || x.taken != (s.Parent == span) || len(s.Trace) != 32 {
			t.Errorf("%q: %+v", x.parent, s)
		}
	}
	if strings.Contains(c.Text(), "110101199003077758") {
		t.Error("an identity number came through")
	}

	rare := open(t, telemetry.Config{URL: c.URL, Ratio: 0.001})
	followed := 0
	for range 20_000 {
		if ctx, end := request(rare, "00-"+trace+"-"+span+"-01"); end != nil {
			followed++
		} else if rare.Traced(ctx) != nil {
			t.Fatal("a request that is not followed is known")
		}
	}
	if followed == 0 || followed > 100 { // 20 are expected
		t.Errorf("%d of 20,000 requests whose callers ask for it are followed", followed)
	}
}

// One transaction carries operations of several requests: it is of the first one's trace and links to each other once.
func TestTransactionOfManyRequests(t *testing.T) {
	c := telemetrytest.Start(t, false)
	tel := open(t, telemetry.Config{URL: c.URL})
	var all []any
	for range 100 {
		ctx, end := request(tel, "")
		tel.Accept(ctx, 2)(model.E(model.CodeForbidden).With("张三"))
		all = append(all, tel.Traced(ctx), tel.Traced(ctx))
		end(403, model.CodeForbidden)
	}
	step, end := tel.Transaction(all, 300)
	step("propose")
	end("valid")
	end("twice")
	step("too late")
	tel.Accept(context.Background(), 1)(errors.New("of a request that nobody follows"))
	until(t, "the spans come", func() bool { return len(c.Spans()) == 202 })
	by := map[string][]telemetrytest.Span{}
	for _, s := range c.Spans() {
		by[s.Name] = append(by[s.Name], s)
	}
	requests, accepts, txs, steps := by["POST /v1/licences"], by["accept"], by["transaction"], by["propose"]
	if len(requests) != 100 || len(accepts) != 100 || len(txs) != 1 || len(steps) != 1 {
		t.Fatalf("%d %d %d %d", len(requests), len(accepts), len(txs), len(steps))
	}
	tx := txs[0]
	if tx.Parent != requests[0].ID || tx.Trace != requests[0].Trace || steps[0].Parent != tx.ID || len(tx.Links) != 32 || tx.Links[0] != requests[1].ID || tx.Links[1] != requests[2].ID {
		t.Errorf("%+v", tx)
	}
	if tx.Attributes["zhenglian.result"] != "valid" || accepts[0].Attributes["error.type"] != "forbidden" || accepts[0].Parent != requests[0].ID {
		t.Errorf("%+v %+v", tx, accepts[0])
	}
	if strings.Contains(c.Text(), "张三") {
		t.Error("an error's text came through")
	}
}

// What environment variables of other programs say of telemetry is not for this one.
func TestEnvironment(t *testing.T) {
	other := telemetrytest.Start(t, false)
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": other.URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": other.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-planted=1",
		"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_TRACES_SAMPLER": "always_off", "OTEL_SERVICE_NAME": "other",
	} {
		t.Setenv(name, value)
	}
	c := telemetrytest.Start(t, true)
	roots := x509.NewCertPool()
	roots.AddCert(c.Server.Certificate())
	tel := open(t, telemetry.Config{URL: c.URL, Roots: roots})
	_, end := request(tel, "")
	end(200, "")
	until(t, "the span comes", func() bool { return len(c.Spans()) == 1 })
	s := c.Spans()[0]
	if s.Resource["service.name"] != "zhenglian" || s.Resource["service.instance.id"] != "beijing" || s.Resource["service.version"] != "v1" {
		t.Errorf("%+v", s.Resource)
	}
	if strings.Contains(strings.ToLower(c.Text()), "x-planted") || other.Connections() != 0 || !strings.HasPrefix(c.Text(), "/v1/traces\n") {
		t.Errorf("%d %s", other.Connections(), c.Text())
	}
}

// A certificate that nobody vouches for: nothing is sent.
func TestUnknownAuthority(t *testing.T) {
	c := telemetrytest.Start(t, true)
	c.Server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	tel := open(t, telemetry.Config{URL: c.URL})
	_, end := request(tel, "")
	end(200, "")
	until(t, "the span is dropped", func() bool { _, dropped := counts(tel); return dropped == 1 })
	if tel.Trouble() == "" || len(c.Spans()) != 0 {
		t.Errorf("%q %d", tel.Trouble(), len(c.Spans()))
	}
}

// A collector that refuses, and comes back: what it did not take is counted, and the trouble ends.
func TestRefusal(t *testing.T) {
	c := telemetrytest.Start(t, false)
	tel := open(t, telemetry.Config{URL: c.URL})
	for _, status := range []int{307, 400, 429, 503} {
		c.Answer(status)
		_, before := counts(tel)
		_, end := request(tel, "")
		end(200, "")
		until(t, "the span is dropped", func() bool { _, dropped := counts(tel); return dropped == before+1 })
		if tel.Trouble() == "" {
			t.Errorf("%d is no trouble", status)
		}
	}
	c.Answer(0)
	_, end := request(tel, "")
	end(200, "")
	until(t, "the span is taken", func() bool { sent, _ := counts(tel); return sent == 1 })
	if tel.Trouble() != "" || len(c.Spans()) != 1 {
		t.Errorf("%q", tel.Trouble())
	}
}

// A collector that takes the connection and never answers: requests do not wait, the queue is bounded, every span is
// counted once, and the node's end waits no longer than it said.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan net.Conn, 16)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(dialled)
				return
			}
			dialled <- c
		}
	}()
	tel := open(t, telemetry.Config{URL: "http://" + l.Addr().String()})
	const spans = 20_000
	began := time.Now()
	for range spans {
		_, end := request(tel, "")
		end(200, "")
	}
	if took := time.Since(began); took > 4*time.Second { // a request to the collector alone waits for 5 s
		t.Errorf("requests waited: %s", took)
	}
	until(t, "spans are dropped", func() bool { _, dropped := counts(tel); return dropped >= spans-2048-2*512 })
	began = time.Now()
	_ = tel.Close() // it tells nothing that the counts do not
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the end took %s", took)
	}
	if sent, dropped := counts(tel); sent != 0 || dropped != spans {
		t.Errorf("%v sent, %v dropped", sent, dropped)
	}
	l.Close()
	for c := range dialled {
		c.Close()
	}
}
