// Package auth knows who may do what at this node: API keys, the roles they carry, the one table of rights,
// and how often anybody may ask.
//
// A key is 256 random bits, shown once as "zlk_" and base64url, and stored only as its SHA-256. It belongs
// to a principal: an id, the agency for which it acts (and for those below it in the registry), and roles. On the ledger a principal is a pseudonym,
// a keyed hash under the node's own secret, so that only this node can say who it was.
package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Principal is who is signed in. It is immutable and shared between requests.
type Principal struct {
	id     string
	name   string
	below  Below
	agency model.AgencyID
	roles  []Role
	person model.Pseudonym
	may    map[string]bool
}

// ID is the key's id, stable over the principal's life.
func (p *Principal) ID() string { return p.id }

// Agency is the agency for which the principal acts, with those below it in the registry's tree.
func (p *Principal) Agency() model.AgencyID { return p.agency }

// Person is the principal's name on the ledger.
func (p *Principal) Person() model.Pseudonym { return p.person }

// Roles lists the principal's roles.
func (p *Principal) Roles() []Role { return append([]Role(nil), p.roles...) }

// Name is what the person or system is called. It stays at this node.
func (p *Principal) Name() string { return p.name }

// May says whether the principal may do an action for its own agency.
func (p *Principal) May(action string) bool { return p.may[action] }

// Decision is a decision and the id of the policy that it rests on.
type Decision = struct {
	Allowed bool
	Policy  string
}

// DefaultDeny is named as the policy where none permits.
const DefaultDeny = "default-deny"

// Below says whether an agency stands below another in the registry's tree. Safe for concurrent use; it stays in
// memory.
type Below func(agency, above model.AgencyID) bool

// Decide says whether the principal may do an action on what belongs to an agency, "" for what belongs to none in
// particular, and which policy says so.
func (p *Principal) Decide(action string, owner model.AgencyID) Decision {
	if !p.may[action] {
		return Decision{Policy: DefaultDeny}
	}
	if owner != "" && owner != p.agency && (p.below == nil || !p.below(owner, p.agency)) {
		return Decision{Policy: DefaultDeny}
	}
	return Decision{true, "roles"}
}

// Pseudonym is a principal's name on the ledger: 128 bits of a hash keyed with the node's secret.
func Pseudonym(secret []byte, principal string) model.Pseudonym {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("zhenglian:person:v1\n" + principal))
	return model.Pseudonym(hex.EncodeToString(m.Sum(nil)[:16]))
}
