package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
	"github.com/zhenglian/zhenglian/sdk"
)

// roster is the node's people and keys for the API. A change under the rule `keys` is a draft of the inbox like any other:
// what is applied is what lies in it, under its digest. It is sent to the directory instead of to intake.
type roster struct{ n *Node }

// List lists users and keys.
func (r roster) List() (users []sdk.User, keys []sdk.APIKey) {
	for _, u := range r.n.people.People() {
		users = append(users, userWire(&u))
	}
	for _, k := range r.n.people.Keys() {
		keys = append(keys, keyWire(&k))
	}
	return users, keys
}

func userWire(u *auth.User) sdk.User {
	w := sdk.User{ID: u.ID, Version: u.Version, Name: u.Name, Agency: u.Agency, Party: u.Party, Roles: roleWords(u.Roles), Pins: slices.Clone(u.Pins), Created: u.Created, Disabled: u.Disabled}
	for _, s := range u.Subjects {
		w.Subjects = append(w.Subjects, sdk.Subject(s))
	}
	return w
}

func keyWire(k *auth.Entry) sdk.APIKey {
	w := sdk.APIKey{ID: k.ID, Name: k.Name, User: k.User, Agency: k.Agency, Roles: roleWords(k.Roles), Created: k.Created, Expires: k.Expires, Revoked: k.Revoked}
	for _, half := range []auth.Half{auth.First, auth.Second} {
		if !k.Works() && !k.Drawn(half) {
			w.Undrawn = append(w.Undrawn, int(half))
		}
	}
	return w
}

func roleWords(roles []auth.Role) []string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = string(r)
	}
	return out
}

func rolesOf(words []string) (out []auth.Role) {
	for _, w := range words {
		out = append(out, auth.Role(w))
	}
	return out
}

func (r roster) owner(u *auth.User) model.AgencyID {
	if u.Party != "" {
		return registry(r).Host(u.Party)
	}
	return u.Agency
}

// changeOf is a draft as the directory takes it.
func changeOf(d *model.Draft) (auth.Change, error) {
	var body sdk.PeopleChange
	if _, err := model.DecodeStrict(d.Body, &body); err != nil {
		return auth.Change{}, err
	}
	c := auth.Change{Action: string(d.Type), ID: string(d.Record)}
	if d.Version > 1 {
		c.Version = int(d.Version - 1)
	}
	if u := body.User; u != nil {
		c.User = &auth.UserSpec{Name: u.Name, Agency: u.Agency, Party: u.Party, Roles: rolesOf(u.Roles), Pins: append([]model.Digest(nil), u.Pins...)}
		for _, s := range u.Subjects {
			c.User.Subjects = append(c.User.Subjects, auth.Subject(s))
		}
	}
	if k := body.Key; k != nil {
		c.Key = &auth.Grant{Name: k.Name, User: k.User, Agency: k.Agency, Roles: rolesOf(k.Roles), Expires: k.Expires}
	}
	return c, nil
}

// newPersonID is the id of a user or key that a request makes: of one that is sent again under its key the same.
func newPersonID(prefix string, s *httpapi.Submission) model.RecordID {
	if s.Key == "" {
		return model.RecordID(prefix + strings.ToLower(rand.Text()[:16]))
	}
	id := model.DeriveOpID(s.Agency, s.Principal, s.Key, 0)
	return model.RecordID(prefix + id.String()[:16])
}

// Change makes a change, or holds it.
func (r roster) Change(_ context.Context, s httpapi.Submission) (sdk.PeopleChanged, error) {
	n, who := r.n, personOf(&s)
	if h, err := n.inbox.Known(&who, s.Key, s.Digest); err != nil || h != nil {
		return sdk.PeopleChanged{}, orHeld(h, err)
	}
	d := s.Drafts[0]
	switch d.Type {
	case httpapi.AddUser:
		d.Record = newPersonID("usr-", &s)
	case httpapi.IssueKey:
		d.Record = newPersonID("key-", &s)
	}
	c, err := changeOf(&d)
	if err != nil {
		return sdk.PeopleChanged{}, err
	}
	c.By = s.Principal
	if err := lone(&c); err != nil {
		return sdk.PeopleChanged{}, err
	}
	if err := n.people.Try(c); err != nil {
		return sdk.PeopleChanged{}, err
	}
	rules := n.inbox.Policy().InForce([]inbox.Rule{inbox.Keys})
	if len(rules) == 0 {
		made, err := n.people.Apply(c)
		return changedWire(made), err
	}
	request := inbox.Request{Drafter: who, Key: s.Key, Digest: s.Digest, Rules: rules, Drafts: []model.Draft{d}}
	request.Same = sameOf(request.Drafts, nil)
	h, err := n.inbox.Hold(request)
	return sdk.PeopleChanged{}, orHeld(h, err)
}

// orHeld is the error of a request whose draft is h: what became of it, or that it waits.
func orHeld(h *inbox.Held, err error) error {
	switch {
	case err != nil:
		return err
	case h.Problem != nil:
		return h.Problem.Error()
	case h.State == inbox.Pending || h.State == inbox.Approved:
		return &httpapi.Held{Draft: wire(h)}
	}
	if h.Restored {
		return errRestored
	}
	why := string(h.State)
	if h.Decision != nil && h.Decision.Reason != "" {
		why += ": " + h.Decision.Reason
	}
	return model.E(model.CodeNotApproved).With("%s", why)
}

func changedWire(a auth.Applied) (out sdk.PeopleChanged) {
	if a.User != nil {
		u := userWire(a.User)
		out.User = &u
	}
	if a.Key != nil {
		k := keyWire(a.Key)
		out.Key = &k
	}
	out.Token = a.Token
	return out
}

// aboutPeople reports whether a draft is about people or keys.
func aboutPeople(h *inbox.Held) bool {
	for t := range h.Types {
		if httpapi.AboutPeople(t) {
			return true
		}
	}
	return false
}

// apply makes an approved draft's change. A key is not made before its halves are drawn: their text would have to lie
// somewhere until then.
//
// Crash argument: the approval is on the disk. The directory notes the draft with the change, in one file that is replaced
// whole, and the inbox notes afterwards that it was made. A node that ended in between does both again, and the directory
// knows the draft and leaves everything as it is.
func (r roster) apply(h *inbox.Held) error {
	c, err := r.granted(h)
	if err != nil {
		return err
	}
	if c.Action == auth.IssueKey {
		return r.n.people.Try(c)
	}
	_, err = r.n.people.Apply(c)
	return err
}

// granted is what an approved draft asks for, while its drafter may still ask for it.
func (r roster) granted(h *inbox.Held) (auth.Change, error) {
	ops, err := r.n.inbox.Operations(h, false)
	if err != nil {
		return auth.Change{}, err
	}
	if len(ops) != 1 {
		return auth.Change{}, model.E(model.CodeInternal)
	}
	if p := r.n.people.Find(h.Drafter.Principal); p == nil || !p.Decide(auth.ChangePeople, ops[0].Agency).Allowed {
		return auth.Change{}, model.E(model.CodeForbidden)
	}
	c, err := changeOf(&ops[0])
	if err == nil {
		err = lone(&c)
	}
	if err == nil && c.Key != nil && c.Key.User != "" { // who is in another's hands by now is not this drafter's to equip
		u := r.n.people.User(c.Key.User)
		if u == nil || r.owner(u) != ops[0].Agency {
			return c, model.E(model.CodeForbidden)
		}
	}
	c.By, c.Draft = h.Drafter.Principal, h.ID
	return c, err
}

// Words say what a change does.
func (r roster) Words(d *model.Draft) (zh, en string, moved bool) {
	c, err := changeOf(d)
	if err != nil {
		return "", "", false
	}
	say := func(z, e string) { zh, en = zh+z, en+e }
	verb := auth.ChangeNames[c.Action]
	say(verb[0]+"："+c.ID, verb[1]+": "+c.ID)
	var was auth.UserSpec
	if u := r.n.people.User(c.ID); u != nil {
		was, moved = u.Spec(), c.Version != 0 && u.Version != c.Version
		if c.User == nil {
			say("，"+u.Name+"，"+belongs(&was), ", "+u.Name+", "+belongs(&was))
		}
	}
	if c.User != nil {
		for _, f := range []struct {
			zh, en   string
			was, now [2]string
		}{
			{"姓名", "name", both(was.Name), both(c.User.Name)},
			{"属于", "of", both(belongs(&was)), both(belongs(c.User))},
			{"角色", "roles", named(was.Roles), named(c.User.Roles)},
			{"登录标识", "sign-in", both(subjects(&was)), both(subjects(c.User))},
			{"证书", "certificates", both(pins(&was)), both(pins(c.User))},
		} {
			switch {
			case f.was == f.now && (f.en == "name" || f.en == "of"), f.was != f.now && f.was[0] == "":
				say("，"+f.zh+" "+f.now[0], ", "+f.en+" "+f.now[1])
			case f.was != f.now:
				say(fmt.Sprintf("，%s由 %s 改为 %s", f.zh, f.was[0], firstOf(f.now[0], "无")), fmt.Sprintf(", %s from %s to %s", f.en, f.was[1], firstOf(f.now[1], "none")))
			}
		}
	}
	if k := c.Key; k != nil {
		whose, roles := k.User, named(k.Roles)
		if u := r.n.people.User(k.User); u != nil {
			whose, roles = u.Name+" "+u.ID, named(u.Roles)
		} else if k.Agency != "" {
			whose = string(k.Agency)
		}
		say(fmt.Sprintf("，%s，属于 %s，角色 %s，有效至 %s", k.Name, whose, roles[0], k.Expires.Date()), fmt.Sprintf(", %s, of %s, roles %s, until %s", k.Name, whose, roles[1], k.Expires.Date()))
	}
	if c.Action == auth.RevokeKey {
		for _, k := range r.n.people.Keys() {
			if k.ID == c.ID {
				say("，"+k.Name+"，属于 "+k.User+string(k.Agency), ", "+k.Name+", of "+k.User+string(k.Agency))
			}
		}
	}
	return zh, en, moved
}

func both(s string) [2]string { return [2]string{s, s} }

func belongs(s *auth.UserSpec) string { return string(s.Agency) + string(s.Party) }

func named(roles []auth.Role) [2]string {
	var zh, en []string
	for _, r := range roles {
		zh, en = append(zh, auth.RoleNames[r][0]), append(en, auth.RoleNames[r][1])
	}
	return [2]string{strings.Join(zh, "、"), strings.Join(en, ", ")}
}

func subjects(s *auth.UserSpec) string {
	var out []string
	for _, v := range s.Subjects {
		out = append(out, v.Issuer+"#"+v.Subject)
	}
	return strings.Join(out, " ")
}

func pins(s *auth.UserSpec) string {
	var out []string
	for _, p := range s.Pins {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}
