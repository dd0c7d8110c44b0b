package auth

import (
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const (
	peopleFileVersion = 1
	maxUsers          = 10_000
	maxSignIns        = 16 // subjects, and certificates, of one user
	maxSubject        = 255
)

// User is a person, or a system, that signs in at this node. A user is never removed, only disabled: the ledger has the
// pseudonym for ever. See docs/spec/people.md.
type User struct {
	ID       string         `json:"id"`
	Version  int            `json:"version"` // counts changes, from 1
	Name     string         `json:"name"`    // in people's words; it never leaves this node
	Agency   model.AgencyID `json:"agency,omitempty"`
	Party    model.USCC     `json:"party,omitempty"` // a party that this node hosts; either this or Agency
	Roles    []Role         `json:"roles"`
	Subjects []Subject      `json:"subjects,omitempty"` // who the user is at OpenID Connect issuers
	Pins     []model.Digest `json:"pins,omitempty"`     // SHA-256 of the SubjectPublicKeyInfo of client certificates
	Created  model.Time     `json:"created"`
	Disabled model.Time     `json:"disabled"` // zero: in use
	Changed  *Hand          `json:"changed,omitempty"`
}

// Hand is who has changed a user or key last, and when: on the node's machine "os:wang", or "os:root,sudo:wang"; through the
// API a principal's id, with the draft that another person approved.
type Hand struct {
	By    string     `json:"by"`
	At    model.Time `json:"at"`
	Draft string     `json:"draft,omitempty"`
}

// Subject is a user's name at an issuer: the claims iss and sub, byte for byte.
type Subject struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// UserSpec is what a user is to be.
type UserSpec struct {
	Name     string         `json:"name"`
	Agency   model.AgencyID `json:"agency,omitempty"`
	Party    model.USCC     `json:"party,omitempty"`
	Roles    []Role         `json:"roles"`
	Subjects []Subject      `json:"subjects,omitempty"`
	Pins     []model.Digest `json:"pins,omitempty"`
}

// The actions of a Change.
const (
	AddUser     = "people.add"
	ChangeUser  = "people.change"
	DisableUser = "people.disable"
	EnableUser  = "people.enable"
	IssueKey    = "keys.issue"
	RevokeKey   = "keys.revoke"
	RotateKey   = "keys.rotate"
)

// ChangeNames are the names of a Change's actions for people, Chinese and English.
var ChangeNames = map[string][2]string{
	AddUser: {"新增用户", "add a user"}, ChangeUser: {"变更用户", "change a user"}, DisableUser: {"停用用户", "disable a user"},
	EnableUser: {"恢复用户", "enable a user"}, IssueKey: {"签发接口密钥", "issue an API key"}, RotateKey: {"更换接口密钥", "rotate an API key"},
	RevokeKey: {"吊销接口密钥", "revoke an API key"},
}

// Change is one change of the directory.
type Change struct {
	Action  string    `json:"action"`
	ID      string    `json:"id,omitempty"`      // of the user or key that is changed; of a new one the id that it is to have, "" for any
	Version int       `json:"version,omitempty"` // of the user that was looked at; another one is version_conflict; 0: whichever
	User    *UserSpec `json:"user,omitempty"`    // of people.add and people.change: the whole of what the user is to be
	Key     *Grant    `json:"key,omitempty"`     // of keys.issue
	Half    Half      `json:"half,omitempty"`    // of keys.issue: only this half, under an id that is given

	Until *model.Time `json:"until,omitempty"` // of keys.rotate: when the old key ends

	By    string `json:"-"` // who makes it; "": Directory.By
	Draft string `json:"-"` // the draft that asked for it, "" for none: applied once more, it changes nothing more
}

// done reports whether this change is what was made of the user last: a node that ended between making a change and noting
// so in the inbox makes it again.
func (c *Change) done(u *User) bool {
	return c.Draft != "" && u.Changed != nil && u.Changed.Draft == c.Draft
}

// Applied is what a change made.
type Applied struct {
	User  *User
	Key   *Entry
	Token string // of keys.issue: the key itself, or the half of it that was drawn, which is shown once
}

type peopleFile struct {
	Version int    `json:"version"`
	People  []User `json:"people"`
}

// People returns all users, disabled ones included, oldest first.
func (d *Directory) People() []User {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.users)
	slices.SortStableFunc(out, func(a, b User) int { return a.Created.Time().Compare(b.Created.Time()) })
	return out
}

// User is a user by id, nil for none.
func (d *Directory) User(id string) *User {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := contents{users: d.users}
	if u := c.user(id); u != nil {
		out := *u
		return &out
	}
	return nil
}

func (c *contents) user(id string) *User {
	if i := slices.IndexFunc(c.users, func(u User) bool { return u.ID == id }); i >= 0 {
		return &c.users[i]
	}
	return nil
}

// apply makes a change in the content of the files, or returns an error about it.
func (c *contents) apply(change Change, now time.Time) (out Applied, err error) {
	if (change.User != nil) != (change.Action == AddUser || change.Action == ChangeUser) {
		return out, model.E(model.CodeBadValue, "user")
	}
	if (change.Key != nil) != (change.Action == IssueKey) {
		return out, model.E(model.CodeBadValue, "key")
	}
	if change.Half != Whole && change.Action != IssueKey {
		return out, model.E(model.CodeBadValue, "half")
	}
	switch change.Action {
	case AddUser:
		out.User, err = c.addUser(change, now)
	case ChangeUser, DisableUser, EnableUser:
		out.User, err = c.changeUser(change, now)
	case IssueKey:
		if change.Half != Whole {
			out.Token, out.Key, err = c.drawHalf(change, model.TimeOf(now))
		} else {
			out.Token, out.Key, err = c.issueKey(change.ID, change.Key, now)
		}
	case RotateKey:
		out.Token, out.Key, err = c.rotateKey(change.ID, change.Until, now)
	case RevokeKey:
		out.Key, err = c.revokeKey(change.ID, now)
	default:
		err = model.E(model.CodeBadValue, "action")
	}
	if err == nil && change.User != nil { // before all are checked: what is wrong is in what was asked for, not at some place in the file
		err = out.User.check()
	}
	return out, err
}

// addUser adds a user. One of that id who is as asked for is the one that was added: the request is sent again.
func (c *contents) addUser(change Change, now time.Time) (*User, error) {
	if u := c.user(change.ID); change.ID != "" && u != nil {
		if change.done(u) || reflect.DeepEqual(u.Spec(), *change.User) {
			return u, nil
		}
		return nil, model.E(model.CodeVersionConflict, "id")
	}
	if len(c.users) >= maxUsers {
		return nil, model.E(model.CodeTooMany, "people")
	}
	u := User{ID: change.ID, Created: model.TimeOf(now)}
	if u.ID == "" {
		u.ID = "usr-" + newID()
	}
	u.become(change.User)
	c.users = append(c.users, u)
	return &c.users[len(c.users)-1], nil
}

func (c *contents) changeUser(change Change, now time.Time) (*User, error) {
	u := c.user(change.ID)
	if u == nil {
		return nil, model.E(model.CodeNotFound, "id")
	}
	if change.done(u) {
		return u, nil
	}
	if change.Version != 0 && change.Version != u.Version {
		return nil, model.E(model.CodeVersionConflict, "version")
	}
	switch {
	case change.Action == ChangeUser:
		u.become(change.User)
	case change.Action == EnableUser && !u.Disabled.IsZero():
		u.Disabled = model.Time{}
		u.Version++
	case change.Action == DisableUser && u.Disabled.IsZero():
		u.Disabled = model.TimeOf(now)
		u.Version++
	}
	return u, nil
}

func (u *User) become(s *UserSpec) {
	u.Name, u.Agency, u.Party, u.Version = s.Name, s.Agency, s.Party, u.Version+1
	u.Roles, u.Subjects, u.Pins = slices.Clone(s.Roles), slices.Clone(s.Subjects), slices.Clone(s.Pins)
}

// Spec is what the user is now, to change a part of it.
func (u *User) Spec() UserSpec {
	return UserSpec{
		Name: u.Name, Agency: u.Agency, Party: u.Party,
		Roles: slices.Clone(u.Roles), Subjects: slices.Clone(u.Subjects), Pins: slices.Clone(u.Pins),
	}
}

// decodePeople reads the file's content: strictly, since rights hang on it.
func decodePeople(raw []byte) ([]User, error) {
	var f peopleFile
	if _, err := model.DecodeStrict(raw, &f); err != nil {
		return nil, err
	}
	if f.Version != peopleFileVersion {
		return nil, model.E(model.CodeBadValue, "version").With("people file version %d", f.Version)
	}
	return f.People, checkPeople(f.People)
}

// checkPeople checks every user, and that no two are one.
func checkPeople(users []User) error {
	if len(users) > maxUsers {
		return model.E(model.CodeTooMany, "people")
	}
	ids, subjects, pins := map[string]bool{}, map[Subject]bool{}, map[model.Digest]bool{}
	for i := range users {
		u := &users[i]
		if err := u.check(); err != nil {
			e := model.AsError(err)
			return model.E(e.Code, "people["+strconv.Itoa(i)+"]."+e.Field).Because(err)
		}
		if ids[u.ID] {
			return model.E(model.CodeBadValue, "id").With("two users of one id")
		}
		ids[u.ID] = true
		for _, s := range u.Subjects {
			if subjects[s] {
				return model.E(model.CodeSubjectTaken, "subjects")
			}
			subjects[s] = true
		}
		for _, p := range u.Pins {
			if pins[p] {
				return model.E(model.CodeSubjectTaken, "pins")
			}
			pins[p] = true
		}
	}
	return nil
}

func (u *User) check() error {
	if u.ID == "" || len(u.ID) > 64 || u.Version < 1 || u.Created.IsZero() {
		return model.E(model.CodeMissingField, "id")
	}
	if strings.TrimSpace(u.Name) == "" {
		return model.E(model.CodeMissingField, "name")
	}
	if len(u.Name) > model.MaxName {
		return model.E(model.CodeTooLong, "name")
	}
	if strings.ContainsFunc(u.Name, unicode.IsControl) {
		return model.E(model.CodeControlCharacter, "name")
	}
	if (u.Agency == "") == (u.Party == "") {
		return model.E(model.CodeBadValue, "agency").With("a user belongs either to an agency or to a hosted party")
	}
	if u.Agency != "" {
		if _, err := model.ParseAgencyID(string(u.Agency)); err != nil {
			return model.E(model.CodeBadID, "agency")
		}
	}
	if err := checkRoles(u.Roles); err != nil {
		return err
	}
	if err := checkApart(u.Roles); err != nil {
		return err
	}
	if u.Party != "" {
		if _, err := model.ParseUSCC(string(u.Party)); err != nil {
			return model.E(model.CodeBadUSCC, "party")
		}
		for _, r := range u.Roles {
			if !slices.Contains(ofParties, r) {
				return model.E(model.CodeRolesIncompatible, "roles").With("people of a hosted party are trade-party or data-owner, not %s", r)
			}
		}
	}
	if len(u.Subjects) > maxSignIns || len(u.Pins) > maxSignIns {
		return model.E(model.CodeTooMany, "subjects")
	}
	for _, s := range u.Subjects {
		if err := checkIssuer(s.Issuer); err != nil {
			return err
		}
		if s.Subject == "" || len(s.Subject) > maxSubject || strings.ContainsFunc(s.Subject, unicode.IsControl) {
			return model.E(model.CodeBadValue, "subjects").With("a subject has 1 to 255 characters")
		}
	}
	for _, p := range u.Pins {
		if p.IsZero() {
			return model.E(model.CodeBadValue, "pins")
		}
	}
	return nil
}

// checkIssuer wants an address as OpenID Connect wants it: https, or http on this machine, without query or fragment.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxSubject || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return model.E(model.CodeBadValue, "issuer").With("an issuer is an https:// address without query")
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && loopback(u.Hostname())) {
		return model.E(model.CodeBadValue, "issuer").With("https only (plain http on this machine)")
	}
	return nil
}
