package app

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
)

// logs is a running node's log: how much it says can be changed, and what it said last is kept in memory for a
// support bundle.
type logs struct {
	logger *slog.Logger
	level  slog.LevelVar // INFO at first
	last   lastLines
}

// newLogs passes on to h what is of the level; h should take every level.
func newLogs(h slog.Handler) *logs {
	l := &logs{}
	l.logger = slog.New(leveled{&l.level, slog.NewMultiHandler(h, slog.NewJSONHandler(&l.last, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	return l
}

// leveled is a handler whose level can be changed.
type leveled struct {
	level *slog.LevelVar
	slog.Handler
}

func (h leveled) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level.Level() && h.Handler.Enabled(ctx, l)
}

func (h leveled) WithAttrs(a []slog.Attr) slog.Handler {
	return leveled{h.level, h.Handler.WithAttrs(a)}
}
func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.level, h.Handler.WithGroup(name)}
}

// lastLines keeps the newest lines written to it, each one write. Safe for concurrent use.
type lastLines struct {
	mu    sync.Mutex
	lines [500][]byte // guarded by mu; a ring
	next  int         // guarded by mu
}

const longestLine = 4 << 10

func (l *lastLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := bytes.ToValidUTF8(bytes.TrimRight(b[:min(len(b), longestLine)], "\n"), nil)
	l.lines[l.next] = append(l.lines[l.next][:0], line...)
	l.next = (l.next + 1) % len(l.lines)
	return len(b), nil
}

// text is the lines, oldest first.
func (l *lastLines) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []byte
	for i := range l.lines {
		if line := l.lines[(l.next+i)%len(l.lines)]; len(line) > 0 {
			out = append(append(out, line...), '\n')
		}
	}
	return out
}
