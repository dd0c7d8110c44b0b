package fabric

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Attached processes end with the program that started them, even when that is killed.
func TestAttachedEndsWithItsParent(t *testing.T) {
	dir := t.TempDir()
	parent := newSleeper(t, "parent", dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child := &Process{Name: "child", pid: filepath.Join(dir, "run", "child.pid")}
	eventually(t, func() error {
		if !child.Alive() {
			return fmt.Errorf("no child yet")
		}
		return nil
	})
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if child.Alive() {
			return fmt.Errorf("the child outlives its parent")
		}
		return nil
	})
}

// A lock or pipe of the shell that runs a command is free when the command ends, though its processes live on.
func TestDescriptorsOfTheCallerAreNotKept(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dir := t.TempDir()
	founder := exec.Command(exe, "sleeper", "founder", dir)
	founder.ExtraFiles = []*os.File{w}
	if err := founder.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	child := &Process{Name: "child", pid: filepath.Join(dir, "run", "child.pid"), log: filepath.Join(dir, "logs", "child.log")}
	t.Cleanup(func() {
		if err := child.Kill(); err != nil {
			t.Error(err)
		}
	})
	says(t, child, "up")
	if err := founder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = founder.Wait() // killed
	if err := r.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the pipe is held by a process that the command left: %v", err)
	}
	if !child.Alive() {
		t.Error("a detached process ended with the command")
	}
}
