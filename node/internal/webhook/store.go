package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"crypto/rand"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Subscription is who is told of what.
type Subscription struct {
	ID               string           `json:"id"`
	Name             string           `json:"name"`
	URL              string           `json:"url"`
	Types            []string         `json:"types,omitempty"`    // operations' types, "licence.*" for all of an area; none: all
	Agencies         []model.AgencyID `json:"agencies,omitempty"` // acting agencies; none: all
	Secrets          []string         `json:"secrets"`            // newest first; two while they are being changed
	From             *int64           `json:"from,omitempty"`     // told from after this position; none: from when the node first sees it
	InsecureLoopback bool             `json:"insecure_loopback,omitempty"`
	Created          model.Time       `json:"created"`
}

// Wants reports whether the subscription asks for an event.
func (s *Subscription) Wants(e *sdk.Event) bool {
	if len(s.Agencies) > 0 && !slices.Contains(s.Agencies, e.Agency) {
		return false
	}
	return len(s.Types) == 0 || slices.ContainsFunc(s.Types, func(t string) bool {
		area, all := strings.CutSuffix(t, "*")
		return t == string(e.Type) || (all && strings.HasPrefix(string(e.Type), area))
	})
}

func (s *Subscription) check() error {
	if err := CheckURL(s.URL, s.InsecureLoopback); err != nil {
		return err
	}
	for _, t := range s.Types {
		area, all := strings.CutSuffix(t, ".*")
		known := false
		for typ := range model.Types {
			known = known || string(typ) == t || (all && strings.HasPrefix(string(typ), area+"."))
		}
		if !known {
			return model.E(model.CodeUnknownOperation, "types").With("%s", t)
		}
	}
	if len(s.Name) > model.MaxName {
		return model.E(model.CodeTooLong, "name")
	}
	return nil
}

// Store is the folder webhooks in a node's folder. Its files are the node's and the command's, who share them without
// a lock but for subscriptions.json: every file is replaced whole, and a letter is moved in one step.
//
//	subscriptions.json     all subscriptions, with their secrets; mode 0600
//	ID/cursor              position of the newest event that was received or given up
//	ID/dead/POSITION.json  a letter: an event that was given up
//	ID/again/POSITION.json a letter that is to be sent once more
type Store struct{ dir string }

// OpenStore opens the folder, an empty one where there is none.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Store{dir}, nil
}

func (s *Store) file() string { return filepath.Join(s.dir, "subscriptions.json") }

// List reads the subscriptions, oldest first.
func (s *Store) List() ([]Subscription, error) {
	info, err := os.Stat(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: others can read it; set its mode to 0600", s.file())
	}
	raw, err := os.ReadFile(s.file())
	if err != nil {
		return nil, err
	}
	var out []Subscription
	if _, err := model.DecodeStrict(raw, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", s.file(), err)
	}
	for i := range out {
		if out[i].ID == "" || strings.ContainsAny(out[i].ID, "/.") {
			return nil, fmt.Errorf("%s: a subscription has no id", s.file())
		}
		if err := out[i].check(); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", s.file(), out[i].ID, err)
		}
	}
	return out, nil
}

// change replaces the list, one process at a time.
func (s *Store) change(f func([]Subscription) ([]Subscription, error)) error {
	lock, err := os.OpenFile(s.file()+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	list, err := s.List()
	if err != nil {
		return err
	}
	if list, err = f(list); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		return err
	}
	return put(s.file(), append(raw, '\n'))
}

// Add makes a subscription and its secret, which it returns.
func (s *Store) Add(n Subscription) (Subscription, error) {
	n.ID, n.Secrets, n.Created = "wh-"+strings.ToLower(rand.Text()[:10]), []string{newSecret()}, model.TimeOf(time.Now())
	if err := n.check(); err != nil {
		return n, err
	}
	return n, s.change(func(list []Subscription) ([]Subscription, error) {
		if len(list) >= maxSubscriptions {
			return nil, model.E(model.CodeTooMany, "subscriptions")
		}
		return append(list, n), nil
	})
}

// Remove ends a subscription; its dead letters go with it.
func (s *Store) Remove(id string) error {
	if err := s.change(func(list []Subscription) ([]Subscription, error) {
		n := len(list)
		list = slices.DeleteFunc(list, func(x Subscription) bool { return x.ID == id })
		if len(list) == n {
			return nil, model.E(model.CodeNotFound, "id")
		}
		return list, nil
	}); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(s.dir, id))
}

// Rotate adds a new secret beside the one in use, and returns it; Retire ends the older one.
func (s *Store) Rotate(id string) (secret string, err error) {
	secret = newSecret()
	return secret, s.one(id, func(x *Subscription) error {
		if len(x.Secrets) > 1 {
			return model.E(model.CodeBadValue, "id").With("two secrets are in force: retire the older one first")
		}
		x.Secrets = []string{secret, x.Secrets[0]}
		return nil
	})
}

// Retire ends the older of two secrets.
func (s *Store) Retire(id string) error {
	return s.one(id, func(x *Subscription) error {
		x.Secrets = x.Secrets[:1]
		return nil
	})
}

func (s *Store) one(id string, f func(*Subscription) error) error {
	return s.change(func(list []Subscription) ([]Subscription, error) {
		for i := range list {
			if list[i].ID == id {
				return list, f(&list[i])
			}
		}
		return nil, model.E(model.CodeNotFound, "id")
	})
}

// Letter is an event that was given up.
type Letter struct {
	Subscription string    `json:"subscription"`
	Position     int64     `json:"position"`
	Operation    string    `json:"operation"`
	Type         string    `json:"type"`
	Attempts     int       `json:"attempts"`
	Since        time.Time `json:"since"` // of the first attempt
	Last         time.Time `json:"last"`
	Error        string    `json:"error"` // of the last attempt; nothing of the receiver's answer but its status
}

const (
	dead  = "dead"
	again = "again"
)

func (s *Store) letter(id, box string, position int64) string {
	return filepath.Join(s.dir, id, box, fmt.Sprintf("%015d.json", position))
}

// positions lists a box, in order.
func (s *Store) positions(id, box string) (out []int64, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, id, box))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if n, err := strconv.ParseInt(strings.TrimSuffix(e.Name(), ".json"), 10, 64); err == nil {
			out = append(out, n)
		}
	}
	return out, err
}

// exists returns not_found where there is no such subscription.
func (s *Store) exists(id string) error {
	list, err := s.List()
	if err == nil && !slices.ContainsFunc(list, func(x Subscription) bool { return x.ID == id }) {
		err = model.E(model.CodeNotFound, "id")
	}
	return err
}

// Dead lists dead letters of a subscription in order of position, at most limit; not_found where there is no such one.
func (s *Store) Dead(id string, limit int) (out []Letter, err error) {
	if err := s.exists(id); err != nil {
		return nil, err
	}
	positions, err := s.positions(id, dead)
	for _, p := range positions[:min(limit, len(positions))] {
		l, e := s.read(id, dead, p)
		if e == nil {
			out = append(out, l)
		} else if !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return out, err
}

func (s *Store) read(id, box string, position int64) (l Letter, err error) {
	raw, err := os.ReadFile(s.letter(id, box, position))
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	return l, err
}

func (s *Store) bury(l Letter) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, l.Subscription, dead), 0o700); err != nil {
		return err
	}
	return put(s.letter(l.Subscription, dead, l.Position), raw)
}

// buryAgain puts a letter back that was sent once more in vain. It is dead only after it has left again/, so that an
// operator who has it sent yet again does not have his letter taken away.
func (s *Store) buryAgain(l Letter) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, l.Subscription, dead), 0o700); err != nil {
		return err
	}
	if err := put(s.letter(l.Subscription, again, l.Position), raw); err != nil {
		return err
	}
	return os.Rename(s.letter(l.Subscription, again, l.Position), s.letter(l.Subscription, dead, l.Position))
}

// Redeliver has a dead letter sent once more, or all of them (position −1); it returns how many.
func (s *Store) Redeliver(id string, position int64) (int, error) {
	if err := s.exists(id); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(filepath.Join(s.dir, id, again), 0o700); err != nil {
		return 0, err
	}
	return s.each(id, position, func(p int64) error { return os.Rename(s.letter(id, dead, p), s.letter(id, again, p)) })
}

// Drop forgets a dead letter, or all of them (position −1); it returns how many.
func (s *Store) Drop(id string, position int64) (int, error) {
	return s.each(id, position, func(p int64) error { return os.Remove(s.letter(id, dead, p)) })
}

func (s *Store) each(id string, position int64, f func(int64) error) (n int, err error) {
	if err := s.exists(id); err != nil {
		return 0, err
	}
	positions := []int64{position}
	if position < 0 {
		if positions, err = s.positions(id, dead); err != nil {
			return 0, err
		}
	}
	for _, p := range positions {
		if err := f(p); errors.Is(err, fs.ErrNotExist) {
			return n, model.E(model.CodeNotFound, "position")
		} else if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// cursor reads a subscription's place; ok is false for one that has none yet.
func (s *Store) cursor(id string) (position int64, ok bool, err error) {
	raw, err := os.ReadFile(filepath.Join(s.dir, id, "cursor"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err == nil {
		position, err = strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	}
	return position, true, err
}

func (s *Store) move(id string, position int64) error {
	if err := os.MkdirAll(filepath.Join(s.dir, id), 0o700); err != nil {
		return err
	}
	return put(filepath.Join(s.dir, id, "cursor"), strconv.AppendInt(nil, position, 10))
}

// put writes a file whole or not at all, and durably, for its owner only.
func put(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new") // mode 0600
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
