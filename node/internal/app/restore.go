package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"go.yaml.in/yaml/v3"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/backup"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/vault"
)

// A restored node knows less than the old one had accepted. Three things keep that from doing harm:
//
//   - It accepts nothing until it has once had all that the ledger has (restoredMark). Then its records, not the backup,
//     say what stands, and what the outbox of the backup holds and the ledger has already is taken out of it.
//   - Its serials skip ahead (vault.Jump), so that no record id that anybody ever heard of is given out again.
//   - A request with an idempotency key that the outbox has forgotten is looked for on the ledger by the ids that the key
//     gives its operations (Intake.Stands), so that what was accepted after the backup and is sent again is not made twice.
//
// Rights are as they were at the backup: restored.go.
//
// What stays lost: confidential bodies of operations accepted after the backup (their licences verify by a presented
// salt alone), and operations accepted after it that never reached the ledger. Where the ledger runs in the node it has
// no other copy: then all that was accepted after the backup is lost, and whoever restores is told so (Restored.Alone).

// restoredMark says that a node was restored: from which backup, and whether it has caught up since.
const restoredMark = "restored.json"

// restoredFrom is the content of restoredMark.
type restoredFrom struct {
	Backup   time.Time `json:"backup"` // when it was made
	Restored time.Time `json:"restored"`
	CaughtUp bool      `json:"caught_up"`

	KeysKept  bool      `json:"keys_kept"`
	Proof     string    `json:"proof,omitempty"`    // what holding the records against the saved node's gave
	Confirmed time.Time `json:"confirmed,omitzero"` // when the operator had looked through people and policies
}

// RestoreOptions change what cannot stay as it was on another machine.
type RestoreOptions struct {
	Listen, Admin string // "": as it was
	KeepKeys      bool   // API keys go on, those too that were revoked since

	AcceptDifference bool // go on where the records are not those that the saved node had (DiffersError)

	Progress func(done, total uint64) // of blocks that are verified again
}

// Restored says what a restored node holds.
type Restored struct {
	backup.Info
	Dir      string        `json:"dir"`
	Age      time.Duration `json:"-"`
	Blocks   uint64        `json:"blocks"`
	Position uint64        `json:"position"`
	Records  string        `json:"records"` // digest, which every node has at this height
	Proof    string        `json:"proof"`   // ProofEqual, ProofDiffers or ProofNone
	Outside  []string      `json:"outside"` // files that the configuration names and the backup has not
	Alone    bool          `json:"alone"`   // the ledger is made from the backup too: nothing gives back what came after it

	KeysEnded   int `json:"keys_ended"`
	Invitations int `json:"invitations_dropped"`
	Batches     int `json:"batches_closed"`
	Drafts      int `json:"drafts_ended"`
}

// Restore makes a node's folder from a backup. The folder must be new or empty; it has its name only once all is in it,
// every block was verified, and the records made from them are those that the saved node had (*DiffersError else). A call
// that was cut off is called again.
//
// Crash argument: all is made in a folder of another name, which halfMark keeps from being served. The mark goes once the
// folder is whole and on the disk, and only then it gets its name, by one rename. Whatever ends the process before that
// leaves a folder that the next call removes and makes anew.
func Restore(ctx context.Context, path string, k backup.Key, dir string, o RestoreOptions) (out *Restored, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty: nothing is ever overwritten; choose another --dir", dir)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	plain, err := backup.Open(f, k)
	if err != nil {
		return nil, err
	}
	work := strings.TrimRight(dir, "/") + ".restoring"
	if err := os.RemoveAll(work); err != nil {
		return nil, err
	}
	if err := mkdir(work); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil { // it has keys in it
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	if err := errors.Join(writeNew(filepath.Join(work, halfMark), nil, 0o600), syncDir(work)); err != nil {
		return nil, err
	}
	restoreAt("begun")
	out = &Restored{Dir: dir}
	m, err := out.unpack(plain, work)
	if err != nil {
		return nil, err
	}
	restoreAt("unpacked")
	if err := vault.Restored(filepath.Join(work, "vault")); err != nil {
		return nil, err
	}
	if err := out.endRights(work, o.KeepKeys); err != nil {
		return nil, err
	}
	restoreAt("rights ended")
	cfg, err := adapt(work, o, out)
	if err != nil {
		return nil, err
	}
	if err := out.rebuild(ctx, cfg, m, o); err != nil {
		return nil, err
	}
	restoreAt("records made")
	if out.Alone = cfg.Ledger.Embedded != ""; out.Alone {
		if err := restoreLedger(cfg); err != nil {
			return nil, err
		}
	}
	restoreAt("ledger made")
	mark := restoredFrom{Backup: out.Created, Restored: time.Now().UTC(), KeysKept: o.KeepKeys, Proof: out.Proof}
	if err := errors.Join(mark.write(work), syncTree(work)); err != nil {
		return nil, err
	}
	restoreAt("whole")
	if err := errors.Join(os.Remove(filepath.Join(work, halfMark)), syncDir(work)); err != nil {
		return nil, err
	}
	restoreAt("unmarked")
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.Rename(work, dir); err != nil {
		return nil, err
	}
	restoreAt("named")
	return out, syncDir(filepath.Dir(dir))
}

// restoreAt is told of each place where a restore may end; tests end it there.
var restoreAt = func(where string) {}

// unpack puts a tape into a folder.
func (r *Restored) unpack(plain io.Reader, work string) (m backup.Manifest, err error) {
	sink := &restoring{dir: work, dbs: map[string]*leveldb.DB{}}
	r.Info, m, err = backup.Read(plain, sink)
	for _, e := range m.Entries { // an empty database is there all the same
		if name, ok := strings.CutSuffix(e.Name, ".000000.kv"); ok && err == nil {
			_, err = sink.database(name)
		}
	}
	r.Age = time.Since(r.Created)
	return m, errors.Join(err, sink.close())
}

// rebuild makes the records from the blocks and holds them against the saved node's.
func (r *Restored) rebuild(ctx context.Context, cfg *Config, m backup.Manifest, o RestoreOptions) error {
	var at uint64
	if m.Records != nil {
		at = m.Records.Blocks
	}
	made, then, err := reindex(ctx, cfg, at, o.Progress)
	if err != nil {
		return err
	}
	if made.Height != m.Blocks || at > made.Height {
		return fmt.Errorf("the backup says %d blocks, but its archive has %d", max(m.Blocks, at), made.Height)
	}
	r.Blocks, r.Position, r.Records = made.Height, made.Position, made.After
	r.Proof, err = o.compare(m.Records, r.Stores["records"], then)
	return err
}

// adapt writes the configuration as it is to be here, and names what the backup has not.
func adapt(work string, o RestoreOptions, out *Restored) (*Config, error) {
	cfg := &Config{dir: work}
	if err := load(filepath.Join(work, ConfigFile), cfg); err != nil {
		return nil, err
	}
	if o.Listen != "" {
		cfg.Listen = o.Listen
	}
	if o.Admin != "" {
		cfg.Admin = o.Admin
	}
	if cfg.Ledger.Embedded != "" {
		cfg.Ledger.Embedded = ledgerPart
		l, err := LoadLedger(filepath.Join(work, ledgerPart))
		if err != nil {
			return nil, err
		}
		l.Dir = "ledger"
		if err := rewrite(filepath.Join(work, ledgerPart, LedgerFile), l); err != nil {
			return nil, err
		}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	names := []string{cfg.Genesis, cfg.Identity + ".crt", cfg.Identity + ".key", cfg.TLSCert, cfg.TLSKey}
	for _, g := range cfg.Ledger.Gateways {
		names = append(names, g.TLSRoots)
	}
	for _, name := range names {
		if name == "" {
			continue
		}
		if _, err := os.Stat(cfg.path(name)); err != nil {
			out.Outside = append(out.Outside, name)
		}
	}
	return cfg, rewrite(filepath.Join(work, ConfigFile), cfg)
}

func rewrite(path string, v any) error {
	raw, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return writeNew(path, raw, 0o600)
}

// restoreLedger makes the ledger that runs in the node from the node's archive.
func restoreLedger(cfg *Config) error {
	l, err := LoadLedger(cfg.path(cfg.Ledger.Embedded))
	if err != nil {
		return err
	}
	a, err := openArchive(cfg)
	if err != nil {
		return err
	}
	defer a.Close()
	_, err = fill(context.Background(), l, a)
	return err
}

// RestoreLedger makes the databases of an embedded ledger from a member's archive of its blocks, for a ledger process
// whose databases were lost. Of several members the one with the longest archive is to be taken.
func RestoreLedger(ctx context.Context, archiveDir, dir string) (uint64, error) {
	c, err := LoadLedger(dir)
	if err != nil {
		return 0, err
	}
	a, err := openArchive(&Config{dir: filepath.Dir(filepath.Clean(archiveDir))})
	if err != nil {
		return 0, err
	}
	defer a.Close()
	return fill(ctx, c, a)
}

func fill(ctx context.Context, c *LedgerServer, a *archive.Archive) (uint64, error) {
	n, err := embedded.Restore(c.path(c.Dir), a.Iterate(0))
	if err != nil {
		return 0, err
	}
	l, err := OpenLedger(c, quiet) // makes the state
	if err != nil {
		return 0, err
	}
	return n, l.Close(ctx)
}

// restoring puts a tape's parts into a folder.
type restoring struct {
	dir string
	dbs map[string]*leveldb.DB

	batch leveldb.Batch
	of    string // whose batch it is
	size  int
}

func (s *restoring) Begin(info backup.Info) error {
	for name, format := range info.Stores {
		if known, ok := formats()[name]; !ok || format > known {
			return fmt.Errorf("the backup was made by a newer version (%s): its %s has the format %d; restore it with that version", info.Program, name, format)
		}
	}
	return nil
}

func (s *restoring) File(name string, mode, _ int64, r io.Reader) error {
	restoreAt("file " + name)
	path := filepath.Join(s.dir, filepath.FromSlash(name))
	if err := mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(mode)&0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func (s *restoring) Pair(name string, key, value []byte) error {
	if name != s.of || s.size > 4<<20 {
		if err := s.flush(); err != nil {
			return err
		}
		s.of = name
	}
	s.batch.Put(key, value)
	s.size += len(key) + len(value)
	return nil
}

func (s *restoring) flush() error {
	if s.of == "" {
		return nil
	}
	db, err := s.database(s.of)
	if err != nil {
		return err
	}
	err = db.Write(&s.batch, &opt.WriteOptions{Sync: true})
	s.batch.Reset()
	s.size = 0
	return err
}

func (s *restoring) database(name string) (*leveldb.DB, error) {
	if db := s.dbs[name]; db != nil {
		return db, nil
	}
	path := filepath.Join(s.dir, filepath.FromSlash(name))
	if err := mkdir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	db, err := leveldb.OpenFile(path, &opt.Options{ErrorIfExist: true})
	if err == nil {
		s.dbs[name] = db
	}
	return db, err
}

func (s *restoring) close() error {
	err := s.flush()
	for _, db := range s.dbs {
		err = errors.Join(err, db.Close())
	}
	return err
}

// syncTree waits until a folder is on the disk.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncDir(path)
	})
}

// openRestored looks whether the node was restored.
func (n *Node) openRestored() error {
	m, err := readRestored(n.cfg.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n.intake.Closed = func() error {
		if n.restored.Load() {
			return model.E(model.CodeLedgerUnavailable).With("the node was restored from a backup and has not caught up with the ledger yet")
		}
		return nil
	}
	n.intake.Stands = func(id model.OpID) (bool, error) {
		_, ok, err := n.records.Receipt(id)
		return ok, err
	}
	n.restored.Store(!m.CaughtUp)
	return nil
}

// catchUp lets a restored node accept once it has had all that the ledger has.
func (n *Node) catchUp(ctx context.Context) {
	if !n.restored.Load() {
		return
	}
	if n.follower.AtHead(ctx, n.started) != nil {
		return // ctx has ended
	}
	var from time.Time
	if err := updateRestored(n.cfg.dir, func(m *restoredFrom) { m.CaughtUp, from = true, m.Backup }); err != nil {
		n.log.Warn("that the restored node has caught up could not be noted; the next start waits again", "error", err)
	}
	n.restored.Store(false)
	if n.cfg.Ledger.Embedded != "" {
		n.log.Warn("the ledger and its node are as the backup has them, and accept; what was accepted after the backup is lost", "backup", from, "blocks", n.records.Height())
		return
	}
	n.log.Info("the restored node has all that the ledger has, and accepts", "backup", from, "blocks", n.records.Height())
}
