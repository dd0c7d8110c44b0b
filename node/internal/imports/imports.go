// Package imports runs imports at the node itself, so that a counter needs no command line: a file is uploaded,
// checked and issued by package importer, in the name of who uploaded it and by the same rights and rules as if he
// had sent each request himself.
//
// Every import has a folder of its own: what it is (job.json), the file, the map, the importer's state file and the
// rejects. A crash at any moment leaves one of two things: no job.json, and then nobody was told of an import and the
// folder is removed at the next start; or a job.json that is not final, and then the import is begun again, which goes
// on where the state file says; one in which the node was killed three times has failed, since what kills it may be the
// file. Progress is not written: it is told anew.
package imports

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// Bounds.
const (
	MaxWaiting = 20  // imports that are received, queued or run
	MaxEach    = 5   // of one person, those that wait for an approval too
	maxKept    = 500 // that the node remembers
	maxFaults  = 200 // that are shown

	maxBytes     = 16 << 30 // of files that are not erased yet
	maxBytesEach = 4 << 30  // of one person's
	maxBegun     = 3        // runs of an import in which the node may be killed
)

// Config is what the imports of a node need.
type Config struct {
	Dir string
	// Node gives the node as somebody may use it: rights are looked at for every request anew.
	Node func(principal string) importer.Node
	// Pending reports whether a draft still waits for a second person.
	Pending func(draft string) bool
	// Withdraw takes back a draft that still waits: what asked for it was cancelled.
	Withdraw func(draft string) error
	Keep     time.Duration // how long files with personal data are kept after the end; default 7 days
	Running  int           // imports at once; default 2
	Full     func() bool   // whether the disk has no room for uploads; nil: never
	Clock    func() time.Time
	Logger   *slog.Logger
}

// Request is what is to be imported. Its values come from outside and are bounded by who makes it.
type Request struct {
	Principal string
	Agency    model.AgencyID
	By        string // name, for people
	Name      string // of the file
	MapName   string // a shipped map, or "" with Map
	Map       []byte
	Encoding  importer.Encoding
	Sheet     string
	Cached    bool
	Legacy    bool
	CheckOnly bool
}

// job is an import. Its fields but the lock's are what job.json holds.
type job struct {
	Import    sdk.Import        `json:"import"`
	Principal string            `json:"principal"`
	Encoding  importer.Encoding `json:"encoding,omitempty"`
	Sheet     string            `json:"sheet,omitempty"`
	Cached    bool              `json:"cached,omitempty"`
	Legacy    bool              `json:"legacy,omitempty"`
	CheckOnly bool              `json:"check_only,omitempty"`
	// Begun counts the runs that were begun and did not end in order: the node was killed in them.
	Begun int `json:"begun,omitempty"`
	// Undoer is the principal in whose name the import is undone, Asked what tells this asking from an earlier one.
	Undoer string `json:"undoer,omitempty"`
	Asked  string `json:"asked,omitempty"`

	asking  sync.Mutex // held while an undoing is asked for
	bytes   int64      // of the file, until it is erased
	dir     string
	stop    context.CancelFunc // of a run; nil otherwise
	cancel  bool               // asked for
	changed chan struct{}      // closed at the next change
	again   time.Time          // not before, of a queued one
}

// Imports runs imports. Safe for concurrent use.
type Imports struct {
	cfg  Config
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	wake chan struct{}

	mu      sync.Mutex
	jobs    map[string]*job // guarded by mu, with all they hold
	coming  map[string]int  // guarded by mu: uploads that are being received, by principal
	running int             // guarded by mu
	alone   bool            // guarded by mu: what runs is to be the only one

	finished *prometheus.CounterVec
	rows     prometheus.Counter
}

// Open reads what earlier runs left behind. Start begins to work on it.
func Open(cfg Config) (*Imports, error) {
	if cfg.Keep <= 0 {
		cfg.Keep = 7 * 24 * time.Hour
	}
	if cfg.Running <= 0 {
		cfg.Running = 2
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Full == nil {
		cfg.Full = func() bool { return false }
	}
	m := &Imports{cfg: cfg, jobs: map[string]*job{}, coming: map[string]int{}, wake: make(chan struct{}, 1),
		finished: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "zhenglian_imports_finished_total", Help: "Imports that the node has run to an end, by the state they ended in."}, []string{"state"}),
		rows:     prometheus.NewCounter(prometheus.CounterOpts{Name: "zhenglian_imports_rows_issued_total", Help: "Licences that imports run by the node have issued since its start."}),
	}
	for _, s := range []sdk.ImportState{sdk.ImportDone, sdk.ImportFailed, sdk.ImportCancelled} {
		m.finished.WithLabelValues(string(s)) // shown from the start, so that an alert sees the first one rise
	}
	m.ctx, m.stop = context.WithCancel(context.Background())
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		dir := filepath.Join(cfg.Dir, e.Name())
		if !e.IsDir() {
			cfg.Logger.Warn("what is no folder of an import is passed over", "file", dir)
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, "job.json"))
		if errors.Is(err, os.ErrNotExist) {
			if err := os.RemoveAll(dir); err != nil { // an upload that was cut off
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		j := &job{dir: dir, changed: make(chan struct{})}
		if err := json.Unmarshal(raw, j); err != nil || j.Import.ID != e.Name() {
			return nil, fmt.Errorf("imports: %s is damaged; restore it, or remove the folder to forget this import", filepath.Join(dir, "job.json"))
		}
		if !j.Import.Ended() {
			_, draft := standing(&j.Import)
			stand(&j.Import, sdk.ImportQueued, nil, draft)
		}
		if info, err := os.Stat(j.path("file")); err == nil {
			j.bytes = info.Size()
		}
		m.jobs[j.Import.ID] = j
	}
	return m, nil
}

// Collectors are the metrics.
func (m *Imports) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.finished, m.rows}
}

// Start begins to work.
func (m *Imports) Start() { m.wg.Go(m.loop) }

// Close stops what is under way; the next start goes on with it.
func (m *Imports) Close() error {
	m.stop()
	m.wg.Wait()
	return nil
}

// loop starts imports as there is room, looks after drafts that imports wait for, and erases.
func (m *Imports) loop() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		m.begin()
		if n%600 == 0 {
			m.erase()
		}
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		case <-m.wake:
		}
	}
}

func (m *Imports) begin() {
	m.mu.Lock()
	var awaiting []*job
	for _, j := range m.jobs {
		if s, _ := standing(&j.Import); s == sdk.ImportAwaiting {
			awaiting = append(awaiting, j)
		}
	}
	m.mu.Unlock()
	for _, j := range awaiting {
		i, _, err := m.Get(j.Import.ID)
		if _, draft := standing(&i); err == nil && !m.cfg.Pending(draft) {
			m.change(j, func(i *sdk.Import) {
				if s, d := standing(i); s == sdk.ImportAwaiting && d == draft {
					stand(i, sdk.ImportQueued, nil, draft)
				}
			})
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var queued []*job
	for _, j := range m.jobs {
		if s, _ := standing(&j.Import); s == sdk.ImportQueued && j.stop == nil && !j.cancel && !m.cfg.Clock().Before(j.again) {
			queued = append(queued, j)
		}
	}
	slices.SortFunc(queued, func(a, b *job) int { return strings.Compare(a.Import.ID, b.Import.ID) })
	for _, j := range queued {
		// One in which the node was killed runs alone, so that it takes no other along.
		if m.running == m.cfg.Running || m.alone || j.Begun > 0 && m.running > 0 {
			return
		}
		m.running++
		m.alone = j.Begun > 0
		var ctx context.Context
		ctx, j.stop = context.WithCancel(m.ctx)
		m.wg.Go(func() {
			m.run(ctx, j)
			m.mu.Lock()
			j.stop()
			j.stop = nil
			m.running--
			m.alone = false
			late := j.cancel && !j.Import.Ended() // cancelled when run had nothing more to look at
			m.mu.Unlock()
			if late {
				if err := m.cancelled(j); err != nil {
					m.cfg.Logger.Error("an import could not be written down", "import", j.Import.ID, "error", err)
				}
			}
			m.poke()
		})
	}
}

func (m *Imports) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// change changes what an import shows and tells who watches.
func (m *Imports) change(j *job, f func(i *sdk.Import)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&j.Import)
	j.Import.Event = max(j.Import.Event+1, m.cfg.Clock().UnixMilli())
	close(j.changed)
	j.changed = make(chan struct{})
}

// save makes job.json say how the import stands.
func (m *Imports) save(j *job) error {
	m.mu.Lock()
	raw, err := json.Marshal(j)
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(j.dir, "job.json"), func(w io.Writer) error { _, err := w.Write(raw); return err })
}

// writeFile replaces a file as a whole, durably.
func writeFile(path string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	err = errors.Join(fill(f), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Create stores an upload and has it run. Nothing is kept of one that is cut off or too large.
func (m *Imports) Create(r Request, file io.Reader) (sdk.Import, error) {
	mapping, err := loadMap(r)
	if err != nil {
		return sdk.Import{}, err
	}
	if err := m.reserve(r.Principal); err != nil {
		return sdk.Import{}, err
	}
	defer m.received(r.Principal)
	now := m.cfg.Clock()
	id := now.In(model.Shanghai).Format("20060102-150405-") + strings.ToLower(rand.Text()[:8])
	j := &job{
		Import:    sdk.Import{ID: id, Name: r.Name, Map: mapping.Name, Agency: r.Agency, By: r.By, State: sdk.ImportQueued, Created: model.TimeOf(now), Event: now.UnixMilli()},
		Principal: r.Principal, Encoding: r.Encoding, Sheet: r.Sheet, Cached: r.Cached, Legacy: r.Legacy, CheckOnly: r.CheckOnly,
		dir: filepath.Join(m.cfg.Dir, id), changed: make(chan struct{}),
	}
	if err := os.Mkdir(j.dir, 0o700); err != nil {
		return sdk.Import{}, err
	}
	raw, err := mapping.Source()
	if err == nil {
		err = writeFile(j.path("map.yaml"), func(w io.Writer) error { _, err := w.Write(raw); return err })
	}
	if err == nil {
		err = writeFile(j.path("file"), func(w io.Writer) error {
			n, err := io.Copy(&roomy{w, m.cfg.Full, 0}, io.LimitReader(file, importer.MaxFile+1))
			j.bytes = n
			if err == nil && n > importer.MaxFile {
				err = model.E(model.CodeTooLarge).With("at most %d bytes", importer.MaxFile)
			}
			return err
		})
	}
	if err == nil {
		err = m.save(j)
	}
	if err != nil {
		return sdk.Import{}, errors.Join(err, os.RemoveAll(j.dir))
	}
	m.mu.Lock()
	m.jobs[id] = j
	out := j.Import
	m.mu.Unlock()
	m.poke()
	return out, nil
}

func (j *job) path(name string) string { return filepath.Join(j.dir, name) }

func loadMap(r Request) (*importer.Map, error) {
	if r.MapName != "" {
		mapping, err := importer.ShippedMap(r.MapName)
		if err != nil {
			return nil, model.E(model.CodeBadValue, "map").With("no map of this name comes with the program")
		}
		return mapping, nil
	}
	mapping, err := importer.DecodeMap(r.Map)
	if err != nil {
		return nil, model.E(model.CodeBadValue, "map").With("%s", err)
	}
	return mapping, nil
}

// Get finds an import and a channel that is closed at its next change.
func (m *Imports) Get(id string) (sdk.Import, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.jobs[id]
	if j == nil {
		return sdk.Import{}, nil, model.E(model.CodeNotFound, "id")
	}
	return j.Import, j.changed, nil
}

// List lists the imports, the newest first.
func (m *Imports) List() []sdk.Import {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []sdk.Import{}
	for _, j := range m.jobs {
		out = append(out, j.Import)
	}
	slices.SortFunc(out, func(a, b sdk.Import) int { return strings.Compare(b.ID, a.ID) })
	return out
}

// Cancel stops an import, or its undoing; what is issued stays issued, and can be undone, and what is rescinded stays so.
// A draft that it waits for is withdrawn. One that has ended is left as it is.
func (m *Imports) Cancel(id string) (sdk.Import, error) {
	m.mu.Lock()
	j := m.jobs[id]
	if j == nil {
		m.mu.Unlock()
		return sdk.Import{}, model.E(model.CodeNotFound, "id")
	}
	if j.Import.Ended() {
		defer m.mu.Unlock()
		return j.Import, nil
	}
	j.cancel = true
	stop := j.stop
	m.mu.Unlock()
	if stop != nil {
		stop() // run ends it
	} else if err := m.cancelled(j); err != nil {
		return sdk.Import{}, err
	}
	out, _, err := m.Get(id)
	return out, err
}

// cancelled ends what does not run.
func (m *Imports) cancelled(j *job) error {
	m.mu.Lock()
	_, draft := standing(&j.Import)
	m.mu.Unlock()
	m.withdraw(j, draft)
	return m.end(j, sdk.ImportCancelled, nil)
}

// withdraw takes back the draft that a cancelled import or undoing waits for, so that nobody opens a batch that nothing
// is left to use. One that is decided by now is left: cancelling goes on.
func (m *Imports) withdraw(j *job, draft string) {
	if draft == "" || !m.cfg.Pending(draft) {
		return
	}
	if err := m.cfg.Withdraw(draft); err != nil && !errors.Is(err, model.E(model.CodeAlreadyDecided)) {
		m.cfg.Logger.Error("a cancelled import's draft could not be withdrawn", "import", j.Import.ID, "draft", draft, "error", err)
	}
}

// Rejects opens the rejected rows, and names the file they are in.
func (m *Imports) Rejects(id string) (*os.File, string, error) {
	i, _, err := m.Get(id)
	if err != nil {
		return nil, "", err
	}
	if i.Rejects == "" || i.Erased {
		return nil, "", model.E(model.CodeNotFound, "rejects")
	}
	for _, format := range []importer.Format{importer.CSV, importer.XLSX, importer.JSONL} {
		name := "rejects." + string(format)
		if f, err := os.Open(filepath.Join(m.cfg.Dir, id, name)); !errors.Is(err, os.ErrNotExist) {
			return f, name, err
		}
	}
	return nil, "", model.E(model.CodeNotFound, "rejects")
}

// erase removes the files of imports that ended long ago, and forgets the oldest.
func (m *Imports) erase() {
	now := m.cfg.Clock()
	m.mu.Lock()
	var old []*job
	for _, j := range m.jobs {
		if f := j.Import.Finished; f != nil && !j.Import.Erased && now.Sub(f.Time()) > m.cfg.Keep {
			old = append(old, j)
		} else if f != nil && now.Sub(f.Time()) > 10*m.cfg.Keep && j.Import.Ended() && j.stop == nil {
			if err := os.RemoveAll(j.dir); err == nil {
				delete(m.jobs, j.Import.ID)
			}
		}
	}
	m.mu.Unlock()
	for _, j := range old {
		var errs []error
		for _, name := range []string{"file", "rejects.csv", "rejects.xlsx", "rejects.jsonl"} {
			if err := os.Remove(j.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		if err := errors.Join(errs...); err != nil {
			m.cfg.Logger.Error("an import's files could not be erased", "import", j.Import.ID, "error", err)
			continue
		}
		m.change(j, func(i *sdk.Import) { i.Erased, i.Rejects, j.bytes = true, "", 0 })
		if err := m.save(j); err != nil {
			m.cfg.Logger.Error("an import could not be written down", "import", j.Import.ID, "error", err)
		}
	}
}
