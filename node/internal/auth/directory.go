package auth

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// The files of a directory, in the node's folder.
const (
	KeyFile    = "api-keys.json"
	PeopleFile = "people.json"
)

// Directory is who may sign in at this node: two JSON files of mode 0600, one of people and one of API keys. Signing in
// never touches the files; changes by another process are seen by Refresh. Safe for concurrent use.
type Directory struct {
	dir      string
	secret   []byte
	policies *Policies
	registry Registry
	now      func() time.Time
	by       string // of what this process changes

	mu         sync.Mutex  // held while the files are read or written
	keys       []Entry     // under mu
	users      []User      // under mu
	keysWere   fs.FileInfo // under mu: of the file that keys was read from
	peopleWere fs.FileInfo // under mu
	changed    func([]Changed)

	current    atomic.Pointer[table]
	unreadable atomic.Bool // when they were last looked at
}

// Changed tells that a user or key is not what it was. What is people.add, people.change, people.disable, people.enable,
// keys.issue (of a key in halves: one was drawn), keys.rotate (a successor was issued, and it ends earlier) or keys.revoke.
type Changed struct {
	What, ID string
	Name     string         // of the user or key
	Agency   model.AgencyID // whose the user is, or the key; "" of a party's
	Party    model.USCC     // whose the user is, or the key's user
	By       string         // who did it, as Hand.By; "" where somebody has edited the files
	ByName   string         // that user's or key's name, "" where By is neither
}

// contents is what stands in the two files.
type contents struct {
	keys  []Entry
	users []User
}

// table is the directory as signing in needs it. Immutable.
type table struct {
	byPrefix  map[uint64][]signed
	bySubject map[Subject]*Principal
	byPin     map[model.Digest]*Principal
	byID      map[string]signed // of users, and of keys that belong to none
}

type signed struct {
	hash      model.Digest
	second    model.Digest // of a key in halves that of the second, hash being the first's
	expires   int64        // unix milliseconds, 0 for never
	principal *Principal
}

// CreateDirectory makes the files, empty, in a node's folder; existing ones are never touched.
func CreateDirectory(dir string) error {
	for name, v := range map[string]any{
		KeyFile:    keyFile{Version: keyFileVersion, Keys: []Entry{}},
		PeopleFile: peopleFile{Version: peopleFileVersion, People: []User{}},
	} {
		raw, err := encode(v)
		if err != nil {
			return err
		}
		if err := createFile(filepath.Join(dir, name), raw); err != nil {
			return err
		}
	}
	return nil
}

func encode(v any) ([]byte, error) {
	raw, err := json.MarshalIndent(v, "", " ")
	return append(raw, '\n'), err
}

// OpenDirectory opens the directory in a node's folder; it must exist. secret is the node's own, from which pseudonyms
// are derived; registry is nil where nobody signs in.
func OpenDirectory(dir string, secret []byte, policies *Policies, registry Registry) (*Directory, error) {
	if len(secret) < 32 {
		return nil, errors.New("auth: the node's secret has fewer than 32 bytes")
	}
	d := &Directory{dir: dir, secret: slices.Clone(secret), policies: policies, registry: registry, now: time.Now}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d, d.load()
}

// OnChange has f called with what has changed, after each change of the directory that this process made or saw: once
// it holds and is on disk. f is called by one goroutine at a time and must not call the directory. Set it before the
// directory is used.
func (d *Directory) OnChange(f func([]Changed)) { d.changed = f }

// By names who makes the changes of this process: the operating system's user. Set it before the directory is used.
func (d *Directory) By(who string) { d.by = who }

// Refresh reads the files again if another process has changed them. Files that cannot be read leave the directory as
// it was and return the error.
func (d *Directory) Refresh() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { d.unreadable.Store(err != nil) }()
	keys, err := same(d.path(KeyFile), d.keysWere)
	if err != nil {
		return err
	}
	people, err := same(d.path(PeopleFile), d.peopleWere)
	if err != nil || (keys && people) {
		return err
	}
	return d.load()
}

// Apply makes one change and returns once it is on disk and in force. An error is about the change, which was not made
// then.
//
// Crash argument: the new content of the one file that the change is about is written and synced beside it and renamed
// over it, so at any moment the file is the old or the new one, whole; the folder is synced before Apply returns, so a
// revoked key and a disabled user stay so.
func (d *Directory) Apply(change Change) (Applied, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// The lock of the keys' file, which other processes honour, is that of the whole directory.
	unlock, err := lockFile(d.path(KeyFile) + ".lock")
	if err != nil {
		return Applied{}, err
	}
	defer unlock()
	if err := d.load(); err != nil {
		return Applied{}, err
	}
	c, t, out, err := d.try(change)
	if err != nil {
		return Applied{}, err
	}
	if err := d.write(c, out.User != nil); err != nil {
		return Applied{}, err
	}
	d.take(c, t)
	return out, nil
}

// Try finds what would make Apply refuse a change, and changes nothing.
func (d *Directory) Try(change Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, _, err := d.try(change)
	return err
}

// try makes a change in copies of what the files hold. The caller holds mu.
func (d *Directory) try(change Change) (contents, *table, Applied, error) {
	c := contents{slices.Clone(d.keys), slices.Clone(d.users)}
	out, err := c.apply(change, d.now())
	if err != nil {
		return c, nil, out, err
	}
	d.sign(&c, &out, &change)
	out = out.clone()
	t, err := d.compile(c)
	return c, t, out, err
}

// sign notes at all that a change has touched whose hand it was. The caller holds mu.
func (d *Directory) sign(c *contents, out *Applied, change *Change) {
	hand := &Hand{By: cmp.Or(change.By, d.by), At: model.TimeOf(d.now()), Draft: change.Draft}
	if hand.By == "" {
		return
	}
	for _, was := range differences(contents{d.keys, d.users}, *c) {
		if u := c.user(was.ID); u != nil {
			u.Changed = hand
		}
		for i := range c.keys {
			if c.keys[i].ID == was.ID {
				c.keys[i].Changed = hand
			}
		}
		if out.Key != nil && out.Key.ID == was.ID {
			out.Key.Changed = hand
		}
	}
}

// hand is whose a change was: one that left the note as it was, was made by editing the file.
func hand(before, now *Hand) string {
	if now == nil || (before != nil && *before == *now) {
		return ""
	}
	return now.By
}

// clone keeps what is returned apart from what is stored.
func (a Applied) clone() Applied {
	if a.User != nil {
		u := *a.User
		a.User = &u
	}
	if a.Key != nil {
		k := *a.Key
		a.Key = &k
	}
	return a
}

func (d *Directory) path(name string) string { return filepath.Join(d.dir, name) }

// write writes the one file that has changed, after reading it as the next start will. The caller holds mu.
func (d *Directory) write(c contents, people bool) error {
	var raw []byte
	var err error
	name, was := KeyFile, &d.keysWere
	if people {
		name, was = PeopleFile, &d.peopleWere
		if raw, err = encode(peopleFile{Version: peopleFileVersion, People: c.users}); err == nil {
			_, err = decodePeople(raw)
		}
	} else if raw, err = encode(keyFile{Version: keyFileVersion, Keys: c.keys}); err == nil {
		_, err = decodeKeys(raw)
	}
	if err != nil {
		return err
	}
	if len(raw) > maxFile {
		return model.E(model.CodeTooLarge, name)
	}
	if err := replaceFile(d.path(name), raw); err != nil {
		return err
	}
	*was, err = os.Stat(d.path(name))
	return err
}

// load reads the files. The caller holds mu.
func (d *Directory) load() error {
	rawKeys, keysAre, err := readFile(d.path(KeyFile))
	if err != nil {
		return err
	}
	rawPeople, peopleAre, err := readFile(d.path(PeopleFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: restore it from a backup; a node that never had people gets an empty one of mode 0600, {\"version\":1,\"people\":[]}", err)
	}
	if err != nil {
		return err
	}
	var c contents
	if c.keys, err = decodeKeys(rawKeys); err != nil {
		return fmt.Errorf("%s: %w", KeyFile, err)
	}
	if c.users, err = decodePeople(rawPeople); err != nil {
		return fmt.Errorf("%s: %w", PeopleFile, err)
	}
	t, err := d.compile(c)
	if err != nil {
		return err
	}
	d.keysWere, d.peopleWere = keysAre, peopleAre
	d.take(c, t)
	return nil
}

// take puts new content in force and tells of it. The caller holds mu.
func (d *Directory) take(c contents, t *table) {
	before := contents{d.keys, d.users}
	first := d.current.Load() == nil
	d.keys, d.users = c.keys, c.users
	d.current.Store(t)
	if d.changed == nil || first {
		return
	}
	if list := differences(before, c); len(list) > 0 {
		d.changed(list)
	}
}

func differences(before, now contents) (out []Changed) {
	tell := func(what, id, name string, agency model.AgencyID, party model.USCC, was, is *Hand) {
		by := hand(was, is)
		out = append(out, Changed{What: what, ID: id, Name: name, Agency: agency, Party: party, By: by, ByName: now.name(by)})
	}
	users := map[string]*User{}
	for i := range before.users {
		users[before.users[i].ID] = &before.users[i]
	}
	for i := range now.users {
		u := &now.users[i]
		told := func(what string, was *Hand) { tell(what, u.ID, u.Name, u.Agency, u.Party, was, u.Changed) }
		switch was := users[u.ID]; {
		case was == nil:
			told(AddUser, nil)
		case was.Disabled.IsZero() && !u.Disabled.IsZero():
			told(DisableUser, was.Changed)
		case !was.Disabled.IsZero() && u.Disabled.IsZero():
			told(EnableUser, was.Changed)
		case !reflect.DeepEqual(was, u):
			told(ChangeUser, was.Changed)
		}
	}
	keys := map[string]*Entry{}
	for i := range before.keys {
		keys[before.keys[i].ID] = &before.keys[i]
	}
	for i := range now.keys {
		k := &now.keys[i]
		agency, party := k.Agency, model.USCC("")
		told := func(what string, was *Hand) {
			if u := now.user(k.User); u != nil {
				agency, party = u.Agency, u.Party
			}
			tell(what, k.ID, k.Name, agency, party, was, k.Changed)
		}
		switch was := keys[k.ID]; {
		case was == nil:
			told(IssueKey, nil)
		case was.First != k.First || was.Second != k.Second: // its other half was drawn: only now it is one
			told(IssueKey, was.Changed)
		case was.Revoked.IsZero() && !k.Revoked.IsZero():
			told(RevokeKey, was.Changed)
		case !was.Expires.Time().Equal(k.Expires.Time()):
			told(RotateKey, was.Changed)
		}
	}
	return out
}

// name is that of a user or key, "" for none of the id.
func (c *contents) name(id string) string {
	if u := c.user(id); u != nil {
		return u.Name
	}
	for i := range c.keys {
		if c.keys[i].ID == id {
			return c.keys[i].Name
		}
	}
	return ""
}

// compile works out who signs in with what. Disabled users, revoked keys and keys that are half drawn are not in it.
func (d *Directory) compile(c contents) (*table, error) {
	if err := checkPeople(c.users); err != nil {
		return nil, err
	}
	t := &table{byPrefix: make(map[uint64][]signed, len(c.keys)), bySubject: map[Subject]*Principal{}, byPin: map[model.Digest]*Principal{}, byID: map[string]signed{}}
	users := make(map[string]*Principal, len(c.users))
	for i := range c.users {
		u := &c.users[i]
		if !u.Disabled.IsZero() {
			continue
		}
		p := d.principal(Principal{id: u.ID, name: u.Name, agency: u.Agency, party: u.Party, roles: slices.Clone(u.Roles)})
		users[u.ID] = p
		t.byID[u.ID] = signed{principal: p}
		for _, s := range u.Subjects {
			t.bySubject[s] = p
		}
		for _, pin := range u.Pins {
			t.byPin[pin] = p
		}
	}
	for i := range c.keys {
		e := &c.keys[i]
		if err := e.check(); err != nil {
			return nil, err
		}
		s := signed{hash: e.Hash, principal: users[e.User]}
		if !e.Drawn(Whole) {
			s.hash, s.second = e.First, e.Second
		}
		if e.User == "" {
			s.principal = d.principal(Principal{id: e.ID, name: e.Name, agency: e.Agency, roles: slices.Clone(e.Roles)})
		}
		if !e.Revoked.IsZero() || !e.Works() || s.principal == nil {
			continue
		}
		if !e.Expires.IsZero() {
			s.expires = e.Expires.Time().UnixMilli()
		}
		if e.User == "" {
			t.byID[e.ID] = s
		}
		prefix := binary.BigEndian.Uint64(s.hash[:])
		t.byPrefix[prefix] = append(t.byPrefix[prefix], s)
	}
	return t, nil
}

func (d *Directory) principal(p Principal) *Principal {
	p.person, p.registry = Pseudonym(d.secret, p.id), d.registry
	p.rights = d.policies.of(p.roles, p.party != "")
	return &p
}

// admit is the last step of every way to sign in: a party's people come in while this node hosts the party.
func (d *Directory) admit(p *Principal) (*Principal, error) {
	if p == nil || (p.party != "" && (d.registry == nil || !d.registry.Hosts(p.party))) {
		return nil, errUnauthenticated
	}
	return p, nil
}
