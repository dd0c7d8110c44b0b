package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"go.uber.org/goleak"
	"google.golang.org/grpc/credentials"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// The shim sends each answer from a goroutine of its own and may leave the last one of a stream behind,
// which has sent and only waits to say so.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hyperledger/fabric-chaincode-go/v2/shim.(*Handler).serialSendAsync.func1"))
}

func licences(n int) [][]byte {
	g := contracttest.Genesis()
	args := [][]byte{[]byte(model.FunctionApply)}
	for i := range n {
		op := contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, model.NewRecordID("bj-scjg", uint64(i+1)), 1,
			contracttest.Created, model.IssueBody{Value: contracttest.Licence(g, "bj-scjg", i+1)})
		args = append(args, op.Encode())
	}
	return args
}

// TestPeers: the same calls by a peer that offers batches and by one of 2.5, which does not, leave the same
// state; the latter is asked for one key a message.
func TestPeers(t *testing.T) {
	cc, doc := theContract()
	s := serve(t, Config{Insecure: true}, cc)
	var states []string
	many := licences(100)
	for name, tt := range map[string]struct {
		offer *peer.ChaincodeAdditionalParams
		none  []peer.ChaincodeMessage_Type
	}{
		"2.5": {nil, []peer.ChaincodeMessage_Type{peer.ChaincodeMessage_GET_STATE_MULTIPLE, peer.ChaincodeMessage_WRITE_BATCH_STATE}},
		"3.1": {&peer.ChaincodeAdditionalParams{UseWriteBatch: true, MaxSizeWriteBatch: 1000, UseGetMultipleKeys: true, MaxSizeGetMultipleKeys: 1000},
			[]peer.ChaincodeMessage_Type{peer.ChaincodeMessage_PUT_STATE}},
	} {
		p := connect(t, s.Address().String(), tt.offer)
		if p.id != "zhenglian_1:00" {
			t.Errorf("registered as %q", p.id)
		}
		if r := p.commit("t0", []byte(model.FunctionInit), doc); r.GetStatus() != 200 {
			t.Fatalf("%s: Init: %s", name, r.GetMessage())
		}
		if r := p.commit("t1", many...); r.GetStatus() != 200 || string(r.GetPayload()) != `{"accepted":100}` {
			t.Fatalf("%s: Apply: %s %s", name, r.GetMessage(), r.GetPayload())
		}
		if r := p.commit("t2", licences(1)...); !strings.Contains(string(r.GetPayload()), string(model.CodeVersionConflict)) {
			t.Fatalf("%s: twice: %s %s", name, r.GetMessage(), r.GetPayload())
		}
		if r := p.commit("t3", []byte(model.FunctionGet), []byte("licence"), []byte("bj-scjg.100")); r.GetStatus() != 200 {
			t.Fatalf("%s: Get: %s", name, r.GetMessage())
		}
		if r := p.commit("t4", []byte("Nonsense")); r.GetStatus() != 500 || r.GetMessage() != string(model.CodeUnknownOperation) {
			t.Fatalf("%s: Nonsense: %s", name, r.GetMessage())
		}
		sent := p.counts()
		t.Logf("%s: %v", name, sent)
		for _, m := range tt.none {
			if sent[m] != 0 {
				t.Errorf("%s: %d × %s", name, sent[m], m)
			}
		}
		b, err := json.Marshal(p.state)
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, string(b))
	}
	if states[0] != states[1] || len(states[0]) < 1000 {
		t.Error("the states differ")
	}
	_, page := s.probe("/metrics")
	for _, want := range []string{
		`zhenglian_chaincode_invocations_total{code="ok",function="Apply"} 2`,
		`zhenglian_chaincode_invocations_total{code="refused",function="Apply"} 2`,
		`zhenglian_chaincode_invocations_total{code="unknown_operation",function="other"} 2`,
		`zhenglian_chaincode_refusals_total{code="version_conflict"} 2`,
		`zhenglian_chaincode_invocation_operations_sum{function="Apply"} 202`,
		`zhenglian_chaincode_invocations_running 0`, `zhenglian_chaincode_peers 2`,
	} {
		if !strings.Contains(page, "\n"+want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
}

// faulty panics when asked to.
type faulty struct{ shim.Chaincode }

func (f faulty) Invoke(stub shim.ChaincodeStubInterface) *peer.Response {
	if args := stub.GetArgs(); len(args) > 1 && string(args[1]) == "secret" {
		panic("secret")
	}
	return f.Chaincode.Invoke(stub)
}

func TestPanic(t *testing.T) {
	cc, doc := theContract()
	s := serve(t, Config{Insecure: true}, faulty{cc})
	p := connect(t, s.Address().String(), nil)
	if r := p.commit("t0", []byte(model.FunctionApply), []byte("secret")); r.GetStatus() != 500 || r.GetMessage() != string(model.CodeInternal) {
		t.Fatalf("%d %s", r.GetStatus(), r.GetMessage())
	}
	if r := p.commit("t1", []byte(model.FunctionInit), doc); r.GetStatus() != 200 {
		t.Fatalf("afterwards: %s", r.GetMessage())
	}
	if _, page := s.probe("/metrics"); !strings.Contains(page, "\nzhenglian_chaincode_panics_total 1\n") {
		t.Error("the panic is not counted")
	}
	s.stop()
	if err := s.ended(); err != nil {
		t.Fatal(err)
	}
	if log := s.log.String(); !strings.Contains(log, "panicked") || strings.Contains(log, "secret") {
		t.Errorf("log: %s", log)
	}
}

// TestStop: readiness says so at once, new calls are refused, the running one finishes, and its answer is
// the last thing on the stream.
func TestStop(t *testing.T) {
	cc, doc := theContract()
	s := serve(t, Config{Insecure: true}, cc)
	p := connect(t, s.Address().String(), nil)
	if r := p.commit("t0", []byte(model.FunctionInit), doc); r.GetStatus() != 200 {
		t.Fatal(r.GetMessage())
	}
	if code, text := s.probe("/readyz"); code != http.StatusOK || text != "ok\n" {
		t.Fatalf("%d %s", code, text)
	}
	hold := make(chan struct{})
	p.mu.Lock()
	p.hold = hold
	p.mu.Unlock()
	running := p.begin("t1", licences(3)...)
	<-p.asked
	s.stop()
	until(t, "not ready", func() bool { code, _ := s.probe("/readyz"); return code == http.StatusServiceUnavailable })
	if code, _ := s.probe("/healthz"); code != http.StatusOK {
		t.Error("a stopping server is not broken")
	}
	if r := p.take(p.begin("t2", licences(1)...)); r.GetStatus() != 500 || r.GetMessage() != string(model.CodeShuttingDown) {
		t.Fatalf("a new call: %d %s", r.GetStatus(), r.GetMessage())
	}
	until(t, "a new peer is turned away", func() bool { _, err := dial(t, s.Address().String(), nil, nil); return err != nil })
	select {
	case err := <-s.done:
		t.Fatalf("stopped over a running call: %v", err)
	default:
	}
	p.mu.Lock()
	p.hold = nil
	p.mu.Unlock()
	close(hold)
	if r := p.take(running); string(r.GetPayload()) != `{"accepted":3}` {
		t.Fatalf("%s %s", r.GetMessage(), r.GetPayload())
	}
	if err := <-p.ended; err != io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
	if err := s.ended(); err != nil {
		t.Fatal(err)
	}
}

// TestStopIsBounded: a peer that never answers does not hold the server.
func TestStopIsBounded(t *testing.T) {
	cc, _ := theContract()
	s := serve(t, Config{Insecure: true, StopWithin: Duration(50 * time.Millisecond)}, cc)
	p := connect(t, s.Address().String(), nil)
	hold := make(chan struct{})
	defer close(hold)
	p.mu.Lock()
	p.hold = hold
	p.mu.Unlock()
	p.begin("t1", licences(3)...)
	<-p.asked
	s.stop()
	if err := s.ended(); err == nil || !strings.Contains(err.Error(), "1 calls were still running") {
		t.Fatalf("%v", err)
	}
	until(t, "the call unwinds", func() bool { return s.running.Load() == 0 })
}

// TestPeerVanishes: what a lost peer had asked for unwinds, and another peer is served.
func TestPeerVanishes(t *testing.T) {
	cc, doc := theContract()
	s := serve(t, Config{Insecure: true}, cc)
	for range 3 {
		p := connect(t, s.Address().String(), nil)
		hold := make(chan struct{})
		p.mu.Lock()
		p.hold = hold
		p.asked = make(chan struct{}, 50)
		p.mu.Unlock()
		for i := range 50 {
			p.begin(fmt.Sprint("t", i), licences(3)...)
		}
		for range 50 {
			<-p.asked
		}
		_ = p.conn.Close()
		close(hold)
		until(t, "the calls unwind", func() bool { return s.running.Load() == 0 })
	}
	p := connect(t, s.Address().String(), nil)
	if r := p.commit("t0", []byte(model.FunctionInit), doc); r.GetStatus() != 200 {
		t.Fatal(r.GetMessage())
	}
}

// TestUnasked: an answer that nobody asked for ends its peer's stream and nothing else.
func TestUnasked(t *testing.T) {
	cc, doc := theContract()
	s := serve(t, Config{Insecure: true}, cc)
	bad, good := connect(t, s.Address().String(), nil), connect(t, s.Address().String(), nil)
	if err := bad.stream.Send(&peer.ChaincodeMessage{Type: peer.ChaincodeMessage_RESPONSE, Txid: "t", ChannelId: "jjj"}); err != nil {
		t.Fatal(err)
	}
	if err := <-bad.ended; err == nil || err == io.EOF {
		t.Errorf("ended with %v", err)
	}
	if r := good.commit("t0", []byte(model.FunctionInit), doc); r.GetStatus() != 200 {
		t.Fatal(r.GetMessage())
	}
}

func tlsFiles(t *testing.T, dir string, a *authority, i issued) TLSConfig {
	t.Helper()
	return TLSConfig{Cert: write(t, dir, "cert.pem", i.certificate), Key: write(t, dir, "key.pem", i.key), ClientRoots: write(t, dir, "roots.pem", a.pem)}
}

func TestClientCertificates(t *testing.T) {
	cc, doc := theContract()
	s := serve(t, Config{TLS: tlsFiles(t, t.TempDir(), ours, ours.issue("server"))}, cc)
	right, wrong := ours.issue("peer0"), theirs.issue("peer0")
	if p, err := dial(t, s.Address().String(), credentials.NewTLS(client(t, ours, &right)), nil); err != nil {
		t.Fatal(err)
	} else if r := p.commit("t0", []byte(model.FunctionInit), doc); r.GetStatus() != 200 {
		t.Fatal(r.GetMessage())
	}
	for name, with := range map[string]credentials.TransportCredentials{
		"of another authority": credentials.NewTLS(client(t, ours, &wrong)), "without a certificate": credentials.NewTLS(client(t, ours, nil)), "without TLS": nil,
	} {
		if _, err := dial(t, s.Address().String(), with, nil); err == nil {
			t.Errorf("a peer %s is let in", name)
		}
	}
	old := client(t, ours, &right)
	old.MaxVersion = tls.VersionTLS11 //nolint:gosec // that it is refused is the test
	old.MinVersion = tls.VersionTLS10
	if _, err := tls.Dial("tcp", s.Address().String(), old); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

// TestRotation: files that are replaced hold from the next connection on; half replaced ones do not, and
// the connection that stands stays.
func TestRotation(t *testing.T) {
	cc, doc := theContract()
	dir := t.TempDir()
	files := tlsFiles(t, dir, ours, ours.issue("first"))
	s := serve(t, Config{TLS: files}, cc)
	as, other := ours.issue("peer0"), theirs.issue("peer1")
	served := func(as issued) string {
		config := client(t, ours, &as)
		config.NextProtos = []string{"h2"}
		c, err := tls.Dial("tcp", s.Address().String(), config)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		// A refused client certificate shows at the first read in TLS 1.3.
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return err.Error()
		}
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	stands, err := dial(t, s.Address().String(), credentials.NewTLS(client(t, ours, &as)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := served(as); got != "first" {
		t.Fatal(got)
	}
	second := ours.issue("second")
	write(t, dir, "cert.pem", second.certificate)
	if got := served(as); got != "first" {
		t.Errorf("with the new certificate beside the old key: %s", got)
	}
	write(t, dir, "key.pem", second.key)
	if got := served(as); got != "second" {
		t.Errorf("after both: %s", got)
	}
	if got := served(other); got == "second" {
		t.Error("another authority's peer is let in")
	}
	write(t, dir, "roots.pem", append(append([]byte{}, ours.pem...), theirs.pem...))
	if got := served(other); got != "second" {
		t.Errorf("after its authority was added: %s", got)
	}
	if r := stands.commit("t0", []byte(model.FunctionInit), doc); r.GetStatus() != 200 {
		t.Fatal(r.GetMessage())
	}
	if err := os.Remove(files.Cert); err != nil {
		t.Fatal(err)
	}
	if got := served(as); got != "second" {
		t.Errorf("without the file: %s", got)
	}
	if n := s.metric("tls_reload_failures_total"); n < 2 {
		t.Errorf("%v failures are counted", n)
	}
}

// TestRenewedWithoutHandshake: peers hold their connections, so a certificate may be renewed and the one before end
// without a handshake in between; readiness and the metric know the new one, and one that does not fit is told of.
func TestRenewedWithoutHandshake(t *testing.T) {
	cc, _ := theContract()
	dir := t.TempDir()
	put := func(life time.Duration) issued {
		i := ours.issueFor("server", life)
		tlsFiles(t, dir, ours, i)
		return i
	}
	const soon, late = 2 * time.Second, 50 * time.Minute
	s := serve(t, Config{TLS: tlsFiles(t, dir, ours, ours.issueFor("server", soon))}, cc)
	ready := func(when string, want int) {
		t.Helper()
		if code, text := s.probe("/readyz"); code != want || (want != http.StatusOK && !strings.Contains(text, "expired")) {
			t.Errorf("%s: %d %s", when, code, text)
		}
	}
	expires := func() time.Duration {
		return time.Until(time.Unix(int64(s.metric("tls_expires_timestamp_seconds")), 0))
	}
	old := time.Now().Add(soon)
	if left := expires(); left > soon {
		t.Errorf("the first certificate is said to last %v", left)
	}
	renewed := put(late)
	if left := expires(); left < soon {
		t.Errorf("the renewed certificate is said to last %v", left)
	}
	ready("between renewal and the old end", http.StatusOK)
	time.Sleep(time.Until(old) + 10*time.Millisecond)
	ready("after the old end", http.StatusOK)

	other := ours.issue("server")
	write(t, dir, "key.pem", other.key)
	failures := s.metric("tls_reload_failures_total")
	for range 3 {
		ready("with another key beside it", http.StatusOK)
	}
	if n := s.metric("tls_reload_failures_total"); n < failures+3 {
		t.Errorf("%v failures after %v and three looks", n, failures)
	}
	write(t, dir, "key.pem", renewed.key)
	put(-time.Minute)
	ready("expired", http.StatusServiceUnavailable)
	put(late)
	ready("renewed again", http.StatusOK)

	s.stop()
	if err := s.ended(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(s.log.String(), "cannot be used"); n != 1 {
		t.Errorf("the pair that does not fit stands %d times in the log", n)
	}
}

// TestImport takes a pilot over as its organisation configured it; why a block is refused stands in the log,
// where the peer is told the code alone.
func TestImport(t *testing.T) {
	pilot := contracttest.NewPilot()
	var log bytes.Buffer
	cc, err := newContract(&Config{Name: "zhenglian", GenesisDigest: pilot.Contract.Genesis.String(), ImportFrom: pilot.Source().String()}, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	cc.Clock = func() time.Time { return contracttest.Created }
	s := serve(t, Config{Insecure: true}, cc)
	p := connect(t, s.Address().String(), nil)
	for i, tt := range []struct {
		want model.Code
		args [][]byte
	}{
		{model.CodeImportSource, [][]byte{[]byte(model.FunctionInit), pilot.Document}},
		{"", [][]byte{[]byte(model.FunctionInit), pilot.Document, pilot.Blocks[0]}},
		{model.CodeImportOpen, licences(1)},
		{model.CodeImportInvalid, [][]byte{[]byte(model.FunctionImport), pilot.Blocks[1][:100]}},
		{"", [][]byte{[]byte(model.FunctionImport), pilot.Blocks[1]}},
		{"", [][]byte{[]byte(model.FunctionGet), []byte("import"), []byte("import")}},
		{model.CodeImportMismatch, [][]byte{[]byte(model.FunctionCloseImport), []byte("13"), []byte(pilot.Chain().String())}},
		{"", [][]byte{[]byte(model.FunctionCloseImport), []byte("12"), []byte(pilot.Chain().String())}},
	} {
		if r := p.commit(fmt.Sprint("t", i), tt.args...); model.Code(r.GetMessage()) != tt.want {
			t.Fatalf("%d: %q, want %q", i, r.GetMessage(), tt.want)
		}
	}
	s.stop()
	if err := s.ended(); err != nil {
		t.Fatal(err)
	}
	if said := log.String(); !strings.Contains(said, "block 1") || !strings.Contains(said, "position 12") || strings.Contains(said, "import_open") {
		t.Errorf("the log says %s", said)
	}
}

var documented = regexp.MustCompile("(?m)^\\| `(zhenglian_[a-z_]+)` \\| ([a-z]+) \\|")

// TestMetricsDocumented holds the operators' page and the server to one another.
func TestMetricsDocumented(t *testing.T) {
	cc, doc := theContract()
	s := serve(t, Config{TLS: tlsFiles(t, t.TempDir(), ours, ours.issue("server"))}, cc)
	as := ours.issue("peer0")
	p, err := dial(t, s.Address().String(), credentials.NewTLS(client(t, ours, &as)), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.commit("t0", []byte(model.FunctionInit), doc)
	p.commit("t1", licences(1)...)
	p.commit("t2", licences(1)...)
	_, page := s.probe("/metrics")
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (zhenglian_\S+) (\S+)$`).FindAllStringSubmatch(page, -1) {
		found[m[1]] = m[2]
	}
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "ops", "zl-chaincode.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, m := range documented.FindAllStringSubmatch(string(raw), -1) {
		told++
		if found[m[1]] != m[2] {
			t.Errorf("%s is documented as a %s, the server says %q", m[1], m[2], found[m[1]])
		}
		delete(found, m[1])
	}
	if len(found) > 0 || told < 10 {
		t.Errorf("not documented: %v", found)
	}
}

// TestRun is the command: from a file to an orderly stop.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "zl-chaincode.yaml", []byte("id: a:b\nlisten: 127.0.0.1:0\ninsecure: true\nadmin: 127.0.0.1:0\ngenesis_digest: "+model.DigestOf(nil).String()+"\n"))
	for name, tt := range map[string]struct {
		args []string
		want int
		say  string
	}{
		"serve":      {[]string{"--config", file}, 0, `"msg":"stopped"`},
		"no file":    {[]string{"--config", file + "x"}, 2, "no such file"},
		"nothing":    {nil, 2, "--config"},
		"wrong flag": {[]string{"--confi", file}, 2, "confi"},
		"version":    {[]string{"--version"}, 0, "contract level"},
	} {
		ctx, stop := context.WithCancel(context.Background())
		r, w := io.Pipe()
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, tt.args, func(string) string { return "" }, w)
			_ = w.Close()
		}()
		var said strings.Builder
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			said.Write(buf[:n])
			if strings.Contains(said.String(), `"msg":"serving"`) {
				stop()
			}
			if err != nil {
				break
			}
		}
		stop()
		if got := <-code; got != tt.want || !strings.Contains(said.String(), tt.say) {
			t.Errorf("%s: %d %s", name, got, said.String())
		}
	}
}
