package app

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// older makes a node's folder as the version before stores.json made it.
func older(t *testing.T) string {
	t.Helper()
	f, err := Found(t.TempDir(), onePlan())
	if err != nil {
		t.Fatal(err)
	}
	dir := f.Nodes[0].Dir
	for _, name := range []string{storesFile, "people.json", inboxDir, AccessLogDir} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// An upgrade that ends at any place is called again and comes to its end; what it makes serves.
func TestUpgradeIsResumable(t *testing.T) {
	died := errors.New("the process ended here")
	for stop := 0; ; stop++ {
		dir := older(t)
		keys, err := os.ReadFile(filepath.Join(dir, "api-keys.json"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := Run(t.Context(), cfg, quiet); !errors.Is(err, ErrOlder) {
			t.Fatalf("it serves an older folder: %v", err)
		}
		n := 0
		err = upgrade(dir, func(UpgradeStep) {}, func(string) error {
			if n++; n > stop {
				return died
			}
			return nil
		})
		if err == nil {
			if stop < 2*len(steps) {
				t.Fatalf("only %d places to end at", stop)
			}
			break
		}
		if !errors.Is(err, died) {
			t.Fatal(err)
		}
		// What a step leaves half done is begun anew.
		if err := os.MkdirAll(filepath.Join(dir, upgradeDir, inboxDir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Upgrade(cfg, func(UpgradeStep) {}); err != nil {
			t.Fatalf("after %d: %v", stop, err)
		}
		if err := Upgrade(cfg, func(s UpgradeStep) { t.Errorf("done twice: %+v", s) }); err != nil {
			t.Fatal(err)
		}
		if todo, err := UpgradePlan(dir); err != nil || len(todo) > 0 {
			t.Fatal(todo, err)
		}
		if now, err := os.ReadFile(filepath.Join(dir, "api-keys.json")); err != nil || string(now) != string(keys) {
			t.Errorf("the API keys changed: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, upgradeDir)); err == nil {
			t.Error("the working folder is left")
		}
		runs := newNode(cfg, quiet)
		if err := errors.Join(runs.open(), runs.close()); err != nil {
			t.Errorf("it does not serve: %v", err)
		}
	}
}

// A folder that a newer build wrote is refused, before anything in it is touched.
func TestDowngradeIsRefused(t *testing.T) {
	for _, name := range append(slices.Sorted(maps.Keys(formats())), "store-of-tomorrow") {
		f, err := Found(t.TempDir(), onePlan())
		if err != nil {
			t.Fatal(err)
		}
		dir := f.Nodes[0].Dir
		have := formats()
		have[name]++
		raw, err := json.Marshal(storesDocument{"v9", have})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, storesFile), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		before := folder(t, dir)
		if err := Run(t.Context(), cfg, quiet); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: %v", name, err)
		}
		if err := Upgrade(cfg, func(UpgradeStep) {}); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "records")); err == nil || len(before) == 0 {
			t.Errorf("%s: stores were opened", name)
		}
		if err := os.WriteFile(filepath.Join(dir, storesFile), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Run(t.Context(), cfg, quiet); err == nil {
			t.Errorf("%s: a broken %s serves", name, storesFile)
		}
	}
}
