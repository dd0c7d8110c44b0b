package auth

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// A key in two halves: each is drawn by another person, and who uses the key puts one directly after the other. One half
// opens nothing and says nothing of the other; each has 256 random bits of its own.
const (
	firstPrefix  = KeyPrefix + "1_"
	secondPrefix = KeyPrefix + "2_"
	halfLength   = len(firstPrefix) + 43
)

// Half is which half of a key a Change draws.
type Half int

// The halves; Whole is a key that one hand makes.
const (
	Whole Half = iota
	First
	Second
)

// Works reports whether all of the key has been drawn.
func (e *Entry) Works() bool { return !e.Hash.IsZero() || e.Drawn(First) && e.Drawn(Second) }

// Drawn reports whether a half of the key has been drawn.
func (e *Entry) Drawn(h Half) bool {
	switch h {
	case First:
		return !e.First.IsZero()
	case Second:
		return !e.Second.IsZero()
	}
	return !e.Hash.IsZero()
}

// drawHalf draws a half of a key, with which the key begins to be: the directory then has an entry that nobody can sign in
// with until the other half is drawn too. A half is drawn once.
func (c *contents) drawHalf(change Change, now model.Time) (string, *Entry, error) {
	if change.ID == "" || (change.Half != First && change.Half != Second) {
		return "", nil, model.E(model.CodeBadValue, "half")
	}
	i := slices.IndexFunc(c.keys, func(e Entry) bool { return e.ID == change.ID })
	if i < 0 {
		e, err := c.grantKey(change.ID, change.Key, now)
		if err != nil {
			return "", nil, err
		}
		c.keys = append(c.keys, e)
		i = len(c.keys) - 1
	}
	e := &c.keys[i]
	switch {
	case e.Drawn(Whole) || e.Drawn(change.Half):
		return "", nil, model.E(model.CodeKeyShown)
	case !e.Revoked.IsZero():
		return "", nil, model.E(model.CodeBadValue, "id").With("the key has ended: issue another")
	}
	var token string
	if change.Half == First {
		token = newToken(firstPrefix)
		e.First = sha256.Sum256([]byte(token))
	} else {
		token = newToken(secondPrefix)
		e.Second = sha256.Sum256([]byte(token))
	}
	out := *e
	return token, &out, nil
}

// presented are the hashes of what an Authorization header brings: of a whole key, second being zero, or of the halves of
// one, in whichever order they stand.
func presented(authorization string) (first, second model.Digest, ok bool) {
	if isKey(authorization) {
		return hashOf(authorization[len(bearer):]), second, true
	}
	if len(authorization) != len(bearer)+2*halfLength || !strings.EqualFold(authorization[:len(bearer)], bearer) {
		return first, second, false
	}
	a, b := authorization[len(bearer):len(bearer)+halfLength], authorization[len(bearer)+halfLength:]
	if strings.HasPrefix(a, secondPrefix) {
		a, b = b, a
	}
	return hashOf(a), hashOf(b), true
}

// hashOf is the SHA-256 of a key or half, without a copy on the heap.
func hashOf(token string) model.Digest {
	var raw [halfLength]byte
	return sha256.Sum256(raw[:copy(raw[:], token)])
}
