package auth

import (
	"slices"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Rotate issues a key's successor, with the same name, user, agency, roles and life, and ends the key itself at until,
// or earlier where it ends earlier. The successor is never shown again. Once Rotate returns, both are on disk.
func (d *Directory) Rotate(id string, until time.Time) (token string, successor, old Entry, err error) {
	at := model.TimeOf(until)
	r, err := d.Apply(Change{Action: RotateKey, ID: id, Until: &at})
	if err != nil {
		return "", Entry{}, Entry{}, err
	}
	for _, k := range d.Keys() {
		if k.ID == id {
			old = k
		}
	}
	return r.Token, *r.Key, old, nil
}

func (c *contents) rotateKey(id string, until *model.Time, now time.Time) (string, *Entry, error) {
	i := slices.IndexFunc(c.keys, func(e Entry) bool { return e.ID == id })
	if i < 0 {
		return "", nil, model.E(model.CodeNotFound, "id")
	}
	if until == nil || until.Time().Before(now) {
		return "", nil, model.E(model.CodeBadValue, "until")
	}
	old := c.keys[i]
	if !old.Revoked.IsZero() || (!old.Expires.IsZero() && !now.Before(old.Expires.Time())) {
		return "", nil, model.E(model.CodeBadValue, "id").With("the key has ended: issue another")
	}
	g := Grant{Name: old.Name, User: old.User, Agency: old.Agency, Roles: old.Roles}
	if !old.Expires.IsZero() {
		g.Expires = model.TimeOf(now.Add(old.Expires.Time().Sub(old.Created.Time())))
	}
	token, e, err := c.issueKey("", &g, now)
	if err != nil {
		return "", nil, err
	}
	if old.Expires.IsZero() || until.Time().Before(old.Expires.Time()) {
		c.keys[i].Expires = *until
	}
	return token, e, nil
}
