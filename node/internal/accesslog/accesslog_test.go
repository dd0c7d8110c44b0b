package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func rec(kind model.Kind, id string) Record { return Record{Kind: kind, ID: id} }

func fill(i int) Entry {
	e := Entry{
		Time: model.TimeOf(time.UnixMilli(1_790_000_000_000 + int64(i)*1000)), Person: fmt.Sprint("key-", i%7), Name: "窗口三号",
		Pseudonym: "0123456789abcdef0123456789abcdef", Agency: "bj-scjg", Action: "verify", Route: "verify", Allowed: i%5 != 0, Policy: "verifier-verifies",
		Status: 200, Request: fmt.Sprint("ABCDEFGH-", i), Count: 1, Records: []Record{rec("licence", fmt.Sprint("bj-scjg.", 1+i%20))},
	}
	switch i % 4 {
	case 1:
		e.Use = &Use{Purpose: "办理开办企业", OrgName: "朝阳区政务服务中心", ItemName: "企业设立", ItemCode: "11110000000000000", BusinessCode: "CY-1", User: "fedcba9876543210fedcba9876543210"}
	case 2:
		e.Party = "91110000600037341L"
		e.Records = []Record{rec("licence", "bj-scjg.1"), rec("licence", "bj-scjg.2"), rec("agency", "bj-scjg"), rec("licence", "tj-gov.7")}
	case 3:
		e.Records, e.Route = []Record{rec("agency", "*")}, "registry-list"
	}
	return e
}

func create(t testing.TB, o Options) (*Log, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "access")
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir, o), dir
}

func reopen(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.Clock == nil {
		o.Clock = func() time.Time { return fill(0).Time.Time() }
	}
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func appendAll(t testing.TB, l *Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		e := fill(i)
		if err := l.Append(&e); err != nil {
			t.Fatal(err)
		}
		if i%5 == 4 || i == to-1 { // a group goes to one file, however small files are
			if _, err := l.Sync(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// checked is a log that must be whole.
func checked(t testing.TB, dir string, anchors ...Anchor) *Report {
	t.Helper()
	r, err := Verify(dir, anchors)
	if err != nil || len(r.Findings) > 0 || r.Torn != 0 {
		t.Fatalf("%v: %+v", err, r)
	}
	return r
}

func anchorOf(h Head, version uint64, day model.Date) Anchor {
	return Anchor{AccessLog: model.AccessLog{Start: h.Start, Count: h.Count, Head: h.Hash, From: day, Until: day, Node: "beijing", Msp: "BeijingMSP"}, Version: version}
}

func TestEntriesComeBack(t *testing.T) {
	l, dir := create(t, Options{SegmentBytes: 4000})
	appendAll(t, l, 0, 200)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = reopen(t, dir, Options{SegmentBytes: 4000})
	appendAll(t, l, 200, 300)
	r := checked(t, dir)
	if r.Count != 300 || r.First != 1 || r.Files < 5 {
		t.Errorf("%+v", r)
	}
	var got []Entry
	q := Query{Limit: 17}
	for {
		p, err := l.Search(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Entries...)
		if !p.More {
			break
		}
		q.After = p.Next
	}
	if len(got) != 300 {
		t.Fatalf("%d entries", len(got))
	}
	for i := range got {
		want := fill(i)
		want.Sequence = uint64(i + 1)
		if !reflect.DeepEqual(got[i], want) {
			t.Fatalf("entry %d:\n%+v\n%+v", i+1, got[i], want)
		}
	}
	for _, f := range must(os.ReadDir(dir))(t) {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), info.Mode())
		}
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Every query answers what looking at every entry answers, over closed files with an index and the open one, page by
// page, while the log grows, with indexes damaged in between; and from the folder alone.
func TestWhoLookedAtThisRecord(t *testing.T) {
	l, dir := create(t, Options{SegmentBytes: 3000})
	appendAll(t, l, 0, 400)
	at := func(i int) time.Time { return fill(i).Time.Time() }
	for name, q := range map[string]Query{
		"record":           {Record: rec("licence", "bj-scjg.7")},
		"record in a list": {Record: rec("agency", "tj-gov")},
		"other agency":     {Record: rec("licence", "tj-gov.7")},
		"nothing":          {Record: rec("licence", "bj-scjg.999")},
		"person":           {Person: "key-3"},
		"both":             {Person: "key-3", Record: rec("licence", "bj-scjg.1")},
		"days":             {From: at(100), Until: at(200)},
		"record and days":  {Record: rec("licence", "bj-scjg.1"), From: at(150), Until: at(350)},
		"agency":           {Agency: "tj-gov"},
		"all":              {},
		"what may be seen": {Sees: func(a model.AgencyID) bool { return a != "bj-scjg" }},
	} {
		var want []uint64
		for i := range 400 {
			e := fill(i)
			if q.wants(&e) {
				want = append(want, uint64(i+1))
			}
		}
		for _, limit := range []int{1, 7, 1000} {
			var got []uint64
			p := q
			p.Limit = limit
			for pages := 0; ; pages++ {
				page, err := l.Search(context.Background(), p)
				if limit == 7 {
					page, err = Search(context.Background(), dir, p)
					for i, x := range must(filepath.Glob(filepath.Join(dir, "*"+indexSuffix)))(t) {
						raw := must(os.ReadFile(x))(t)
						raw[(i*97+pages*13)%len(raw)] ^= 4
						if err := os.WriteFile(x, raw, 0o600); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page.Entries {
					got = append(got, e.Sequence)
				}
				if !page.More {
					break
				}
				if page.Next <= p.After {
					t.Fatalf("%s: no progress after %d", name, p.After)
				}
				p.After = page.Next
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, pages of %d:\n%v\n%v", name, limit, got, want)
			}
		}
	}
}

// Whatever byte is changed is found, or is an end that reads as cut off; nothing is taken for whole.
func TestEveryByte(t *testing.T) {
	l, dir := create(t, Options{SegmentBytes: 500})
	appendAll(t, l, 0, 8)
	head := must(l.Sync(context.Background()))(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	anchors := []Anchor{anchorOf(head, 1, "2026-11-01")}
	checked(t, dir, anchors...)
	files := must(listSegments(dir))(t)
	if len(files) < 2 {
		t.Fatal("one file only")
	}
	for n, f := range files {
		raw := must(os.ReadFile(f.path))(t)
		for i := range raw {
			bad := slices.Clone(raw)
			bad[i] ^= 1 << (i % 8)
			if err := os.WriteFile(f.path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Verify(dir, anchors)
			if err != nil {
				t.Fatal(err)
			}
			begun := f.size == int64(headerBytes) // it holds nothing yet: what a crash leaves looks the same
			if len(r.Findings) == 0 && !(begun && r.Torn > 0) {
				t.Fatalf("byte %d of file %d: nothing found", i, n)
			}
			if r, err = Verify(dir, nil); err != nil || len(r.Findings) == 0 && (r.Torn == 0 || n+1 < len(files)) {
				t.Fatalf("byte %d of file %d, without anchors: %v %+v", i, n, err, r)
			}
		}
		// Cut anywhere: of the last file a torn end that the anchor tells of, of the others a gap.
		for i := range raw {
			if err := os.WriteFile(f.path, raw[:i], 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := Verify(dir, anchors)
			if err != nil || len(r.Findings) == 0 && (f.size > int64(headerBytes) || r.Torn != int64(i)) {
				t.Fatalf("file %d cut at %d: %v %+v", n, i, err, r)
			}
		}
		if err := os.WriteFile(f.path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A file that is gone, whichever.
	for n, f := range files {
		if err := os.Rename(f.path, f.path+".away"); err != nil {
			t.Fatal(err)
		}
		r, err := Verify(dir, anchors)
		if err != nil || len(r.Findings) == 0 && f.size > int64(headerBytes) && (n > 0 || r.First == 1) {
			t.Fatalf("file %d gone: %v %+v", n, err, r)
		}
		if err := os.Rename(f.path+".away", f.path); err != nil {
			t.Fatal(err)
		}
	}
	checked(t, dir, anchors...)
}

// A log that was written again with other entries and right checksums is a log for itself; only the anchors tell.
func TestRewrittenLog(t *testing.T) {
	l, dir := create(t, Options{})
	appendAll(t, l, 0, 10)
	first := must(l.Sync(context.Background()))(t)
	appendAll(t, l, 10, 20)
	second := must(l.Sync(context.Background()))(t)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	anchors := []Anchor{anchorOf(first, 1, "2026-11-01"), anchorOf(second, 2, "2026-11-02")}
	r := checked(t, dir, anchors...)
	if r.Anchors != 2 || r.Anchored != 20 || r.Day != "2026-11-02" {
		t.Errorf("%+v", r)
	}
	f := must(listSegments(dir))(t)[0]
	s := must(openSegment(f.path, f.size))(t)
	out := s.header.encode()
	c := chain{head: s.header.before}
	for {
		raw, _, err := s.step()
		if err == io.EOF {
			break
		}
		e := must(decode(raw))(t)
		if e.Sequence == 14 {
			e.Person = "key-other"
		}
		frame := encode(make([]byte, frameBytes), &e)
		c.seal(frame)
		out = append(out, frame...)
	}
	_ = s.close()
	if err := os.WriteFile(f.path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	checked(t, dir)
	r, err := Verify(dir, anchors)
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Entry != 11 || r.Anchored != 10 || !strings.Contains(r.Findings[0].En, "entries 11 to 20") {
		t.Errorf("%v %+v", err, r)
	}
	// Cut behind the anchor, at the end of an entry: nothing torn, and still found.
	if err := os.WriteFile(f.path, must(os.ReadFile(f.path))(t)[:headerBytes], 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = Verify(dir, anchors); err != nil || len(r.Findings) != 2 || !strings.Contains(r.Findings[1].En, "the last 20 are gone") {
		t.Errorf("%v %+v", err, r)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	if r, err = Verify(dir, anchors); err != nil || r.Earlier != 2 || len(r.Findings) != 0 {
		t.Errorf("another log: %v %+v", err, r)
	}
}

// Wherever a crash cuts the last file, the log opens with the entries before it, goes on, and says so itself; damage before
// the end is never cut.
func TestTornEnd(t *testing.T) {
	l, dir := create(t, Options{})
	appendAll(t, l, 0, 6)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	path := segmentPath(dir, 1)
	raw := must(os.ReadFile(path))(t)
	var ends []int
	s := must(openSegment(path, int64(len(raw))))(t)
	for {
		if _, _, err := s.step(); err != nil {
			break
		}
		ends = append(ends, int(s.at))
	}
	_ = s.close()
	for i := headerBytes; i <= len(raw); i++ {
		if err := os.WriteFile(path, raw[:i], 0o600); err != nil {
			t.Fatal(err)
		}
		whole := 0
		for _, e := range ends {
			if e <= i {
				whole++
			}
		}
		l, err := Open(dir, Options{Logger: quiet, Clock: func() time.Time { return fill(0).Time.Time() }})
		if err != nil {
			t.Fatalf("cut at %d: %v", i, err)
		}
		appendAll(t, l, 50, 51)
		p := must(l.Search(context.Background(), Query{Limit: 100}))(t)
		torn := i != headerBytes && !slices.Contains(ends, i)
		want := whole + 1
		if torn {
			want++
		}
		if len(p.Entries) != want || torn != (len(p.Entries) > whole && p.Entries[whole].Action == ActionCut) {
			t.Fatalf("cut at %d: %d entries of %d, %+v", i, len(p.Entries), want, p.Entries)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		checked(t, dir)
	}
	bad := slices.Clone(raw)
	bad[ends[2]-3] ^= 1
	if err := os.WriteFile(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Logger: quiet}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 3") {
		t.Errorf("damage in the middle: %v", err)
	}
	if got := must(os.ReadFile(path))(t); !bytes.Equal(got, bad) {
		t.Error("the damaged file was changed")
	}
	if p, err := Search(context.Background(), dir, Query{Limit: 10}); !errors.Is(err, ErrDamaged) || len(p.Entries) != 2 {
		t.Errorf("searching a damaged log: %v, %d entries", err, len(p.Entries))
	}
}

// Many write at once: each entry stands once, in the order of the numbers, and who waited finds his on the disk.
func TestConcurrentWriters(t *testing.T) {
	l, dir := create(t, Options{SegmentBytes: 20_000})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 100 {
				e := fill(i)
				e.Request = fmt.Sprint(w, "-", i)
				if i%3 > 0 {
					if err := l.Append(&e); err != nil {
						t.Error(err)
					}
					continue
				}
				wait, err := l.Begin(&e)
				if err != nil {
					t.Error(err)
					continue
				}
				if err := wait(context.Background()); err != nil {
					t.Error(err)
				}
				if i%30 == 0 {
					p, err := Search(context.Background(), dir, Query{After: e.Sequence - 1, Limit: 1})
					if err != nil || len(p.Entries) != 1 || p.Entries[0].Request != e.Request {
						t.Errorf("%v %+v", err, p)
					}
				}
			}
		}()
	}
	wg.Wait()
	if h := must(l.Sync(context.Background()))(t); h.Count != 800 {
		t.Errorf("%d entries", h.Count)
	}
	checked(t, dir)
	seen := map[string]bool{}
	p := must(l.Search(context.Background(), Query{Limit: 1000}))(t)
	for _, e := range p.Entries {
		seen[e.Request] = true
	}
	if len(seen) != 800 {
		t.Errorf("%d different entries", len(seen))
	}
}

// Entries of reads are with the kernel in 50 ms and on the disk in a second without anybody asking.
func TestReadsAreWrittenSoon(t *testing.T) {
	l, dir := create(t, Options{})
	e := fill(0)
	if err := l.Append(&e); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		r, err := Verify(dir, nil)
		l.mu.Lock()
		synced := l.synced.Count
		l.mu.Unlock()
		if err == nil && r.Count == 1 && synced == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v %+v, synced %d", err, r, synced)
		}
	}
}

// A full disk: what was answered is still written, nothing more is taken, and with room again the log goes on without a
// gap. The same when writing itself fails.
func TestFullDisk(t *testing.T) {
	var mu sync.Mutex
	room := uint64(1 << 40)
	set := func(n uint64) { mu.Lock(); room = n; mu.Unlock() }
	l, dir := create(t, Options{Reserve: -1, Free: func(string) (uint64, error) { mu.Lock(); defer mu.Unlock(); return room, nil }})
	appendAll(t, l, 0, 5)
	e := fill(5)
	if err := l.Append(&e); err != nil {
		t.Fatal(err)
	}
	set(0)
	await(t, func() bool { return l.Ready() != nil && l.Head().Count == 6 })
	if err := l.Append(&e); !errors.Is(err, errUnavailable) {
		t.Errorf("with a full disk: %v", err)
	}
	if _, err := l.Begin(&e); model.AsError(err).Code != model.CodeAccessLogUnavailable {
		t.Errorf("with a full disk: %v", err)
	}
	if r := checked(t, dir); r.Count != 6 {
		t.Errorf("%d entries", r.Count)
	}
	set(1 << 40)
	await(t, func() bool { l.space(); return l.Ready() == nil })
	appendAll(t, l, 6, 8)

	// The file cannot be written: its name leads to a folder.
	path := segmentPath(dir, 1)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.w.file.Close(); err != nil { // nothing is under way
		t.Fatal(err)
	}
	e = fill(8)
	wait, err := l.Begin(&e)
	if err != nil {
		t.Fatal(err)
	}
	if err := wait(context.Background()); !errors.Is(err, errUnavailable) || l.Ready() == nil {
		t.Errorf("%v", err)
	}
	if err := errors.Join(os.Remove(path), os.Rename(path+".away", path)); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return l.Ready() == nil })
	appendAll(t, l, 9, 10)
	if r := checked(t, dir); r.Count != 10 {
		t.Errorf("%d entries: what was told to have failed, and was perhaps done, is there too", r.Count)
	}
}

// Room that was set aside lets reads go on over a full disk.
func TestReserve(t *testing.T) {
	l, dir := create(t, Options{Free: func(string) (uint64, error) { return 0, nil }})
	if l.w.room == 0 {
		t.Skip("this disk sets no room aside")
	}
	appendAll(t, l, 0, 50)
	if err := l.Ready(); err != nil {
		t.Error(err)
	}
	if r := checked(t, dir); r.Count != 50 {
		t.Errorf("%+v", r)
	}
}

func await(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come")
		}
	}
}

// A clock that jumps changes no order and no proof; a jump ahead begins a file, one back does not.
func TestClockMoves(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, model.Shanghai)
	var mu sync.Mutex
	l, dir := create(t, Options{Clock: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	for _, d := range []time.Duration{0, 40 * 24 * time.Hour, -70 * 24 * time.Hour, -time.Hour, 5 * time.Hour} {
		mu.Lock()
		now = now.Add(d)
		e := fill(0)
		e.Time = model.TimeOf(now)
		mu.Unlock()
		if err := l.Append(&e); err != nil {
			t.Fatal(err)
		}
		must(l.Sync(context.Background()))(t)
	}
	if r := checked(t, dir); r.Count != 5 || r.Files > 3 {
		t.Errorf("%+v", r)
	}
}

// Only old closed files go, only behind an anchor, and what stays is still proved.
func TestRetention(t *testing.T) {
	l, dir := create(t, Options{SegmentBytes: 2000})
	appendAll(t, l, 0, 100)
	mid := must(l.Sync(context.Background()))(t)
	appendAll(t, l, 100, 200)
	end := must(l.Sync(context.Background()))(t)
	old := fill(60).Time.Time()
	if n := must(l.Retain(old, 0))(t); n != 0 {
		t.Errorf("%d files removed without an anchor", n)
	}
	if n := must(l.Retain(old, mid.Count))(t); n == 0 {
		t.Error("no file removed")
	}
	anchors := []Anchor{anchorOf(mid, 1, "2026-11-01"), anchorOf(end, 2, "2026-11-02")}
	r := checked(t, dir, anchors...)
	if r.First <= 1 || r.First > 61 || r.Anchors != 2 {
		t.Errorf("%+v", r)
	}
	before := r.First
	if n := must(l.Retain(fill(1000).Time.Time(), mid.Count))(t); n == 0 {
		t.Error("no file removed")
	}
	if r = checked(t, dir, anchors...); r.First <= before || r.First > mid.Count+1 || r.Anchors == 0 {
		t.Errorf("%+v", r)
	}
	p := must(l.Search(context.Background(), Query{Limit: 1}))(t)
	if len(p.Entries) != 1 || p.Entries[0].Sequence != r.First {
		t.Errorf("%+v", p)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = reopen(t, dir, Options{})
	appendAll(t, l, 200, 201)
	checked(t, dir, anchors...)
}

// What was only counted is told as the node's own entries.
func TestCounts(t *testing.T) {
	l, dir := create(t, Options{})
	for range 3 {
		l.SignInFailed()
	}
	l.RateLimited()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := must(Search(context.Background(), dir, Query{Limit: 10}))(t)
	if len(p.Entries) != 2 || p.Entries[0].Action != ActionSignInFailed || p.Entries[0].Count != 3 || p.Entries[0].Person != "" || p.Entries[1].Count != 1 {
		t.Errorf("%+v", p.Entries)
	}
}

func TestTwoProcesses(t *testing.T) {
	_, dir := create(t, Options{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for i := range 8 {
		e := fill(i)
		e.Sequence = uint64(i + 1)
		f.Add(encode(nil, &e))
	}
	f.Add([]byte{entryFormat})
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := decode(raw)
		if err != nil {
			return
		}
		if again := encode(nil, &e); !bytes.Equal(again, raw) {
			t.Errorf("another form of one entry:\n%x\n%x", raw, again)
		}
	})
}

// BenchmarkAppend is what an entry costs in all, its chaining and writing included; BenchmarkEncode the greater part of what
// the request itself pays.
func BenchmarkAppend(b *testing.B) {
	l, dir := create(b, Options{})
	e := fill(0)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		for l.Append(&e) != nil { // the queue is full: as fast as the writer
			time.Sleep(100 * time.Microsecond)
		}
	}
	must(l.Sync(context.Background()))(b)
	b.StopTimer()
	var size int64
	for _, f := range must(listSegments(dir))(b) {
		size += f.size
	}
	b.ReportMetric(float64(size)/float64(b.N), "bytes/entry")
}

func BenchmarkEncode(b *testing.B) {
	e := fill(0)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = encode(buf[:0], &e)
	}
}

// BenchmarkWhoLooked asks for one record of a log of a million entries in closed files.
func BenchmarkWhoLooked(b *testing.B) {
	l, _ := create(b, Options{})
	for i := range 1_000_000 {
		e := fill(4 * i)
		e.Time = fill(0).Time
		e.Records[0].ID = fmt.Sprint("bj-scjg.", 1+i%200_000)
		for l.Append(&e) != nil {
			time.Sleep(100 * time.Microsecond)
		}
	}
	must(l.Sync(context.Background()))(b)
	q := Query{Record: rec("licence", "bj-scjg.777"), Limit: 1000}
	must(l.Search(context.Background(), q))(b) // makes the indexes
	b.ResetTimer()
	for range b.N {
		if p := must(l.Search(context.Background(), q))(b); len(p.Entries) != 5 {
			b.Fatal(len(p.Entries))
		}
	}
}
