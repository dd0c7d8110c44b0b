package sdk

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Whoami is who is signed in.
type Whoami struct {
	ID     string          `json:"id" doc:"The user's id, or that of a key that belongs to no user."`
	Name   string          `json:"name" doc:"What the person or system is called at this node."`
	Agency model.AgencyID  `json:"agency,omitempty" doc:"The agency for which it acts, with those below it."`
	Party  model.USCC      `json:"party,omitempty" doc:"The hosted party whose person it is."`
	Person model.Pseudonym `json:"person" doc:"Its name on the ledger."`
	Roles  []string        `json:"roles"`
	May    []string        `json:"may" doc:"The actions that it may do for its own agency."`
}

// Whoami asks the node who the key's owner is, and what he may do.
func (c *Client) Whoami(ctx context.Context) (Whoami, error) {
	return get[Whoami](ctx, c, "/v1/whoami")
}

// User is a person, or a system, that signs in at the node. A user is never removed, only disabled.
type User struct {
	ID       string         `json:"id"`
	Version  int            `json:"version" doc:"Counts changes, from 1."`
	Name     string         `json:"name"`
	Agency   model.AgencyID `json:"agency,omitempty"`
	Party    model.USCC     `json:"party,omitempty" doc:"A party that the node hosts; either this or agency."`
	Roles    []string       `json:"roles"`
	Subjects []Subject      `json:"subjects,omitempty" doc:"Who the user is at identity providers."`
	Pins     []model.Digest `json:"pins,omitempty" doc:"SHA-256 of the public keys of client certificates."`
	Created  model.Time     `json:"created"`
	Disabled model.Time     `json:"disabled,omitzero" doc:"Since when, of a user who may not sign in."`
}

// Spec is what the user is now, to change a part of it.
func (u *User) Spec() UserSpec {
	return UserSpec{Version: u.Version, Name: u.Name, Agency: u.Agency, Party: u.Party, Roles: u.Roles, Subjects: u.Subjects, Pins: u.Pins}
}

// Subject is a user's name at an identity provider: the claims iss and sub.
type Subject struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// UserSpec is the whole of what a user is to be.
type UserSpec struct {
	Version  int            `json:"version,omitempty"` // of a change: of the user that was looked at; another one is version_conflict
	Name     string         `json:"name"`
	Agency   model.AgencyID `json:"agency,omitempty"` // either this or Party; a change keeps it
	Party    model.USCC     `json:"party,omitempty"`
	Roles    []string       `json:"roles"`
	Subjects []Subject      `json:"subjects,omitempty"`
	Pins     []model.Digest `json:"pins,omitempty"`
}

// UserVersion names the version of the user that was looked at.
type UserVersion struct {
	Version int `json:"version,omitempty"` // 0: whichever the node has when it is asked
}

// APIKey is an API key as it is listed: everything but the key itself.
type APIKey struct {
	ID      string         `json:"id"`
	Name    string         `json:"name"`
	User    string         `json:"user,omitempty" doc:"Whose agency and roles it has; without one it has its own."`
	Agency  model.AgencyID `json:"agency,omitempty"`
	Roles   []string       `json:"roles,omitempty"`
	Created model.Time     `json:"created"`
	Expires model.Time     `json:"expires,omitzero"`
	Undrawn []int          `json:"undrawn,omitempty" doc:"The halves that have not been drawn yet, 1 or 2: until then nobody signs in with it."`
	Revoked model.Time     `json:"revoked,omitzero"`
}

// NewAPIKey is what a key is to be: a user's, or one with an agency and roles of its own.
type NewAPIKey struct {
	Name    string         `json:"name"`
	User    string         `json:"user,omitempty"`
	Agency  model.AgencyID `json:"agency,omitempty"`
	Roles   []string       `json:"roles,omitempty"`
	Expires model.Time     `json:"expires"` // within ten years
}

// PeopleChange is the body of the one row of a draft about people or keys.
type PeopleChange struct {
	User *UserSpec  `json:"user,omitempty"` // of people.add and people.change
	Key  *NewAPIKey `json:"key,omitempty"`  // of keys.issue
}

// PeopleChanged is what a change has made.
type PeopleChanged struct {
	User  *User   `json:"user,omitempty"`
	Key   *APIKey `json:"key,omitempty"`
	Token string  `json:"token,omitempty" doc:"The key itself, of one that was made just now, or the half of it that was drawn. It is shown this once."`
	Half  int     `json:"half,omitempty" minimum:"1" maximum:"2" doc:"Which half of the key token is: 1 or 2. Absent: token is the whole key. The key is half 1 and directly after it half 2."`
}

// UserPage is a page of users, the oldest first.
type UserPage struct {
	Users []User `json:"users"`
	Next  string `json:"next,omitempty" doc:"Pass as after; absent on the last page."`
}

// APIKeyPage is a page of keys, the oldest first.
type APIKeyPage struct {
	Keys []APIKey `json:"keys"`
	Next string   `json:"next,omitempty" doc:"Pass as after; absent on the last page."`
}

// Users lists a page of the users of the caller's tree, those after an id, "" for the first.
func (c *Client) Users(ctx context.Context, after string) (UserPage, error) {
	return get[UserPage](ctx, c, "/v1/people"+pageAfter(after))
}

// User finds a user, not_found where the caller's tree has none of that id.
func (c *Client) User(ctx context.Context, id string) (User, error) {
	return get[User](ctx, c, "/v1/people/"+url.PathEscape(id))
}

// APIKeys lists a page of the keys of the caller's tree, those after an id, "" for the first.
func (c *Client) APIKeys(ctx context.Context, after string) (APIKeyPage, error) {
	return get[APIKeyPage](ctx, c, "/v1/keys"+pageAfter(after))
}

const peoplePage = 500

func pageAfter(after string) string {
	q := url.Values{"limit": {strconv.Itoa(peoplePage)}}
	if after != "" {
		q.Set("after", after)
	}
	return "?" + q.Encode()
}

// AddUser adds a user. As all changes of users and keys it waits for another security administrator where the node has the
// two-person rule in force: the error is a *HeldError then, and the same idempotency key tells later what became of it.
func (c *Client) AddUser(ctx context.Context, s UserSpec, w Write) (PeopleChanged, error) {
	return c.changePeople(ctx, http.MethodPost, "/v1/people", s, w)
}

// ChangeUser makes of a user what s says, which is the whole of it.
func (c *Client) ChangeUser(ctx context.Context, id string, s UserSpec, w Write) (PeopleChanged, error) {
	return c.changePeople(ctx, http.MethodPut, "/v1/people/"+url.PathEscape(id), s, w)
}

// DisableUser ends a user's rights, and EnableUser gives them back.
func (c *Client) DisableUser(ctx context.Context, id string, w Write) (PeopleChanged, error) {
	return c.changePeople(ctx, http.MethodPost, "/v1/people/"+url.PathEscape(id)+"/disable", UserVersion{}, w)
}

// EnableUser gives a disabled user the rights back.
func (c *Client) EnableUser(ctx context.Context, id string, w Write) (PeopleChanged, error) {
	return c.changePeople(ctx, http.MethodPost, "/v1/people/"+url.PathEscape(id)+"/enable", UserVersion{}, w)
}

// IssueAPIKey asks for a key. Where another has to approve that first, both draw it afterwards with DrawAPIKey. A key of a
// system-, security- or audit-administrator is a user's.
func (c *Client) IssueAPIKey(ctx context.Context, k NewAPIKey, w Write) (PeopleChanged, error) {
	return c.changePeople(ctx, http.MethodPost, "/v1/keys", k, w)
}

// RevokeAPIKey ends a key for good.
func (c *Client) RevokeAPIKey(ctx context.Context, id string, w Write) (PeopleChanged, error) {
	return c.changePeople(ctx, http.MethodPost, "/v1/keys/"+url.PathEscape(id)+"/revoke", struct{}{}, w)
}

// DrawAPIKey draws the caller's half of the key that an approved draft grants: who drafted it draws half 1, who approved it
// half 2. The key is the one text directly after the other, and works once both are drawn. The answer is the one place where
// a half ever stands: where the answer is lost the error is outcome_unknown, later ones are key_shown, and the key is of no use.
func (c *Client) DrawAPIKey(ctx context.Context, draft string) (PeopleChanged, error) {
	return c.changePeople(ctx, http.MethodPost, draftPath(draft, "key"), struct{}{}, Write{})
}

func (c *Client) changePeople(ctx context.Context, method, path string, in any, w Write) (PeopleChanged, error) {
	var out PeopleChanged
	body, err := encode(in)
	if err != nil {
		return out, err
	}
	key := w.IdempotencyKey
	if key == "" {
		key = newKey()
	}
	a, err := c.do(ctx, call{method: method, path: path, body: body, key: key})
	if err != nil {
		return out, err
	}
	if a.status == http.StatusAccepted && bytes.HasPrefix(a.body, []byte(`{"draft":`)) {
		var held DecidedDraft
		if err := decodeAnswer(a.body, &held); err != nil {
			return out, err
		}
		return out, &HeldError{held.Draft}
	}
	return out, decodeAnswer(a.body, &out)
}
