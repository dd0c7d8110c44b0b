package records

import (
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// claims says which records claim a natural name: an identifier, a number of a type, a file's digest.
// A record holds the name while its current value states it and its end has not taken effect; every
// record that ever claimed the name stays listed, so that what was once issued resolves.
//
// A number passes on when its licence ends. An identifier and a file's digest belong to one record for
// ever: the paper that states them stays in somebody's hands, and must not become valid again because
// another licence took its name.
//
// More names than maxClaims are counted as overflown: from then on the name is held to be claimed by
// several for ever, and the list grows no further, whoever writes a million licences under one number.
type claims struct {
	list     []claim
	overflow bool
}

type claim struct {
	id    model.RecordID
	holds bool
}

const maxClaims = 16

const (
	flagHolds    = 1
	flagOverflow = 1
)

// contested reports whether more than one record holds the name or, where it is one for ever, ever held it.
func (c *claims) contested(forever bool) bool {
	return c.holders(forever) > 1 || c.overflow
}

// claimed reports whether a record holds the name or, where it is one for ever, ever held it.
func (c *claims) claimed(forever bool) bool {
	return c.holders(forever) > 0 || c.overflow
}

func (c *claims) holders(forever bool) int {
	n := 0
	for _, x := range c.list {
		if x.holds || forever {
			n++
		}
	}
	return n
}

// set notes whether a record holds the name and reports whether that changed anything.
func (c *claims) set(id model.RecordID, holds bool) bool {
	for i := range c.list {
		if c.list[i].id == id {
			changed := c.list[i].holds != holds
			c.list[i].holds = holds
			return changed
		}
	}
	if len(c.list) == maxClaims {
		changed := !c.overflow
		c.overflow = true
		return changed
	}
	c.list = append(c.list, claim{id, holds})
	return true
}

// ids lists the holders before those that held the name once, and the newer before the older.
func (c *claims) ids() []model.RecordID {
	var out []model.RecordID
	for _, holds := range []bool{true, false} {
		for _, x := range slices.Backward(c.list) {
			if x.holds == holds {
				out = append(out, x.id)
			}
		}
	}
	return out
}

func (c *claims) encode() []byte {
	b := make([]byte, 1, 48)
	if c.overflow {
		b[0] = flagOverflow
	}
	for _, x := range c.list {
		var flags byte
		if x.holds {
			flags = flagHolds
		}
		b = appendText(append(b, flags), x.id)
	}
	return b
}

func decodeClaims(b []byte) (claims, error) {
	var c claims
	if b == nil {
		return c, nil
	}
	d := decoder{rest: b}
	flags := d.byte()
	c.overflow = flags&flagOverflow != 0
	for len(d.rest) > 0 {
		f := d.byte()
		id := model.RecordID(d.text())
		if id == "" || f > flagHolds {
			return c, ErrDamaged
		}
		c.list = append(c.list, claim{id, f == flagHolds})
	}
	if flags > flagOverflow || len(c.list) > maxClaims {
		return c, ErrDamaged
	}
	return c, d.done()
}
