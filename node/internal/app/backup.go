package app

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/backup"
)

// A backup holds what a node cannot make anew, and the archive, from which the rest is made. While the node runs
// each store is cut at a moment of its own, in this order:
//
//  0. what feeds the outbox: the inbox, the journal of the back offices
//  1. the outbox
//  2. the archive of blocks
//  3. the vault, then every other store
//  4. the plain files: keys, configuration, people
//
// Together the cuts are as good as one moment:
//
//   - What was accepted before cut 1 is in the backup. It was in the outbox, or had left it; it leaves only when its
//     block is applied here, and a block is in the archive before it is applied. So it is in cut 1 or in cut 2.
//   - What cut 0 says was handed on to the outbox was in it by cut 1. What was handed on later is handed on again, under
//     the same key and so as the same operations, which restore.go lets nobody make twice.
//   - What either of them speaks of has its confidential body, salts and keys in the backup: these are on the disk
//     before the operation is in the outbox, so before cuts 1 and 2, and cuts 3 and 4 come later. Nor can a log that is
//     anchored on the ledger be shorter than the anchor that cut 2 holds.
//   - An operation in cut 1 and in cut 2 was committed between them. A node that starts removes from its outbox what
//     its records have receipts of, as after any crash; and whatever were sent again is refused by its version.
//   - What was accepted after cut 1 may be lost. If it stands on the ledger, the restored node reads it there; a ledger
//     that runs in the node is restored from cut 2 and has it no more.
//
// See docs/design/0025 and restore.go.

// kept is a store that a running node's backup copies in a way of its own.
type kept struct {
	name  string // of its file or folder in the node's folder
	first bool   // it feeds the outbox: cut 0
	copy  func(*backup.Writer) error
}

// keep has a store copied into backups, after the archive was cut. It is called while the node opens.
func (n *Node) keep(name string, copy func(*backup.Writer) error) {
	n.kept = append(n.kept, kept{name, false, copy})
}

// keepFirst is keep for what feeds the outbox.
func (n *Node) keepFirst(name string, copy func(*backup.Writer) error) {
	n.kept = append(n.kept, kept{name, true, copy})
}

// remade are the names that a backup leaves out: what is made anew, and what is of one run.
var remade = map[string]bool{
	"records": true, "records.new": true, "records.old": true, "archive": true, "plan.tmp": true,
	operatorFile: true, operatorFile + ".new": true, backupMark: true, restoredMark: true, exportsDir: true, upgradeDir: true,
}

// ledgerPart is the folder of a backup that holds the configuration and keys of the ledger that runs in the node.
const ledgerPart = "ledger-service"

var backingUp sync.Mutex // one at a time

// postBackup answers with a tape, as long as it takes to write it.
func (n *Node) postBackup(w http.ResponseWriter, r *http.Request) {
	if !backingUp.TryLock() {
		http.Error(w, "another backup is being made", http.StatusConflict)
		return
	}
	defer backingUp.Unlock()
	if err := n.saveable(); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	if err := n.backup(&patient{w: w, c: http.NewResponseController(w)}); err != nil {
		n.log.Error("the backup was not finished", "error", err)
		panic(http.ErrAbortHandler) // whoever reads must not take it for whole
	}
	n.log.Info("backup made")
}

// patient gives every write a minute.
type patient struct {
	w io.Writer
	c *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.c.SetWriteDeadline(time.Now().Add(time.Minute)) // where it cannot be set the server's own stands
	return p.w.Write(b)
}

func (c *Config) info() backup.Info {
	stores, err := readStores(c.dir)
	if err != nil {
		stores = formats() // a node that runs has them
	}
	return backup.Info{
		Created: time.Now().UTC(), Program: Version(), Node: c.Node, Msp: c.Msp, Channel: c.Channel, GenesisDigest: c.GenesisDigest, Stores: stores,
	}
}

// backup writes the tape of a running node.
func (n *Node) backup(w io.Writer) error {
	t, err := backup.NewWriter(w, n.cfg.info())
	if err != nil {
		return err
	}
	m := backup.Manifest{Records: n.known()} // before the cuts, which are to be near one another: it takes its time
	ours := func(first bool) error {
		for _, k := range n.kept {
			if k.first != first {
				continue
			}
			if err := k.copy(t); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
		return nil
	}
	if err := ours(true); err != nil {
		return err
	}
	m.Waiting, _, _ = n.outbox.Depth()
	if err := t.Database("outbox", n.outbox.Copy); err != nil {
		return err
	}
	applied := n.records.Height()
	height, pieces, err := n.archive.Cut()
	if err != nil {
		return err
	}
	if m.Blocks = height; height < applied { // as after a power cut, until the ledger has given them again
		return fmt.Errorf("the archive has %d blocks and the records %d: the missing ones are still being fetched", height, applied)
	}
	if err := archived(t, pieces); err != nil {
		return err
	}
	if err := t.Database("vault", n.vault.Copy); err != nil {
		return err
	}
	if err := ours(false); err != nil {
		return err
	}
	if err := n.cfg.plain(t, n.owned(), false); err != nil {
		return err
	}
	return t.Close(m)
}

// whole are folders whose files are replaced as a whole.
var whole = map[string]bool{"keys": true, authorityDir: true, auth.LocalPolicies: true, invitationsDir: true}

func unknownFolder(path string) error {
	return fmt.Errorf("%s is a folder that a backup of a running node knows nothing of: move it away, or stop the node first", path)
}

// saveable says beforehand what a backup would end at.
func (n *Node) saveable() error {
	own := n.owned()
	entries, err := os.ReadDir(n.cfg.dir)
	for _, e := range entries {
		if name := e.Name(); e.IsDir() && !own[name] && !remade[name] && !whole[name] && !strings.HasSuffix(name, ".new") {
			return unknownFolder(n.path(name))
		}
	}
	return err
}

// owned are the names that plain leaves to others.
func (n *Node) owned() map[string]bool {
	own := map[string]bool{"outbox": true, "vault": true}
	for _, k := range n.kept {
		own[k.name] = true
	}
	// What back offices drop and take away is theirs.
	for _, f := range n.cfg.Push.Folders {
		if rel, err := filepath.Rel(n.cfg.dir, n.path(f.Dir)); err == nil && filepath.IsLocal(rel) {
			own[strings.Split(filepath.ToSlash(rel), "/")[0]] = true
		}
	}
	return own
}

func archived(t *backup.Writer, pieces []archive.Piece) error {
	for _, p := range pieces {
		f, err := os.Open(p.Path)
		if err != nil {
			return err
		}
		err = t.File("archive/"+filepath.Base(p.Path), 0o600, p.Size, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// plain adds the files of the node's folder that are replaced as a whole where they change, but for own ones. A
// folder that nobody accounts for is an error while the node runs: it may be a store that changes while it is read.
func (c *Config) plain(t *backup.Writer, own map[string]bool, stopped bool) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case own[name], remade[name], strings.HasSuffix(name, ".lock"), strings.HasSuffix(name, ".new"),
			strings.HasPrefix(name, searchFile), strings.HasPrefix(name, "finding"):
		case e.IsDir() && !whole[name] && !stopped:
			return unknownFolder(filepath.Join(c.dir, name))
		default:
			if err := addTree(t, c.dir, name); err != nil {
				return err
			}
		}
	}
	if c.Ledger.Embedded == "" {
		return nil
	}
	at := c.path(c.Ledger.Embedded)
	l, err := LoadLedger(at)
	if err != nil {
		return err
	}
	entries, err = os.ReadDir(at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() && filepath.Join(at, e.Name()) != l.path(l.Dir) {
			if err := addFile(t, filepath.Join(at, e.Name()), ledgerPart+"/"+e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func addTree(t *backup.Writer, dir, name string) error {
	return filepath.WalkDir(filepath.Join(dir, name), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // taken away meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no plain file", path)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || d.Name() == "LOCK" {
			return err
		}
		return addFile(t, path, filepath.ToSlash(rel))
	})
}

func addFile(t *backup.Writer, path, name string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // replaced files have other names for a moment
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if filepath.Ext(name) == ".pem" && strings.HasPrefix(name, "keys/") {
		// A key that is being drawn at this moment: nothing accepted before the cuts was made with it.
		raw, err := io.ReadAll(f)
		if b, _ := pem.Decode(raw); err != nil || b == nil {
			return err
		}
		return t.File(name, int64(info.Mode().Perm()), int64(len(raw)), bytes.NewReader(raw))
	}
	return t.File(name, int64(info.Mode().Perm()), info.Size(), f)
}

// backupStopped writes the tape of a node that does not run, and keeps it from starting meanwhile.
func backupStopped(c *Config, w io.Writer) error {
	for _, name := range []string{"outbox", "vault"} {
		lock, err := storage.OpenFile(c.path(name), true)
		if err != nil {
			return fmt.Errorf("%s: a node has it open, but its admin listener does not answer: %w", name, err)
		}
		defer lock.Close()
	}
	a, err := openArchive(c)
	if err != nil {
		return err
	}
	defer a.Close()
	t, err := backup.NewWriter(w, c.info())
	if err != nil {
		return err
	}
	height, pieces, err := a.Cut()
	if err != nil {
		return err
	}
	if err := archived(t, pieces); err != nil {
		return err
	}
	if err := c.plain(t, nil, true); err != nil {
		return err
	}
	return t.Close(backup.Manifest{Blocks: height, Waiting: -1, Records: c.known(height)})
}

// Saved says what a backup holds.
type Saved struct {
	backup.Info
	Live    bool   `json:"live"` // the node was running
	Blocks  uint64 `json:"blocks"`
	Waiting int    `json:"waiting"` // operations in the outbox; −1: not counted
	Parts   int    `json:"parts"`
	Bytes   int64  `json:"bytes"`
	Alone   bool   `json:"alone"` // the ledger runs in the node: nothing else holds what is accepted from now on
}

// Backup writes a sealed backup of a node, running or not, to a new file. The file has its name only once it is
// whole and was read again.
func Backup(ctx context.Context, cfg *Config, path string, seal backup.Key, open *backup.Key, progress func(bytes int64)) (*Saved, error) {
	if _, err := os.Stat(path); err == nil {
		return nil, fmt.Errorf("%s exists: nothing is ever overwritten", path)
	}
	if rel, err := filepath.Rel(cfg.dir, path); err == nil && filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%s is in the node's own folder: a backup there is lost with it", path)
	}
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer os.Remove(part) // not there any more where all went well
	defer f.Close()
	sealed, err := backup.Seal(&meter{Writer: f, told: progress}, seal)
	if err != nil {
		return nil, err
	}
	// What is sealed is checked on its way: the file itself may be one that nobody here can open.
	checked := make(chan error, 1)
	pr, pw := io.Pipe()
	out := &Saved{Live: true, Alone: cfg.Ledger.Embedded != ""}
	go func() {
		var err error
		var m backup.Manifest
		out.Info, m, err = backup.Read(pr, nothing{})
		out.Blocks, out.Waiting, out.Parts = m.Blocks, m.Waiting, len(m.Entries)
		_ = pr.CloseWithError(err)
		checked <- err
	}()
	err = tape(ctx, cfg, io.MultiWriter(sealed, pw), &out.Live)
	_ = pw.CloseWithError(err) // nil is the end
	if err = errors.Join(err, <-checked); err != nil {
		return nil, err
	}
	if err := errors.Join(sealed.Close(), f.Sync()); err != nil {
		return nil, err
	}
	if open != nil {
		if _, _, err := Verify(part, *open); err != nil {
			return nil, err
		}
	}
	if info, err := f.Stat(); err == nil {
		out.Bytes = info.Size()
	}
	if err := os.Rename(part, path); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return out, os.WriteFile(cfg.path(backupMark), nil, 0o600)
}

// tape writes the node's tape: by itself where it runs, else from its files.
func tape(ctx context.Context, cfg *Config, w io.Writer, live *bool) error {
	b, err := NewAdmin(cfg).Do(ctx, http.MethodPost, "/backup", nil)
	if errors.Is(err, ErrDown) {
		*live = false
		return backupStopped(cfg, w)
	}
	if err != nil {
		return err
	}
	defer b.Close()
	_, err = io.Copy(w, b)
	return err
}

// Verify reads a backup whole.
func Verify(path string, k backup.Key) (backup.Info, backup.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return backup.Info{}, backup.Manifest{}, err
	}
	defer f.Close()
	plain, err := backup.Open(f, k)
	if err != nil {
		return backup.Info{}, backup.Manifest{}, err
	}
	return backup.Read(plain, nothing{})
}

// nothing is a sink that only reads.
type nothing struct{}

func (nothing) Begin(backup.Info) error { return nil }
func (nothing) File(_ string, _, _ int64, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
func (nothing) Pair(string, []byte, []byte) error { return nil }

type meter struct {
	io.Writer
	n    int64
	told func(int64)
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.Writer.Write(b)
	m.n += int64(n)
	m.told(m.n)
	return n, err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
