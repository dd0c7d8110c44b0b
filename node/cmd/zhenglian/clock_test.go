package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
	"github.com/zhenglian/zhenglian/sdk"
)

// movable builds the program with a clock that a test sets while it runs, as an operator sets a machine's: the wall clock
// jumps, what counts elapsed time does not. Only the standard library's time.Now differs from the released program.
func movable(t *testing.T) (program string, set func(time.Duration)) {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(strings.TrimSpace(string(out)), "src", "time")
	source, err := os.ReadFile(filepath.Join(from, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), now) != 1 {
		t.Fatal("this Go has another time.Now: change this test")
	}
	replace := map[string]string{}
	for name, text := range map[string]string{
		"time.go": strings.Replace(string(source), now, now+"\tif shift != nil {\n\t\tsec += *shift\n\t}\n", 1),
		"zz_shift.go": `package time

import (
	"syscall"
	"unsafe"
)

// shift is by how many seconds the machine's clock is taken to be set.
var shift = mapShift()

func mapShift() *int64 {
	path, ok := syscall.Getenv("ZL_TEST_CLOCK")
	if !ok {
		return nil
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic(err)
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*int64)(unsafe.Pointer(&b[0]))
}
`,
	} {
		replace[filepath.Join(from, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	clock, err := os.OpenFile(filepath.Join(dir, "clock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clock.Close() })
	set = func(by time.Duration) {
		if _, err := clock.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(int64(by/time.Second))), 0); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	t.Setenv("ZL_TEST_CLOCK", clock.Name())
	program = filepath.Join(dir, "zhenglian")
	if out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program, set
}

// The clock of a whole node, its ledger in it, is set forward and back by more than a day while it serves. Nothing that was
// accepted is lost; verdicts stay; a browser's session, which counts elapsed time, goes on; drafts do not expire by it;
// keys and tokens end by what the clock says, and are good again with it; doctor says what was done to the clock.
func TestClockMoved(t *testing.T) {
	if os.Getenv("ZL_SOAK") == "" {
		t.Skip("builds the standard library and the program anew; set ZL_SOAK")
	}
	program, set := movable(t)
	p := newPilotOf(t, program)
	at := authtest.New(t)
	p.file(t, "secret", authtest.Secret+"\n")
	p.configure(t, "approval: {expires: 2h}\noidc: [{issuer: '"+at.URL+"', client_id: "+authtest.ClientID+", client_secret_file: secret, redirect_url: '"+p.url+"/auth/callback'}]\n")
	p.run(t, "people", "add", "--dir", p.dir, "--name", "王芳", "--agency", "bj-scjg", "--role", "drafter", "--subject", at.URL+"#wangfang")
	var short struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal([]byte(p.run(t, "keys", "issue", "--dir", p.dir, "--agency", "bj-scjg", "--role", "verifier", "--name", "one day", "--days", "1", "--json")), &short); err != nil {
		t.Fatal(err)
	}
	p.start(t)
	p.ready(t)
	ctx, drafter := t.Context(), p.client("drafter")
	drafter.Attempts = 1
	today := model.DateOf(time.Now()) // asked for by name: what is today moves with the clock
	past := model.DateOf(time.Now().AddDate(0, 0, -10))
	numbers := []string{}
	issue := func(n int) model.OpID {
		t.Helper()
		code, err := model.InventUSCC("91110105X", n)
		if err != nil {
			t.Fatal(err)
		}
		var o model.Outcome
		soon(t, "a licence is accepted", func() bool {
			o, err = drafter.Issue(ctx, sdk.NewLicence{
				Type: "11100000MB0143028R001", Number: fmt.Sprint("clock-", n), Holder: sdk.Holder{Code: string(code), Name: "样例有限公司"}, IssuedOn: past, ValidFrom: past,
			}, sdk.Write{NoWait: true, IdempotencyKey: fmt.Sprint("clock-", n)})
			if err != nil {
				t.Log(err)
			}
			return err == nil
		})
		numbers = append(numbers, fmt.Sprint("clock-", n))
		return o.Operation
	}
	committed := func(id model.OpID) {
		t.Helper()
		soon(t, "it is on the ledger", func() bool {
			o, err := drafter.Operation(ctx, id)
			return err == nil && o.Status == model.Committed
		})
	}
	// A verdict is of what was known by the day that the clock shows, and says which: nothing was issued yet the day before.
	verdicts := func(when string, by time.Duration) {
		t.Helper()
		v, err := p.client("verifier").Verify(ctx, model.Query{Number: numbers[0], Type: "11100000MB0143028R001", At: today})
		early := by < 0 && v.Reason == "not_yet_issued" && v.KnownAt < today
		if err != nil || v.Verdict != model.Valid && !early {
			t.Errorf("%s: %+v, %v", when, v, err)
		}
	}
	works := func(key string) error {
		c := p.client("verifier")
		c.Key, c.Attempts = key, 1
		_, err := c.Whoami(ctx)
		return err
	}
	doctor := func() string {
		out, _ := exec.Command(p.program, "doctor", "--dir", p.dir, "--lang", "en").CombinedOutput() // 1 where something is found
		return string(out)
	}

	committed(issue(1))
	waiting := ""
	{
		_, err := drafter.Act(ctx, "bj-scjg.1", model.LicenceCancel, sdk.LicenceAct{Decision: model.Decision{Date: past, Number: "京〔2026〕1号"}, Effective: past, Reason: "closed"}, sdk.Write{})
		var held *sdk.HeldError
		if !errors.As(err, &held) {
			t.Fatal(err)
		}
		waiting = held.Draft.ID
	}
	session := browse(t, p.url, at)
	token := at.Token("wangfang", nil)
	if err := errors.Join(works(short.Key), works(token), session()); err != nil {
		t.Fatal(err)
	}

	for _, by := range []time.Duration{26 * time.Hour, -26 * time.Hour} {
		set(by)
		when := by.String()
		verdicts(when, by)
		if err := session(); err != nil {
			t.Errorf("%s: the session: %v", when, err)
		}
		ends := errors.Is(works(short.Key), model.E(model.CodeUnauthenticated))
		if ends != (by > 0) {
			t.Errorf("%s: a key of one day ends: %v", when, ends)
		}
		if err := works(at.Token("wangfang", nil)); !errors.Is(err, model.E(model.CodeUnauthenticated)) {
			t.Errorf("%s: another token of ten minutes: %v", when, err)
		}
		id := issue(len(numbers) + 1)
		if d, err := p.client("approver").Draft(ctx, waiting, 0); err != nil || d.Draft.State != sdk.DraftPending {
			t.Errorf("%s: the draft: %+v, %v", when, d.Draft.State, err)
		}
		if said := doctor(); !strings.Contains(said, "clock.") {
			t.Errorf("%s: doctor says nothing of the clock:\n%s", when, said)
		}
		set(0)
		committed(id)
		if err := errors.Join(works(short.Key), works(token), session()); err != nil {
			t.Errorf("after %s: %v", when, err)
		}
		verdicts("after "+when, 0)
	}
	// Stopped and started with the clock back, and again with it right: what was accepted in between is on the ledger.
	p.stop(t, syscall.SIGTERM)
	set(-5 * time.Hour)
	p.start(t)
	soon(t, "it answers", func() bool { return works(p.keys["verifier"]) == nil })
	id := issue(len(numbers) + 1)
	p.stop(t, syscall.SIGTERM)
	set(0)
	p.start(t)
	p.ready(t)
	committed(id)
	if said := doctor(); strings.Contains(said, "clock.stepped") {
		t.Errorf("the clock is right since the start:\n%s", said)
	}
	d, err := p.client("approver").Draft(ctx, waiting, 0)
	if err == nil {
		_, err = p.client("approver").ApproveDraft(ctx, waiting, d.Draft.Content, sdk.Write{})
	}
	if err != nil {
		t.Errorf("the draft is approved: %v", err)
	}
	// What was issued while the clock was a day ahead stands on the ledger under that day, and is not issued before it.
	v, err := p.client("verifier").Verify(ctx, model.Query{Number: numbers[1], Type: "11100000MB0143028R001"})
	if err != nil || v.Verdict != model.NotValid || v.Reason != "not_yet_issued" || len(v.History) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	p.issuedOnce(t, numbers[2:])
	p.stop(t, syscall.SIGTERM)
	p.run(t, "audit", "access", "--verify", "--dir", p.dir)
}

// browse signs a browser in and returns what asks with its session.
func browse(t *testing.T, url string, at *authtest.Issuer) func() error {
	t.Helper()
	at.User("wangfang")
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 30 * time.Second}
	kept := map[string]string{}
	get := func(address string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", address, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if strings.HasPrefix(address, url) { // cookies are Secure, and this is no TLS
			for name, value := range kept {
				r.AddCookie(&http.Cookie{Name: name, Value: value})
			}
		}
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		for _, k := range res.Cookies() {
			kept[k.Name] = k.Value
		}
		return res
	}
	get(get(get(url + "/auth/login").Header.Get("Location")).Header.Get("Location"))
	return func() error {
		if res := get(url + "/v1/whoami"); res.StatusCode != http.StatusOK {
			return fmt.Errorf("the browser is answered %s", res.Status)
		}
		return nil
	}
}
