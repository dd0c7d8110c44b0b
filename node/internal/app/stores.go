package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
)

// storesFile says in which formats the stores of a node's folder are. A build refuses a folder of which any store has a
// higher format than it knows (a downgrade), and one that has to be upgraded first. docs/spec/stores.md.
const storesFile = "stores.json"

type storesDocument struct {
	Program string         `json:"program"` // version that wrote it last
	Formats map[string]int `json:"formats"`
}

// formats are the formats of the stores that this build writes.
func formats() map[string]int {
	f := unnumbered()
	for _, s := range steps {
		f[s.store] = s.to
	}
	return f
}

// unnumbered are the formats of folders from before there was a storesFile.
func unnumbered() map[string]int {
	return map[string]int{"config": 1, "outbox": 1, "vault": 1, "archive": 1, "records": 3, "keys": 1, "api-keys": 1}
}

// step brings one store to its next format. do may be called again after it was cut off anywhere, and after it was done.
type step struct {
	store  string
	to     int
	zh, en string
	do     func(dir string) error
}

// steps are in the order in which they were introduced; a later one may rely on the earlier ones.
var steps = []step{
	{"people", 1, "建立用户登记文件 people.json", "make people.json, who may sign in", makePeople},
	{"inbox", 1, "建立待复核收件箱", "make the inbox for what waits for a second person", makeInbox},
	{"access-log", 1, "建立访问日志", "make the access log", makeAccessLog},
}

// upgradeDir is where a step prepares what it puts in place by one rename.
const upgradeDir = "upgrade.tmp"

// prepared makes a fresh working folder for a step.
func prepared(dir string) (string, error) {
	at := filepath.Join(dir, upgradeDir)
	return at, errors.Join(os.RemoveAll(at), mkdir(at))
}

// place puts what a step prepared where it belongs, if nothing is there yet.
func place(dir, name string, prepare func(at string) error) error {
	to := filepath.Join(dir, name)
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		return err // there already, by an earlier call or by whoever made the folder
	}
	at, err := prepared(dir)
	if err != nil {
		return err
	}
	if err := prepare(at); err != nil {
		return err
	}
	upgradeAt(name + " prepared")
	if err := os.Rename(filepath.Join(at, name), to); err != nil {
		return err
	}
	upgradeAt(name + " placed")
	return errors.Join(os.RemoveAll(at), syncDir(dir))
}

func makePeople(dir string) error { return place(dir, auth.PeopleFile, auth.CreateDirectory) }

func makeInbox(dir string) error {
	return place(dir, inboxDir, func(at string) error { return inbox.Create(filepath.Join(at, inboxDir)) })
}

// makeAccessLog is also what a first start does, unless the ledger says that there was a log already.
func makeAccessLog(dir string) error {
	return place(dir, AccessLogDir, func(at string) error { return accesslog.Create(filepath.Join(at, AccessLogDir)) })
}

func readStores(dir string) (map[string]int, error) {
	raw, err := os.ReadFile(filepath.Join(dir, storesFile))
	if errors.Is(err, os.ErrNotExist) {
		return unnumbered(), nil
	}
	if err != nil {
		return nil, err
	}
	var d storesDocument
	if err := json.Unmarshal(raw, &d); err != nil || d.Formats == nil {
		return nil, fmt.Errorf("%s: %w", storesFile, errors.Join(err, errors.New("it cannot be read; restore it from a backup")))
	}
	return d.Formats, nil
}

// writeStores replaces the document, whole or not at all.
func writeStores(dir string, f map[string]int) error {
	raw, err := json.MarshalIndent(storesDocument{Version(), f}, "", " ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, storesFile)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := writeNew(path+".new", append(raw, '\n'), 0o600); err != nil {
		return err
	}
	upgradeAt("formats prepared")
	return errors.Join(os.Rename(path+".new", path), syncDir(dir))
}

// ErrNewer and ErrOlder say that this build and a node's folder do not fit.
var (
	ErrNewer = errors.New("the node's folder was written by a newer version of zhenglian: run that one; going back would lose what it keeps")
	ErrOlder = errors.New("the node's folder is of an older version: stop the node, take a backup, then run `zhenglian upgrade`")
)

// UpgradeStep is one thing that an upgrade does.
type UpgradeStep struct {
	Store string `json:"store"`
	To    int    `json:"to"` // format
	Zh    string `json:"zh"`
	En    string `json:"en"`
}

// UpgradePlan says what has to be done before this build serves a folder; none where it fits. ErrNewer where it never will.
func UpgradePlan(dir string) ([]UpgradeStep, error) {
	have, err := readStores(dir)
	if err != nil {
		return nil, err
	}
	know := formats()
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if have[name] > know[name] {
			return nil, fmt.Errorf("%w (%s has the format %d, this build knows %d)", ErrNewer, name, have[name], know[name])
		}
	}
	out := []UpgradeStep{}
	for _, s := range steps {
		if have[s.store] < s.to {
			out = append(out, UpgradeStep{s.store, s.to, s.zh, s.en})
		}
	}
	if _, err := os.Stat(filepath.Join(dir, storesFile)); errors.Is(err, os.ErrNotExist) {
		out = append(out, UpgradeStep{"stores", 1, "记录各存储的格式版本", "note the formats of the stores"})
	}
	return out, nil
}

// Upgrade brings a stopped node's folder to what this build writes, and tells of each step before it.
//
// Crash argument: a step changes nothing that the older build reads, or puts in place by one rename what it has
// prepared elsewhere; only then is its format noted, by another rename. A call that was cut off is called again: the
// step that was under way is done again, which finds its work done or begins it anew, and those noted are passed over.
func Upgrade(cfg *Config, told func(UpgradeStep)) error {
	for _, name := range []string{"vault", "outbox"} {
		lock, err := storage.OpenFile(cfg.path(name), true)
		if err != nil {
			return fmt.Errorf("%s is in use or missing: stop the node first: %w", name, err)
		}
		defer lock.Close()
	}
	return upgrade(cfg.dir, told, func(where string) error { upgradeAt(where); return nil })
}

// upgradeAt is told of each place where an upgrade may end; tests end it there.
var upgradeAt = func(where string) {}

// upgrade is Upgrade without the lock; between is called at each place where a process may end.
func upgrade(dir string, told func(UpgradeStep), between func(where string) error) error {
	if _, err := UpgradePlan(dir); err != nil {
		return err
	}
	have, err := readStores(dir)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if have[s.store] >= s.to {
			continue
		}
		told(UpgradeStep{s.store, s.to, s.zh, s.en})
		if err := s.do(dir); err != nil {
			return fmt.Errorf("%s: %w", s.en, err)
		}
		if err := between(s.store + " done"); err != nil {
			return err
		}
		have[s.store] = s.to
		if err := writeStores(dir, have); err != nil {
			return err
		}
		if err := between(s.store + " noted"); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(filepath.Join(dir, upgradeDir)), writeStores(dir, have))
}

// fits holds a folder against this build before anything in it is opened.
func (c *Config) fits() error {
	todo, err := UpgradePlan(c.dir)
	if err == nil && len(todo) > 0 {
		err = fmt.Errorf("%w (first: %s)", ErrOlder, todo[0].En)
	}
	return err
}
