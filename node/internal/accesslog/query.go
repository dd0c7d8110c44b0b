package accesslog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Query asks for entries, in their order. What it leaves out it does not ask about.
type Query struct {
	Record Record         // entries that touched it, or all of its kind
	Person string         // id of the user or key
	Agency model.AgencyID // whose person it was
	From   time.Time      // inclusive
	Until  time.Time      // exclusive
	// Sees says whether who asks may see entries of an agency ("" of the node's own); nil: all.
	Sees  func(model.AgencyID) bool
	After uint64 // only entries with a greater number
	Limit int    // of the page; at most MaxPage
}

// MaxPage is the most entries of a page.
const MaxPage = 1000

// scanBytes is how much of the log one page looks at where no index helps.
const scanBytes = 256 << 20

// Page is a page of answers. More is set when the log was not looked through to its end; the next page begins after
// Next.
type Page struct {
	Entries []Entry
	Next    uint64
	More    bool
}

// Search answers a query from an open log. It reads files only, and holds nobody up.
func (l *Log) Search(ctx context.Context, q Query) (Page, error) {
	l.mu.Lock()
	segments := slices.Clone(l.segments)
	l.mu.Unlock()
	s := search{dir: l.dir, q: q, live: true}
	return s.run(ctx, segments)
}

// Search answers a query from a log's folder. The log may be open in another process.
func Search(ctx context.Context, dir string, q Query) (Page, error) {
	files, err := listSegments(dir)
	if err != nil {
		return Page{}, err
	}
	segments := make([]liveSegment, len(files))
	for i, f := range files {
		segments[i] = liveSegment{f.first, f.size}
	}
	s := search{dir: dir, q: q}
	return s.run(ctx, segments)
}

type search struct {
	dir  string
	q    Query
	live bool // ends of segments are those of whole entries
	page Page
	seen uint64 // number of the last entry that was looked at, or passed over by an index
	left int64  // bytes that may still be scanned
}

func (s *search) run(ctx context.Context, segments []liveSegment) (Page, error) {
	s.q.Limit = max(1, min(s.q.Limit, MaxPage))
	s.left, s.seen = scanBytes, s.q.After
	s.page.Entries = []Entry{}
	for i, seg := range segments {
		if i+1 < len(segments) && segments[i+1].first <= s.q.After+1 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return s.page, err
		}
		if s.full() {
			s.page.More = true
			break
		}
		path, last := segmentPath(s.dir, seg.first), i == len(segments)-1
		more, err := s.indexed(path, seg, last)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile, being old
		}
		if err != nil {
			return s.page, err
		}
		if more {
			s.page.More = true
			break
		}
		if !last {
			s.seen = segments[i+1].first - 1
		}
	}
	s.page.Next = s.seen
	return s.page, nil
}

func (s *search) full() bool { return len(s.page.Entries) >= s.q.Limit || s.left <= 0 }

// indexed looks through one segment, by its index where it is closed and the query has a key. more says that the page
// is full before the segment's end.
func (s *search) indexed(path string, seg liveSegment, last bool) (more bool, err error) {
	if last {
		return s.scan(path, seg, true)
	}
	x, err := openIndex(path, seg.end)
	if err != nil {
		return false, err
	}
	defer x.close()
	if !x.overlaps(s.q.From, s.q.Until) {
		return false, nil
	}
	keys := s.q.keys()
	if len(keys) == 0 {
		return s.scan(path, seg, false)
	}
	found := map[uint32]bool{}
	for _, k := range keys {
		if err := x.find(k, found); err != nil {
			// Damaged since it was opened: without it the segment itself is read, and it is made again the next time.
			_ = os.Remove(indexPath(path))
			return s.scan(path, seg, false)
		}
	}
	offsets := make([]uint32, 0, len(found))
	for o := range found {
		offsets = append(offsets, o)
	}
	slices.Sort(offsets)
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var scratch []byte
	read := func(o uint32) ([]byte, error) {
		raw, _, err := readFrame(bufio.NewReaderSize(io.NewSectionReader(f, int64(o), int64(frameBytes+MaxEntry)), 4096), &scratch)
		return raw, err
	}
	// Offsets are in the order of the entries: what earlier pages showed is found by halving, not by reading it again.
	from := sort.Search(len(offsets), func(i int) bool {
		raw, bad := read(offsets[i])
		seq, _ := sequenceOf(raw)
		return bad != nil || seq > s.q.After
	})
	for _, o := range offsets[from:] {
		if s.full() {
			return true, nil
		}
		raw, err := read(o)
		if err != nil {
			return false, damagedFile(path, 0, err)
		}
		if err := s.take(path, raw); err != nil {
			return false, err
		}
	}
	return false, nil
}

// keys are what an index finds the query's entries by. A record's entries may also stand under all of its kind and under
// all kinds.
func (q *Query) keys() []uint64 {
	switch {
	case q.Record != Record{}:
		return []uint64{recordKey(q.Record), recordKey(Record{Kind: q.Record.Kind, ID: "*"}), recordKey(Record{Kind: "*", ID: "*"})}
	case q.Person != "":
		return []uint64{personKey(q.Person)}
	}
	return nil
}

func (s *search) scan(path string, seg liveSegment, last bool) (more bool, err error) {
	r, err := openSegment(path, seg.end)
	if err != nil {
		if last && !s.live && errors.Is(err, errTorn) {
			return false, nil
		}
		return false, damagedFile(path, seg.first, err)
	}
	defer r.close()
	for {
		if s.full() {
			return true, nil
		}
		raw, _, err := r.step()
		switch {
		case err == io.EOF:
			return false, nil
		case errors.Is(err, errTorn) && last && !s.live:
			return false, nil
		case err != nil:
			return false, damagedFile(path, r.next, err)
		}
		s.left -= int64(frameBytes + len(raw))
		if err := s.take(path, raw); err != nil {
			return false, err
		}
	}
}

// take adds an entry to the page if it is asked for.
func (s *search) take(path string, raw []byte) error {
	seq, _ := sequenceOf(raw)
	if seq <= s.q.After {
		return nil
	}
	e, err := decode(raw)
	if err != nil {
		return damagedFile(path, seq, err)
	}
	s.seen = seq
	if s.q.wants(&e) {
		s.page.Entries = append(s.page.Entries, e)
	}
	return nil
}

func (q *Query) wants(e *Entry) bool {
	at := e.Time.Time()
	switch {
	case q.Person != "" && e.Person != q.Person,
		q.Agency != "" && e.Agency != q.Agency,
		!q.From.IsZero() && at.Before(q.From),
		!q.Until.IsZero() && !at.Before(q.Until),
		q.Sees != nil && !q.Sees(e.Agency):
		return false
	}
	return q.Record == Record{} || slices.ContainsFunc(e.Records, func(r Record) bool {
		return r == q.Record || r.ID == "*" && (r.Kind == q.Record.Kind || r.Kind == "*")
	})
}

func damagedFile(path string, entry uint64, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return err
	}
	if entry == 0 {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Base(path), err)
	}
	return fmt.Errorf("%w: %s, entry %d: %w", ErrDamaged, filepath.Base(path), entry, err)
}
