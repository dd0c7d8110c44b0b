package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stopLimit is how long a process may take to end when asked to.
const stopLimit = 15 * time.Second

// process is a child in a process group of its own. It ends with the test that started it, and with the test's
// process.
type process struct {
	t    testing.TB // complains
	cmd  *exec.Cmd
	out  output
	done chan struct{} // closed when it has ended
	err  error         // set before done is closed
}

func start(t testing.TB, args ...string) *process { t.Helper(); return startFor(t, t, args...) }

// startFor starts a process that lives as long as the test owner, of which t may be a part.
func startFor(t, owner testing.TB, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	owner.Cleanup(func() {
		p.t = owner
		p.signal(syscall.SIGKILL)
		<-p.done
		if owner.Failed() {
			owner.Logf("zhenglian %q printed:\n%s", args, p.out.tail(6000))
		}
	})
	return p
}

// signal reaches the whole group; an ended process is no error.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if p.ended() {
		return
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Errorf("signal: %v", err)
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends it as a power cut does.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stop asks it to end and expects status 0 within the limit.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if status := p.wait(stopLimit); status != 0 {
		p.t.Errorf("a process that was asked to stop ended with status %d:\n%s", status, p.out.tail(2000))
	}
}

// status is that of a process that has ended, −1 after a signal.
func (p *process) status() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// wait returns the status once it has ended, and fails the test where that takes longer than the limit.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.status()
	case <-timer.C:
		p.signal(syscall.SIGQUIT) // it prints where it stands
		<-p.done
		p.t.Fatalf("a process did not end within %v:\n%s", limit, p.out.tail(20000))
		return -1
	}
}

// command runs the program to its end and returns status and outputs.
func command(t testing.TB, args ...string) (status int, out, errOut []byte) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Minute
	timer := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.Bytes(), e.Bytes()
}

// output keeps what a process prints.
type output struct {
	mu  sync.Mutex
	buf []byte // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	return len(b), nil
}

func (o *output) bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf)
}

func (o *output) tail(n int) []byte {
	b := o.bytes()
	return b[max(0, len(b)-n):]
}

// eventually polls until ok or the limit, and then fails with what it waited for.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
