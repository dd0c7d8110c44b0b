package fabric

import (
	"fmt"
	"path/filepath"
	"testing"
)

// Attached processes end with the program that started them, even when that is killed.
func TestAttachedEndsWithItsParent(t *testing.T) {
	dir := t.TempDir()
	parent := newSleeper(t, "parent", dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child := &Process{Name: "child", pid: filepath.Join(dir, "run", "child.pid")}
	eventually(t, func() error {
		if !child.Alive() {
			return fmt.Errorf("no child yet")
		}
		return nil
	})
	if err := parent.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if child.Alive() {
			return fmt.Errorf("the child outlives its parent")
		}
		return nil
	})
}
