package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/importer"
)

// meter shows how far an import has come, once it has taken a second: on a terminal one line that changes,
// elsewhere a line every ten seconds.
type meter struct {
	o        *client
	w        io.Writer
	terminal bool

	mu    sync.Mutex
	pace  importer.Meter // guarded by mu, as all below
	last  time.Time
	shown bool
}

func newMeter(o *client, w io.Writer) *meter {
	m := &meter{o: o, w: w}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			m.terminal = info.Mode()&os.ModeCharDevice != 0
		}
	}
	return m
}

func (m *meter) progress(p importer.Progress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	pace := m.pace.Pace(p, now)
	every := 10 * time.Second
	if m.terminal {
		every = 300 * time.Millisecond
	}
	if pace.Rate == 0 || now.Sub(m.last) < every {
		return
	}
	m.last = now
	what := m.o.say("核对", "checking")
	of, left := "", ""
	if p.Pass != importer.Checking {
		what = m.o.say("签发", "issuing")
		if p.Pass == importer.Undoing {
			what = m.o.say("撤销", "rescinding")
		}
		of = fmt.Sprintf(" / %d", p.Total)
		if pace.Left > 0 {
			left = m.o.say("，剩余约 ", ", about ") + pace.Left.String() + m.o.say("", " left")
		}
	}
	line := fmt.Sprintf("%s %d%s%s, %.0f %s%s", what, p.Rows, of, m.o.say(" 行", " rows"), pace.Rate, m.o.say("行/秒", "rows/s"), left)
	if m.terminal {
		fmt.Fprintf(m.w, "\r\x1b[K%s", line)
		m.shown = true
		return
	}
	fmt.Fprintln(m.w, line)
}

// end finishes the line.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shown {
		fmt.Fprint(m.w, "\r\x1b[K")
		m.shown = false
	}
}
