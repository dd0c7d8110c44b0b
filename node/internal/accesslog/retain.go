package accesslog

import (
	"errors"
	"os"
	"time"
)

// Retain removes whole closed segments all of whose entries are older than a time, from the log's beginning on, and never
// one with an entry that no anchor covers: what remains is then still proved by the next anchor, whose hash is over
// everything before it. It returns how many it removed.
func (l *Log) Retain(before time.Time, anchored uint64) (removed int, err error) {
	for {
		l.mu.Lock()
		if len(l.segments) < 2 {
			l.mu.Unlock()
			return removed, nil
		}
		oldest, next := l.segments[0], l.segments[1].first
		l.mu.Unlock()
		if next > anchored { // its last entry is next−1; one anchored entry stays, by which the rest is proved
			return removed, nil
		}
		path := segmentPath(l.dir, oldest.first)
		x, err := openIndex(path, oldest.end)
		if err != nil {
			return removed, err
		}
		young := x.to >= before.UnixMilli()
		if err := x.close(); err != nil || young {
			return removed, err
		}
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
		if err := errors.Join(os.Remove(path), removeAny(indexPath(path)), syncDir(l.dir)); err != nil {
			return removed, err
		}
		removed++
	}
}

func removeAny(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
