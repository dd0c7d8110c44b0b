package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// KeyPrefix begins every API key, so that a leaked one is recognised.
const KeyPrefix = "zlk_"

const (
	tokenLength    = len(KeyPrefix) + 43 // 32 bytes in base64url without padding
	keyFileVersion = 1
	maxKeys        = 10_000
)

// Entry is a key as it is stored and listed: everything but the key itself. A key belongs to a user, whose agency and
// roles it has at every moment, or has agency and roles of its own.
type Entry struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`           // what the key is for, in people's words
	User    string         `json:"user,omitempty"` // id of the user, "" for a key that stands alone
	Agency  model.AgencyID `json:"agency,omitempty"`
	Roles   []Role         `json:"roles,omitempty"`
	Hash    model.Digest   `json:"hash,omitzero"` // SHA-256 of the whole key, prefix included; a key in halves has instead
	First   model.Digest   `json:"first_half,omitzero"`
	Second  model.Digest   `json:"second_half,omitzero"` // those of its halves, zero until somebody has drawn one
	Created model.Time     `json:"created"`
	Expires model.Time     `json:"expires"` // zero: never
	Revoked model.Time     `json:"revoked"` // zero: in use
	Changed *Hand          `json:"changed,omitempty"`
}

// Grant is what a new key is to be: a user's, or one with an agency and roles of its own.
type Grant struct {
	Name    string         `json:"name"`
	User    string         `json:"user,omitempty"`
	Agency  model.AgencyID `json:"agency,omitempty"` // the top of the tree that the key may act for
	Roles   []Role         `json:"roles,omitempty"`
	Expires model.Time     `json:"expires"` // zero: never
}

type keyFile struct {
	Version int     `json:"version"`
	Keys    []Entry `json:"keys"`
}

// Issue makes a key and returns it; it is never shown again. Once Issue returns, the key is on disk.
func (d *Directory) Issue(g Grant) (string, Entry, error) {
	r, err := d.Apply(Change{Action: IssueKey, Key: &g})
	if err != nil {
		return "", Entry{}, err
	}
	return r.Token, *r.Key, nil
}

// Revoke ends a key at once, for good.
func (d *Directory) Revoke(id string) error {
	_, err := d.Apply(Change{Action: RevokeKey, ID: id})
	return err
}

// RevokeAll ends every key in the files of a node that does not run, and says how many that were.
func RevokeAll(dir string, now time.Time) (int, error) {
	path := filepath.Join(dir, KeyFile)
	raw, _, err := readFile(path)
	if err != nil {
		return 0, err
	}
	keys, err := decodeKeys(raw)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", KeyFile, err)
	}
	ended := 0
	for i := range keys {
		if keys[i].Revoked.IsZero() {
			keys[i].Revoked = model.TimeOf(now)
			ended++
		}
	}
	if raw, err = encode(keyFile{Version: keyFileVersion, Keys: keys}); err != nil {
		return 0, err
	}
	return ended, replaceFile(path, raw)
}

// Keys returns all keys, revoked ones included, oldest first.
func (d *Directory) Keys() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.keys)
	slices.SortStableFunc(out, func(a, b Entry) int { return a.Created.Time().Compare(b.Created.Time()) })
	return out
}

// issueKey adds a key to the content of the files. Under an id that is given there is one key, ever: whoever asks again may
// not be who was shown it.
func (c *contents) issueKey(id string, g *Grant, now time.Time) (string, *Entry, error) {
	if id == "" {
		id = "key-" + newID()
	}
	if slices.ContainsFunc(c.keys, func(e Entry) bool { return e.ID == id }) {
		return "", nil, model.E(model.CodeKeyShown)
	}
	e, err := c.grantKey(id, g, model.TimeOf(now))
	if err != nil {
		return "", nil, err
	}
	token := newToken(KeyPrefix)
	e.Hash = sha256.Sum256([]byte(token))
	c.keys = append(c.keys, e)
	return token, &e, nil
}

// grantKey is the entry of a key that is yet to be drawn.
func (c *contents) grantKey(id string, g *Grant, now model.Time) (Entry, error) {
	if len(c.keys) >= maxKeys {
		return Entry{}, model.E(model.CodeTooMany, "keys")
	}
	if g.User != "" && c.user(g.User) == nil {
		return Entry{}, model.E(model.CodeNotFound, "user")
	}
	if err := checkApart(g.Roles); err != nil {
		return Entry{}, err
	}
	return Entry{ID: id, Name: g.Name, User: g.User, Agency: g.Agency, Roles: slices.Clone(g.Roles), Created: now, Expires: g.Expires}, nil
}

// newToken draws a key, or a half of one.
func newToken(prefix string) string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	return prefix + base64.RawURLEncoding.EncodeToString(raw[:])
}

func (c *contents) revokeKey(id string, now time.Time) (*Entry, error) {
	i := slices.IndexFunc(c.keys, func(e Entry) bool { return e.ID == id })
	if i < 0 {
		return nil, model.E(model.CodeNotFound, "id")
	}
	if c.keys[i].Revoked.IsZero() {
		c.keys[i].Revoked = model.TimeOf(now)
	}
	return &c.keys[i], nil
}

func newID() string { return strings.ToLower(rand.Text()[:16]) }

// errUnauthenticated is the one answer to every failed sign-in: it says nothing of the cause.
var errUnauthenticated = model.E(model.CodeUnauthenticated)

const bearer = "bearer "

// isKey reports whether an Authorization header has the shape of an API key's.
func isKey(authorization string) bool {
	return len(authorization) == len(bearer)+tokenLength && strings.EqualFold(authorization[:len(bearer)], bearer)
}

// SignInKey finds the principal of an Authorization header, "Bearer zlk_…". Whatever is wrong with it, the
// error is unauthenticated and nothing more. The stored hash is found by its first eight bytes and then
// compared in constant time, of a key in halves both always; what an attacker can time is a hash of his own guess.
func (d *Directory) SignInKey(authorization string) (*Principal, error) {
	hash, second, ok := presented(authorization)
	if !ok {
		return nil, errUnauthenticated
	}
	for _, s := range d.current.Load().byPrefix[binary.BigEndian.Uint64(hash[:])] {
		if subtle.ConstantTimeCompare(hash[:], s.hash[:])&subtle.ConstantTimeCompare(second[:], s.second[:]) != 1 {
			continue
		}
		if s.expires != 0 && d.now().UnixMilli() >= s.expires {
			return nil, errUnauthenticated
		}
		return d.admit(s.principal)
	}
	return nil, errUnauthenticated
}

// decodeKeys reads the file's content: strictly, since rights hang on it.
func decodeKeys(raw []byte) ([]Entry, error) {
	var f keyFile
	if _, err := model.DecodeStrict(raw, &f); err != nil {
		return nil, err
	}
	if f.Version != keyFileVersion {
		return nil, model.E(model.CodeBadValue, "version").With("key file version %d", f.Version)
	}
	if len(f.Keys) > maxKeys {
		return nil, model.E(model.CodeTooMany, "keys")
	}
	seen := map[string]bool{}
	for i := range f.Keys {
		if err := f.Keys[i].check(); err != nil {
			return nil, model.E(model.AsError(err).Code, "keys["+strconv.Itoa(i)+"]").Because(err)
		}
		if seen[f.Keys[i].ID] {
			return nil, model.E(model.CodeBadValue, "id").With("two keys of one id")
		}
		seen[f.Keys[i].ID] = true
	}
	return f.Keys, nil
}

func (e *Entry) check() error {
	if e.ID == "" || len(e.ID) > 64 || e.Created.IsZero() {
		return model.E(model.CodeMissingField, "id")
	}
	if e.Drawn(Whole) == (e.Drawn(First) || e.Drawn(Second)) {
		return model.E(model.CodeBadValue, "hash").With("a key has one hash, or those of its halves")
	}
	if len(e.Name) > model.MaxName {
		return model.E(model.CodeTooLong, "name")
	}
	if e.User != "" {
		if e.Agency != "" || len(e.Roles) > 0 {
			return model.E(model.CodeBadValue, "user").With("a user's key has the user's agency and roles, none of its own")
		}
		return nil
	}
	if e.Agency == "" {
		return model.E(model.CodeMissingField, "agency")
	}
	if _, err := model.ParseAgencyID(string(e.Agency)); err != nil {
		return model.E(model.CodeBadID, "agency")
	}
	return checkRoles(e.Roles)
}
