package app_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/backup"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/node/internal/records"
	"github.com/zhenglian/zhenglian/node/internal/vault"
	"github.com/zhenglian/zhenglian/sdk"
)

func phrase(t *testing.T) backup.Key {
	t.Helper()
	k, err := backup.Passphrase("correct horse battery staple")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// acked is an operation that a node has answered for.
type acked struct {
	n   int
	op  model.OpID
	rec model.RecordID
}

// accept has a node accept a licence, without waiting for the ledger; the n-th is the same request however often.
func (w *town) accept(c *sdk.Client, n int) (acked, error) {
	uscc, err := model.InventUSCC("91110105X", n)
	if err != nil {
		return acked{}, err
	}
	o, err := c.Issue(w.t.Context(), sdk.NewLicence{
		Type: demo.BusinessLicence, Number: fmt.Sprintf("load-%d", n), Holder: sdk.Holder{Code: string(uscc), Name: "样例有限公司"},
		UnsealedFile: model.DigestOf([]byte(strconv.Itoa(n))).String(), // committed to, under a salt
	}, sdk.Write{NoWait: true, IdempotencyKey: fmt.Sprintf("load-%d", n)})
	return acked{n, o.Operation, o.Record}, err
}

// load accepts licences from n on, from several clients at once, until stop, which returns them.
func (w *town) load(c *sdk.Client, from int) (sofar func() []acked, stop func() []acked) {
	var mu sync.Mutex
	var all []acked
	var wait sync.WaitGroup
	end := make(chan struct{})
	next := from
	for range 4 {
		wait.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				mu.Lock()
				n := next
				next++
				mu.Unlock()
				a, err := w.accept(c, n)
				if err != nil {
					w.t.Errorf("licence %d: %v", n, err)
					return
				}
				mu.Lock()
				all = append(all, a)
				mu.Unlock()
			}
		})
	}
	sofar = func() []acked {
		mu.Lock()
		defer mu.Unlock()
		return append([]acked(nil), all...)
	}
	return sofar, func() []acked { close(end); wait.Wait(); return sofar() }
}

// restore makes a node's folder elsewhere, on other ports, and points the town at it.
func (w *town) restore(id model.NodeID, file string) *app.Restored {
	w.t.Helper()
	dir, listen := filepath.Join(w.dir, "elsewhere"), freeAddress(w.t)
	r, err := app.Restore(w.t.Context(), file, phrase(w.t), dir, app.RestoreOptions{Listen: listen, Admin: freeAddress(w.t), KeepKeys: true, Progress: func(uint64, uint64) {}})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(r.Outside) != 0 {
		w.t.Errorf("the backup lacks %v", r.Outside)
	}
	if err := os.Rename(w.node(id), w.node(id)+".lost"); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(dir, w.node(id)); err != nil {
		w.t.Fatal(err)
	}
	w.url[id] = "http://" + listen
	return r
}

// A backup taken under load, the node lost after it has gone on for a while, and another made of the backup: it is
// equal to the other organisations' nodes, has every operation that was answered for before the backup, makes none of
// them twice, and gives no id out again.
func TestBackupUnderLoad(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("beijing")
	stopOther := w.serve("tianjin")
	c := w.client("beijing", "drafter")
	sofar, end := w.load(c, 1000)
	w.until("there is load", func() bool { return len(sofar()) > 100 })

	odd := filepath.Join(w.node("beijing"), "odd")
	if err := os.Mkdir(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Backup(t.Context(), w.config("beijing"), filepath.Join(w.dir, "odd.backup"), phrase(t), nil, func(int64) {}); err == nil || !strings.Contains(err.Error(), "knows nothing of") {
		t.Errorf("a folder that nobody accounts for: %v", err)
	}
	if err := os.Remove(odd); err != nil {
		t.Fatal(err)
	}
	before := sofar()
	file := filepath.Join(w.dir, "beijing.backup")
	saved, err := app.Backup(t.Context(), w.config("beijing"), file, phrase(t), nil, func(int64) {})
	if err != nil || !saved.Live || saved.Node != "beijing" {
		t.Fatal(saved, err)
	}
	cut := len(sofar())
	w.until("the node goes on", func() bool { return len(sofar()) > cut+100 })
	all := end()
	w.until("all of it is on the ledger", func() bool {
		s, err := app.NewAdmin(w.config("beijing")).Status(t.Context())
		return err == nil && s.Waiting == 0
	})
	stop()

	r := w.restore("beijing", file)
	if r.Proof != app.ProofEqual {
		t.Errorf("the restored node is not proven equal: %q", r.Proof)
	}
	if r.Blocks != saved.Blocks || r.Blocks == 0 {
		t.Errorf("restored to %d blocks, saved %d", r.Blocks, saved.Blocks)
	}
	stop = w.serve("beijing")
	c = w.client("beijing", "drafter")
	w.until("the restored node accepts", func() bool {
		_, err := w.accept(c, 5)
		return err == nil
	})

	seen := map[model.RecordID]bool{}
	for _, a := range all {
		if seen[a.rec] {
			t.Fatalf("%s was given twice", a.rec)
		}
		seen[a.rec] = true
		o, err := c.Operation(t.Context(), a.op)
		if err != nil || o.Status != model.Committed || o.Record != a.rec || o.Version != 1 {
			t.Fatalf("licence %d: %+v, %v", a.n, o, err)
		}
	}
	// Sent again under their keys, they are what they were: those before the backup and those after it.
	for _, a := range []acked{all[0], all[len(all)/2], all[len(all)-1]} {
		if again, err := w.accept(c, a.n); err != nil || again.op != a.op || again.rec != a.rec {
			t.Errorf("licence %d again: %+v, %v; was %+v", a.n, again, err, a)
		}
	}
	for n := 6; n < 20; n++ {
		a, err := w.accept(c, n)
		if err != nil || seen[a.rec] {
			t.Fatalf("%+v, %v: an id is given again", a, err)
		}
		seen[a.rec] = true
		_, serial, _ := strings.Cut(string(a.rec), ".")
		if s, err := strconv.ParseUint(serial, 10, 64); err != nil || s < vault.Jump {
			t.Errorf("%s does not skip ahead", a.rec)
		}
	}
	w.until("all is on the ledger, at both nodes", func() bool {
		a, err := app.NewAdmin(w.config("beijing")).Status(t.Context())
		b, err2 := app.NewAdmin(w.config("tianjin")).Status(t.Context())
		return err == nil && err2 == nil && a.Waiting == 0 && a.Blocks == b.Blocks && a.Position == b.Position
	})
	stop()
	stopOther()
	if a, b := digest(t, w.node("beijing")), digest(t, w.node("tianjin")); a != b {
		t.Errorf("the restored node's records are %s, another's %s", a, b)
	}
	v, err := vault.Open(filepath.Join(w.node("beijing"), "vault"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, a := range before {
		if o, err := v.Openings(a.op); err != nil || len(o) == 0 {
			t.Fatalf("licence %d has lost its salts: %v", a.n, err)
		}
	}
	if gone, err := filepath.Glob(filepath.Join(w.dir, "*.restoring")); err != nil || len(gone) > 0 {
		t.Errorf("left behind: %v", gone)
	}
}

// Uploads are in the backup of a stopped node as in that of a running one: an import goes on where the node is restored.
func TestBackupHasImports(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("beijing")
	upload := filepath.Join(w.node("beijing"), "imports", "one", "file")
	if err := os.MkdirAll(filepath.Dir(upload), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(upload, []byte("rows"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, live := range []bool{true, false} {
		if !live {
			stop()
			if err := errors.Join(os.MkdirAll(filepath.Dir(upload), 0o700), os.WriteFile(upload, []byte("rows"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		file := filepath.Join(w.dir, fmt.Sprint(live, ".backup"))
		saved, err := app.Backup(t.Context(), w.config("beijing"), file, phrase(t), nil, func(int64) {})
		if err != nil || saved.Live != live {
			t.Fatal(saved, err)
		}
		_, m, err := app.Verify(file, phrase(t))
		if err != nil || !slices.ContainsFunc(m.Entries, func(e backup.Entry) bool { return e.Name == "imports/one/file" }) {
			t.Errorf("live %v: the upload is not in the backup, %v", live, err)
		}
	}
}

func digest(t *testing.T, dir string) string {
	t.Helper()
	s, err := records.Open(filepath.Join(dir, "records"), records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d, _, err := s.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

// What waits in the outbox of the backup and was committed by the old node since is not sent again; while the ledger
// cannot be reached the restored node accepts nothing.
func TestRestoredOutbox(t *testing.T) {
	w := newTown(t)
	stopLedger := w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("beijing")
	c := w.client("beijing", "drafter")
	w.until("the node accepts", func() bool { _, err := w.accept(c, 1); return err == nil })
	w.until("it is on the ledger", func() bool {
		s, err := app.NewAdmin(w.config("beijing")).Status(t.Context())
		return err == nil && s.Waiting == 0
	})
	stopLedger()
	var all []acked
	for n := 2; n < 32; n++ {
		a, err := w.accept(c, n)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	file := filepath.Join(w.dir, "beijing.backup")
	saved, err := app.Backup(t.Context(), w.config("beijing"), file, phrase(t), nil, func(int64) {})
	if err != nil || saved.Waiting != len(all) {
		t.Fatal(saved, err)
	}
	stopLedger = w.serveLedger(w.made.LedgerConfig)
	w.until("the old node has sent them", func() bool {
		s, err := app.NewAdmin(w.config("beijing")).Status(t.Context())
		return err == nil && s.Waiting == 0
	})
	stop()
	stopLedger()

	w.restore("beijing", file)
	stop = w.serve("beijing")
	c = w.client("beijing", "drafter")
	if _, err := w.accept(c, 40); !errors.Is(err, model.E(model.CodeLedgerUnavailable)) {
		t.Errorf("accepted without the ledger: %v", err)
	}
	w.serveLedger(w.made.LedgerConfig)
	w.until("the restored node accepts", func() bool { _, err := w.accept(c, 40); return err == nil })
	for _, a := range all {
		o, err := c.Settle(t.Context(), a.op)
		if err != nil || o.Status != model.Committed || o.Record != a.rec {
			t.Fatalf("%+v: %+v, %v", a, o, err)
		}
		n := 0
		for _, err := range c.History(t.Context(), model.KindLicence, a.rec) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%s has %d versions", a.rec, n)
		}
	}
	stop()
	// A node that has caught up once does not wait again.
	stopped := w.serve("beijing")
	defer stopped()
	if _, err := w.accept(w.client("beijing", "drafter"), 41); err != nil {
		t.Error(err)
	}
}

// A stopped node is saved as well; a file that was changed, cut off or is another's is refused, and nothing is made
// of it; nothing is overwritten.
func TestRestoreRefuses(t *testing.T) {
	w := newTown(t)
	stopLedger := w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("beijing")
	w.until("the node accepts", func() bool { _, err := w.accept(w.client("beijing", "drafter"), 1); return err == nil })
	stop()
	stopLedger()
	file := filepath.Join(w.dir, "stopped.backup")
	recipient, secret, err := backup.NewPair()
	if err != nil {
		t.Fatal(err)
	}
	seals, err := backup.ParseKey(recipient)
	if err != nil {
		t.Fatal(err)
	}
	k, err := backup.ParseKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := app.Backup(t.Context(), w.config("beijing"), file, seals, &k, func(int64) {})
	if err != nil || saved.Live {
		t.Fatal(saved, err)
	}
	if _, err := app.Backup(t.Context(), w.config("beijing"), file, seals, nil, func(int64) {}); err == nil {
		t.Error("a backup was overwritten")
	}
	if _, err := app.Backup(t.Context(), w.config("beijing"), filepath.Join(w.node("beijing"), "b"), seals, nil, func(int64) {}); err == nil {
		t.Error("a backup in the node's own folder")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), "BEGIN PRIVATE KEY") || strings.Contains(string(raw), "样例有限公司") {
		t.Error("the file is readable")
	}
	dir := filepath.Join(w.dir, "elsewhere")
	refused := func(what, path string, k backup.Key, want error) {
		t.Helper()
		if _, err := app.Restore(t.Context(), path, k, dir, app.RestoreOptions{Progress: func(uint64, uint64) {}}); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("%s: a folder was made", what)
		}
	}
	other, err := backup.Passphrase("another passphrase")
	if err != nil {
		t.Fatal(err)
	}
	refused("another passphrase", file, other, backup.ErrKey)
	bad := filepath.Join(w.dir, "bad.backup")
	for range 20 {
		at := 500 + rand.IntN(len(raw)-500)
		changed := append([]byte(nil), raw...)
		changed[at] ^= 1 << rand.IntN(8)
		if err := os.WriteFile(bad, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(fmt.Sprintf("byte %d changed", at), bad, k, backup.ErrChanged)
		if err := os.WriteFile(bad, raw[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		refused(fmt.Sprintf("cut at %d", at), bad, k, backup.ErrChanged)
	}
	if err := os.WriteFile(bad, []byte("PK"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("no backup", bad, k, backup.ErrFormat)
	if _, err := app.Restore(t.Context(), file, k, w.node("tianjin"), app.RestoreOptions{Progress: func(uint64, uint64) {}}); err == nil {
		t.Error("a node was overwritten")
	}
	if _, err := app.Restore(t.Context(), file, k, dir, app.RestoreOptions{Progress: func(uint64, uint64) {}}); err != nil {
		t.Error(err)
	}
}

// The lost databases of a ledger are made again from a member's archive, and everybody goes on with it.
func TestRestoreLedger(t *testing.T) {
	w := newTown(t)
	stopLedger := w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("beijing")
	w.until("the node accepts", func() bool { _, err := w.accept(w.client("beijing", "drafter"), 1); return err == nil })
	w.until("it is on the ledger", func() bool {
		s, err := app.NewAdmin(w.config("beijing")).Status(t.Context())
		return err == nil && s.Waiting == 0
	})
	stop()
	stopLedger()
	if err := os.Rename(w.made.LedgerDir, w.made.LedgerDir+".lost"); err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(w.node("beijing"), "archive")
	height, err := archive.Peek(from)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := app.RestoreLedger(t.Context(), from, w.made.LedgerConfig); err != nil || n != height {
		t.Fatal(n, err)
	}
	if _, err := app.RestoreLedger(t.Context(), from, w.made.LedgerConfig); err == nil {
		t.Error("a ledger was overwritten")
	}
	w.serveLedger(w.made.LedgerConfig)
	w.serve("beijing")
	w.serve("tianjin")
	w.until("the nodes go on", func() bool {
		_, err := w.accept(w.client("tianjin", "drafter"), 2)
		return err == nil
	})
	o := w.issue("beijing", 3)
	if o.Receipt == nil || o.Receipt.Position == 0 {
		t.Errorf("%+v", o)
	}
}
