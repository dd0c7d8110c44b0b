package watchfolder

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

// Folder works off one watched folder.
type Folder struct {
	cfg   Config
	door  *push.Door
	watch *push.Watch
	log   *slog.Logger

	// Used by Run alone.
	seen  map[string]seen       // files that may still be written
	state map[string]push.State // of files in taken/, as their answer files say
}

// New prepares a folder; Run works it off.
func New(cfg Config, door *push.Door, watch *push.Watch, log *slog.Logger) *Folder {
	if cfg.Settle <= 0 {
		cfg.Settle = 5 * time.Second
	}
	if cfg.GiveUp <= 0 {
		cfg.GiveUp = 10 * time.Minute
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 2 * time.Second
	}
	return &Folder{cfg: cfg, door: door, watch: watch, log: log, seen: map[string]seen{}, state: map[string]push.State{}}
}

func (f *Folder) source() string { return "folder/" + f.cfg.Name }
func (f *Folder) in(parts ...string) string {
	return filepath.Join(append([]string{f.cfg.Dir}, parts...)...)
}

const longestPause = 30 * time.Second

// Run works until ctx ends. A folder that is away or may not be written to is tried again and again.
//
// What makes a file count once, wherever the process is killed (the unit's own part is at push.Door.Send):
//   - A file moves out of the folder in one step, and is copied, synced, before it is deleted. Killed in between, it
//     goes back; if its copy is there already, that is finished first, and what went back is then the same file of the
//     same name, which is given the same answer.
//   - What is in taken/ is ours: nobody's late write reaches it. It is sent until every answer is final, after a
//     restart as before.
//   - The answer is in done/ or failed/, synced, before the file moves there; killed in between, both are done again.
func (f *Folder) Run(ctx context.Context) {
	pause := f.cfg.Poll
	for ctx.Err() == nil {
		if err := f.round(ctx); err != nil && ctx.Err() == nil {
			pause = min(max(2*pause, time.Second), longestPause)
			f.watch.Failed(err)
			f.log.Log(ctx, push.Level(err), "the watched folder cannot be worked off now; it is tried again", "folder", f.cfg.Name, "error", err, "pause", pause)
		} else {
			pause = f.cfg.Poll
			f.watch.Well()
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (f *Folder) round(ctx context.Context) error {
	if info, err := os.Stat(f.cfg.Dir); err != nil {
		return err // never made anew: an absent folder is a disk that is not there
	} else if !info.IsDir() {
		return fmt.Errorf("%s is no folder", f.cfg.Dir)
	}
	for _, d := range []string{takenDir, doneDir, failedDir} {
		if err := os.Mkdir(f.in(d), 0o770); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if info, err := os.Lstat(f.in(d)); err != nil || !info.IsDir() {
			return errors.Join(fmt.Errorf("%s is no folder", f.in(d)), err)
		}
	}
	if _, err := f.door.Intake.SignIn(); err != nil {
		return err // nothing is taken that could not be sent
	}
	if err := f.giveAllBack(); err != nil {
		return err
	}
	taken, err := f.list(takenDir)
	if err != nil {
		return err
	}
	for _, name := range taken {
		if err := f.drive(ctx, name); err != nil {
			return err
		}
	}
	names, err := f.list("")
	if err != nil {
		return err
	}
	for name := range f.seen {
		if !slices.Contains(names, name) {
			delete(f.seen, name)
		}
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return nil
		}
		ok, err := f.take(name)
		if err == nil && ok {
			err = f.drive(ctx, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list names what is in a folder and not passed over, in order.
func (f *Folder) list(dir string) (names []string, err error) {
	d, err := os.Open(f.in(dir))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.Readdirnames(10_000) // whatever there is more comes when these are gone
	if len(entries) == 0 {
		return nil, nil // its end
	}
	for _, name := range entries {
		if !passedOver(name) && (dir != "" || name != takenDir && name != doneDir && name != failedDir) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, err
}

// take moves a file that is whole to taken/. It reports whether it did.
func (f *Folder) take(name string) (bool, error) {
	info, err := os.Lstat(f.in(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.IsDir() {
		return false, nil
	}
	if !plain(name) || !info.Mode().IsRegular() {
		return false, f.setAside(name, nil, errRefused)
	}
	marked := false
	if m, err := os.Lstat(f.in(name + markerSuffix)); err == nil && m.Mode().IsRegular() {
		marked = true
	}
	s, ok := f.seen[name]
	now := time.Now()
	if !ok || s.size != info.Size() || !s.modified.Equal(info.ModTime()) || s.inode != inode(info) {
		s = seen{info.Size(), info.ModTime(), inode(info), now}
		f.seen[name] = s
	}
	if !marked && now.Sub(s.since) < f.cfg.Settle {
		return false, nil
	}
	if _, err := os.Lstat(f.in(takenDir, name)); err == nil {
		return false, nil // an earlier one of this name is not finished
	}
	raw, _, err := read(f.in(name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotYet) {
		return false, nil
	}
	if err == nil {
		_, err = units(f.source(), name, raw)
	}
	if errors.Is(err, model.E(model.CodeInvalidJSON)) {
		// It may go on: it is never taken for what it is so far.
		if !marked && now.Sub(s.since) < f.cfg.GiveUp {
			return false, nil
		}
		e := model.AsError(err)
		err = model.E(model.CodeFileIncomplete, e.Field).With("%s", e.Detail)
	}
	if err != nil {
		if e := model.AsError(err); e.Kind() == model.Internal {
			return false, err // the disk's trouble
		}
		return false, f.setAside(name, raw, err)
	}
	return f.claim(name, raw)
}

// claimed begins the names of files on their way from the folder to taken/.
const claimed = ".zl-in-"

// claim moves a file out of the folder and makes our own copy of it, if it is still what was read. Another file that
// was renamed over it in between goes back.
func (f *Folder) claim(name string, raw []byte) (bool, error) {
	delete(f.seen, name)
	if err := os.Rename(f.in(name), f.in(takenDir, claimed+name)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	again, _, err := read(f.in(takenDir, claimed+name))
	if err != nil || !bytes.Equal(raw, again) {
		return false, f.giveBack(name)
	}
	if err := put(f.in(takenDir, name), raw); err != nil {
		return false, err // the next round sees whether our copy is there, and gives back what has none
	}
	for _, path := range []string{f.in(takenDir, claimed+name), f.in(name + markerSuffix)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true, err
		}
	}
	return true, syncDir(f.cfg.Dir)
}

// giveBack puts a claimed file back under its name, or, where there is a newer one of it, under another.
func (f *Folder) giveBack(name string) error {
	mine, err := os.Lstat(f.in(takenDir, claimed+name))
	if err != nil {
		return err
	}
	back := name
	for n := 2; ; n++ {
		err := os.Link(f.in(takenDir, claimed+name), f.in(back))
		if there, e := os.Lstat(f.in(back)); errors.Is(err, fs.ErrExist) && e == nil && os.SameFile(there, mine) {
			err = nil // it is back already: the process ended before the claimed name was gone
		}
		if errors.Is(err, fs.ErrExist) && n < 1000 {
			ext := filepath.Ext(name)
			back = fmt.Sprintf("%s.%d%s", strings.TrimSuffix(name, ext), n, ext)
			continue
		}
		if err != nil {
			return err
		}
		return os.Remove(f.in(takenDir, claimed+name))
	}
}

// giveAllBack finds files that were on their way when the process ended. One of which taken/ has our own copy has
// arrived: given back as well, perhaps under another name, it would count twice.
func (f *Folder) giveAllBack() error {
	left, err := filepath.Glob(filepath.Join(escaped.Replace(f.in(takenDir)), claimed+"*"))
	for _, path := range left {
		name := strings.TrimPrefix(filepath.Base(path), claimed)
		if arrived, e := f.arrived(name); e != nil {
			err = errors.Join(err, e)
		} else if arrived {
			err = errors.Join(err, os.Remove(path))
		} else {
			err = errors.Join(err, f.giveBack(name))
		}
	}
	return err
}

// arrived reports whether taken/ has our own copy of a claimed file.
func (f *Folder) arrived(name string) (bool, error) {
	ours, err := os.ReadFile(f.in(takenDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	claimed, _, err := read(f.in(takenDir, claimed+name))
	return err == nil && bytes.Equal(ours, claimed), nil
}

// escaped makes of a path the pattern that matches it alone.
var escaped = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// setAside moves what is never sent to failed/, with the reason. Links and pipes are moved themselves, and never opened.
func (f *Folder) setAside(name string, raw []byte, cause error) error {
	e := model.AsError(cause)
	shown := name
	if !plain(name) {
		name = safeName(shown)
	}
	a := Answers{File: strings.ToValidUTF8(shown, "\ufffd"), State: push.Refused, Code: e.Code, Zh: e.Zh(), En: e.En(), Time: now()}
	if e.Field != "" || e.Detail != "" {
		a.En += ": " + strings.TrimSpace(e.Field+" "+e.Detail)
		a.Zh += "：" + strings.TrimSpace(e.Field+" "+e.Detail)
	}
	if raw != nil {
		a.SHA256 = model.DigestOf(raw).String()
	}
	target := f.free(failedDir, name, a.SHA256)
	if err := put(f.in(failedDir, target+answerSuffix), a.encode()); err != nil {
		return err
	}
	if err := os.Rename(f.in(shown), f.in(failedDir, target)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(f.seen, shown)
	if err := os.Remove(f.in(shown + markerSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) && len(shown) < maxName {
		return err
	}
	f.watch.Answered(push.Refused)
	f.log.Info("a file was set aside", "folder", f.cfg.Name, "code", e.Code)
	return errors.Join(syncDir(f.in(failedDir)), syncDir(f.cfg.Dir))
}

// free is a name under which a file can be laid down: its own, unless another file has it.
func (f *Folder) free(dir, name, digest string) string {
	target := name
	for n := 2; ; n++ {
		raw, _, err := read(f.in(dir, target))
		if errors.Is(err, fs.ErrNotExist) || (err == nil && digest != "" && model.DigestOf(raw).String() == digest) {
			return target
		}
		if n > 1000 {
			return name + "." + crand.Text()
		}
		target = fmt.Sprintf("%s.%d", name, n)
	}
}

// drive sends a file in taken/, and lays it down when every answer is final.
func (f *Folder) drive(ctx context.Context, name string) error {
	raw, _, err := read(f.in(takenDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := units(f.source(), name, raw)
	if err != nil {
		return fmt.Errorf("%s: %w", f.in(takenDir, name), err) // somebody else wrote there
	}
	a := Answers{File: name, SHA256: model.DigestOf(raw).String(), Time: now()}
	_, again := f.state[name]
	for _, u := range list {
		answers, err := f.door.Send(ctx, u, !again)
		if err != nil {
			return err
		}
		a.Operations = append(a.Operations, answers...)
	}
	a.State = sum(a.Operations)
	if !a.State.Final() {
		if f.state[name] != a.State {
			if err := put(f.in(takenDir, name+answerSuffix), a.encode()); err != nil {
				return err
			}
			f.state[name] = a.State
			f.watch.Answered(a.State)
		}
		return nil
	}
	dir := doneDir
	if a.State == push.Refused {
		dir = failedDir
	}
	target := f.free(dir, name, a.SHA256)
	if err := put(f.in(dir, target+answerSuffix), a.encode()); err != nil {
		return err
	}
	if err := os.Rename(f.in(takenDir, name), f.in(dir, target)); err != nil {
		return err
	}
	if err := os.Remove(f.in(takenDir, name+answerSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	delete(f.state, name)
	for _, o := range a.Operations {
		f.watch.Answered(o.State)
	}
	return errors.Join(syncDir(f.in(dir)), syncDir(f.in(takenDir)))
}

func now() string { return model.TimeOf(time.Now()).String() }
