package main

import (
	"context"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

// directory is a node's users and keys, as the commands have them: the files of a folder on this machine, where a change is
// made at once and by whoever may write them, or a node's API, where it waits for a second person. Errors are
// *model.Error; of the API also *sdk.HeldError.
type directory interface {
	people() ([]auth.User, error) // the oldest first
	keys() ([]auth.Entry, error)  // without what they are found by
	apply(auth.Change) (auth.Applied, error)
}

// directory opens the folder that --dir names, or asks the node.
func (o *people) directory(ctx context.Context) (directory, error) {
	if o.dir == "" {
		node, err := o.client.open("security-admin")
		return remoteDirectory{ctx, node}, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.url != "" {
		return nil, useError("--dir 与 --url 只给其一", "give either --dir or --url")
	}
	cfg, err := app.LoadConfig(o.dir)
	if err != nil {
		return nil, err
	}
	d, err := app.People(cfg)
	return localDirectory{d}, err
}

type localDirectory struct{ d *auth.Directory }

func (l localDirectory) people() ([]auth.User, error)              { return l.d.People(), nil }
func (l localDirectory) keys() ([]auth.Entry, error)               { return l.d.Keys(), nil }
func (l localDirectory) apply(c auth.Change) (auth.Applied, error) { return l.d.Apply(c) }

// remoteDirectory is that of the tree of the administrator whose key it is.
type remoteDirectory struct {
	ctx  context.Context
	node *sdk.Client
}

func (r remoteDirectory) people() (out []auth.User, err error) {
	for after := ""; ; {
		page, err := r.node.Users(r.ctx, after)
		if err != nil {
			return nil, err
		}
		for i := range page.Users {
			out = append(out, userOf(&page.Users[i]))
		}
		if after = page.Next; after == "" {
			return out, nil
		}
	}
}

func (r remoteDirectory) keys() (out []auth.Entry, err error) {
	for after := ""; ; {
		page, err := r.node.APIKeys(r.ctx, after)
		if err != nil {
			return nil, err
		}
		for i := range page.Keys {
			out = append(out, keyOf(&page.Keys[i]))
		}
		if after = page.Next; after == "" {
			return out, nil
		}
	}
}

func (r remoteDirectory) apply(c auth.Change) (out auth.Applied, err error) {
	var made sdk.PeopleChanged
	switch c.Action {
	case auth.AddUser:
		made, err = r.node.AddUser(r.ctx, specOf(c.User), sdk.Write{})
	case auth.ChangeUser:
		s := specOf(c.User)
		s.Version = c.Version
		made, err = r.node.ChangeUser(r.ctx, c.ID, s, sdk.Write{})
	case auth.DisableUser:
		made, err = r.node.DisableUser(r.ctx, c.ID, sdk.Write{})
	case auth.EnableUser:
		made, err = r.node.EnableUser(r.ctx, c.ID, sdk.Write{})
	case auth.IssueKey:
		k := sdk.NewAPIKey{Name: c.Key.Name, User: c.Key.User, Agency: c.Key.Agency, Expires: c.Key.Expires}
		for _, role := range c.Key.Roles {
			k.Roles = append(k.Roles, string(role))
		}
		made, err = r.node.IssueAPIKey(r.ctx, k, sdk.Write{})
	case auth.RevokeKey:
		made, err = r.node.RevokeAPIKey(r.ctx, c.ID, sdk.Write{})
	default:
		err = model.E(model.CodeBadValue, "action")
	}
	if err != nil {
		return out, err
	}
	return appliedOf(made), nil
}

func appliedOf(made sdk.PeopleChanged) (out auth.Applied) {
	if made.User != nil {
		u := userOf(made.User)
		out.User = &u
	}
	if made.Key != nil {
		k := keyOf(made.Key)
		out.Key = &k
	}
	out.Token = made.Token
	return out
}

func userOf(u *sdk.User) auth.User {
	out := auth.User{ID: u.ID, Version: u.Version, Name: u.Name, Agency: u.Agency, Party: u.Party, Roles: rolesOf(u.Roles), Pins: u.Pins, Created: u.Created, Disabled: u.Disabled}
	for _, s := range u.Subjects {
		out.Subjects = append(out.Subjects, auth.Subject(s))
	}
	return out
}

func keyOf(k *sdk.APIKey) auth.Entry {
	return auth.Entry{ID: k.ID, Name: k.Name, User: k.User, Agency: k.Agency, Roles: rolesOf(k.Roles), Created: k.Created, Expires: k.Expires, Revoked: k.Revoked}
}

func specOf(s *auth.UserSpec) sdk.UserSpec {
	out := sdk.UserSpec{Name: s.Name, Agency: s.Agency, Party: s.Party, Pins: s.Pins}
	for _, r := range s.Roles {
		out.Roles = append(out.Roles, string(r))
	}
	for _, v := range s.Subjects {
		out.Subjects = append(out.Subjects, sdk.Subject(v))
	}
	return out
}

func rolesOf(words []string) []auth.Role {
	out := make([]auth.Role, len(words))
	for i, w := range words {
		out[i] = auth.Role(w)
	}
	return out
}
