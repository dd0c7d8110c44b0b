package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// nothingLeft looks for processes of this run when all tests have ended: children of this process, and whatever
// names the run's folder. They are ended, and each is a fault of the test that left it.
func nothingLeft() error {
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	var left error
	for _, dir := range found {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		// pid (name) state parent …: the name may hold anything.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || (fields[1] != strconv.Itoa(os.Getpid()) && !bytes.Contains(line, []byte(workshop))) {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			left = errors.Join(left, fmt.Errorf("process %d was left behind: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return left
}
