// Package auth knows who may do what at this node: its people and API keys, how they sign in, the policies that decide
// what they may do, and how often anybody may ask.
//
// A user is a person or a system of one agency, or of a party that this node hosts, with roles. He signs in with an API
// key, a token or a browser session of an OpenID Connect issuer, or a client certificate, and is the same principal
// each time. A key that belongs to no user is a principal of its own.
//
// An API key is 256 random bits, shown once as "zlk_" and base64url, and stored only as its SHA-256; one that two
// administrators make together is two such texts, "zlk_1_" and "zlk_2_", of which each has seen one. On the ledger a
// principal is a pseudonym, a keyed hash under the node's own secret, so that only this node can say who it was.
package auth

//go:generate go test -run TestDocuments . -update

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Registry is what this node knows of the ledger's registry. Safe for concurrent use; it stays in memory.
type Registry interface {
	// Below says whether an agency stands below another in the registry's tree.
	Below(agency, above model.AgencyID) bool
	// Hosts says whether this node hosts a party.
	Hosts(party model.USCC) bool
}

// Principal is who is signed in. It is immutable and shared between requests.
type Principal struct {
	id       string
	name     string
	agency   model.AgencyID // "" for people of a party
	party    model.USCC     // "" for people of an agency
	roles    []Role
	person   model.Pseudonym
	rights   *rights
	registry Registry // nil where nobody signs in
}

// ID is the user's id, or that of a key that belongs to no user. It is stable over the principal's life.
func (p *Principal) ID() string { return p.id }

// Name is what the person or system is called. It stays at this node.
func (p *Principal) Name() string { return p.name }

// Agency is the agency for which the principal acts, with those below it in the registry's tree; "" for the people of a
// hosted party.
func (p *Principal) Agency() model.AgencyID { return p.agency }

// Party is the hosted party whose person it is, "" for an agency's.
func (p *Principal) Party() model.USCC { return p.party }

// Person is the principal's name on the ledger.
func (p *Principal) Person() model.Pseudonym { return p.person }

// Roles lists the principal's roles.
func (p *Principal) Roles() []Role { return slices.Clone(p.roles) }

// May says whether the principal may do an action for its own agency.
func (p *Principal) May(action string) bool { return p.rights.decide(action, Own).Allowed }

// Decide says whether the principal may do an action on what belongs to an agency, "" for what belongs to none in
// particular, and which policy says so.
func (p *Principal) Decide(action string, owner model.AgencyID) Decision {
	return p.rights.decide(action, p.relation(owner))
}

// Whoami is the principal as it is told about itself.
func (p *Principal) Whoami() sdk.Whoami {
	w := sdk.Whoami{ID: p.id, Name: p.name, Agency: p.agency, Party: p.party, Person: p.person, Roles: []string{}, May: []string{}}
	for _, r := range p.roles {
		w.Roles = append(w.Roles, string(r))
	}
	for _, a := range Actions {
		if p.May(a.Name) {
			w.May = append(w.May, a.Name)
		}
	}
	return w
}

func (p *Principal) relation(owner model.AgencyID) Relation {
	switch {
	case owner == "" || owner == p.agency:
		return Own
	case p.agency != "" && p.registry != nil && p.registry.Below(owner, p.agency):
		return BelowOwn
	}
	return Other
}

// Pseudonym is a principal's name on the ledger: 128 bits of a hash keyed with the node's secret.
func Pseudonym(secret []byte, principal string) model.Pseudonym {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("zhenglian:person:v1\n" + principal))
	return model.Pseudonym(hex.EncodeToString(m.Sum(nil)[:16]))
}
