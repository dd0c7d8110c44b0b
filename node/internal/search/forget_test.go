package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// somewhere tells whether a text stands in any file of a folder.
func somewhere(t *testing.T, dir, text string) bool {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(text)) {
			return true
		}
	}
	return false
}

// What is erased is found no longer and stands in no file, not in free pages nor in the journal; all others are found.
func TestForget(t *testing.T) {
	r := newRig(t)
	dir := filepath.Dir(r.path)
	const name, code = "欧阳鹮鹮", "110105194912310029"
	people := make([]model.RecordID, 40)
	for i := range people {
		people[i] = r.log.person("bj-scjg", fmt.Sprintf("11010519491231%04d", 1000+i), fmt.Sprintf("司徒%d", i), true)
	}
	gone := r.log.person("bj-scjg", code, name, true)
	r.caughtUp()
	r.log.act(model.LicenceSuspend, gone, model.Suspended) // the row moves, and its holder with it
	r.caughtUp()
	if got := r.find(sdk.LicenceSearch{Text: name}, everyone...); len(got) != 1 || got[0] != gone {
		t.Fatalf("before: %v", got)
	}
	if !somewhere(t, dir, name) || !somewhere(t, dir, code) {
		t.Fatal("the files do not hold what they are looked through for")
	}
	if err := os.WriteFile(r.path+asideSuffix, []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}

	r.log.mu.Lock()
	for id, holder := range r.log.names {
		if holder[1] == name {
			delete(r.log.names, id)
		}
	}
	r.log.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 2 {
		if err := r.x.Forget(ctx, gone); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{name, code} {
			if somewhere(t, dir, text) {
				t.Errorf("%s stands in a file", text)
			}
		}
	}
	for _, q := range []sdk.LicenceSearch{{Text: name}, {Text: name[:6]}, {HolderCode: code}} {
		if got := r.find(q, everyone...); len(got) != 0 {
			t.Errorf("%+v finds %v", q, got)
		}
	}
	if got := r.find(sdk.LicenceSearch{Text: "司徒"}, everyone...); len(got) != len(people) {
		t.Errorf("%d of %d others are found", len(got), len(people))
	}
	if got := r.find(sdk.LicenceSearch{States: []model.State{model.Suspended}}, everyone...); len(got) != 1 || got[0] != gone {
		t.Errorf("the licence itself: %v", got)
	}
	r.log.act(model.LicenceResume, gone, model.InForce)
	r.caughtUp()
	if got := r.find(sdk.LicenceSearch{Text: name}, everyone...); len(got) != 0 || somewhere(t, dir, name) {
		t.Errorf("it is back: %v", got)
	}
	// A record that nobody knows, and an index that does not run.
	if err := r.x.Forget(ctx, model.NewRecordID("bj-scjg", 9999)); err != nil {
		t.Error(err)
	}
	r.stop()
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.x.Forget(short, gone); !errors.Is(err, model.E(model.CodeSearchRebuilding)) {
		t.Error(err)
	}
}
