package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/databasetest"
	"github.com/zhenglian/zhenglian/sdk"
)

// pilot is a node with its ledger in one process, run as its operator runs it.
type pilot struct {
	program, dir, url, admin string
	keys                     map[string]string
	cmd                      *exec.Cmd
}

func newPilot(t *testing.T) *pilot {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the program")
	}
	own, err := exec.LookPath("zhenglian")
	if err != nil {
		t.Fatal(err)
	}
	return newPilotOf(t, own)
}

// newPilotOf is newPilot with another build of the program.
func newPilotOf(t *testing.T, program string) *pilot {
	t.Helper()
	port := freePorts(t)
	p := &pilot{program: program, url: fmt.Sprint("http://127.0.0.1:", port), admin: fmt.Sprint("http://127.0.0.1:", port+1)}
	var made struct {
		Dir  string            `json:"dir"`
		Keys map[string]string `json:"keys"`
	}
	out := p.run(t, "init", "--dir", filepath.Join(t.TempDir(), "pilot"), "--msp", "BeijingMSP", "--node", "beijing", "--agency", "bj-scjg",
		"--name-zh", "北京市市场监督管理局", "--name-en", "Beijing AMR", "--region", "110000", "--uscc", "11110000X000100145",
		"--listen", strings.TrimPrefix(p.url, "http://"), "--admin", strings.TrimPrefix(p.admin, "http://"), "--json")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	p.dir, p.keys = made.Dir, made.Keys
	t.Cleanup(func() { p.stop(t, syscall.SIGTERM) })
	return p
}

func (p *pilot) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(p.program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("zhenglian %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (p *pilot) file(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// configure adds to the node's configuration.
func (p *pilot) configure(t *testing.T, yaml string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(p.dir, "zhenglian.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(yaml); err != nil {
		t.Fatal(err)
	}
}

func (p *pilot) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.program, "serve", "--dir", p.dir)
	log, err := os.OpenFile(filepath.Join(filepath.Dir(p.dir), "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// ready waits until the node is.
func (p *pilot) ready(t *testing.T) {
	t.Helper()
	soon(t, "the node is ready", func() bool {
		r, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == 200
	})
}

func (p *pilot) stop(t *testing.T, s syscall.Signal) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(s)
	err := p.cmd.Wait()
	p.cmd = nil
	if s == syscall.SIGTERM && (err != nil || t.Failed()) {
		log, _ := os.ReadFile(filepath.Join(filepath.Dir(p.dir), "log"))
		t.Logf("serve: %v\n%s", err, log)
	}
}

func (p *pilot) client(role string) *sdk.Client {
	return &sdk.Client{BaseURL: p.url, Key: p.keys[role]}
}

// metrics holds those with a prefix to docs/ops/metrics.md.
func (p *pilot) metrics(t *testing.T, prefix string) {
	t.Helper()
	r, err := http.Get(p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	shown, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "ops", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	names := func(pattern, text string) (out []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		slices.Sort(out)
		return out
	}
	is, want := names("(?m)^# TYPE ("+prefix+"[a-z_]+) ", string(shown)), names("(?m)^\\| `("+prefix+"[a-z_]+)`", string(page))
	if len(is) == 0 || !slices.Equal(is, want) {
		t.Errorf("shown %v\ndocumented %v", is, want)
	}
}

func soon(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// issuedOnce finds every number on the ledger, valid, in one version, in a record of its own, and nothing else.
func (p *pilot) issuedOnce(t *testing.T, numbers []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	queries := make([]model.Query, len(numbers))
	for i, n := range numbers {
		queries[i] = model.Query{Number: n, Type: "11100000MB0143028R001"}
	}
	verdicts, err := p.client("verifier").VerifyAll(ctx, queries)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts {
		if v.Verdict != model.Valid || len(v.History) != 1 || v.Record.Duplicate {
			t.Errorf("%s: %+v", numbers[i], v)
		}
	}
}

// The real program, with a table in a real database, is killed again and again while a back office writes rows: each
// row is issued once and has its answer.
func TestKilledTable(t *testing.T) {
	for _, kind := range []string{databasetest.Postgres, databasetest.MariaDB} {
		t.Run(kind, func(t *testing.T) { killedTable(t, kind) })
	}
	t.Cleanup(databasetest.Stop)
}

func killedTable(t *testing.T, kind string) {
	p := newPilot(t)
	db := databasetest.Fresh(t, kind)
	schema := "zhenglian"
	if kind == databasetest.MariaDB {
		schema = db.Catalog
	}
	db.Exec(t, p.run(t, "table", "ddl", "--db", kind, "--schema", schema))
	prefix := schema + "."
	p.file(t, "qzk.key", p.keys["drafter"]+"\n")
	p.file(t, "qzk.password", databasetest.Password+"\n")
	p.file(t, "qzk.pem", string(db.Roots))
	p.configure(t, fmt.Sprintf("push:\n  tables:\n    - name: qzk\n      database: %s\n      address: %s\n      catalog: %s\n      user: zl_node\n"+
		"      password_file: qzk.password\n      tls_roots: qzk.pem\n      key_file: qzk.key\n      poll: 100ms\n", kind, db.Address, db.Catalog))
	if out := p.run(t, "table", "check", "--dir", p.dir, "--lang", "zh"); !strings.Contains(out, "前置库可用") {
		t.Fatal(out)
	}
	office := db.As(t, "zl_office")
	const rows = 400
	var numbers []string
	write := func(from, to int) {
		var values []string
		for i := from; i < to; i++ {
			n := fmt.Sprintf("QZK%05d", i)
			numbers = append(numbers, n)
			values = append(values, fmt.Sprintf("('row %d', 'licence.issue', '11100000MB0143028R001', '%s', '91110105X000000192', '北京样例科技有限公司')", i, n))
		}
		if _, err := office.ExecContext(t.Context(), "INSERT INTO "+prefix+"zl_request (id, operation, licence_type, number, holder_code, holder_name) VALUES "+strings.Join(values, ", ")); err != nil {
			t.Fatal(err)
		}
	}
	count := func(where string) (n int) {
		if err := office.QueryRowContext(t.Context(), "SELECT count(*) FROM "+prefix+"zl_answer WHERE "+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	write(0, 100)
	for kill := range 6 {
		p.start(t)
		before := count("state = 'committed'")
		soon(t, "some rows are answered", func() bool { return count("1 = 1") == rows || count("state = 'committed'") > before })
		if kill < 3 {
			write(100+100*kill, 200+100*kill)
		}
		time.Sleep(rand.N(30 * time.Millisecond)) // any moment will do
		p.stop(t, syscall.SIGKILL)
	}
	p.start(t)
	soon(t, "every row is committed", func() bool { return count("state = 'committed'") == rows })
	p.ready(t)
	p.issuedOnce(t, numbers)
	if n := count("state <> 'committed' OR code IS NOT NULL OR fault IS NOT NULL OR identifier IS NULL OR record IS NULL"); n != 0 {
		t.Errorf("%d answers are not what they should be", n)
	}
	p.metrics(t, "zhenglian_push_")

	// Who pushed stands in the access log, and a backup of the running node has what was taken.
	if out := p.run(t, "audit", "access", "--dir", p.dir, "--json"); !strings.Contains(out, `"route": "push"`) || !strings.Contains(out, `"action": "licence.issue"`) {
		t.Errorf("%.2000s", out)
	}
	p.file(t, "passphrase", "a long passphrase for the test\n")
	p.run(t, "backup", "--dir", p.dir, "--out", filepath.Join(t.TempDir(), "backup"), "--passphrase-file", filepath.Join(p.dir, "passphrase"))

	// An ending waits for a second person, as it would through the API.
	var record string
	if err := office.QueryRowContext(t.Context(), "SELECT record FROM "+prefix+"zl_answer WHERE request_id = 'row 7'").Scan(&record); err != nil {
		t.Fatal(err)
	}
	if _, err := office.ExecContext(t.Context(), "INSERT INTO "+prefix+"zl_request (id, operation, record, decision_number, decision_date, effective_on, reason) VALUES ('end', 'licence.cancel', '"+
		record+"', '京市监〔2026〕1号', '2026-01-02', '2026-01-02', 'holder-request')"); err != nil {
		t.Fatal(err)
	}
	soon(t, "the ending is held", func() bool { return count("request_id = 'end' AND state = 'held' AND draft IS NOT NULL") == 1 })
	var draft string
	if err := office.QueryRowContext(t.Context(), "SELECT draft FROM "+prefix+"zl_answer WHERE request_id = 'end'").Scan(&draft); err != nil {
		t.Fatal(err)
	}
	d, err := p.client("approver").Draft(t.Context(), draft, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.client("approver").ApproveDraft(t.Context(), draft, d.Draft.Content, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	soon(t, "the ending is committed", func() bool { return count("request_id = 'end' AND state = 'committed'") == 1 })

	// What is wrong with the source is said where the operator looks.
	p.file(t, "qzk.key", "zlk_nothing")
	soon(t, "readiness names the source", func() bool {
		r, err := http.Get(p.admin + "/readyz")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		var ready sdk.Readiness
		if err := json.NewDecoder(r.Body).Decode(&ready); err != nil {
			return false
		}
		for _, c := range ready.Components {
			if c.Name == "table/qzk" && c.Status == sdk.Degraded && c.Code == model.CodeSourceUnavailable && strings.Contains(c.Detail, "qzk.key") {
				return true
			}
		}
		return false
	})
}

// The real program, with a watched folder, is killed again and again while files arrive: each counts once.
func TestKilledFolder(t *testing.T) {
	p := newPilot(t)
	inbox := filepath.Join(t.TempDir(), "inbox")
	if err := os.Mkdir(inbox, 0o700); err != nil {
		t.Fatal(err)
	}
	p.file(t, "inbox.key", p.keys["drafter"]+"\n")
	p.configure(t, "push:\n  folders:\n    - name: inbox\n      dir: "+inbox+"\n      key_file: inbox.key\n      settle: 100ms\n      poll: 100ms\n")
	const files = 40
	var numbers []string
	write := func(from, to int) {
		for i := from; i < to; i++ {
			n := fmt.Sprintf("DIR%05d", i)
			numbers = append(numbers, n)
			d := (&sdk.NewLicence{Type: "11100000MB0143028R001", Number: n, Holder: sdk.Holder{Code: "91110105X000000192", Name: "北京样例科技有限公司"}})
			draft, err := d.Draft(time.Now())
			if err != nil {
				t.Fatal(err)
			}
			draft.Agency = "bj-scjg"
			raw, err := json.Marshal(draft)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(inbox, n+".json"), raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	done := func() int {
		found, err := filepath.Glob(filepath.Join(inbox, "done", "*.answer.json"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	write(0, 10)
	for kill := range 4 {
		p.start(t)
		before := done()
		soon(t, "some files are done", func() bool { return done() == files || done() > before })
		if kill < 3 {
			write(10+10*kill, 20+10*kill)
		}
		time.Sleep(rand.N(30 * time.Millisecond)) // any moment will do
		p.stop(t, syscall.SIGKILL)
	}
	p.start(t)
	soon(t, "every file is done", func() bool { return done() == files })
	p.ready(t)
	p.issuedOnce(t, numbers)
	if left, _ := filepath.Glob(filepath.Join(inbox, "*.json")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	pushed := map[string]bool{} // what a folder pushed stands in the access log, in the name of its key
	for e, err := range p.client("auditor").Access(t.Context(), sdk.AccessQuery{Agency: "bj-scjg"}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range e.Records {
			if e.Route == "push" && e.Action == "licence.issue" && e.Allowed && e.Status == 202 && strings.HasPrefix(e.Person, "key-") {
				pushed[r.ID] = true
			}
		}
	}
	if len(pushed) != files {
		t.Errorf("%d of %d pushed licences are in the access log", len(pushed), files)
	}
}

// The real program tells a receiver of every event, in order, over a kill; what it gives up an operator sees and sends
// again.
func TestWebhooks(t *testing.T) {
	p := newPilot(t)
	var mu sync.Mutex
	var got []string
	status := 500
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(io.Discard, q.Body)
		if status == 200 && q.Header.Get("webhook-signature") != "" {
			got = append(got, q.Header.Get("webhook-id"))
		}
		w.WriteHeader(status)
	}))
	defer r.Close()
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(slices.Compact(slices.Clone(got))) }
	p.configure(t, "webhooks:\n  give_up: 300ms\n")
	var made struct{ ID, Secret string }
	out := p.run(t, "webhooks", "add", r.URL, "--dir", p.dir, "--types", "licence.*", "--insecure-loopback", "--from", "-1", "--json")
	if err := json.Unmarshal([]byte(out), &made); err != nil || !strings.HasPrefix(made.Secret, "whsec_") {
		t.Fatal(out, err)
	}
	p.start(t)
	p.ready(t)
	issue := func(n string) {
		t.Helper()
		_, err := p.client("drafter").Issue(t.Context(), sdk.NewLicence{Agency: "bj-scjg", Type: "11100000MB0143028R001", Number: n,
			Holder: sdk.Holder{Code: "91110105X000000192", Name: "北京样例科技有限公司"}}, sdk.Write{})
		if err != nil {
			t.Fatal(err)
		}
	}
	issue("WH1")
	soon(t, "it is given up", func() bool {
		return strings.Contains(p.run(t, "webhooks", "list", "--dir", p.dir, "--json"), `"dead":1`)
	})
	if out := p.run(t, "webhooks", "dead", "list", made.ID, "--dir", p.dir); !strings.Contains(out, "licence.issue") || !strings.Contains(out, "answered 500") {
		t.Error(out)
	}
	p.metrics(t, "zhenglian_webhook_")
	mu.Lock()
	status = 200
	mu.Unlock()
	p.run(t, "webhooks", "dead", "redeliver", made.ID, "--all", "--dir", p.dir)
	soon(t, "it is received", func() bool { return count() == 1 })
	for i := range 20 {
		issue(fmt.Sprint("WHK", i))
		if i == 10 {
			p.stop(t, syscall.SIGKILL)
			p.start(t)
			p.ready(t)
		}
	}
	soon(t, "all are received", func() bool { return count() == 21 })
	p.run(t, "webhooks", "rotate", made.ID, "--dir", p.dir)
	p.run(t, "webhooks", "rotate", made.ID, "--finish", "--dir", p.dir)
	p.run(t, "webhooks", "remove", made.ID, "--dir", p.dir)
	if out := p.run(t, "webhooks", "list", "--dir", p.dir, "--json"); strings.TrimSpace(out) != "[]" {
		t.Error(out)
	}
}
