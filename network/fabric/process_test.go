package fabric

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newSleeper(t *testing.T, args ...string) *Process {
	t.Helper()
	p, err := sleeperProcess(t.TempDir(), "sleeper", true, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// says waits until the process printed something.
func says(t *testing.T, p *Process, want string) {
	t.Helper()
	eventually(t, func() error {
		raw, err := os.ReadFile(p.Log())
		if err == nil && !strings.Contains(string(raw), want) {
			err = fmt.Errorf("%s printed %q, want %q in it", p.Name, raw, want)
		}
		return err
	})
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := poll(ctx, 5*time.Millisecond, f); err != nil {
		t.Fatal(err)
	}
}

func TestProcess(t *testing.T) {
	t.Setenv("CORE_PEER_ID", "the operator's own")
	p := newSleeper(t)
	if p.Alive() || p.Pid() != 0 {
		t.Fatal("runs before it was started")
	}
	if err := p.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("signal to nobody: %v", err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	pid := p.Pid()
	if err := p.Start(); err != nil || p.Pid() != pid {
		t.Fatalf("second start: %v, process %d, was %d", err, p.Pid(), pid)
	}
	says(t, p, "up  sleeper") // nothing of the operator's shell
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if !p.Alive() {
		t.Error("a frozen process counts as gone")
	}
	if err := p.Stop(context.Background(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if p.Alive() {
		t.Error("runs after it was stopped")
	}
	if err := p.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	if p.Pid() == 0 || p.Pid() == pid {
		t.Errorf("restarted as %d, was %d", p.Pid(), pid)
	}
	if err := p.Kill(); err != nil || p.Alive() {
		t.Errorf("kill: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("killing what is gone: %v", err)
	}
}

func TestProcessThatDoesNotEnd(t *testing.T) {
	p := newSleeper(t, "stubborn")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	says(t, p, "up")
	if err := p.Stop(context.Background(), 200*time.Millisecond); err != nil || p.Alive() {
		t.Fatalf("stop: %v, alive %v", err, p.Alive())
	}
}

// A process that got the number of ours after it ended is never taken for it, and gets no signal.
func TestPidReuse(t *testing.T) {
	other, p := newSleeper(t), newSleeper(t)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(other.pid)
	if err != nil {
		t.Fatal(err)
	}
	var r running
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	r.Started += "1"
	forged, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"another start": string(forged), "no start": fmt.Sprintf(`{"pid":%d}`, r.Pid), "init": `{"pid":1,"started":"x"}`,
		"a group": `{"pid":-1,"started":"x"}`, "nothing": "", "not JSON": "12",
	} {
		if err := os.WriteFile(p.pid, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if p.Alive() {
			t.Errorf("%s: taken for ours", name)
		}
		if err := p.Kill(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !other.Alive() {
		t.Error("a stranger was killed")
	}
	if err := p.Start(); err != nil || p.Pid() == other.Pid() {
		t.Errorf("start beside a stranger: %v", err)
	}
}

func TestAnotherCommandFindsTheProcess(t *testing.T) {
	p := newSleeper(t)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	again := &Process{Name: p.Name, pid: p.pid, log: p.log}
	if again.Pid() != p.Pid() {
		t.Fatalf("found %d, want %d", again.Pid(), p.Pid())
	}
	if err := again.Stop(context.Background(), 5*time.Second); err != nil || p.Alive() {
		t.Fatalf("stop from elsewhere: %v", err)
	}
}

func TestProgramThatCannotStart(t *testing.T) {
	p := newSleeper(t)
	p.program += "-missing"
	if err := p.Start(); err == nil || p.Alive() {
		t.Fatalf("started a program that is not there: %v", err)
	}
}

func TestLogIsSetAside(t *testing.T) {
	p := newSleeper(t)
	if err := os.WriteFile(p.log, make([]byte, maxLog+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	says(t, p, "up")
	if st, err := os.Stat(p.log); err != nil || st.Size() > 1000 {
		t.Errorf("log: %v, %v", st, err)
	}
	if _, err := os.Stat(p.log + ".1"); err != nil {
		t.Error(err)
	}
}
