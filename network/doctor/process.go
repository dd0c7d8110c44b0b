package doctor

import (
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// process looks at a program's process and the end of its log.
func (l *looker) process(p *fabric.Process, out *Program) {
	out.Pid = p.Pid()
	out.Frozen = out.Pid != 0 && frozen(out.Pid)
	out.Former = p.Former()
	if out.Pid == 0 {
		out.LastLog = lastLine(p.Log())
	}
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// maxLine is how much of a log's last line is shown.
const maxLine = 300 // bytes

// lastLine is the last line of a file that says anything.
func lastLine(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	const end = 4 << 10
	if st, err := f.Stat(); err == nil && st.Size() > end {
		if _, err := f.Seek(-end, io.SeekEnd); err != nil {
			return ""
		}
	}
	raw, err := io.ReadAll(io.LimitReader(f, end))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return short(lines[len(lines)-1], maxLine)
}

// colours are what Fabric paints its log with.
var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// short cuts a text for people and keeps it on one line.
func short(s string, n int) string {
	s = colours.ReplaceAllString(s, "")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' }), " ")
	if len(s) <= n {
		return s
	}
	cut := n
	for cut > 0 && s[cut]&0xC0 == 0x80 {
		cut--
	}
	return s[:cut] + "…"
}

// find says who listens on the socket's address, or on its port of all addresses.
func (s *Socket) find(holders map[string]holder) {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return
	}
	for _, h := range []string{host, "0.0.0.0", "::"} {
		if who, ok := holders[net.JoinHostPort(h, port)]; ok {
			s.Open, s.Holder, s.Command = true, who.pid, who.command
			return
		}
	}
	if holders != nil {
		return
	}
	// Where the kernel's tables cannot be read, a connection tells that somebody listens, though not who.
	if c, err := net.DialTimeout("tcp", s.Address, time.Second); err == nil {
		s.Open = true
		_ = c.Close()
	}
}

type holder struct {
	pid     int
	command string
}
