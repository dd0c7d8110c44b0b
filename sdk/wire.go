package sdk

import (
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// What stands on the wire beside the types of package model. The node's API uses these same types.

// Reflects says what an answer reflects: how much of the ledger the node had applied, and how long ago it
// last knew that this was all there is.
type Reflects struct {
	Position uint64 `json:"position"` // leaves applied
	Height   uint64 `json:"height"`   // blocks applied
	Registry uint64 `json:"registry"` // version of the registry, which an approval names
	AgeMS    int64  `json:"age_ms"`
}

// Record is one record as it stands.
type Record struct {
	Record model.View `json:"record"`
	At     Reflects   `json:"at"`
}

// RecordPage is a page of records of one kind, in the order of their ids.
type RecordPage struct {
	Records []model.View   `json:"records"`
	Next    model.RecordID `json:"next,omitempty"` // pass as after; absent on the last page
	At      Reflects       `json:"at"`
}

// HistoryPage is a page of a record's versions, oldest first.
type HistoryPage struct {
	Entries []model.HistoryEntry `json:"entries"`
	Next    *uint64              `json:"next,omitempty"` // pass as from; absent on the last page
	At      Reflects             `json:"at"`
}

// Event is one leaf of the log as the stream of events tells it. Its id on the stream is its position.
type Event struct {
	Kind   model.Kind     `json:"kind"`
	Record model.RecordID `json:"record"`
	Leaf   model.Digest   `json:"leaf"`
	model.HistoryEntry
}

// Holder is a licence's holder. Of a person (kind "111") neither code nor name reaches the ledger: the
// node keeps them and commits to them.
type Holder struct {
	Kind model.HolderKind `json:"kind,omitempty"` // "001" enterprise by default
	Code string           `json:"code"`           // USCC, or a person's identity number
	Name string           `json:"name"`
}

// NewLicence asks for a licence. The node adds identifier, issuer, commitments and signature.
type NewLicence struct {
	Agency           model.AgencyID    `json:"agency,omitempty"` // the caller's by default
	Under            model.RecordID    `json:"under,omitempty"`  // the delegation that it is issued under
	Type             model.TypeCode    `json:"type"`
	Number           string            `json:"number"`
	Holder           Holder            `json:"holder"`
	Region           model.Region      `json:"region,omitempty"`      // the agency's by default
	IssuedOn         model.Date        `json:"issued_on,omitempty"`   // today by default
	ValidFrom        model.Date        `json:"valid_from,omitempty"`  // the day of issue by default
	ValidUntil       model.Date        `json:"valid_until,omitempty"` // none: 长期
	Face             map[string]any    `json:"face,omitempty"`
	ConfidentialFace map[string]any    `json:"confidential_face,omitempty"`
	File             *model.FileDigest `json:"file,omitempty"`          // of a sealed file
	UnsealedFile     string            `json:"unsealed_file,omitempty"` // SHA-256 of an unsealed file; committed to
}

// LicenceAct asks for an act on a licence. Which members count depends on the act.
type LicenceAct struct {
	Agency    model.AgencyID `json:"agency,omitempty"`  // the caller's by default
	Version   uint64         `json:"version,omitempty"` // the version that it makes; the next by default
	Decision  model.Decision `json:"decision"`
	Effective model.Date     `json:"effective"`
	Reason    string         `json:"reason"`
	FromStart bool           `json:"from_start,omitempty"` // rescind: void from the first day

	How   model.AmendKind `json:"how,omitempty"`   // amend: correct or change
	Value model.RawValue  `json:"value,omitempty"` // amend, renew: the members of the licence that change
	// Previous guards an amendment: the public value that the caller saw.
	Previous     model.RawValue             `json:"previous,omitempty"`
	Confidential *model.LicenceConfidential `json:"confidential,omitempty"` // amend, renew

	To model.AgencyID `json:"to,omitempty"` // transfer: the receiving agency
}

// NewProposal proposes a change of the registry.
type NewProposal struct {
	Agency  model.AgencyID `json:"agency,omitempty"` // the caller's by default
	Action  model.Type     `json:"action"`           // registry.admit, registry.change, registry.remove
	Kind    model.Kind     `json:"kind"`
	Record  model.RecordID `json:"record"`
	Version uint64         `json:"version,omitempty"` // the next by default
	Value   model.RawValue `json:"value,omitempty"`   // for remove, the value as it stands by default
}

// ProposalAct is an act on a proposal. Content and Registry count for approve: the digest of what is
// approved and the version of the registry that the approver saw, both as the proposal's answer had them.
type ProposalAct struct {
	Agency   model.AgencyID `json:"agency,omitempty"`
	Content  *model.Digest  `json:"content,omitempty"`
	Registry *uint64        `json:"registry,omitempty"`
}

// NewDelegation delegates issuing.
type NewDelegation struct {
	Agency model.AgencyID   `json:"agency,omitempty"`
	Value  model.Delegation `json:"value"`
}

// NewParty registers a party that the agency's node hosts.
type NewParty struct {
	Agency model.AgencyID `json:"agency,omitempty"`
	Value  model.Party    `json:"value"`
}

// RecordAct is an act that says all in its route.
type RecordAct struct {
	Agency  model.AgencyID `json:"agency,omitempty"`
	Version uint64         `json:"version,omitempty"`
}

// NewEndpoint changes an agency's own endpoint.
type NewEndpoint struct {
	Endpoint string `json:"endpoint"`
	Version  uint64 `json:"version,omitempty"`
}

// NewKey changes an agency's signing key. The node draws the key and proves it with the old one, unless
// New and Proof come from who holds the keys elsewhere.
type NewKey struct {
	Alg     string     `json:"alg,omitempty"`    // of the new key; the old one's by default
	Retire  string     `json:"retire,omitempty"` // the newest active key by default
	New     *model.Key `json:"new,omitempty"`
	Proof   string     `json:"proof,omitempty"`
	Version uint64     `json:"version,omitempty"`
}

// PublicQuery is what anybody may ask: one identifier, or a number with its type.
type PublicQuery struct {
	Identifier model.LicenceID `json:"identifier,omitempty"`
	Number     string          `json:"number,omitempty"`
	Type       model.TypeCode  `json:"type,omitempty"`
}

// PublicVerdict is what anybody may know: the word and the reason, nothing of the holder.
type PublicVerdict struct {
	Verdict model.Word   `json:"verdict"`
	Reason  model.Reason `json:"reason"`
	Zh      string       `json:"zh"`
	En      string       `json:"en"`
	Since   model.Date   `json:"since,omitempty"`
	At      model.Date   `json:"at"`
	Height  uint64       `json:"height"`
	AgeMS   int64        `json:"age_ms"`
}

// Component is a part of a node and how it is.
type Component struct {
	Name   string     `json:"name"`
	Status Status     `json:"status"`
	Code   model.Code `json:"code,omitempty"` // why it is not ok
	Detail string     `json:"detail,omitempty"`
}

// Status is how a node or a part of it is.
type Status string

// A degraded node works with less (the ledger cannot be reached: reads go on, writes wait); a failed one
// should get no requests.
const (
	OK       Status = "ok"
	Degraded Status = "degraded"
	Failed   Status = "failed"
)

// Readiness is what the admin listener says of a node.
type Readiness struct {
	Status     Status      `json:"status"`
	Components []Component `json:"components"`
}
