// Package records is what a node knows: every record as it stands, every leaf of the log with its
// operation, and the ways to find them: one goleveldb database, and a file of operations beside it. The follower writes it, block by block,
// and everything that answers reads it; nothing in it is decided here.
//
// The content is a function of the blocks applied, byte for byte: however the blocks were grouped, on
// whichever machine, Digest is the same. It can be thrown away and rebuilt from the archive.
//
// Readers never wait for the writer. Each answer comes from one Snapshot, the state after some block, and
// says which. docs/spec/records.md has the formats.
package records

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb"
	lerrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Errors of Open, for errors.Is.
var (
	ErrInUse  = errors.New("records: the folder is in use by another process")
	ErrFormat = errors.New("records: the folder was written in another format; rebuild the records from the archive with `zhenglian reindex`")
)

// Options of a store; the zero value is good.
type Options struct {
	CacheBytes  int // of the database's block cache: 32 MiB
	BufferBytes int // of its write buffer: 32 MiB
	// Changed is told which licences read differently, before any reader can see it: by a new leaf of
	// their own, or because another record claims a name of theirs. A snapshot taken after the call began
	// has the change. It is called by the writer's goroutine, and must not call the store, which waits for it.
	Changed func(licences []model.RecordID)
}

// Store is the node's records. Reads are safe for concurrent use.
type Store struct {
	dir     string
	options Options
	files   func(dir string) (storage.Storage, error)
	writer  *Writer

	// reading is held for reading by every snapshot, and for writing while the database is opened anew.
	reading   sync.RWMutex
	db        *leveldb.DB     // changed by the writer's goroutine, with reading held
	openFiles storage.Storage // used by the writer's goroutine and Close
	ops       *oplog
	gap       uint64 // the first position whose operation is missing; used by the writer's goroutine

	mu      sync.Mutex
	now     *epoch                 // guarded by mu; what readers see
	entries map[string]cachedEntry // guarded by mu; decoded registry records by record key
	grown   chan struct{}          // guarded by mu; closed when there are new leaves
	closed  bool                   // guarded by mu
}

// epoch is the store after a Commit. The last one to let go of it releases the database's snapshot.
type epoch struct {
	cursor
	db   *leveldb.Snapshot
	refs int // guarded by Store.mu; the store itself holds one while the epoch is current
}

// Open opens the store in dir, or makes an empty one.
func Open(dir string, o Options) (*Store, error) {
	return openWith(dir, o, func(dir string) (storage.Storage, error) { return storage.OpenFile(dir, false) })
}

func openWith(dir string, o Options, files func(dir string) (storage.Storage, error)) (*Store, error) {
	if o.CacheBytes <= 0 {
		o.CacheBytes = 32 << 20
	}
	if o.BufferBytes <= 0 {
		o.BufferBytes = 32 << 20
	}
	s := &Store{dir: dir, files: files, options: o, entries: map[string]cachedEntry{}, grown: make(chan struct{})}
	at, err := s.openDB(false)
	if err != nil {
		return nil, err
	}
	if err := s.openOps(at); err != nil {
		return nil, errors.Join(err, s.closeDB())
	}
	s.writer = newWriter(s, at)
	if err := s.publish(at, nil, nil); err != nil {
		return nil, errors.Join(err, s.closeDB())
	}
	return s, nil
}

// openOps opens the file of operations and looks whether it has all that the database speaks of.
func (s *Store) openOps(at cursor) error {
	var err error
	if s.ops, err = openOplog(s.dir); err != nil {
		return err
	}
	b, err := absent(s.db.Get([]byte(spaceSynced), nil))
	if err == nil {
		s.ops.end = int64(at.end)
		s.ops.synced.Store(min(int64(beGet(b)), s.ops.end))
		err = s.findGap(at, s.ops.synced.Load())
	}
	if err != nil {
		err = errors.Join(err, s.ops.file.Close())
	}
	return err
}

// openDB opens the database and reads how far it has come. With readOnly it writes nothing to the disk.
func (s *Store) openDB(readOnly bool) (cursor, error) {
	files, err := s.files(s.dir)
	switch {
	case errors.Is(err, storage.ErrLocked), errors.Is(err, syscall.EAGAIN):
		return cursor{}, fmt.Errorf("%w: %s", ErrInUse, s.dir)
	case err != nil:
		return cursor{}, err
	}
	db, err := leveldb.Open(files, &opt.Options{
		ReadOnly:           readOnly,
		BlockCacheCapacity: s.options.CacheBytes,
		WriteBuffer:        s.options.BufferBytes,
		Filter:             filter.NewBloomFilter(10),
		// The log is by far the largest part and only grows at its end: large tables and a large first
		// level keep it from being written again and again.
		CompactionTableSize: 8 << 20,
		CompactionTotalSize: 256 << 20,
		BlockSize:           8 << 10,
		// A pooled buffer may be many times larger than the block in it, and counts for its size in the cache: after the
		// compactions of a million licences the cache held no more than a few, and a verdict took ten times as long to read.
		DisableBufferPool: true,
		// A transaction that fails to begin keeps the database's write lock for ever.
		DisableLargeBatchTransaction: true,
	})
	if err != nil {
		if lerrors.IsCorrupted(err) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return cursor{}, errors.Join(err, files.Close())
	}
	s.db, s.openFiles = db, files
	at, err := s.begin()
	if err != nil {
		return cursor{}, errors.Join(err, s.closeDB())
	}
	return at, nil
}

func (s *Store) closeDB() error { return errors.Join(s.db.Close(), s.openFiles.Close()) }

func (s *Store) begin() (cursor, error) {
	b, err := absent(s.db.Get([]byte(spaceFormat), nil))
	if err != nil {
		return cursor{}, err
	}
	raw, err := absent(s.db.Get([]byte(spaceCursor), nil))
	if err != nil {
		return cursor{}, err
	}
	switch {
	case b == nil && raw == nil:
		if err := s.db.Put([]byte(spaceFormat), []byte{formatVersion}, nil); err != nil {
			return cursor{}, err
		}
	case len(b) != 1 || b[0] != formatVersion:
		return cursor{}, ErrFormat
	}
	return decodeCursor(raw)
}

// publish shows readers the database as it now is.
func (s *Store) publish(at cursor, registry map[string]bool, licences []model.RecordID) error {
	snap, err := s.db.GetSnapshot()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		snap.Release()
		return leveldb.ErrClosed
	}
	// Under the lock: whoever hears of the change and takes a snapshot after that must get this one.
	if s.options.Changed != nil && len(licences) > 0 {
		s.options.Changed(licences)
	}
	for k := range registry {
		delete(s.entries, k)
	}
	if s.now != nil && s.now.position < at.position {
		close(s.grown)
		s.grown = make(chan struct{})
	}
	s.release(s.now)
	s.now = &epoch{cursor: at, db: snap, refs: 1}
	return nil
}

// release lets go of an epoch. The caller holds mu.
func (s *Store) release(e *epoch) {
	if e == nil {
		return
	}
	if e.refs--; e.refs == 0 {
		e.db.Release()
	}
}

func (s *Store) cursor() cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.cursor
}

// Height is the number of blocks applied.
func (s *Store) Height() uint64 { return s.cursor().height }

// Position is the number of leaves applied, which is the position of the next.
func (s *Store) Position() uint64 { return s.cursor().position }

// Grown is the number of leaves applied and a channel that is closed once there are more.
func (s *Store) Grown() (position uint64, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.position, s.grown
}

// BlockHash is the hash of the last applied block's header.
func (s *Store) BlockHash() model.Digest { return s.cursor().hash }

// LedgerTime is the largest timestamp of a valid transaction so far.
func (s *Store) LedgerTime() model.Time { return s.cursor().at }

// Close ends all reading and writing. Snapshots still held read errors from then on.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.release(s.now)
	s.mu.Unlock()
	err := s.ops.close()
	if err == nil && s.gap >= s.writer.next.position {
		err = s.db.Put([]byte(spaceSynced), binary.BigEndian.AppendUint64(nil, uint64(s.ops.synced.Load())), nil)
	}
	return errors.Join(err, s.ops.file.Close(), s.closeDB())
}

// Digest is SHA-256 over every key and value in order, each after its length as a uvarint, each log entry
// followed by its operation alike; and the height that it is of. Two stores that applied the same blocks
// have the same digest.
func (s *Store) Digest() (model.Digest, uint64, error) {
	snap := s.Snapshot()
	defer snap.Release()
	h := sha256.New()
	it := snap.epoch.db.NewIterator(nil, &opt.ReadOptions{DontFillCache: true, Strict: opt.StrictAll})
	defer it.Release()
	var size []byte
	add := func(b []byte) {
		size = binary.AppendUvarint(size[:0], uint64(len(b)))
		h.Write(size)
		h.Write(b)
	}
	for it.Next() {
		if string(it.Key()) == spaceSynced {
			continue
		}
		add(it.Key())
		add(it.Value())
		if bytes.HasPrefix(it.Key(), []byte(spaceLog)) {
			e, err := decodeEntry(it.Value())
			if err != nil {
				return model.Digest{}, 0, err
			}
			raw, err := s.ops.read(e.at)
			if err != nil {
				return model.Digest{}, 0, err
			}
			add(raw)
		}
	}
	return model.Digest(h.Sum(nil)), snap.Height(), it.Error()
}

func (w *Writer) keyIDs(agency model.AgencyID) ([]string, error) {
	prefix := keyPrefix(agency)
	var out []string
	seen := map[string]bool{}
	it := w.s.db.NewIterator(util.BytesPrefix(prefix), nil)
	defer it.Release()
	for it.Next() {
		id := string(it.Key()[len(prefix):])
		seen[id] = true
		out = append(out, id)
	}
	for k := range w.pending {
		if len(k) > len(prefix) && k[:len(prefix)] == string(prefix) && !seen[k[len(prefix):]] {
			out = append(out, k[len(prefix):])
		}
	}
	return out, it.Error()
}

func absent(b []byte, err error) ([]byte, error) {
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, nil
	}
	return b, err
}

func beGet(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
