package inbox

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// ErrDamaged is a stored entry that cannot be read. Nothing is dropped: the operator decides.
var ErrDamaged = errors.New("inbox: damaged entry")

func damaged(err error) error {
	return model.E(model.CodeInternal).Because(errors.Join(ErrDamaged, err))
}

// format is the version of what is on the disk.
const format = "1"

// retryAfter is between attempts to open a failed database anew.
const retryAfter = time.Second

var (
	formatKey = []byte("f")
	onDisk    = &opt.Options{
		WriteBuffer: 4 << 20, BlockCacheCapacity: 4 << 20, OpenFilesCacheCapacity: 32,
		Filter: filter.NewBloomFilter(10), // every request with a key is looked for here, and nearly none is
		// A torn tail of the journal is what a crash leaves, and nobody was answered for it.
		Strict: opt.StrictManifest | opt.StrictBlockChecksum | opt.StrictReader,
	}
)

func numberKey(prefix byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, n)
}

func stateKey(s State, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'s', byte(slices.Index(states, s))}, n)
}

func personKey(p *Person, n uint64) []byte {
	h := sha256.Sum256([]byte(p.Principal))
	return binary.BigEndian.AppendUint64(append([]byte{'p'}, h[:16]...), n)
}

func requestKey(key [16]byte) []byte { return append([]byte{'k'}, key[:]...) }

// RequestKey is the name of a request: who sent it, and under which idempotency key.
func RequestKey(who *Person, key string) [16]byte {
	return who.opID(key, -1)
}

// database is a goleveldb whose files are their owner's alone: they hold confidential bodies.
type database struct {
	*leveldb.DB
	files storage.Storage
}

// Close closes database and files, which gives back the lock on the folder.
func (d *database) Close() error { return errors.Join(d.DB.Close(), d.files.Close()) }

type private struct {
	storage.Storage
	dir string
}

func (p private) Create(fd storage.FileDesc) (storage.Writer, error) {
	w, err := p.Storage.Create(fd)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(filepath.Join(p.dir, fd.String()), 0o600); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// openDB opens a database; only one that is made now may be without a format.
func openDB(dir string, create bool) (*database, error) {
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	files, err := storage.OpenFile(dir, false)
	if errors.Is(err, storage.ErrLocked) || errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("inbox %s is in use by another process: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	options := *onDisk
	options.ErrorIfMissing = !create
	db, err := leveldb.Open(private{files, dir}, &options)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("inbox: %w", err), files.Close())
	}
	d := &database{db, files}
	if create {
		if err := db.Put(formatKey, []byte(format), &opt.WriteOptions{Sync: true}); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	if v, err := db.Get(formatKey, nil); err != nil || string(v) != format {
		return nil, errors.Join(fmt.Errorf("inbox: format %q, and not %s: %w", v, format, ErrDamaged), err, d.Close())
	}
	return d, nil
}

// load reads what is kept in memory. Called with handle held for writing, or before anybody else has the inbox.
func (in *Inbox) load() error {
	held, unsent, bytes, next := map[uint64]waiting{}, map[uint64]string{}, 0, uint64(1)
	open := map[uint64]opened{}
	err := in.eachBatch(func(n uint64, t *Batch) {
		if t.Used < t.Rows {
			open[n] = opened{t.Person.Principal, t.Until.Time()}
		}
	})
	if err != nil {
		return err
	}
	for _, prefix := range []byte{'d', 'b'} {
		it := in.db.NewIterator(util.BytesPrefix([]byte{prefix}), nil)
		if it.Last() {
			next = max(next, binary.BigEndian.Uint64(it.Key()[1:])+1)
		}
		it.Release()
		if err := it.Error(); err != nil {
			return err
		}
	}
	for _, state := range []State{Pending, Approved} {
		it := in.db.NewIterator(util.BytesPrefix(stateKey(state, 0)[:2]), nil)
		for it.Next() {
			n := binary.BigEndian.Uint64(it.Key()[2:])
			h, err := in.read(n)
			switch {
			case err != nil:
				it.Release()
				return err
			case h == nil || h.State != state:
				it.Release()
				return fmt.Errorf("%w: draft %d is not %s", ErrDamaged, n, state)
			case state == Pending:
				held[n] = h.waiting()
				bytes += h.Bytes
			case h.onItsWay():
				unsent[n] = h.ID
			}
		}
		it.Release()
		if err := it.Error(); err != nil {
			return err
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.waiting, in.unsent, in.open, in.bytes, in.next = held, unsent, open, bytes, max(in.next, next)
	return nil
}

func (h *Held) waiting() waiting {
	return waiting{created: h.Created.Time(), expires: h.Expires.Time(), id: h.ID, drafter: h.Drafter.Principal, bytes: h.Bytes, same: h.Same}
}

// onItsWay is a draft that was approved and of which intake has not spoken yet.
func (h *Held) onItsWay() bool {
	return h.State == Approved && h.Batch == nil && !h.Sent && h.Problem == nil
}

// read reads a draft's entry; nil where there is none. Called with handle held.
func (in *Inbox) read(n uint64) (*Held, error) {
	raw, err := in.db.Get(numberKey('d', n), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	h := new(Held)
	if err := json.Unmarshal(raw, h); err != nil {
		return nil, damaged(err)
	}
	return h, nil
}

// get reads a value; nil where there is none.
func (in *Inbox) get(key []byte) ([]byte, error) {
	in.handle.RLock()
	defer in.handle.RUnlock()
	b, err := in.db.Get(key, nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	return b, nil
}

// Get reads a draft, not_found where there is none.
func (in *Inbox) Get(id string) (*Held, error) {
	n, ok := parseID(id)
	if !ok {
		return nil, model.E(model.CodeNotFound, "id")
	}
	in.handle.RLock()
	defer in.handle.RUnlock()
	h, err := in.read(n)
	if err == nil && (h == nil || h.ID != id) {
		err = model.E(model.CodeNotFound, "id")
	}
	return h, err
}

// Operations are what a draft asks for, with the versions that are approved, or anew as they were asked for.
func (in *Inbox) Operations(h *Held, anew bool) ([]model.Draft, error) {
	raw, err := in.get(numberKey('c', h.number()))
	if err != nil {
		return nil, err
	}
	if raw == nil {
		if now, err := in.Get(h.ID); h.Erased || (err == nil && now.Erased) { // it may have gone since h was read
			return nil, model.E(model.CodeNotFound, "operations").With("the content has been erased")
		}
		return nil, damaged(errors.New("a draft without its content"))
	}
	return decodeContent(raw, anew)
}

type writer func(db *database, b *leveldb.Batch) error

func writeSynced(db *database, b *leveldb.Batch) error {
	return db.Write(b, &opt.WriteOptions{Sync: true})
}

// commit writes a batch and syncs it; goleveldb puts calls that come together into one write of its journal.
//
// This is the commit point of everything here. A batch is one checksummed record of the journal, which goleveldb applies
// wholly or not at all, and nobody is answered before it is synced. When the write itself fails, the batch may or may not
// be on the disk: the caller hears outcome_unknown, nothing more is written through this handle, and the next write
// opens the database anew and reads again what waits. What is there then is what counts; nothing in memory outlives it.
func (in *Inbox) commit(b *leveldb.Batch) error {
	if in.failed.Load() && !in.recover() {
		return model.E(model.CodeStorageFull)
	}
	in.handle.RLock()
	err := in.write(in.db, b)
	in.handle.RUnlock()
	if err == nil {
		return nil
	}
	in.cfg.Logger.Error("the inbox could not write", "cause", err)
	in.failed.Store(true)
	return model.E(model.CodeOutcomeUnknown).Because(err)
}

// recover opens a failed database anew, at most once in retryAfter.
func (in *Inbox) recover() bool {
	in.handle.Lock()
	defer in.handle.Unlock()
	if !in.failed.Load() {
		return true
	}
	if was := in.tried.Load(); was != 0 && in.cfg.Elapsed()-time.Duration(was) < retryAfter {
		return false
	}
	in.tried.Store(int64(in.cfg.Elapsed()))
	if err := in.db.Close(); err != nil && !errors.Is(err, leveldb.ErrClosed) {
		in.cfg.Logger.Warn("the inbox closed a failed database", "cause", err)
	}
	db, err := openDB(in.dir, false)
	if err == nil {
		in.db = db
		err = in.load()
	}
	if err != nil {
		in.cfg.Logger.Error("the inbox could not be opened anew", "cause", err)
		return false
	}
	in.failed.Store(false)
	in.cfg.Logger.Info("the inbox writes again")
	return true
}

// put adds a draft's entry to a batch.
func put(b *leveldb.Batch, h *Held) error {
	raw, err := encode(h)
	if err != nil {
		return err
	}
	b.Put(numberKey('d', h.number()), raw)
	return nil
}

// Query says which drafts are asked for.
type Query struct {
	State   State  // "" for all
	Drafter string // principal; "" for all
	After   string // id after which the page begins; "" for the first
	Limit   int
	// Visible leaves out what the caller may not see.
	Visible func(*Held) bool
}

// maxScan bounds what one page looks at.
const maxScan = 2000

// List lists drafts in the order in which they came, at most Limit. next is where the next page begins, "" on the last;
// a page may hold fewer than Limit, even none, and not be the last.
func (in *Inbox) List(q Query) (out []*Held, next string, err error) {
	prefix, after := []byte{'d'}, uint64(0)
	switch {
	case q.Drafter != "":
		prefix = personKey(&Person{Principal: q.Drafter}, 0)[:17]
	case q.State != "":
		if !slices.Contains(states, q.State) {
			return nil, "", model.E(model.CodeBadValue, "state").OneOf(stateNames()...)
		}
		prefix = stateKey(q.State, 0)[:2]
	}
	if q.After != "" {
		var ok bool
		if after, ok = parseID(q.After); !ok {
			return nil, "", model.E(model.CodeBadID, "after")
		}
	}
	in.handle.RLock()
	defer in.handle.RUnlock()
	it := in.db.NewIterator(util.BytesPrefix(prefix), nil)
	defer it.Release()
	from := binary.BigEndian.AppendUint64(slices.Clone(prefix), after+1)
	last := ""
	for scanned, ok := 0, it.Seek(from); ok; scanned, ok = scanned+1, it.Next() {
		if len(out) == q.Limit || scanned == maxScan {
			return out, last, nil
		}
		key := it.Key()
		h, err := in.read(binary.BigEndian.Uint64(key[len(key)-8:]))
		if err != nil {
			return nil, "", err
		}
		if h == nil {
			continue // it has just gone
		}
		last = h.ID
		if (q.State == "" || h.State == q.State) && (q.Visible == nil || q.Visible(h)) {
			out = append(out, h)
		}
	}
	if err := it.Error(); err != nil {
		return nil, "", model.E(model.CodeInternal).Because(err)
	}
	return out, "", nil
}
