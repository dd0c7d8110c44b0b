package doctor

import (
	"bytes"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// frozen tells whether a process is stopped by a signal.
func frozen(pid int) bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// The name may hold anything: the state stands after its last bracket.
	end := bytes.LastIndexByte(raw, ')')
	return end >= 0 && len(raw) > end+2 && (raw[end+2] == 'T' || raw[end+2] == 't')
}

// executable is the file of the program that a process runs, the one it was started from even if another took its
// name.
func executable(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/exe" }

// holders lists who listens on this machine, by address. Sockets of other users' processes are there without the
// process unless the doctor runs as root.
func holders() map[string]holder {
	inodes := map[string]string{} // address by socket
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(raw)) {
			if address, inode, ok := listening(line); ok {
				inodes[inode] = address
			}
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	out := map[string]holder{}
	for _, address := range inodes {
		out[address] = holder{}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		files, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue
		}
		for _, f := range files {
			to, err := os.Readlink(dir + "/fd/" + f.Name())
			if err != nil {
				continue
			}
			inode, ok := strings.CutPrefix(to, "socket:[")
			address, listens := inodes[strings.TrimSuffix(inode, "]")]
			if !ok || !listens {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				continue
			}
			out[address] = holder{pid, commandOf(dir)}
		}
	}
	return out
}

func commandOf(dir string) string {
	raw, err := os.ReadFile(dir + "/cmdline")
	if err != nil || len(raw) == 0 {
		return ""
	}
	return short(strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " ")), 120)
}

// listening reads a line of the kernel's table of TCP sockets.
func listening(line string) (address, inode string, ok bool) {
	const listen = "0A"
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != listen {
		return "", "", false
	}
	host, port, found := strings.Cut(f[1], ":")
	if !found {
		return "", "", false
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return "", "", false
	}
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 || len(raw) == 0 {
		return "", "", false
	}
	// Words of four bytes, each in the machine's order.
	ip := make(net.IP, len(raw))
	for i := 0; i < len(raw); i += 4 {
		ip[i], ip[i+1], ip[i+2], ip[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	return net.JoinHostPort(ip.String(), strconv.FormatUint(p, 10)), f[9], true
}
