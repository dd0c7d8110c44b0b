package webhook

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// memoryLog is a log that tests write.
type memoryLog struct {
	mu      sync.Mutex
	entries []sdk.Event
	grown   chan struct{}
}

func (l *memoryLog) write(types ...model.Type) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, typ := range types {
		l.entries = append(l.entries, sdk.Event{Kind: model.KindLicence, Record: "bj-scjg.1", HistoryEntry: model.HistoryEntry{
			Position: uint64(len(l.entries)), Operation: model.NewOpID(), Type: typ, Agency: "bj-scjg", Time: model.TimeOf(time.Unix(1_790_000_000, 0)), Body: []byte("{}"),
		}})
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *memoryLog) Entries(_ context.Context, after int64, limit int) ([]sdk.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries[min(int(after+1), len(l.entries)):min(int(after+1)+limit, len(l.entries))]), nil
}

func (l *memoryLog) Head() (int64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.entries)) - 1, l.grown
}

// receiver is another system.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(position uint64) int
	got    []uint64 // positions received with 2xx, in order
	tries  int
	last   *http.Request
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{answer: func(uint64) int { return 204 }}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		var m Message
		if err := json.Unmarshal(body, &m); err != nil {
			t.Errorf("%v: %s", err, body)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.tries++
		r.last, r.body = q, body
		status := r.answer(m.Data.Position)
		if status/100 == 2 {
			r.got = append(r.got, m.Data.Position)
		}
		if status == 302 {
			w.Header().Set("Location", r.URL+"/elsewhere")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.Repeat("x", 1000))
	}))
	r.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), 0)
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) set(f func(position uint64) int) { r.mu.Lock(); defer r.mu.Unlock(); r.answer = f }
func (r *receiver) received() []uint64              { r.mu.Lock(); defer r.mu.Unlock(); return slices.Clone(r.got) }
func (r *receiver) tried() int                      { r.mu.Lock(); defer r.mu.Unlock(); return r.tries }

type world struct {
	log   *memoryLog
	store *Store
	cfg   Config
	dir   string
}

func newWorld(t *testing.T, receivers ...*receiver) *world {
	w := &world{log: &memoryLog{grown: make(chan struct{})}, dir: filepath.Join(t.TempDir(), "webhooks")}
	var err error
	if w.store, err = OpenStore(w.dir); err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, GiveUp: 300 * time.Millisecond, First: 5 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Roots: x509.NewCertPool()}
	for _, r := range receivers {
		w.cfg.Roots.AddCert(r.Certificate())
	}
	return w
}

func (w *world) add(t *testing.T, s Subscription) Subscription {
	t.Helper()
	s, err := w.store.Add(s)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) begin(t *testing.T) (end func(), s *Sender) {
	s = New(w.store, w.log, w.cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	var once sync.Once
	end = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(end)
	return end, s
}

func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

var all = int64(-1)

// The vector that the libraries of Standard Webhooks test against.
func TestSignatureVector(t *testing.T) {
	got, err := signatures([]string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want || err != nil {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

// Events come in order, those that are asked for, signed; after a restart from where it was.
func TestDelivered(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, r)
	w.log.write(model.LicenceIssue)
	s := w.add(t, Subscription{Name: "国库", URL: r.URL + "/hook", Types: []string{"licence.*"}, From: &all})
	end, _ := w.begin(t)
	w.log.write(model.Propose, model.LicenceSuspend, model.LicenceResume)
	within(t, "three", func() bool { return len(r.received()) == 3 })
	if got := r.received(); !slices.Equal(got, []uint64{0, 2, 3}) {
		t.Errorf("%v", got)
	}
	r.mu.Lock()
	id, stamp, signature := r.last.Header.Get("webhook-id"), r.last.Header.Get("webhook-timestamp"), r.last.Header.Get("webhook-signature")
	unix, _ := strconv.ParseInt(stamp, 10, 64)
	want, err := signatures(s.Secrets, id, time.Unix(unix, 0), r.body)
	if signature != want || err != nil || id != w.log.entries[3].Operation.String() || time.Since(time.Unix(unix, 0)) > time.Minute || r.last.URL.Path != "/hook" {
		t.Errorf("%s %s %s", id, stamp, signature)
	}
	r.mu.Unlock()

	// Two secrets while one is changed: two signatures; then the new one alone.
	secret, err := w.store.Rotate(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.Rotate(s.ID); err == nil {
		t.Error("three secrets")
	}
	signed := func(n int) func() bool {
		return func() bool {
			before := r.tried()
			w.log.write(model.LicenceIssue)
			within(t, "one more", func() bool { return r.tried() > before })
			r.mu.Lock()
			defer r.mu.Unlock()
			h := strings.Fields(r.last.Header.Get("webhook-signature"))
			unix, _ := strconv.ParseInt(r.last.Header.Get("webhook-timestamp"), 10, 64)
			fresh, _ := signatures([]string{secret}, r.last.Header.Get("webhook-id"), time.Unix(unix, 0), r.body)
			return len(h) == n && h[0] == fresh
		}
	}
	within(t, "both sign", signed(2))
	if err := w.store.Retire(s.ID); err != nil {
		t.Fatal(err)
	}
	within(t, "the new one signs", signed(1))

	end()
	n := len(r.received())
	w.log.write(model.LicenceIssue)
	w.begin(t)
	within(t, "what happened meanwhile", func() bool { return len(r.received()) == n+1 })
	if got := r.received(); !slices.IsSorted(got) || len(slices.Compact(got)) != n+1 {
		t.Errorf("%v", got)
	}
}

// What is not received is tried again, in order; what is given up is kept, and can be sent again or dropped. Another
// receiver is not held up.
func TestDeadLetters(t *testing.T) {
	bad, good := newReceiver(t), newReceiver(t)
	w := newWorld(t, bad, good)
	failures := 3
	bad.set(func(uint64) int {
		if failures--; failures >= 0 {
			return 503
		}
		return 200
	})
	s := w.add(t, Subscription{URL: bad.URL, From: &all})
	w.add(t, Subscription{URL: good.URL, From: &all})
	end, sender := w.begin(t)
	w.log.write(model.LicenceIssue, model.LicenceIssue)
	within(t, "both received", func() bool { return len(bad.received()) == 2 && len(good.received()) == 2 })
	if bad.tried() != 5 || !slices.Equal(bad.received(), []uint64{0, 1}) {
		t.Errorf("%d tries, %v", bad.tried(), bad.received())
	}
	for _, status := range []int{302, 400, 410, 500} { // 302: nobody goes elsewhere
		before, tries := len(good.received()), bad.tried()
		bad.set(func(uint64) int { return status })
		w.log.write(model.LicenceIssue)
		within(t, "given up", func() bool { l, _ := w.store.Dead(s.ID, 100); return len(l) == 1 && bad.tried() > tries })
		l, err := w.store.Dead(s.ID, 100)
		if err != nil || !strings.Contains(l[0].Error, strconv.Itoa(status)) || l[0].Attempts < 1 || l[0].Type != "licence.issue" {
			t.Errorf("%+v, %v", l, err)
		}
		within(t, "the other has it", func() bool { return len(good.received()) == before+1 })
		if len(sender.Trouble()) == 0 {
			t.Error("nobody is told")
		}
		if n, err := w.store.Drop(s.ID, l[0].Position); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	w.log.write(model.LicenceIssue)
	w.log.write(model.LicenceIssue)
	within(t, "two given up", func() bool { l, _ := w.store.Dead(s.ID, 100); return len(l) == 2 })
	end() // an operator may do it while the node is down
	n := len(bad.received())
	if n, err := w.store.Redeliver(s.ID, -1); n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	_, sender = w.begin(t)
	within(t, "dead again", func() bool { l, _ := w.store.Dead(s.ID, 100); return len(l) == 2 })
	bad.set(func(uint64) int { return 200 })
	if _, err := w.store.Redeliver(s.ID, -1); err != nil {
		t.Fatal(err)
	}
	within(t, "received", func() bool { return len(bad.received()) == n+2 })
	within(t, "well", func() bool { return len(sender.Trouble()) == 0 })
	if _, err := w.store.Drop(s.ID, 99); err == nil {
		t.Error("a letter that is not there was dropped")
	}
	if _, err := w.store.Drop("wh-none", -1); err == nil {
		t.Error("a subscription that is not there")
	}
	if err := w.store.Remove(s.ID); err != nil {
		t.Fatal(err)
	}
}

// The process ends while a receiver thinks: the event comes again, under the same id, and none is skipped.
func TestEnded(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, r)
	w.add(t, Subscription{URL: r.URL, From: &all})
	came := make(chan struct{})
	release := make(chan struct{})
	var once sync.Once
	r.set(func(uint64) int {
		once.Do(func() { close(came); <-release })
		return 200
	})
	end, _ := w.begin(t)
	w.log.write(model.LicenceIssue, model.LicenceIssue)
	<-came
	go func() { time.Sleep(20 * time.Millisecond); close(release) }()
	end()
	w.begin(t)
	within(t, "both", func() bool { return slices.Contains(r.received(), 1) })
	if got := slices.Compact(r.received()); !slices.Equal(got, []uint64{0, 1}) {
		t.Errorf("%v", got)
	}
}

// Addresses that a subscription could be used to reach in the operator's own network.
func TestGuard(t *testing.T) {
	listed := []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("169.254.0.0/16")}
	for ip, want := range map[string]bool{
		"10.20.1.1": true, "::ffff:10.20.1.1": true, "8.8.8.8": true, "2001:4860:4860::8888": true,
		"10.21.1.1": false, "192.168.1.1": false, "172.16.0.1": false, "127.0.0.1": false, "::1": false, "0.0.0.0": false, "::": false,
		"169.254.169.254": false, "fe80::1": false, "fd00::1": false, "100.64.0.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
	} {
		if got := allowed(netip.MustParseAddr(ip), listed, false); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
	for raw, want := range map[string]bool{
		"https://example.org/hook?x=1": true, "http://example.org": false, "https://user:pw@example.org": false, "ftp://example.org": false,
		"https://": false, "//example.org": false, "http://127.0.0.1:80": false, "file:///etc/passwd": false, "https:example.org": false,
	} {
		if err := CheckURL(raw, false); (err == nil) != want {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if CheckURL("http://127.0.0.1:80", true) != nil || CheckURL("http://10.0.0.1", true) == nil || CheckURL("http://127.0.0.1.nip.io", true) == nil {
		t.Error("insecure loopback")
	}
	// A name that leads home, at the moment of the connection.
	r := newReceiver(t)
	w := newWorld(t, r)
	w.cfg.Networks = nil
	s := w.add(t, Subscription{URL: strings.Replace(r.URL, "127.0.0.1", "localhost", 1), From: &all})
	end, sender := w.begin(t)
	w.log.write(model.LicenceIssue)
	within(t, "given up", func() bool { l, _ := w.store.Dead(s.ID, 1); return len(l) == 1 })
	if l, _ := w.store.Dead(s.ID, 1); !strings.Contains(l[0].Error, "networks") || r.tried() != 0 || len(sender.Trouble()) == 0 {
		t.Errorf("%+v, %d", l, r.tried())
	}
	// A certificate of nobody we know.
	end()
	w.cfg.Networks, w.cfg.Roots = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, x509.NewCertPool()
	w.begin(t)
	other := w.add(t, Subscription{URL: r.URL, From: &all})
	within(t, "given up", func() bool { l, _ := w.store.Dead(other.ID, 1); return len(l) == 1 })
	if l, _ := w.store.Dead(other.ID, 1); !strings.Contains(l[0].Error, "certificate") || strings.Contains(l[0].Error, r.URL) {
		t.Errorf("%+v", l)
	}
}

func TestSubscriptions(t *testing.T) {
	w := newWorld(t)
	for _, s := range []Subscription{
		{URL: "http://example.org"}, {URL: "https://example.org", Types: []string{"licence.nothing"}}, {URL: "https://example.org", Types: []string{"*"}},
		{URL: "https://example.org", Name: strings.Repeat("x", 300)},
	} {
		if _, err := w.store.Add(s); err == nil {
			t.Errorf("%+v", s)
		}
	}
	s := w.add(t, Subscription{URL: "https://example.org/?token=x"})
	info, err := os.Stat(filepath.Join(w.dir, "subscriptions.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Chmod(filepath.Join(w.dir, "subscriptions.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := w.store.List(); err == nil {
		t.Error("others can read the secrets")
	}
	if err := os.Chmod(filepath.Join(w.dir, "subscriptions.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Remove(s.ID); err != nil {
		t.Error(err)
	}
	if list, err := w.store.List(); len(list) != 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}
