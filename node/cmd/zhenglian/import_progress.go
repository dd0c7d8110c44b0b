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
	pass  importer.Pass // guarded by mu, as all below
	begun time.Time
	first int // rows done when the pass began here: what earlier runs did says nothing of the speed
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
	if p.Pass != m.pass {
		m.pass, m.begun, m.last, m.first = p.Pass, now, now, p.Rows
		return
	}
	every := 10 * time.Second
	if m.terminal {
		every = 300 * time.Millisecond
	}
	if now.Sub(m.begun) < time.Second || now.Sub(m.last) < every {
		return
	}
	m.last = now
	rate := float64(p.Rows-m.first) / now.Sub(m.begun).Seconds()
	what := m.o.say("核对", "checking")
	of, left := "", ""
	if p.Pass != importer.Checking {
		what = m.o.say("签发", "issuing")
		if p.Pass == importer.Undoing {
			what = m.o.say("撤销", "rescinding")
		}
		of = fmt.Sprintf(" / %d", p.Total)
		if rate > 0 && p.Total > p.Rows {
			d := time.Duration(float64(p.Total-p.Rows) / rate * float64(time.Second)).Round(time.Second)
			left = m.o.say("，剩余约 ", ", about ") + d.String() + m.o.say("", " left")
		}
	}
	line := fmt.Sprintf("%s %d%s%s, %.0f %s%s", what, p.Rows, of, m.o.say(" 行", " rows"), rate, m.o.say("行/秒", "rows/s"), left)
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
