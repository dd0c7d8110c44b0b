package app

import (
	"context"
	"encoding/json"
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
	Confirmed time.Time `json:"confirmed,omitzero"` // when the operator had looked through people and policies
}

// RestoreOptions change what cannot stay as it was on another machine.
type RestoreOptions struct {
	Listen, Admin string                   // "": as it was
	KeepKeys      bool                     // API keys go on, those too that were revoked since
	Progress      func(done, total uint64) // of blocks that are verified again
}

// Restored says what a restored node holds.
type Restored struct {
	backup.Info
	Dir      string        `json:"dir"`
	Age      time.Duration `json:"-"`
	Blocks   uint64        `json:"blocks"`
	Position uint64        `json:"position"`
	Records  string        `json:"records"` // digest, which every node has at this height
	Outside  []string      `json:"outside"` // files that the configuration names and the backup has not
	Alone    bool          `json:"alone"`   // the ledger is made from the backup too: nothing gives back what came after it

	KeysEnded   int `json:"keys_ended"`
	Invitations int `json:"invitations_dropped"`
}

// Restore makes a node's folder from a backup. The folder must be new or empty; it has its name only once all is in it
// and every block was verified. A call that was cut off is called again.
func Restore(ctx context.Context, path string, k backup.Key, dir string, o RestoreOptions) (*Restored, error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty: nothing is ever overwritten; choose another --dir", dir)
	}
	work := strings.TrimRight(dir, "/") + ".restoring"
	if err := os.RemoveAll(work); err != nil {
		return nil, err
	}
	if err := mkdir(work); err != nil {
		return nil, err
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
	sink := &restoring{dir: work, dbs: map[string]*leveldb.DB{}}
	info, manifest, err := backup.Read(plain, sink)
	for _, e := range manifest.Entries { // an empty database is there all the same
		if name, ok := strings.CutSuffix(e.Name, ".000000.kv"); ok && err == nil {
			_, err = sink.database(name)
		}
	}
	if err = errors.Join(err, sink.close()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(work))
	}
	out := &Restored{Info: info, Dir: dir, Age: time.Since(info.Created)}
	if err := vault.Restored(filepath.Join(work, "vault")); err != nil {
		return nil, err
	}
	if err := out.endRights(work, o.KeepKeys); err != nil {
		return nil, err
	}
	mark, err := json.Marshal(restoredFrom{Backup: info.Created, Restored: time.Now().UTC(), KeysKept: o.KeepKeys})
	if err != nil {
		return nil, err
	}
	if err := writeNew(filepath.Join(work, restoredMark), mark, 0o600); err != nil {
		return nil, err
	}
	cfg, err := adapt(work, o, out)
	if err != nil {
		return nil, err
	}
	r, err := Reindex(ctx, cfg, o.Progress)
	if err != nil {
		return nil, err
	}
	if out.Blocks, out.Position, out.Records = r.Height, r.Position, r.After; r.Height != manifest.Blocks {
		return nil, fmt.Errorf("the backup says %d blocks, but its archive has %d", manifest.Blocks, r.Height)
	}
	if out.Alone = cfg.Ledger.Embedded != ""; out.Alone {
		if err := restoreLedger(cfg); err != nil {
			return nil, err
		}
	}
	if err := syncTree(work); err != nil {
		return nil, err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.Rename(work, dir); err != nil {
		return nil, err
	}
	return out, syncDir(filepath.Dir(dir))
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
	m, err := readRestored(n.cfg.dir)
	if err == nil {
		m.CaughtUp = true
		err = m.write(n.cfg.dir)
	}
	if err != nil {
		n.log.Warn("that the restored node has caught up could not be noted; the next start waits again", "error", err)
	}
	n.restored.Store(false)
	if n.cfg.Ledger.Embedded != "" {
		n.log.Warn("the ledger and its node are as the backup has them, and accept; what was accepted after the backup is lost", "backup", m.Backup, "blocks", n.records.Height())
		return
	}
	n.log.Info("the restored node has all that the ledger has, and accepts", "backup", m.Backup, "blocks", n.records.Height())
}
