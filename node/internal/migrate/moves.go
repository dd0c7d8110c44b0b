package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names in a node's folder.
const (
	Before  = "before-migration" // what the node had of the old ledger
	undone  = "undone-migration" // what it had of the new one when a switch was undone; numbered from the second on
	staging = "migration.new"    // what a switch prepares
	working = "migration"        // the same from the commit point on, until all of it is done
	journal = "journal.json"
)

// Kinds of moves.
const (
	Switch = "switch"
	Undo   = "undo"
)

// Moves are what a switch or its undoing does to a node's folder. Paths are relative to it. First every file or
// folder of Aside is set aside, then every one of Place is put where it belongs.
type Moves struct {
	Kind  string `json:"kind"`
	Aside []Move `json:"aside"` // To is in a folder that holds nothing of the name yet
	Place []Move `json:"place"` // From is given up
}

// Move is a rename.
type Move struct {
	From string `json:"from"`
	To   string `json:"to"`
}

const maxJournal = 64 << 10 // bytes

// Staging is the folder in which a switch prepares what it will put in place, made anew.
func Staging(dir string) (string, error) {
	path := filepath.Join(dir, staging)
	if err := os.RemoveAll(path); err != nil {
		return "", err
	}
	return path, os.Mkdir(path, 0o700)
}

// Staged is the path, for a Move's From, of a file of the staging folder.
func Staged(name string) string { return filepath.Join(working, name) }

// Begin makes what the staging folder holds, and the moves, the thing to be done: from here on nothing but
// Finish may happen to the node's folder. Without an earlier call of Staging it stages nothing.
//
// Crash argument: the journal and all that was staged are on the disk before the folder gets the name under which
// it counts, in one rename. Before it, a folder of the other name is left that nobody looks at and the next call
// makes anew; after it, Finish has all that it needs, whenever it is called.
func Begin(dir string, m Moves) error {
	stage := filepath.Join(dir, staging)
	if err := os.MkdirAll(stage, 0o700); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(stage, journal), append(raw, '\n'), 0o600); err != nil {
		return err
	}
	files, err := os.ReadDir(stage)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := sync(filepath.Join(stage, f.Name())); err != nil {
			return err
		}
	}
	if err := sync(stage); err != nil {
		return err
	}
	// What an earlier switch left after its end is an empty folder.
	if err := os.Remove(filepath.Join(dir, working)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(stage, filepath.Join(dir, working)); err != nil {
		return err
	}
	return sync(dir)
}

// Interrupted is the kind of the moves that were begun and not finished; empty for none.
func Interrupted(dir string) (kind string, err error) {
	m, err := readMoves(dir)
	if err != nil || m == nil {
		return "", err
	}
	return m.Kind, nil
}

// Finish does what Begin noted, from wherever an interrupted call has left it; without a note it does nothing.
//
// Crash argument: a rename happens or does not. What is set aside is done once it stands where it is to be, what is
// put in place is done once it has left where it was, and nothing is put in place before all is set aside. So
// each step can be told done from not done, and none is done twice. Each folder is synced before the next step, so
// that a power cut takes back no earlier step than a later one. The journal goes last.
func Finish(dir string) error { return finish(dir, disk{}) }

// disk is what Finish does to a folder; tests stop it anywhere.
type disk struct{ before func() error }

func (d disk) step() error {
	if d.before == nil {
		return nil
	}
	return d.before()
}

func (d disk) rename(from, to string) error {
	if err := errors.Join(d.step(), os.MkdirAll(filepath.Dir(to), 0o700)); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(d.step(), sync(filepath.Dir(to)), sync(filepath.Dir(from)))
}

func (d disk) remove(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.step()
}

func finish(dir string, d disk) error {
	m, err := readMoves(dir)
	if err != nil || m == nil {
		return err
	}
	for _, move := range m.Aside {
		from, to := filepath.Join(dir, move.From), filepath.Join(dir, move.To)
		if there, err := exists(to); err != nil {
			return err
		} else if there {
			continue
		}
		if err := d.rename(from, to); err != nil {
			return err
		}
	}
	for _, move := range m.Place {
		from, to := filepath.Join(dir, move.From), filepath.Join(dir, move.To)
		if there, err := exists(from); err != nil {
			return err
		} else if !there {
			continue
		}
		if there, err := exists(to); err != nil {
			return err
		} else if there {
			return fmt.Errorf("%s is in the way of %s: move it elsewhere and call the command again", to, from)
		}
		if err := d.rename(from, to); err != nil {
			return err
		}
	}
	if m.Kind == Undo { // it is empty now
		if err := d.remove(filepath.Join(dir, Before)); err != nil {
			return err
		}
	}
	if err := d.remove(filepath.Join(dir, working, journal)); err != nil {
		return err
	}
	if err := sync(filepath.Join(dir, working)); err != nil {
		return err
	}
	return d.remove(filepath.Join(dir, working))
}

// PlanUndo is what takes a switched node's folder back. Of what stands in the folder now, names are set aside
// and kept.
func PlanUndo(dir string, names []string) (Moves, error) {
	m := Moves{Kind: Undo}
	old, err := os.ReadDir(filepath.Join(dir, Before))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fault(CodeNotSwitched, nil, "this node has not been switched to another ledger, so there is nothing to undo",
			"本节点没有切换过账本，无可撤销")
	}
	if err != nil {
		return m, err
	}
	aside := undone
	for i := 2; ; i++ {
		there, err := exists(filepath.Join(dir, aside))
		if err != nil {
			return m, err
		}
		if !there {
			break
		}
		aside = fmt.Sprintf("%s-%d", undone, i)
	}
	for _, f := range old {
		m.Place = append(m.Place, Move{filepath.Join(Before, f.Name()), f.Name()})
		names = append(names, f.Name())
	}
	seen := map[string]bool{}
	for _, name := range names {
		there, err := exists(filepath.Join(dir, name))
		if err != nil {
			return m, err
		}
		if there && !seen[name] {
			seen[name] = true
			m.Aside = append(m.Aside, Move{name, filepath.Join(aside, name)})
		}
	}
	return m, nil
}

func readMoves(dir string) (*Moves, error) {
	path := filepath.Join(dir, working, journal)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := decodeMoves(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// decodeMoves takes only moves that stay within the folder.
func decodeMoves(raw []byte) (*Moves, error) {
	if len(raw) > maxJournal {
		return nil, fmt.Errorf("%d bytes are too many", len(raw))
	}
	var m Moves
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	if m.Kind != Switch && m.Kind != Undo {
		return nil, fmt.Errorf("kind %q", m.Kind)
	}
	for _, move := range append(m.Aside[:len(m.Aside):len(m.Aside)], m.Place...) {
		for _, p := range []string{move.From, move.To} {
			if !filepath.IsLocal(p) || filepath.Clean(p) != p || p == "." || strings.Count(p, string(filepath.Separator)) > 1 {
				return nil, fmt.Errorf("a move of %q", p)
			}
		}
	}
	return &m, nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// sync waits until a file, or what a folder lists, is on the disk.
func sync(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
