package migrate

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// node makes a folder like a node's.
func node(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"zhenglian.yaml": "old", "identity.crt": "old", "identity.key": "old", "gateway-1-ca.pem": "old", "records/db": "old", "archive/blocks": "old",
		"vault/db": "kept", "outbox/db": "kept", "api-keys.json": "kept",
	})
	return dir
}

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// content is all files of a folder.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(raw)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func forward(t *testing.T, dir string) Moves {
	t.Helper()
	stage, err := Staging(dir)
	if err != nil {
		t.Fatal(err)
	}
	put(t, stage, map[string]string{"zhenglian.yaml": "new", "identity.crt": "new", "identity.key": "new", "gateway-1-ca.pem": "new", "gateway-2-ca.pem": "new"})
	m := Moves{Kind: Switch}
	for _, name := range []string{"records", "archive", "zhenglian.yaml", "identity.crt", "identity.key", "gateway-1-ca.pem"} {
		m.Aside = append(m.Aside, Move{name, filepath.Join(Before, name)})
	}
	for _, name := range []string{"zhenglian.yaml", "identity.crt", "identity.key", "gateway-1-ca.pem", "gateway-2-ca.pem"} {
		m.Place = append(m.Place, Move{Staged(name), name})
	}
	return m
}

var switched = map[string]string{
	"zhenglian.yaml": "new", "identity.crt": "new", "identity.key": "new", "gateway-1-ca.pem": "new", "gateway-2-ca.pem": "new",
	"vault/db": "kept", "outbox/db": "kept", "api-keys.json": "kept",
	"before-migration/zhenglian.yaml": "old", "before-migration/identity.crt": "old", "before-migration/identity.key": "old",
	"before-migration/gateway-1-ca.pem": "old", "before-migration/records/db": "old", "before-migration/archive/blocks": "old",
}

var errCrash = errors.New("crash")

// crashing stops before the n-th step.
func crashing(n int) disk {
	return disk{before: func() error {
		if n--; n < 0 {
			return errCrash
		}
		return nil
	}}
}

// TestSwitchAndUndo stops a switch, and then its undoing, before and after every step: whoever calls again comes to the
// same end, and nothing is ever lost.
func TestSwitchAndUndo(t *testing.T) {
	steps := 0
	for crash := 0; ; crash++ {
		dir := node(t)
		was := content(t, dir)
		if err := Begin(dir, forward(t, dir)); err != nil {
			t.Fatal(err)
		}
		first := finish(dir, crashing(crash))
		if first != nil && !errors.Is(first, errCrash) {
			t.Fatal(first)
		}
		if kind, err := Interrupted(dir); err != nil || (kind != "" && kind != Switch) || (first == nil && kind != "") {
			t.Fatalf("crash %d: %q %v", crash, kind, err)
		}
		if err := Finish(dir); err != nil {
			t.Fatalf("crash %d: %v", crash, err)
		}
		if got := content(t, dir); !maps.Equal(got, switched) {
			t.Fatalf("crash %d: %v", crash, got)
		}
		put(t, dir, map[string]string{"records/db": "of the new", "archive/blocks": "of the new", "finding.json": "of the new"})
		m, err := PlanUndo(dir, []string{"records", "archive", "finding.json", "zhenglian.yaml", "gateway-1-ca.pem", "gateway-2-ca.pem"})
		if err != nil {
			t.Fatal(err)
		}
		if err := Begin(dir, m); err != nil {
			t.Fatal(err)
		}
		second := finish(dir, crashing(crash))
		if err := Finish(dir); err != nil {
			t.Fatalf("crash %d: %v", crash, err)
		}
		back := content(t, dir)
		for name, is := range back {
			if strings.HasPrefix(name, undone+"/") {
				if is == "kept" || is == "old" {
					t.Fatalf("crash %d: %s is %s", crash, name, is)
				}
				delete(back, name)
			}
		}
		if !maps.Equal(back, was) {
			t.Fatalf("crash %d: %v", crash, slices.Sorted(maps.Keys(back)))
		}
		if _, err := PlanUndo(dir, nil); err == nil {
			t.Fatal("it can be undone twice")
		}
		if first == nil && second == nil {
			steps = crash
			break
		}
	}
	if steps < 20 {
		t.Errorf("only %d steps", steps)
	}
}

// TestBeginNot: before the commit point nothing has changed, and staging is begun anew.
func TestBeginNot(t *testing.T) {
	dir := node(t)
	was := content(t, dir)
	forward(t, dir)
	if kind, err := Interrupted(dir); err != nil || kind != "" {
		t.Fatal(kind, err)
	}
	if err := Finish(dir); err != nil {
		t.Fatal(err)
	}
	m := forward(t, dir)
	got := content(t, dir)
	maps.DeleteFunc(got, func(name, _ string) bool { return strings.HasPrefix(name, staging+"/") })
	if !maps.Equal(got, was) {
		t.Fatal(got)
	}
	if err := errors.Join(Begin(dir, m), Finish(dir)); err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir); !maps.Equal(got, switched) {
		t.Fatal(got)
	}
}

// TestInTheWay: what somebody put where a file is to go is not written over.
func TestInTheWay(t *testing.T) {
	dir := node(t)
	m := forward(t, dir)
	if err := Begin(dir, m); err != nil {
		t.Fatal(err)
	}
	put(t, dir, map[string]string{"gateway-2-ca.pem": "somebody's"})
	if err := Finish(dir); err == nil || !strings.Contains(err.Error(), "gateway-2-ca.pem") {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "gateway-2-ca.pem")); err != nil {
		t.Fatal(err)
	}
	if err := Finish(dir); err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir); !maps.Equal(got, switched) {
		t.Fatal(got)
	}
}

func FuzzMoves(f *testing.F) {
	f.Add([]byte(`{"kind":"switch","aside":[{"from":"records","to":"before-migration/records"}],"place":[{"from":"migration/zhenglian.yaml","to":"zhenglian.yaml"}]}`))
	f.Add([]byte(`{"kind":"undo","aside":[],"place":[{"from":"../../etc/passwd","to":"x"}]}`))
	f.Add([]byte(`{"kind":"switch","place":[{"from":"/x","to":"."}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := decodeMoves(raw)
		if err != nil {
			return
		}
		for _, move := range append(m.Aside, m.Place...) {
			for _, p := range []string{move.From, move.To} {
				if !filepath.IsLocal(p) || strings.Contains(p, "..") && strings.HasPrefix(filepath.Clean(p), "..") {
					t.Fatalf("a move of %q", p)
				}
			}
		}
	})
}
