package fabric

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kind says what a process is.
type Kind string

// The kinds of processes of a network.
const (
	KindOrderer   Kind = "orderer"
	KindPeer      Kind = "peer"
	KindChaincode Kind = "chaincode"
	KindNode      Kind = "node"
)

// Process is one program of the network. It may run or not, and may have been started by another command: who it
// is stands in a file, with the moment at which the kernel started it, so that another process which got the same
// number later is never taken for it. Safe for concurrent use.
type Process struct {
	Name string
	Kind Kind
	Org  string // organisation that runs it

	program  string
	args     []string
	env      []string // beside PATH, HOME and TMPDIR
	dir      string   // working directory
	log      string
	pid      string // file
	attached bool

	starting sync.Mutex // held by Start
}

// maxLog is how large a log may be when its process starts: then it is set aside, and the one set aside before it
// is dropped.
const maxLog = 8 << 20 // bytes

// running is the content of a pid file.
type running struct {
	Pid     int    `json:"pid"`
	Started string `json:"started"` // when, as the kernel says it
	Program string `json:"program"` // see fingerprint
}

// Log is the file with what the process printed.
func (p *Process) Log() string { return p.log }

// Pid returns the process's number, or 0 if it does not run.
func (p *Process) Pid() int {
	r, err := p.read()
	if err != nil || !r.alive() {
		return 0
	}
	return r.Pid
}

// Alive tells whether it runs (stopped by SIGSTOP counts as running).
func (p *Process) Alive() bool { return p.Pid() != 0 }

// Former tells whether it runs another program than it would be started with now: one of another folder, or one that was
// replaced since.
func (p *Process) Former() bool {
	r, err := p.read()
	return err == nil && r.alive() && r.Program != "" && r.Program != fingerprint(p.program)
}

// fingerprint tells a program from others and from later ones of the same name; "" when there is none. The time of a
// file says nothing: go build touches what it leaves as it is.
func fingerprint(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s, %d bytes, file %d", path, st.Size(), st.Sys().(*syscall.Stat_t).Ino)
}

func (p *Process) read() (running, error) {
	var r running
	f, err := os.Open(p.pid)
	if err != nil {
		return r, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, 4096)).Decode(&r); err != nil {
		return r, fmt.Errorf("%s: %w", p.pid, err)
	}
	if r.Pid <= 1 || r.Started == "" {
		return r, fmt.Errorf("%s: names no process", p.pid)
	}
	return r, nil
}

func (r running) alive() bool {
	started, err := startOf(r.Pid)
	return err == nil && started == r.Started
}

// Start runs the program if it does not run already. It returns once the process exists; whether it is ready is
// another question.
func (p *Process) Start() error {
	p.starting.Lock()
	defer p.starting.Unlock()
	if p.Alive() {
		return nil
	}
	if st, err := os.Stat(p.log); err == nil && st.Size() > maxLog {
		if err := os.Rename(p.log, p.log+".1"); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.program, p.args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.Env = append(inherited(), p.env...)
	cmd.SysProcAttr = detachedAttr()
	if p.attached {
		cmd.SysProcAttr = attachedAttr()
	}
	program := fingerprint(p.program)
	if err := start(cmd); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	ended := make(chan struct{})
	// Waited for at once, so that the kernel forgets it when it ends and startOf says that it is gone. Until then
	// its number cannot be given to another.
	r := running{Pid: cmd.Process.Pid, Program: program}
	r.Started, err = startOf(r.Pid)
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	if err == nil {
		var raw []byte
		if raw, err = json.Marshal(r); err == nil {
			err = writeFile(p.pid, raw, 0o600)
		}
	}
	if err != nil {
		// Nobody could find it again.
		_ = cmd.Process.Kill()
		<-ended
		return fmt.Errorf("%w: %s", err, p.why())
	}
	return nil
}

// inherited is what processes get of this program's environment. Fabric reads CORE_* and ORDERER_*: those of the
// operator's shell must not reach in.
func inherited() []string {
	var out []string
	for _, name := range []string{"PATH", "HOME", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// Signal sends a signal. A process that does not run gets none: os.ErrProcessDone.
func (p *Process) Signal(s syscall.Signal) error {
	pid := p.Pid()
	if pid == 0 {
		return os.ErrProcessDone
	}
	return syscall.Kill(pid, s)
}

// Kill ends the process at once (kill -9) and returns when it is gone. It keeps what is on disk and nothing else.
func (p *Process) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.gone(context.Background(), 10*time.Second)
}

// Stop asks the process to end and waits; after patience it is killed. A frozen process is woken first.
func (p *Process) Stop(ctx context.Context, patience time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		if errors.Is(err, os.ErrProcessDone) {
			return p.forget()
		}
		return err
	}
	_ = p.Signal(syscall.SIGCONT)
	if err := p.gone(ctx, patience); err != nil {
		if err := p.Kill(); err != nil {
			return err
		}
	}
	return p.forget()
}

func (p *Process) forget() error {
	if err := os.Remove(p.pid); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Restart stops and starts it.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Stop(ctx, 5*time.Second); err != nil {
		return err
	}
	return p.Start()
}

func (p *Process) gone(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return poll(ctx, 10*time.Millisecond, func() error {
		if p.Alive() {
			return fmt.Errorf("%s (process %d) does not end", p.Name, p.Pid())
		}
		return nil
	})
}

// why describes a process that is not as expected: whether it runs and the last that it printed.
func (p *Process) why() string {
	is := "has ended"
	if p.Alive() {
		is = "runs"
	}
	return fmt.Sprintf("%s %s; the end of %s:\n%s", p.Name, is, p.log, tail(p.log, 1500))
}

// tail returns the last lines of a file, n bytes at most.
func tail(path string, n int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > n {
		if _, err := f.Seek(-n, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	raw, err := io.ReadAll(io.LimitReader(f, n))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(raw))
}

// poll calls f until it succeeds; when ctx ends, it returns what f said last.
func poll(ctx context.Context, every time.Duration, f func() error) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-t.C:
		}
	}
}

// run runs one of Fabric's tools to its end.
func run(ctx context.Context, dir string, env []string, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(inherited(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		if len(out) > 2000 {
			out = out[len(out)-2000:]
		}
		return out, fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return out, nil
}
