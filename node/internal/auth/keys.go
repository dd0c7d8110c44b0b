package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// KeyPrefix begins every API key, so that a leaked one is recognised.
const KeyPrefix = "zlk_"

const (
	tokenLength = len(KeyPrefix) + 43 // 32 bytes in base64url without padding
	fileVersion = 1
	maxKeys     = 10_000
	maxKeyFile  = 8 << 20
)

// Entry is a key as it is stored and listed: everything but the key itself.
type Entry struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"` // what the key is for, in people's words
	Agency  model.AgencyID `json:"agency"`
	Roles   []Role         `json:"roles"`
	Hash    model.Digest   `json:"hash"` // SHA-256 of the whole key, prefix included
	Created model.Time     `json:"created"`
	Expires model.Time     `json:"expires"` // zero: never
	Revoked model.Time     `json:"revoked"` // zero: in use
}

// Grant is what a new key is to be.
type Grant struct {
	Name    string
	Agency  model.AgencyID // the top of the tree that the key may act for
	Roles   []Role
	Expires time.Time // zero: never
}

type keyFile struct {
	Version int     `json:"version"`
	Keys    []Entry `json:"keys"`
}

// Keys is the store of API keys, one JSON file of mode 0600. SignIn never touches the file; changes by
// another process are seen by Refresh. Safe for concurrent use.
type Keys struct {
	path   string
	secret []byte
	below  Below
	now    func() time.Time

	mu     sync.Mutex // held while the file is read or written
	stamp  fileStamp  // under mu: of the file that current was read from
	listed []Entry    // under mu

	current atomic.Pointer[keyTable]
}

type keyTable struct {
	byPrefix map[uint64][]signed
}

type signed struct {
	hash      model.Digest
	expires   int64 // unix milliseconds, 0 for never
	revoked   bool
	principal *Principal
}

type fileStamp struct {
	modified time.Time
	size     int64
}

// CreateKeys makes an empty store; an existing one is never touched.
func CreateKeys(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	raw, _ := json.Marshal(keyFile{Version: fileVersion, Keys: []Entry{}}) // plain values always encode
	if _, err = f.Write(raw); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// OpenKeys opens a store that exists. secret is the node's own, from which pseudonyms are derived; below is the
// registry's tree, nil where nobody signs in.
func OpenKeys(path string, secret []byte, below Below) (*Keys, error) {
	if len(secret) < 32 {
		return nil, errors.New("auth: the node's secret has fewer than 32 bytes")
	}
	k := &Keys{path: path, secret: slices.Clone(secret), below: below, now: time.Now}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k, k.load()
}

// Refresh reads the file again if another process has changed it. A file that cannot be read leaves the
// keys as they were and returns the error.
func (k *Keys) Refresh() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.stat()
	if err != nil || s == k.stamp {
		return err
	}
	return k.load()
}

// Issue makes a key and returns it; it is never shown again. Once Issue returns, the key is on disk.
func (k *Keys) Issue(g Grant) (string, Entry, error) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	token := KeyPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	e := Entry{
		ID: "key-" + strings.ToLower(rand.Text()[:16]), Name: g.Name, Agency: g.Agency, Roles: slices.Clone(g.Roles),
		Hash: sha256.Sum256([]byte(token)), Created: model.TimeOf(k.now()),
	}
	if !g.Expires.IsZero() {
		e.Expires = model.TimeOf(g.Expires)
	}
	err := k.update(func(entries []Entry) ([]Entry, error) {
		if len(entries) >= maxKeys {
			return nil, model.E(model.CodeTooMany, "keys")
		}
		return append(entries, e), nil
	})
	if err != nil {
		return "", Entry{}, err
	}
	return token, e, nil
}

// Revoke ends a key at once, for good.
func (k *Keys) Revoke(id string) error {
	return k.update(func(entries []Entry) ([]Entry, error) {
		for i := range entries {
			if entries[i].ID == id {
				if entries[i].Revoked.IsZero() {
					entries[i].Revoked = model.TimeOf(k.now())
				}
				return entries, nil
			}
		}
		return nil, model.E(model.CodeNotFound, "id")
	})
}

// List returns all keys, revoked ones included, oldest first.
func (k *Keys) List() []Entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := slices.Clone(k.listed)
	sort.SliceStable(out, func(i, j int) bool { return out[i].Created.Time().Before(out[j].Created.Time()) })
	return out
}

// errUnauthenticated is the one answer to every failed sign-in: it says nothing of the cause.
var errUnauthenticated = model.E(model.CodeUnauthenticated)

// SignIn finds the principal of an Authorization header, "Bearer zlk_…". Whatever is wrong with it, the
// error is unauthenticated and nothing more. The stored hash is found by its first eight bytes and then
// compared in constant time; what an attacker can time is a hash of his own guess.
func (k *Keys) SignIn(authorization string) (*Principal, error) {
	const scheme = "bearer "
	if len(authorization) != len(scheme)+tokenLength || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return nil, errUnauthenticated
	}
	var token [tokenLength]byte
	copy(token[:], authorization[len(scheme):])
	hash := sha256.Sum256(token[:])
	for _, s := range k.current.Load().byPrefix[binary.BigEndian.Uint64(hash[:])] {
		if subtle.ConstantTimeCompare(hash[:], s.hash[:]) != 1 {
			continue
		}
		if s.revoked || (s.expires != 0 && k.now().UnixMilli() >= s.expires) {
			return nil, errUnauthenticated
		}
		return s.principal, nil
	}
	return nil, errUnauthenticated
}

// update changes the file under a lock that other processes honour.
//
// Crash argument: the new content is written and synced beside the file and renamed over it, so at any
// moment the file is the old or the new one, whole; the folder is synced before update returns, so an
// issued or revoked key stays so.
func (k *Keys) update(change func([]Entry) ([]Entry, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	unlock, err := lockFile(k.path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := k.load(); err != nil {
		return err
	}
	entries, err := change(slices.Clone(k.listed))
	if err != nil {
		return err
	}
	t, err := k.compile(entries)
	if err != nil {
		return err
	}
	raw, err := json.MarshalIndent(keyFile{Version: fileVersion, Keys: entries}, "", " ")
	if err != nil {
		return err
	}
	if err := replaceFile(k.path, append(raw, '\n')); err != nil {
		return err
	}
	if k.stamp, err = k.stat(); err != nil {
		return err
	}
	k.listed = entries
	k.current.Store(t)
	return nil
}

// load reads the file. The caller holds mu.
func (k *Keys) load() error {
	stamp, err := k.stat()
	if err != nil {
		return err
	}
	if stamp.size > maxKeyFile {
		return model.E(model.CodeTooLarge, "keys")
	}
	raw, err := os.ReadFile(k.path)
	if err != nil {
		return err
	}
	entries, err := decodeKeys(raw)
	if err != nil {
		return err
	}
	t, err := k.compile(entries)
	if err != nil {
		return err
	}
	k.stamp, k.listed = stamp, entries
	k.current.Store(t)
	return nil
}

func (k *Keys) stat() (fileStamp, error) {
	i, err := os.Stat(k.path)
	if err != nil {
		return fileStamp{}, err
	}
	if i.Mode().Perm()&0o077 != 0 {
		return fileStamp{}, errors.New("auth: others can read the key file; set its mode to 0600")
	}
	return fileStamp{i.ModTime(), i.Size()}, nil
}

// decodeKeys reads the file's content: strictly, since rights hang on it.
func decodeKeys(raw []byte) ([]Entry, error) {
	if len(raw) > maxKeyFile {
		return nil, model.E(model.CodeTooLarge, "keys")
	}
	var f keyFile
	if _, err := model.DecodeStrict(raw, &f); err != nil {
		return nil, err
	}
	if f.Version != fileVersion {
		return nil, model.E(model.CodeBadValue, "version").With("key file version %d", f.Version)
	}
	seen := map[string]bool{}
	for i := range f.Keys {
		if err := f.Keys[i].check(); err != nil {
			return nil, err
		}
		if seen[f.Keys[i].ID] {
			return nil, model.E(model.CodeBadValue, "id").With("two keys of one id")
		}
		seen[f.Keys[i].ID] = true
	}
	return f.Keys, nil
}

func (e *Entry) check() error {
	if e.ID == "" || len(e.ID) > 64 || e.Hash.IsZero() || e.Created.IsZero() {
		return model.E(model.CodeMissingField, "id")
	}
	if len(e.Name) > model.MaxName {
		return model.E(model.CodeTooLong, "name")
	}
	if e.Agency == "" {
		return model.E(model.CodeMissingField, "agency")
	}
	if _, err := model.ParseAgencyID(string(e.Agency)); err != nil {
		return model.E(model.CodeBadID, "agency")
	}
	_, err := parseRoles(e.Roles)
	return err
}

func (k *Keys) compile(entries []Entry) (*keyTable, error) {
	t := &keyTable{byPrefix: make(map[uint64][]signed, len(entries))}
	for i := range entries {
		e := &entries[i]
		if err := e.check(); err != nil {
			return nil, model.E(model.AsError(err).Code, "keys["+strconv.Itoa(i)+"]").Because(err)
		}
		may, err := parseRoles(e.Roles)
		if err != nil {
			return nil, err
		}
		s := signed{hash: e.Hash, revoked: !e.Revoked.IsZero(), principal: &Principal{
			id: e.ID, name: e.Name, below: k.below, agency: e.Agency, roles: slices.Clone(e.Roles), person: Pseudonym(k.secret, e.ID), may: may,
		}}
		if !e.Expires.IsZero() {
			s.expires = e.Expires.Time().UnixMilli()
		}
		prefix := binary.BigEndian.Uint64(e.Hash[:])
		t.byPrefix[prefix] = append(t.byPrefix[prefix], s)
	}
	return t, nil
}
