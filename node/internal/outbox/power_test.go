package outbox

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// cache is a storage that knows how much of each file has been synced, so that a power cut can be
// imitated: what was not synced is lost from some point on.
type cache struct {
	storage.Storage
	mu     *sync.RWMutex // held for writing during a power cut
	synced map[string]int64
	guard  *sync.Mutex // of synced
}

func (c cache) Create(fd storage.FileDesc) (storage.Writer, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	w, err := c.Storage.Create(fd)
	if err != nil {
		return nil, err
	}
	c.note(fd.String(), 0)
	return &cachedFile{Writer: w, cache: c, name: fd.String()}, nil
}

func (c cache) Rename(from, to storage.FileDesc) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.Storage.Rename(from, to)
}

func (c cache) Remove(fd storage.FileDesc) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.Storage.Remove(fd)
}

func (c cache) SetMeta(fd storage.FileDesc) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.Storage.SetMeta(fd)
}

func (c cache) note(name string, n int64) {
	c.guard.Lock()
	defer c.guard.Unlock()
	c.synced[name] = n
}

type cachedFile struct {
	storage.Writer
	cache   cache
	name    string
	written int64
}

func (f *cachedFile) Write(b []byte) (int, error) {
	f.cache.mu.RLock()
	defer f.cache.mu.RUnlock()
	n, err := f.Writer.Write(b)
	f.written += int64(n)
	return n, err
}

func (f *cachedFile) Sync() error {
	f.cache.mu.RLock()
	defer f.cache.mu.RUnlock()
	f.cache.note(f.name, f.written)
	return nil
}

// cut copies what the disk would hold after a power cut at this moment.
func (c cache) cut(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if name == "LOCK" || name == "LOG" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n := info.Size()
		c.guard.Lock()
		if synced, ok := c.synced[name]; ok && synced < n {
			n = synced + rand.Int64N(n-synced+1)
		}
		c.guard.Unlock()
		in, err := os.Open(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(out, in, n); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// After a power cut at any moment, all that was acknowledged is there, and the rest wholly or not at all.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	files, err := storage.OpenFile(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	c := cache{Storage: files, mu: new(sync.RWMutex), synced: map[string]int64{}, guard: new(sync.Mutex)}
	o, err := openWith(dir, Config{MinFree: 1, Logger: slog.New(slog.DiscardHandler)}, func(string, bool) (*leveldb.DB, error) {
		opts := options(false)
		opts.WriteBuffer = 64 << 10 // so that journals and tables turn over
		return leveldb.Open(c, opts)
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards acked and refused
	acked := map[model.OpID]bool{}
	var refused []model.OpID
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ops := operations(rand.IntN(8) + 1)
				if _, err := put(o, model.NewOpID(), model.Digest{}, ops); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, id := range ids(ops) {
					acked[id] = true
				}
				fate := rand.IntN(6)
				if len(acked) > 5000 { // enough to look through at every cut
					fate = 0
				}
				mu.Unlock()
				time.Sleep(300 * time.Microsecond)
				switch fate {
				case 0, 2, 3, 4:
					mu.Lock() // from here on it may be gone
					for _, id := range ids(ops) {
						delete(acked, id)
					}
					mu.Unlock()
					if err := o.Done(ids(ops)); err != nil {
						t.Error(err)
					}
				case 1:
					mu.Lock()
					delete(acked, ops[0].ID)
					mu.Unlock()
					if err := o.Refuse([]model.Outcome{{Operation: ops[0].ID, Problem: problem(model.CodeTransition)}}); err != nil {
						t.Error(err)
					}
					mu.Lock()
					refused = append(refused, ops[0].ID)
					mu.Unlock()
				}
			}
		})
	}
	cuts := 6
	if os.Getenv("ZL_SOAK") != "" {
		cuts = 60
	}
	for range cuts {
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
		image := t.TempDir()
		mu.Lock() // acknowledged before the cut
		want := make([]model.OpID, 0, len(acked))
		for id := range acked {
			want = append(want, id)
		}
		no := append([]model.OpID(nil), refused...)
		c.mu.Lock()
		c.cut(t, dir, image)
		c.mu.Unlock()
		mu.Unlock()
		after := open(t, image, nil)
		there := map[model.OpID]bool{}
		for _, id := range pending(t, after) {
			there[id] = true
		}
		for _, id := range want {
			if !there[id] {
				t.Fatalf("operation %s was acknowledged and is gone", id)
			}
		}
		for _, id := range no {
			if out, ok, err := after.Outcome(id); err != nil || !ok || out.Status != model.Rejected {
				t.Fatalf("operation %s was refused and is %+v: %v", id, out, err)
			}
		}
		closeChecked(t, after)
	}
	close(stop)
	writers.Wait()
	closeChecked(t, o)
	if err := files.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d refusals, %d waiting", len(refused), len(acked))
}
