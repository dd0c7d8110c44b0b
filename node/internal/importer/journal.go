package importer

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// journalFormat is the first line's mark.
const journalFormat = "zhenglian import state v1"

// maxJournalLine bounds a line: a batch's rows and their faults.
const maxJournalLine = 4 << 20

// Journal remembers the fate of rows across runs: JSON lines, the first saying what is being imported,
// each other what became of some rows. A line is fsynced before its rows count as done, and a torn last
// line, which is what a crash in the middle of writing leaves, is cut off: its rows are sent again under the
// same key.
//
// Safe for concurrent use.
type Journal struct {
	f      *os.File
	head   journalHead
	mu     sync.Mutex
	done   bitmap     // lines whose fate is known; guarded by mu
	count  Counts     // guarded by mu
	made   []issuedAt // guarded by mu
	asked  map[model.NodeID]int
	failed int // rows that failed the check; guarded by mu
	// undone counts what was rescinded of it; -1: nobody has begun to. Guarded by mu.
	undone int
	bad    map[int]model.Code // lines that a node has rejected; guarded by mu
}

type journalHead struct {
	Format  string       `json:"format"`
	File    model.Digest `json:"file"`
	Map     model.Digest `json:"map"`
	Started model.Time   `json:"started"`
	Batch   string       `json:"batch,omitempty"` // what the import is called
	Name    string       `json:"name,omitempty"`  // of the file
	Legacy  bool         `json:"legacy,omitempty"`
}

type journalLine struct {
	Rows     string      `json:"rows"` // "2-501,503"
	Node     string      `json:"node,omitempty"`
	Issued   int         `json:"issued,omitempty"`
	Already  int         `json:"already,omitempty"`
	Rejected []lineFault `json:"rejected,omitempty"`
	Records  string      `json:"records,omitempty"` // issued: "bj-scjg.4-203,bj-scjg-cy.7"
	// Registered is how often a batch was registered at the node, instead of rows.
	Registered int `json:"registered,omitempty"`
	// Bad is how many rows of the file failed the check, instead of rows.
	Bad *int `json:"bad,omitempty"`
	// Undone is how many of the licences an undoing has rescinded so far, instead of rows; 0 before its first request.
	Undone *int `json:"undone,omitempty"`
}

type lineFault struct {
	Line int        `json:"line"`
	Code model.Code `json:"code"`
}

// Counts are what became of rows that were sent.
type Counts struct {
	Issued   int `json:"issued"`
	Already  int `json:"already_there"`
	Rejected int `json:"rejected"` // by a node
}

// ErrOtherImport is a state file that belongs to another file or map.
var ErrOtherImport = errors.New("the state file belongs to another import")

// ErrUndone is a state file whose import was undone, or is being.
var ErrUndone = errors.New("the import of this state file was undone")

// ErrBusy is a state file that another process holds.
var ErrBusy = errors.New("another process is importing with this state file")

// OpenJournal opens or creates the state file of an import.
func OpenJournal(path string, file, mapping model.Digest, now model.Time) (*Journal, error) {
	return openJournal(path, journalHead{Format: journalFormat, File: file, Map: mapping, Started: now})
}

func openJournal(path string, head journalHead) (*Journal, error) {
	if head.Batch == "" {
		salt := model.NewSalt()
		head.Batch = head.Started.Time().In(model.Shanghai).Format("20060102-") + hex.EncodeToString(salt[:4]) // one file can be imported more than once a day
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := newJournal(f)
	if err := j.open(path, head); err != nil {
		f.Close()
		return nil, err
	}
	return j, nil
}

func newJournal(f *os.File) *Journal {
	return &Journal{f: f, bad: map[int]model.Code{}, asked: map[model.NodeID]int{}, undone: -1}
}

func (j *Journal) open(path string, want journalHead) error {
	if err := j.lock(path); err != nil {
		return err
	}
	if j.head.Format != "" {
		if j.head.File != want.File || j.head.Map != want.Map {
			return ErrOtherImport
		}
		if j.undone >= 0 {
			return ErrUndone
		}
		return nil
	}
	j.head = want
	if err := j.write(want); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// reopen opens a state file that exists.
func (j *Journal) reopen(path string) error {
	if err := j.lock(path); err != nil {
		return err
	}
	if j.head.Format == "" {
		return fmt.Errorf("%s: not a state file of an import", path)
	}
	return nil
}

// lock takes the file, reads it, and cuts a torn line off.
func (j *Journal) lock(path string) error {
	if err := syscall.Flock(int(j.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return ErrBusy
	}
	end, err := j.load()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := j.f.Truncate(end); err != nil {
		return err
	}
	_, err = j.f.Seek(end, io.SeekStart)
	return err
}

// load reads all whole lines and returns where they end.
func (j *Journal) load() (end int64, err error) {
	r := bufio.NewReaderSize(j.f, maxJournalLine)
	for first := true; ; first = false {
		raw, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		if err != nil {
			return 0, err
		}
		if first {
			if err := decodeLine(raw, &j.head); err != nil || j.head.Format != journalFormat {
				return 0, errors.New("not a state file of an import")
			}
		} else if err := j.replay(raw); err != nil {
			return 0, fmt.Errorf("damaged at byte %d: %w", end, err)
		}
		end += int64(len(raw))
	}
}

func decodeLine(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

func (j *Journal) replay(raw []byte) error {
	var l journalLine
	if err := decodeLine(raw, &l); err != nil {
		return err
	}
	if l.Bad != nil {
		j.failed = *l.Bad
		return nil
	}
	if l.Undone != nil {
		if *l.Undone < 0 || *l.Undone > len(j.made) {
			return errors.New("more is undone than was issued")
		}
		j.undone = *l.Undone
		return nil
	}
	if l.Registered > 0 {
		j.asked[model.NodeID(l.Node)] = l.Registered
		return nil
	}
	rows, err := parseLines(l.Rows)
	if err != nil {
		return err
	}
	records, err := parseRecords(l.Records)
	if err != nil || len(records) > l.Issued {
		return errors.New("the records are not those of rows that were issued")
	}
	if l.Issued < 0 || l.Already < 0 || l.Issued+l.Already+len(l.Rejected) != len(rows) {
		return errors.New("the counts do not add up")
	}
	for _, f := range l.Rejected {
		if !slices.Contains(rows, f.Line) {
			return errors.New("a rejected line is not among the rows")
		}
	}
	j.apply(l, rows, records)
	return nil
}

func (j *Journal) apply(l journalLine, rows []int, records []model.RecordID) {
	for _, n := range rows {
		j.done.set(n)
	}
	for _, f := range l.Rejected {
		j.bad[f.Line] = f.Code
	}
	for _, id := range records {
		j.made = append(j.made, issuedAt{model.NodeID(l.Node), id})
	}
	j.count.Issued += l.Issued
	j.count.Already += l.Already
	j.count.Rejected += len(l.Rejected)
}

func (j *Journal) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := j.f.Write(append(b, '\n')); err != nil {
		return err
	}
	return j.f.Sync()
}

// settle makes the fate of rows known, durably.
func (j *Journal) settle(node model.NodeID, f fates) error {
	if len(f.lines) == 0 {
		return nil
	}
	slices.Sort(f.lines)
	l := journalLine{Rows: formatLines(f.lines), Node: string(node), Issued: f.issued, Already: f.already, Rejected: f.rejected, Records: formatRecords(f.records)}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.write(l); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	j.apply(l, f.lines, f.records)
	return nil
}

// issuedAt is a licence that the import issued.
type issuedAt struct {
	node   model.NodeID
	record model.RecordID
}

// Batch is what the import is called.
func (j *Journal) Batch() string { return j.head.Batch }

// attempt is how often a batch has been registered at a node before; another one makes it one more, durably.
func (j *Journal) attempt(node model.NodeID, another bool) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if another {
		n := j.asked[node] + 1
		if err := j.write(journalLine{Node: string(node), Registered: n}); err != nil {
			return 0, fmt.Errorf("state file: %w", err)
		}
		j.asked[node] = n
	}
	return j.asked[node], nil
}

// checked notes how many rows failed the check, which no node hears of.
func (j *Journal) checked(bad int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if bad == j.failed {
		return nil
	}
	if err := j.write(journalLine{Bad: &bad}); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	j.failed = bad
	return nil
}

// undo notes, durably, how many licences an undoing has rescinded so far.
func (j *Journal) undo(n int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if n <= j.undone {
		return nil
	}
	if err := j.write(journalLine{Undone: &n}); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	j.undone = n
	return nil
}

// Undone is how many licences of the import have been rescinded by undoing it.
func (j *Journal) Undone() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return max(j.undone, 0)
}

// Started is when the import's first run began.
func (j *Journal) Started() model.Time { return j.head.Started }

// Done reports whether a row's fate is known.
func (j *Journal) Done(line int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done.has(line)
}

// Counts sums up all runs so far.
func (j *Journal) Counts() Counts {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.count
}

// rejected is the code under which a node rejected a row, "" for none.
func (j *Journal) rejected(line int) model.Code {
	if j == nil {
		return ""
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bad[line]
}

// RejectedBy counts the rows that nodes have rejected, by code.
func (j *Journal) RejectedBy() map[model.Code]int {
	j.mu.Lock()
	defer j.mu.Unlock()
	out := map[model.Code]int{}
	for _, code := range j.bad {
		out[code]++
	}
	return out
}

// Close releases the file.
func (j *Journal) Close() error { return j.f.Close() }

// formatLines writes ascending line numbers as ranges.
func formatLines(rows []int) string {
	var b strings.Builder
	for i := 0; i < len(rows); {
		k := i
		for k+1 < len(rows) && rows[k+1] == rows[k]+1 {
			k++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(rows[i]))
		if k > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(rows[k]))
		}
		i = k + 1
	}
	return b.String()
}

func parseLines(s string) ([]int, error) {
	var rows []int
	last := 0
	for part := range strings.SplitSeq(s, ",") {
		a, b, ranged := strings.Cut(part, "-")
		from, err := strconv.Atoi(a)
		if err != nil {
			return nil, errors.New("rows are not line numbers")
		}
		to := from
		if ranged {
			if to, err = strconv.Atoi(b); err != nil {
				return nil, errors.New("rows are not line numbers")
			}
		}
		if from <= last || to < from || to-from >= model.MaxOperations || len(rows) > model.MaxOperations {
			return nil, errors.New("rows are not ascending line numbers")
		}
		for n := from; n <= to; n++ {
			rows = append(rows, n)
		}
		last = to
	}
	return rows, nil
}

// formatRecords writes records as ranges of one agency's serials.
func formatRecords(ids []model.RecordID) string {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b model.RecordID) int {
		x, m, _ := a.Serial()
		y, n, _ := b.Serial()
		return cmp.Or(strings.Compare(string(x), string(y)), cmp.Compare(m, n))
	})
	var b strings.Builder
	for i := 0; i < len(ids); {
		agency, from, _ := ids[i].Serial()
		k, to := i+1, from
		for k < len(ids) {
			a, n, _ := ids[k].Serial()
			if a != agency || n != to+1 {
				break
			}
			k, to = k+1, n
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(string(ids[i]))
		if to > from {
			fmt.Fprintf(&b, "-%d", to)
		}
		i = k
	}
	return b.String()
}

func parseRecords(s string) ([]model.RecordID, error) {
	var out []model.RecordID
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		first := part
		dot := strings.LastIndexByte(part, '.')
		if i := strings.LastIndexByte(part, '-'); i > dot {
			first = part[:i]
		}
		id, err := model.ParseRecordID(first)
		if err != nil {
			return nil, err
		}
		agency, from, ok := id.Serial()
		to := from
		if ok && first != part {
			to, err = strconv.ParseUint(part[len(first)+1:], 10, 64)
		}
		if err != nil || !ok || to < from || to-from >= model.MaxOperations || len(out) > model.MaxOperations {
			return nil, errors.New("not a range of records")
		}
		for n := from; n <= to; n++ {
			out = append(out, model.NewRecordID(agency, n))
		}
	}
	return out, nil
}

// bitmap is a set of line numbers.
type bitmap struct{ words []uint64 }

func (b *bitmap) set(n int) {
	for n/64 >= len(b.words) {
		b.words = append(b.words, make([]uint64, len(b.words)+64)...)
	}
	b.words[n/64] |= 1 << (n % 64)
}

func (b *bitmap) has(n int) bool { return n/64 < len(b.words) && b.words[n/64]&(1<<(n%64)) != 0 }
