package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
	"github.com/zhenglian/zhenglian/sdk"
)

// A key that two administrators have agreed on is drawn by both, a half each, so that neither holds one that works: else one
// of them would be two persons from then on. See docs/design/0019.

// lone refuses a key without a user to administrators: whose it is has to be known before it is drawn.
func lone(c *auth.Change) error {
	if c.Key != nil && c.Key.User == "" && slices.ContainsFunc(c.Key.Roles, auth.Role.Administers) {
		return model.E(model.CodeMissingField, "user").With("a key of a system-, security- or audit-administrator belongs to a user")
	}
	return nil
}

// halvesOf says who draws which half of the key that a draft asks for.
func halvesOf(h *inbox.Held) (zh, en string) {
	zh, en = "复核人", "who approves"
	if h.Decision != nil {
		zh = firstOf(h.Decision.By.Name, h.Decision.By.Principal)
		en = zh
	}
	first := firstOf(h.Drafter.Name, h.Drafter.Principal)
	return "密钥分两半领取：前一半由 " + first + "，后一半由 " + zh + "，各自只显示一次", first + " draws the first half of the key and " + en + " the second, each sees the own half once"
}

// half is the half that somebody draws of the key that a draft asks for, auth.Whole for neither.
func half(h *inbox.Held, principal string) auth.Half {
	switch {
	case h.Drafter.Principal == principal:
		return auth.First
	case h.Decision != nil && h.State == inbox.Approved && h.Decision.By.Principal == principal:
		return auth.Second
	}
	return auth.Whole
}

// Draw draws the caller's half of the key of an approved draft. What makes it happen once is the key's id, which stands in
// the draft and under which the directory draws each half once, ever.
func (r roster) Draw(_ context.Context, by httpapi.Caller, draft string) (sdk.PeopleChanged, error) {
	n := r.n
	n.drawing.Lock()
	defer n.drawing.Unlock()
	h, err := n.inbox.Get(draft)
	if err != nil {
		return sdk.PeopleChanged{}, err
	}
	mine := half(h, by.ID())
	switch {
	case mine == auth.Whole:
		err = model.E(model.CodeForbidden)
	case h.Types[httpapi.IssueKey] == 0:
		err = model.E(model.CodeBadValue, "id").With("the draft asks for no key")
	case h.State != inbox.Approved || !h.Sent:
		err = orHeld(h, nil)
	case h.Restored:
		err = errRestored
	case !time.Now().Before(h.Decision.At.Time().Add(n.inbox.Policy().Expires)):
		err = model.E(model.CodeNotApproved).With("%s: the approval is too long ago; ask for the key again", inbox.Expired)
	}
	if err != nil {
		return sdk.PeopleChanged{}, err
	}
	c, err := r.granted(h)
	if err != nil {
		return sdk.PeopleChanged{}, err
	}
	c.By, c.Half = by.ID(), mine
	made, err := n.people.Apply(c)
	if err != nil {
		return sdk.PeopleChanged{}, err
	}
	out := changedWire(made)
	out.Half = int(mine)
	return out, nil
}

// withdraw takes a draft back: one that waits, or one whose key was approved and is not fully drawn.
//
// Crash argument: the half that was drawn is ended first, and for good. A node that ended before the inbox had noted it finds
// a draft whose key can never work, and withdrawing it once more goes the same way.
func (d desk) withdraw(id string, who inbox.Person) (*inbox.Held, error) {
	n := d.n
	h, err := n.inbox.Withdraw(id, who)
	if !errors.Is(err, model.E(model.CodeAlreadyDecided)) || h == nil || h.State != inbox.Approved || !h.Sent || h.Types[httpapi.IssueKey] == 0 {
		return h, err
	}
	n.drawing.Lock()
	defer n.drawing.Unlock()
	ops, err := n.inbox.Operations(h, false)
	if err != nil {
		return h, err
	}
	for _, k := range n.people.Keys() {
		if len(ops) != 1 || k.ID != string(ops[0].Record) {
			continue
		}
		if k.Works() {
			return h, model.E(model.CodeAlreadyDecided).With("both halves of the key are drawn: revoke it")
		}
		if _, err := n.people.Apply(auth.Change{Action: auth.RevokeKey, ID: k.ID, By: who.Principal, Draft: id}); err != nil {
			return h, err
		}
	}
	return n.inbox.Recall(id, who)
}
