package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Ports of the tests' processes lie below those that the system gives to outgoing connections (32,768 and up
// by default): a process that is started again must find its port free, not taken by some client meanwhile.
// They lie above the demo's own.
const firstPort, lastPort = 12_000, 30_000

var ports = struct {
	sync.Mutex
	given map[int]bool
}{given: map[int]bool{}}

// takePort gives out a number for which the ports at all offsets are free.
func takePort(offsets ...int) (int, error) {
	ports.Lock()
	defer ports.Unlock()
search:
	for range 10_000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		for _, o := range offsets {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+o))
			if err != nil || ports.given[port+o] {
				if err == nil {
					_ = l.Close()
				}
				continue search
			}
			_ = l.Close()
		}
		for _, o := range offsets {
			ports.given[port+o] = true
		}
		return port, nil
	}
	return 0, errors.New("no port is free")
}

// free is an address that nobody listens on.
func free(t testing.TB) string {
	t.Helper()
	port, err := takePort(0)
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

type description struct {
	Nodes []struct {
		Name string            `json:"name"`
		Keys map[string]string `json:"keys"`
	} `json:"nodes"`
}

// founded is a consortium as the demo founds it, stopped before anything was written. Tests copy it.
var founded = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(workshop, "founded")
	log, err := os.Create(filepath.Join(workshop, "founding.log"))
	if err != nil {
		return "", err
	}
	defer log.Close()
	base, err := takePort(0, 1, 2, 3, 1000, 1001, 1002, 1003)
	if err != nil {
		return "", err
	}
	return dir, found(dir, base, log)
})

// found runs the demo until it has founded its consortium in dir, and stops it.
func found(dir string, base int, log io.Writer) error {
	cmd := exec.Command(program, "demo", "--dir", dir, "--base-port", strconv.Itoa(base), "--lang", "en")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(time.Minute)
	for {
		var d description
		raw, err := os.ReadFile(filepath.Join(dir, "demo.json"))
		if err == nil && json.Unmarshal(raw, &d) == nil && len(d.Nodes) == len(memberNames) {
			break
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the demo ended before it had founded anything: %w", err)
		case <-deadline:
			return errors.Join(errors.New("the demo founded nothing within a minute"), cmd.Process.Kill())
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-ended: // interrupted while it starts: its status says nothing
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the demo does not stop"), cmd.Process.Kill())
	}
}
