package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

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
