package search

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

func filled(t *testing.T, n int) *rig {
	r := newRig(t)
	for i := range n {
		r.log.issue("bj-scjg", func(v *model.Licence) {
			if i%10 == 0 {
				v.HolderName += "（十）"
			}
		})
	}
	r.caughtUp()
	return r
}

// rebuilt waits until the file was set aside times times and made anew, and looks whether everything is found again.
func (r *rig) rebuilt(before []model.RecordID, why string) {
	r.t.Helper()
	r.until("it is set aside", func(s Status) bool { return s.Why != "" })
	r.caughtUp()
	if s := r.x.Status(); !strings.Contains(s.Why, why) {
		r.t.Errorf("set aside for %q, want %q", s.Why, why)
	}
	if got := r.find(sdk.LicenceSearch{Text: "十"}); !slices.Equal(got, before) {
		r.t.Errorf("found %d, before %d", len(got), len(before))
	}
	if info, err := os.Stat(r.path); err != nil || info.Mode().Perm() != 0o600 {
		r.t.Errorf("%v %v", info, err)
	}
	// What comes afterwards is followed.
	id := r.log.issue("bj-scjg", func(v *model.Licence) { v.HolderName = "其后的公司" })
	r.caughtUp()
	if got := r.find(sdk.LicenceSearch{Text: "其后"}); !slices.Equal(got, []model.RecordID{id}) {
		r.t.Errorf("what came afterwards: %v", got)
	}
	r.sound()
}

func (r *rig) remove(names ...string) {
	r.t.Helper()
	for _, n := range names {
		if err := os.Remove(r.path + n); err != nil {
			r.t.Fatal(err)
		}
	}
}

// The file is lost or damaged while it is asked: it is made anew, and searches say so until it is.
func TestLostWhileServing(t *testing.T) {
	for name, harm := range map[string]struct {
		do  func(r *rig)
		why string
	}{
		"deleted":                  {func(r *rig) { r.remove("") }, "deleted"},
		"deleted with its journal": {func(r *rig) { r.remove("", "-wal", "-shm") }, "deleted"},
		"its journal deleted":      {func(r *rig) { r.remove("-wal") }, "deleted"},
		"another in its place": {func(r *rig) {
			if err := os.WriteFile(r.path+".other", make([]byte, 4096), 0o600); err != nil {
				r.t.Fatal(err)
			}
			if err := os.Rename(r.path+".other", r.path); err != nil {
				r.t.Fatal(err)
			}
		}, "deleted or replaced"},
	} {
		t.Run(name, func(t *testing.T) {
			r := filled(t, 200)
			before := r.find(sdk.LicenceSearch{Text: "十"})
			harm.do(r)
			r.rebuilt(before, harm.why)
		})
	}
}

// Every page of the file is overwritten while it is asked. As soon as anything reads it, it is known.
func TestOverwrittenWhileServing(t *testing.T) {
	r := filled(t, 1500)
	before := r.find(sdk.LicenceSearch{Text: "十"})
	r.checkpoint()
	info, err := os.Stat(r.path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xa5}, int(info.Size())), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	refused := false
	r.until("somebody notices", func(s Status) bool {
		// Each search reads elsewhere, so that pages kept in memory do not hide it for ever.
		for _, q := range []sdk.LicenceSearch{{Sort: sdk.SortOldest}, {NumberPrefix: "bj0000"}, {Text: "样例"}, {Sort: sdk.SortValidUntil}} {
			_, err := r.x.Page(t.Context(), &Query{LicenceSearch: q, Today: today}, "", 200, true)
			if err != nil {
				if model.AsError(err).Code != model.CodeSearchRebuilding {
					t.Errorf("%v", err)
				}
				refused = true
			}
		}
		r.log.issue("bj-scjg", nil)
		return refused && s.Why != ""
	})
	r.rebuilt(before, "")
	if _, err := os.Stat(r.path + ".aside"); err != nil {
		t.Errorf("not kept: %v", err)
	}
}

// checkpoint copies the journal into the file, so that a test can damage what stands in it.
func (r *rig) checkpoint() {
	r.t.Helper()
	db, err := sql.Open("sqlite", dsn(r.path, "rw"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA wal_checkpoint(FULL)"); err != nil {
		r.t.Fatal(err)
	}
}

// A file that is of no use at the start is made anew.
func TestUselessAtTheStart(t *testing.T) {
	sqlExec := func(text string) func(r *rig) {
		return func(r *rig) {
			db, err := sql.Open("sqlite", dsn(r.path, "rw"))
			if err != nil {
				r.t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(text); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	for name, harm := range map[string]struct {
		do  func(r *rig)
		why string
	}{
		"a newer version":    {sqlExec("PRAGMA user_version = 99"), "version"},
		"an older version":   {sqlExec("PRAGMA user_version = 0"), "version"},
		"another program's":  {sqlExec("PRAGMA application_id = 7"), "version"},
		"a table is missing": {sqlExec("DROP TABLE holders"), "holders"},
		"another log's":      {sqlExec("UPDATE state SET leaf = x'00'"), "another log"},
		"ends in the middle": {func(r *rig) {
			if err := os.Truncate(r.path, 100_000); err != nil {
				r.t.Fatal(err)
			}
		}, ""},
		"text": {func(r *rig) {
			if err := os.WriteFile(r.path, bytes.Repeat([]byte("not a database "), 5000), 0o600); err != nil {
				r.t.Fatal(err)
			}
		}, "not a database"},
		"a page of zeros": {func(r *rig) {
			f, err := os.OpenFile(r.path, os.O_WRONLY, 0)
			if err != nil {
				r.t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				r.t.Fatal(err)
			}
			for at := int64(4096 * 12); at < info.Size(); at += 4096 * 7 {
				if _, err := f.WriteAt(make([]byte, 4096), at); err != nil {
					r.t.Fatal(err)
				}
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := filled(t, 400)
			before := r.find(sdk.LicenceSearch{Text: "十"})
			r.stop()
			harm.do(r)
			r.start()
			r.rebuilt(before, harm.why)
		})
	}
}

// A changed byte in a row is not shown: the row's checksum tells.
func TestChangedRow(t *testing.T) {
	r := filled(t, 100)
	before := r.find(sdk.LicenceSearch{Text: "十"})
	r.stop()
	db, err := sql.Open("sqlite", dsn(r.path, "rw"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("UPDATE licences SET holder_name = '北京样例11无限公司' WHERE pos = 10"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.until("it serves", func(s Status) bool { return !s.Rebuilding })
	_, err = r.x.Page(t.Context(), &Query{Today: today}, "", 200, false)
	if model.AsError(err).Code != model.CodeSearchRebuilding {
		t.Errorf("%v", err)
	}
	r.rebuilt(before, "damaged")
}

// Stopped at any moment, it goes on where it was; what it followed before is not read again.
func TestRestart(t *testing.T) {
	r := newRig(t)
	var ids []model.RecordID
	for i := range 600 {
		ids = append(ids, r.log.issue("bj-scjg", nil))
		if i%3 == 0 {
			r.log.act(model.LicenceSuspend, ids[i/2], model.Suspended)
			r.log.act(model.LicenceResume, ids[i/2], model.InForce)
		}
		if i%50 == 0 {
			r.stop()
			r.start()
		}
	}
	r.caughtUp()
	if got := r.find(sdk.LicenceSearch{}); len(got) != 600 {
		t.Errorf("%d licences, want 600", len(got))
	}
	if s := r.x.Status(); s.Why != "" {
		t.Errorf("set aside: %s", s.Why)
	}
	r.sound()
}

// The index is ahead of the records, as after a power cut: it waits for them.
func TestRecordsBehind(t *testing.T) {
	r := filled(t, 100)
	r.stop()
	r.log.mu.Lock()
	all := r.log.leaves
	r.log.leaves = all[:40]
	r.log.mu.Unlock()
	r.start()
	r.until("it serves", func(s Status) bool { return !s.Rebuilding })
	if got := r.find(sdk.LicenceSearch{}); len(got) != 100 {
		t.Errorf("%d licences", len(got))
	}
	r.log.mu.Lock()
	r.log.leaves = all
	close(r.log.grown)
	r.log.grown = make(chan struct{})
	r.log.mu.Unlock()
	id := r.log.issue("bj-scjg", nil)
	r.until("it goes on", func(s Status) bool { return s.Next == 101 })
	if got := r.find(sdk.LicenceSearch{}); got[0] != id || len(got) != 101 {
		t.Errorf("%d licences, first %s", len(got), got[0])
	}
	if s := r.x.Status(); s.Why != "" {
		t.Errorf("set aside: %s", s.Why)
	}
}

// While it is made anew, whoever asks is refused in words, and hears how far it is.
func TestRebuildingRefuses(t *testing.T) {
	r := &rig{t: t, log: newFakeLog(), path: t.TempDir() + "/search.db"}
	r.x = New(Config{Path: r.path, Log: r.log, Vault: r.log, Secret: make([]byte, 32)})
	r.log.issue("bj-scjg", nil)
	var e *model.Error
	if _, err := r.x.Page(t.Context(), &Query{Today: today}, "", 50, false); !errors.As(err, &e) || e.Code != model.CodeSearchRebuilding || e.Detail != "0 %" || e.Kind() != model.Unavailable {
		t.Errorf("%v", err)
	}
	if err := r.x.Walk(t.Context(), &Query{Today: today}, nil); model.AsError(err).Code != model.CodeSearchRebuilding {
		t.Errorf("%v", err)
	}
}

// Readers never wait for the writer, nor it for them: an export that stands still holds nothing up.
func TestExportHoldsNothingUp(t *testing.T) {
	r := filled(t, 3*chunk)
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	done := make(chan error, 1)
	seen := map[model.RecordID]int{}
	go func() {
		done <- r.x.Walk(context.Background(), &Query{Today: today}, func(l *sdk.FoundLicence) error {
			seen[l.Record]++
			once.Do(func() { close(held); <-hold })
			return nil
		})
	}()
	<-held
	first := model.NewRecordID("bj-scjg", 1)
	last := model.NewRecordID("bj-scjg", 3*chunk)
	r.log.act(model.LicenceSuspend, first, model.Suspended)
	r.log.act(model.LicenceSuspend, last, model.Suspended)
	r.caughtUp()
	if got := r.find(sdk.LicenceSearch{States: []model.State{model.Suspended}}); !slices.Equal(got, []model.RecordID{last, first}) {
		t.Errorf("%v", got)
	}
	close(hold)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3*chunk || seen[first] != 2 || seen[last] != 1 {
		t.Errorf("%d licences, the changed ones %d and %d times", len(seen), seen[first], seen[last])
	}
	if err := r.x.Walk(t.Context(), &Query{LicenceSearch: sdk.LicenceSearch{Sort: sdk.SortNewest}, Today: today}, nil); model.AsError(err).Code != model.CodeBadValue {
		t.Errorf("%v", err)
	}
}
