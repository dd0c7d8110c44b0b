package fabric

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// startOf returns when a process began, in a form that no other process of this boot or another shares with its
// number. A process that ended and was not waited for yet is gone.
func startOf(pid int) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// pid (name) state …: the name may hold anything, so fields are counted from its end. Field 3 is the state,
	// field 22 the start in clock ticks since boot.
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return "", fmt.Errorf("/proc/%d/stat: no name", pid)
	}
	fields := strings.Fields(string(raw[end+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", os.ErrProcessDone
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19], nil
}

// detachedAttr starts a process in a session of its own: it outlives this program and its terminal.
func detachedAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// attachedAttr lets the kernel end the process when the thread that started it ends: see start.
func attachedAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

var starter = sync.OnceValue(func() chan func() {
	calls := make(chan func())
	go func() {
		// Never unlocked: a parent-death signal follows the thread, and Go ends threads when it likes. This one
		// lives as long as the program.
		runtime.LockOSThread()
		closeInherited()
		for f := range calls {
			f()
		}
	}()
	return calls
})

// closeInherited keeps descriptors that this program was given, and did not open, from living on in the network's
// processes: a lock or a pipe of the shell would be held as long as the network runs. What this program opened itself
// is closed at exec anyway.
func closeInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // no worse than without
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// start runs a command from the thread that lives as long as this program.
func start(cmd *exec.Cmd) error {
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}
