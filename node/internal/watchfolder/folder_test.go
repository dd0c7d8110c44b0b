package watchfolder

import (
	"context"
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
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

// fakeNode commits at once what it accepts, unless told otherwise; it outlives the folders that use it.
type fakeNode struct {
	mu      sync.Mutex
	known   map[model.OpID]model.Draft
	err     error
	hold    bool
	pending bool
	stop    func() bool
}

func (n *fakeNode) set(f func(*fakeNode)) { n.mu.Lock(); defer n.mu.Unlock(); f(n) }
func (n *fakeNode) accepted() int         { n.mu.Lock(); defer n.mu.Unlock(); return len(n.known) }

func (n *fakeNode) SignIn() (push.Caller, error) {
	return push.Caller{Principal: "key-1", Agency: "bj-scjg"}, nil
}

func (n *fakeNode) Accept(_ context.Context, source, key string, _ model.Digest, drafts []model.Draft) (string, int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return "", -1, n.err
	}
	if n.hold {
		return "draft-1", -1, nil
	}
	for i, d := range drafts {
		n.known[model.DeriveOpID("", source, key, i)] = d
	}
	if n.stop != nil && n.stop() {
		return "", -1, context.Canceled
	}
	return "", -1, nil
}

func (n *fakeNode) Outcomes(_ context.Context, ids []model.OpID) ([]model.Outcome, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]model.Outcome, len(ids))
	for i, id := range ids {
		out[i] = model.Outcome{Operation: id, Status: model.Committed, Kind: model.KindLicence, Record: "bj-scjg.1", Version: 1, Receipt: &model.Receipt{}}
		if n.pending {
			out[i].Status, out[i].Receipt = model.Pending, nil
		}
	}
	return out, nil
}

func (n *fakeNode) Known(_ context.Context, id model.OpID) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.known[id]
	return ok, nil
}

func (n *fakeNode) Recovered(context.Context, string, model.AgencyID, []model.Draft, []model.OpID) error {
	return nil
}

func (n *fakeNode) Refusal(context.Context, string) (*model.Error, error) { return nil, nil }
func (n *fakeNode) Identifier(model.Kind, model.RecordID) string          { return "1.2" }

type world struct {
	dir, journal string
	node         *fakeNode
	cfg          Config
}

func newWorld(t *testing.T) *world {
	w := &world{dir: filepath.Join(t.TempDir(), "收件 [1]*"), journal: filepath.Join(t.TempDir(), "push"), node: &fakeNode{known: map[model.OpID]model.Draft{}}}
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{Name: "inbox", Dir: w.dir, Settle: 60 * time.Millisecond, GiveUp: 400 * time.Millisecond, Poll: 10 * time.Millisecond}
	return w
}

func (w *world) begin(t *testing.T) (end func(), watch *push.Watch) {
	t.Helper()
	journal, err := push.OpenJournal(w.journal)
	if err != nil {
		t.Fatal(err)
	}
	watch = push.NewWatch("folder/inbox", push.NewMetrics())
	f := New(w.cfg, &push.Door{Intake: w.node, Journal: journal}, watch, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	var once sync.Once
	end = func() { once.Do(func() { cancel(); <-done; _ = journal.Close() }) }
	t.Cleanup(end)
	return end, watch
}

func (w *world) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// answer waits for an answer file, and for its file beside it.
func (w *world) answer(t *testing.T, dir, name string) (a Answers) {
	t.Helper()
	within(t, dir+"/"+name, func() bool {
		raw, err := os.ReadFile(filepath.Join(w.dir, dir, name+answerSuffix))
		if err != nil {
			return false
		}
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatal(err)
		}
		_, err = os.Lstat(filepath.Join(w.dir, dir, name))
		return err == nil
	})
	return a
}

func (w *world) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(w.dir, name))
	return err == nil
}

const one = `{"type":"licence.suspend","record":"bj-scjg.1","body":{"reason":"x"}}`

func TestFiles(t *testing.T) {
	w := newWorld(t)
	w.begin(t)
	w.write(t, "one.json", one)
	w.write(t, "many.json", "["+one+","+one+"]\n")
	w.write(t, "行.jsonl", one+"\n\n"+one+"\n"+one)
	for name, n := range map[string]int{"one.json": 1, "many.json": 2, "行.jsonl": 3} {
		a := w.answer(t, doneDir, name)
		if a.State != push.Committed || len(a.Operations) != n || a.Operations[n-1].Record != "bj-scjg.1" || a.SHA256 == "" || a.File != name {
			t.Errorf("%s: %+v", name, a)
		}
		if w.exists(name) || w.exists(takenDir+"/"+name) || w.exists(takenDir+"/"+name+answerSuffix) {
			t.Errorf("%s is still there", name)
		}
	}
	// What is wrong says where.
	w.write(t, "bad.json", "["+one+`,{"type":"licence.suspend","x":1}]`)
	if a := w.answer(t, failedDir, "bad.json"); a.Code != model.CodeUnknownField || !strings.Contains(a.En, "[1]") || a.Zh == "" {
		t.Errorf("%+v", a)
	}
	w.write(t, "bad.jsonl", one+"\n{\n"+one+"\n")
	if a := w.answer(t, failedDir, "bad.jsonl"); !strings.Contains(a.En, "line 2") {
		t.Errorf("%+v", a)
	}
	w.write(t, "table.xlsx", "PK")
	if a := w.answer(t, failedDir, "table.xlsx"); a.Code != model.CodeFileRefused {
		t.Errorf("%+v", a)
	}
	w.write(t, "large.json", strings.Repeat(" ", maxFile+1))
	if a := w.answer(t, failedDir, "large.json"); a.Code != model.CodeTooLarge {
		t.Errorf("%+v", a)
	}
	// The same file again, and the same name with another content.
	before := w.node.accepted()
	if err := os.Remove(filepath.Join(w.dir, doneDir, "one.json")); err != nil {
		t.Fatal(err)
	}
	w.write(t, "one.json", one)
	w.answer(t, doneDir, "one.json")
	if n := w.node.accepted(); n != before {
		t.Errorf("%d operations more for a file that came again", n-before)
	}
	w.write(t, "one.json", strings.Replace(one, "x", "y", 1))
	w.answer(t, doneDir, "one.json.2")
	if n := w.node.accepted(); n != before+1 {
		t.Errorf("%d operations more", n-before)
	}
	// Refused by the node; waiting for a person.
	w.node.set(func(n *fakeNode) { n.err = model.E(model.CodeForbidden) })
	w.write(t, "no.json", one)
	if a := w.answer(t, failedDir, "no.json"); a.State != push.Refused || a.Operations[0].Code != model.CodeForbidden {
		t.Errorf("%+v", a)
	}
	w.node.set(func(n *fakeNode) { n.err, n.hold = nil, true })
	w.write(t, "held.json", one)
	if a := w.answer(t, takenDir, "held.json"); a.State != push.Held || a.Operations[0].Draft == "" {
		t.Errorf("%+v", a)
	}
}

// A file that is still written is not taken, however slowly; one that is never finished is set aside with a reason.
func TestHalfWritten(t *testing.T) {
	w := newWorld(t)
	w.begin(t)
	f, err := os.Create(filepath.Join(w.dir, "slow.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []byte(one) {
		if _, err := f.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
		if time.Sleep(3 * time.Millisecond); !w.exists("slow.json") && c != '}' {
			t.Fatal("it was taken half-written")
		}
	}
	_ = f.Close()
	w.answer(t, doneDir, "slow.json")

	// In pieces, each of which stays longer than a file must have settled.
	if f, err = os.Create(filepath.Join(w.dir, "pieces.json")); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(one); i += 20 {
		if _, err := f.WriteString(one[i:min(i+20, len(one))]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * w.cfg.Settle)
	}
	_ = f.Close()
	w.answer(t, doneDir, "pieces.json")
	if n := w.node.accepted(); n != 2 {
		t.Errorf("%d operations", n)
	}

	w.write(t, "never.json", one[:30])
	if a := w.answer(t, failedDir, "never.json"); a.Code != model.CodeFileIncomplete || !strings.Contains(a.Zh, "没有写完") {
		t.Errorf("%+v", a)
	}
	w.write(t, "never.jsonl", one+"\n"+one[:30])
	if a := w.answer(t, failedDir, "never.jsonl"); a.Code != model.CodeFileIncomplete {
		t.Errorf("%+v", a)
	}
	// Names that say so, and a writer that renames.
	w.write(t, "later.json.part", one)
	w.write(t, ".hidden.json", one)
	time.Sleep(3 * w.cfg.Settle)
	if err := os.Rename(filepath.Join(w.dir, "later.json.part"), filepath.Join(w.dir, "later.json")); err != nil {
		t.Fatal(err)
	}
	w.answer(t, doneDir, "later.json")
	if !w.exists(".hidden.json") {
		t.Error("a hidden file was taken")
	}
	if n := w.node.accepted(); n != 3 {
		t.Errorf("%d operations", n)
	}
}

// With a marker a file is taken at once.
func TestMarker(t *testing.T) {
	w := newWorld(t)
	w.cfg.Settle = time.Hour
	w.begin(t)
	w.write(t, "a.json", one)
	w.write(t, "b.json", one[:30])
	w.write(t, "a.json.ok", "")
	w.write(t, "b.json.ok", "")
	w.answer(t, doneDir, "a.json")
	if a := w.answer(t, failedDir, "b.json"); a.Code != model.CodeFileIncomplete {
		t.Errorf("%+v", a)
	}
	within(t, "the markers are gone", func() bool { return !w.exists("a.json.ok") && !w.exists("b.json.ok") })
}

// Nothing that somebody puts there makes the node read another file, wait, or write elsewhere.
func TestHostileNames(t *testing.T) {
	w := newWorld(t)
	secret := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(secret, []byte(one), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"link.json":                        func(p string) error { return os.Symlink(secret, p) },
		"loop.json":                        func(p string) error { return os.Symlink(p, p) },
		"hard.json":                        func(p string) error { return os.Link(secret, p) },
		"pipe.json":                        func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"a\nb.json":                        func(p string) error { return os.WriteFile(p, []byte(one), 0o600) },
		"\xff.json":                        func(p string) error { return os.WriteFile(p, []byte(one), 0o600) },
		"\u202e.json":                      func(p string) error { return os.WriteFile(p, []byte(one), 0o600) },
		strings.Repeat("x", 250) + ".json": func(p string) error { return os.WriteFile(p, []byte(one), 0o600) },
		" lead.json":                       func(p string) error { return os.WriteFile(p, []byte(one), 0o600) },
		`x\..\up.json`:                     func(p string) error { return os.WriteFile(p, []byte(one), 0o600) },
	} {
		if err := make(filepath.Join(w.dir, name)); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	if err := os.Mkdir(filepath.Join(w.dir, "folder.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.begin(t)
	for _, name := range []string{"link.json", "loop.json", "hard.json", "pipe.json"} {
		if a := w.answer(t, failedDir, name); a.Code != model.CodeFileRefused {
			t.Errorf("%s: %+v", name, a)
		}
	}
	for _, name := range []string{"a\nb.json", "\xff.json", "\u202e.json", strings.Repeat("x", 250) + ".json", " lead.json", `x\..\up.json`} {
		if a := w.answer(t, failedDir, safeName(name)); a.Code != model.CodeFileRefused {
			t.Errorf("%q: %+v", name, a)
		}
	}
	// They held up nothing, and nothing of them was sent.
	w.write(t, "good.json", one)
	w.answer(t, doneDir, "good.json")
	if n := w.node.accepted(); n != 1 || !w.exists("folder.json") {
		t.Errorf("%d operations", n)
	}
	if raw, err := os.ReadFile(secret); err != nil || string(raw) != one {
		t.Errorf("%q, %v", raw, err)
	}
}

// A later file of a name that is under way waits, and neither is lost; one that is renamed over a file that is just
// being taken is taken after it.
func TestReplaced(t *testing.T) {
	w := newWorld(t)
	w.node.set(func(n *fakeNode) { n.pending = true })
	w.begin(t)
	w.write(t, "daily.json", one)
	w.answer(t, takenDir, "daily.json")
	w.write(t, "daily.json", strings.Replace(one, "x", "y", 1))
	time.Sleep(3 * w.cfg.Settle)
	if !w.exists("daily.json") {
		t.Fatal("the second was taken before the first had its answer")
	}
	w.node.set(func(n *fakeNode) { n.pending = false })
	w.answer(t, doneDir, "daily.json")
	w.answer(t, doneDir, "daily.json.2")
	for i := range 50 {
		path := filepath.Join(w.dir, ".next")
		if err := os.WriteFile(path, fmt.Appendf(nil, `{"type":"licence.suspend","record":"bj-scjg.1","body":{"reason":"r%d"}}`, i), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path, filepath.Join(w.dir, "r.json")); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			time.Sleep(w.cfg.Settle + time.Duration(i)*time.Millisecond)
		}
	}
	within(t, "the last one is accepted", func() (found bool) {
		w.node.set(func(n *fakeNode) {
			for _, d := range n.known {
				found = found || strings.Contains(string(d.Body), "r49")
			}
		})
		return found
	})
}

// The process ends at each step; the next one finishes, and every file counts once.
func TestEnded(t *testing.T) {
	w := newWorld(t)
	for i, leave := range []func(name string){
		func(name string) { // on its way
			_ = os.Mkdir(filepath.Join(w.dir, takenDir), 0o770)
			_ = os.Rename(filepath.Join(w.dir, name), filepath.Join(w.dir, takenDir, claimed+name))
		},
		func(name string) { // copied, the other not yet deleted
			_ = os.Link(filepath.Join(w.dir, name), filepath.Join(w.dir, takenDir, claimed+name))
			_ = os.Remove(filepath.Join(w.dir, name))
			_ = os.WriteFile(filepath.Join(w.dir, takenDir, name), []byte(one), 0o600)
		},
		func(name string) { // an answer half written
			_ = os.Rename(filepath.Join(w.dir, name), filepath.Join(w.dir, takenDir, name))
			_ = os.WriteFile(filepath.Join(w.dir, doneDir, ".zl-"+name+answerSuffix+".tmp"), []byte("{"), 0o600)
		},
		func(name string) { // answered, not yet moved
			_ = os.Rename(filepath.Join(w.dir, name), filepath.Join(w.dir, takenDir, name))
			_ = os.WriteFile(filepath.Join(w.dir, doneDir, name+answerSuffix), []byte("{}"), 0o600)
		},
	} {
		name := fmt.Sprintf("cut%d.json", i)
		before := w.node.accepted()
		w.write(t, name, one)
		leave(name)
		end, _ := w.begin(t)
		w.answer(t, doneDir, name)
		within(t, "nothing is left", func() bool { return !w.exists(name) && !w.exists(takenDir+"/"+name) })
		end()
		if n := w.node.accepted() - before; n != 1 {
			t.Errorf("%s: %d operations", name, n)
		}
	}
	// In the middle of Accept, applied.
	stopped := make(chan struct{})
	var once sync.Once
	w.node.set(func(n *fakeNode) { n.stop = func() bool { once.Do(func() { close(stopped) }); return true } })
	before := w.node.accepted()
	w.write(t, "mid.json", one)
	end, _ := w.begin(t)
	<-stopped
	end()
	w.node.set(func(n *fakeNode) { n.stop = nil })
	w.begin(t)
	w.answer(t, doneDir, "mid.json")
	if n := w.node.accepted() - before; n != 1 {
		t.Errorf("%d operations", n)
	}
}

// A folder that is not there is said to be degraded, and never made.
func TestAbsent(t *testing.T) {
	w := newWorld(t)
	if err := os.Remove(w.dir); err != nil {
		t.Fatal(err)
	}
	_, watch := w.begin(t)
	within(t, "degraded", func() bool { return watch.Trouble() != nil })
	if w.exists("") {
		t.Error("the folder was made")
	}
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(t, "a.json", one)
	w.answer(t, doneDir, "a.json")
	within(t, "well", func() bool { return watch.Trouble() == nil })
}

// What a kill leaves of a file on its way to taken/ counts once, and is not refused.
func TestClaimsThatAKillCutOff(t *testing.T) {
	one := `{"type":"licence.suspend","kind":"licence","record":"bj-scjg.1","body":{"reason":"x"}}`
	two := `{"type":"licence.resume","kind":"licence","record":"bj-scjg.1","body":{"reason":"y"}}`
	for _, tt := range []struct {
		name string
		left func(w *world, taken string) error
		want []model.Type
	}{
		{"our copy is there and a newer file of the name has come", func(w *world, taken string) error {
			return errors.Join(os.WriteFile(filepath.Join(taken, "a.json"), []byte(one), 0o600),
				os.WriteFile(filepath.Join(taken, claimed+"a.json"), []byte(one), 0o600),
				os.WriteFile(filepath.Join(w.dir, "a.json"), []byte(two), 0o600))
		}, []model.Type{"licence.resume", "licence.suspend"}},
		{"our copy is of another file", func(w *world, taken string) error {
			return errors.Join(os.WriteFile(filepath.Join(taken, "a.json"), []byte(one), 0o600),
				os.WriteFile(filepath.Join(taken, claimed+"a.json"), []byte(two), 0o600))
		}, []model.Type{"licence.resume", "licence.suspend"}},
		{"it is given back already", func(w *world, taken string) error {
			return errors.Join(os.WriteFile(filepath.Join(w.dir, "a.json"), []byte(one), 0o600),
				os.Link(filepath.Join(w.dir, "a.json"), filepath.Join(taken, claimed+"a.json")))
		}, []model.Type{"licence.suspend"}},
		{"it is claimed and no more", func(w *world, taken string) error {
			return os.WriteFile(filepath.Join(taken, claimed+"a.json"), []byte(one), 0o600)
		}, []model.Type{"licence.suspend"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			taken := filepath.Join(w.dir, takenDir)
			if err := errors.Join(os.MkdirAll(taken, 0o770), tt.left(w, taken)); err != nil {
				t.Fatal(err)
			}
			w.begin(t)
			in := func(dir string) (n int) {
				entries, _ := os.ReadDir(dir)
				for _, e := range entries {
					if !e.IsDir() && !strings.HasSuffix(e.Name(), answerSuffix) {
						n++
					}
				}
				return n
			}
			within(t, "nothing is on its way", func() bool {
				return in(w.dir) == 0 && in(taken) == 0 && in(filepath.Join(w.dir, doneDir))+in(filepath.Join(w.dir, failedDir)) >= len(tt.want)
			})
			var got []model.Type
			w.node.mu.Lock()
			for _, d := range w.node.known {
				got = append(got, d.Type)
			}
			w.node.mu.Unlock()
			slices.Sort(got)
			if !slices.Equal(got, tt.want) || in(filepath.Join(w.dir, failedDir)) != 0 {
				t.Errorf("accepted %v, want %v; %d refused", got, tt.want, in(filepath.Join(w.dir, failedDir)))
			}
		})
	}
}
