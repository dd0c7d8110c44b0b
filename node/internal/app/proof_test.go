package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/doctor"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

// A restore says whether the records are those of the saved node: they are, until one of them is changed where it lies.
func TestRestoreProvesRecords(t *testing.T) {
	w := newTown(t)
	stopLedger := w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("beijing")
	w.until("the node accepts", func() bool { _, err := w.accept(w.client("beijing", "drafter"), 1); return err == nil })
	w.until("it is on the ledger", func() bool {
		s, err := app.NewAdmin(w.config("beijing")).Status(t.Context())
		return err == nil && s.Waiting == 0
	})
	again := func(what, file string, o app.RestoreOptions) (*app.Restored, error) {
		t.Helper()
		dir := filepath.Join(w.dir, what)
		o.Progress = func(uint64, uint64) {}
		r, err := app.Restore(t.Context(), file, phrase(t), dir, o)
		if _, gone := os.Stat(dir + ".restoring"); !errors.Is(gone, os.ErrNotExist) {
			t.Errorf("%s: the working folder is left", what)
		}
		if _, made := os.Stat(dir); (made == nil) != (err == nil) {
			t.Errorf("%s: %v, %v", what, err, made)
		}
		return r, err
	}
	save := func(name string) string {
		t.Helper()
		file := filepath.Join(w.dir, name+".backup")
		if _, err := app.Backup(t.Context(), w.config("beijing"), file, phrase(t), nil, func(int64) {}); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if r, err := again("live", save("live"), app.RestoreOptions{}); err != nil || r.Proof != app.ProofEqual {
		t.Errorf("saved while it ran: %+v, %v", r, err)
	}
	stop()
	stopLedger()
	file := save("stopped")
	if r, err := again("stopped", file, app.RestoreOptions{}); err != nil || r.Proof != app.ProofEqual || r.Records != digest(t, w.node("beijing")) {
		t.Errorf("saved while it was stopped: %+v, %v", r, err)
	}

	alter(t, filepath.Join(w.node("beijing"), "records"))
	file = save("altered")
	var differs *app.DiffersError
	if _, err := again("altered", file, app.RestoreOptions{}); !errors.As(err, &differs) || differs.Blocks == 0 || differs.Was == differs.Is {
		t.Fatalf("an altered record: %v", err)
	}
	if r, err := again("altered", file, app.RestoreOptions{AcceptDifference: true}); err != nil || r.Proof != app.ProofDiffers || r.Records != differs.Is.String() {
		t.Errorf("told to go on: %+v, %v", r, err)
	}
	told := func(dir string) bool {
		return slices.ContainsFunc(app.Examine(t.Context(), filepath.Join(w.dir, dir)).Findings, func(f doctor.Finding) bool {
			return f.Code == doctor.RestoreUnconfirmed && strings.Contains(f.What.En, "are not those that the saved node had")
		})
	}
	if !told("altered") || told("stopped") {
		t.Error("doctor does not tell the node whose records differ from the one whose records do not")
	}

	// Records that cannot be read prove nothing, and keep nobody from a backup.
	if err := os.RemoveAll(filepath.Join(w.node("beijing"), "records")); err != nil {
		t.Fatal(err)
	}
	if r, err := again("bare", save("bare"), app.RestoreOptions{}); err != nil || r.Proof != app.ProofNone {
		t.Errorf("no records: %+v, %v", r, err)
	}
}

// alter changes one byte of one record of a store that nobody has open, and leaves it readable.
func alter(t *testing.T, dir string) {
	t.Helper()
	db, err := leveldb.OpenFile(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	it := db.NewIterator(util.BytesPrefix([]byte("r/licence/")), nil)
	if !it.First() {
		t.Fatal("no licence")
	}
	value := append([]byte(nil), it.Value()...)
	value[len(value)-1] ^= 1
	err = db.Put(it.Key(), value, nil)
	it.Release()
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := records.Open(dir, records.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
