package model

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
)

// Entry is the public value of a registry record. Entries stand whole in the ledger's state.
type Entry interface {
	check() error
	wholeValue
}

func (*Organisation) whole() {}
func (*Agency) whole()       {}
func (*Party) whole()        {}
func (*LicenceType) whole()  {}
func (*Delegation) whole()   {}
func (*Succession) whole()   {}
func (*Policy) whole()       {}
func (*Proposal) whole()     {}

// Organisation is a member of the ledger (an MSP) and the nodes that it runs.
type Organisation struct {
	Msp    MSPID    `json:"msp" zl:"public,id"`
	NameEn string   `json:"name_en" zl:"public,text"`
	NameZh string   `json:"name_zh" zl:"public,text"`
	Nodes  []NodeID `json:"nodes" zl:"public,id"`
}

func (o *Organisation) check() error {
	if o.Msp == "" || len(o.Nodes) == 0 || len(o.Nodes) > 16 {
		return E(CodeMissingField, "value.nodes")
	}
	return checkNames(o.NameZh, o.NameEn)
}

// Role is what an agency is on the ledger for.
type Role string

// Roles of agencies.
const (
	RoleIssuer   Role = "issuer"
	RoleVerifier Role = "verifier"
	RoleCustoms  Role = "customs"
)

// Agency is a government body that acts on the ledger through its node.
type Agency struct {
	Endpoint string   `json:"endpoint" zl:"public,text"` // URL of the node's API, "" for none
	ID       AgencyID `json:"id" zl:"public,id"`
	Keys     []Key    `json:"keys" zl:"public"`
	Msp      MSPID    `json:"msp" zl:"public,id"`
	NameEn   string   `json:"name_en" zl:"public,text"`
	NameZh   string   `json:"name_zh" zl:"public,text"`
	Node     NodeID   `json:"node" zl:"public,id"`   // the node that acts for it
	Parent   AgencyID `json:"parent" zl:"public,id"` // "" at the root of a tree
	Region   Region   `json:"region" zl:"public,code"`
	Roles    []Role   `json:"roles" zl:"public,code"`
	USCC     USCC     `json:"uscc" zl:"public,uscc"`
}

// Key is a public signing key. Its window is in leaf positions: from the leaf of the operation that added
// it to the leaf of the one that retired it; followers derive it, so nothing of a block stands here.
type Key struct {
	Alg     string `json:"alg" zl:"public,code"`
	ID      string `json:"id" zl:"public,text"`
	Public  string `json:"public" zl:"public,signature"` // base64url without padding, uncompressed point, 65 bytes
	Retired bool   `json:"retired" zl:"public,flag"`
}

// algorithms are those of signing keys.
var algorithms = []string{"ES256", "ES256K", "SM2"}

func (k *Key) check(field string) error {
	switch k.Alg {
	case "ES256", "ES256K", "SM2":
	default:
		return E(CodeBadValue, field+".alg").OneOf(algorithms...)
	}
	if err := checkLine(field+".id", k.ID, 1, 64); err != nil {
		return err
	}
	if b, err := k.PublicBytes(); err != nil || len(b) != 65 || b[0] != 4 {
		return E(CodeBadValue, field+".public")
	}
	return nil
}

// PublicBytes decodes the point.
func (k *Key) PublicBytes() ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(k.Public)
}

// ActiveKey finds a key that may sign now.
func (a *Agency) ActiveKey(id string) (Key, bool) {
	for _, k := range a.Keys {
		if k.ID == id && !k.Retired {
			return k, true
		}
	}
	return Key{}, false
}

// Has reports whether the agency holds a role.
func (a *Agency) Has(r Role) bool {
	for _, x := range a.Roles {
		if x == r {
			return true
		}
	}
	return false
}

func (a *Agency) check() error {
	if a.ID == "" || a.Msp == "" || a.Node == "" || a.USCC == "" || a.Region == "" {
		return E(CodeMissingField, "value")
	}
	if a.Parent == a.ID {
		return E(CodeBadValue, "value.parent")
	}
	for _, r := range a.Roles {
		if r != RoleIssuer && r != RoleVerifier && r != RoleCustoms {
			return E(CodeBadValue, "value.roles").OneOf(string(RoleIssuer), string(RoleVerifier), string(RoleCustoms))
		}
	}
	if len(a.Keys) > 16 {
		return E(CodeTooMany, "value.keys")
	}
	seen := map[string]bool{}
	for i := range a.Keys {
		if err := a.Keys[i].check("value.keys"); err != nil {
			return err
		}
		if seen[a.Keys[i].ID] {
			return E(CodeBadValue, "value.keys").With("two keys of one id")
		}
		seen[a.Keys[i].ID] = true
	}
	if err := checkEndpoint(a.Endpoint); err != nil {
		return err
	}
	return checkNames(a.NameZh, a.NameEn)
}

// Party is a broker, importer, carrier or bank that a node hosts. Its record id is its USCC.
type Party struct {
	Host   AgencyID `json:"host" zl:"public,id"`
	NameZh string   `json:"name_zh" zl:"public,text"`
	Trades []string `json:"trades" zl:"public,text"` // broker, importer, carrier, bank, …
	USCC   USCC     `json:"uscc" zl:"public,uscc"`
}

func (p *Party) check() error {
	if p.USCC == "" || p.Host == "" {
		return E(CodeMissingField, "value.uscc")
	}
	for _, t := range p.Trades {
		if !shortID(t) {
			return E(CodeBadValue, "value.trades").With("%s", shortIDForm)
		}
	}
	return checkLine("value.name_zh", p.NameZh, 1, MaxName)
}

// LicenceType is an entry of the type catalogue (GB/T 36902) and its face fields.
type LicenceType struct {
	Authority   USCC                 `json:"authority" zl:"public,uscc"` // code of the defining authority
	Code        TypeCode             `json:"code" zl:"public,typecode"`
	Face        map[string]FaceField `json:"face" zl:"public"`
	HolderKinds []HolderKind         `json:"holder_kinds" zl:"public,code"`
	Issuers     map[AgencyID]Region  `json:"issuers" zl:"public,code"` // who issues by itself, and where
	NameEn      string               `json:"name_en" zl:"public,text"`
	NameZh      string               `json:"name_zh" zl:"public,text"`
}

func (t *LicenceType) check() error {
	if t.Code == "" || t.Authority == "" || len(t.HolderKinds) == 0 {
		return E(CodeMissingField, "value.code")
	}
	if t.Authority != USCC(t.Code[:18]) {
		return E(CodeBadValue, "value.authority").With("the code begins with the authority's code")
	}
	if len(t.Face) > MaxFields || len(t.Issuers) > 1000 {
		return E(CodeTooMany, "value.face")
	}
	for _, k := range t.HolderKinds {
		if !k.Known() {
			return E(CodeBadValue, "value.holder_kinds")
		}
	}
	if err := each(t.Face, func(name string, f FaceField) error { return f.check(name) }); err != nil {
		return err
	}
	for a, r := range t.Issuers {
		if a == "" || r == "" {
			return E(CodeBadID, "value.issuers")
		}
	}
	return checkNames(t.NameZh, t.NameEn)
}

// Delegation lets an agency issue a type in a region for a time on the delegator's authority.
type Delegation struct {
	From   AgencyID `json:"from" zl:"public,id"`
	Region Region   `json:"region" zl:"public,code"`
	To     AgencyID `json:"to" zl:"public,id"`
	Type   TypeCode `json:"type" zl:"public,typecode"`
	Window Window   `json:"window" zl:"public"`
}

func (d *Delegation) check() error {
	if d.From == "" || d.To == "" || d.Type == "" || d.Region == "" || d.From == d.To {
		return E(CodeMissingField, "value")
	}
	return d.Window.Check("value.window")
}

// Succession makes an agency the owner of all that another owns, and the issuer of its types, from a day.
// Its record id is the agency that is succeeded.
type Succession struct {
	Effective Date     `json:"effective" zl:"public,date"`
	From      AgencyID `json:"from" zl:"public,id"`
	To        AgencyID `json:"to" zl:"public,id"`
}

func (s *Succession) check() error {
	if s.From == "" || s.To == "" || s.From == s.To || s.Effective == "" {
		return E(CodeMissingField, "value")
	}
	return nil
}

// Policy is the one record of the ledger's own rules.
type Policy struct {
	Approvals int `json:"approvals" zl:"public,number"` // k; 0 is the majority of organisations, ⌊n/2⌋+1
	Level     int `json:"level" zl:"public,number"`     // contract.level
}

func (p *Policy) check() error {
	if p.Approvals < 0 || p.Approvals > 1000 || p.Level < 1 {
		return E(CodeBadValue, "value")
	}
	return nil
}

// Needed is k for n organisations.
func (p *Policy) Needed(n int) int {
	if p.Approvals > 0 && p.Approvals <= n {
		return p.Approvals
	}
	return n/2 + 1
}

// Proposal is a change that waits for approvals, with those that it has.
type Proposal struct {
	Action    Type            `json:"action" zl:"public,code"`
	Approvals []Approval      `json:"approvals" zl:"public"`
	Content   Digest          `json:"content" zl:"public,digest"`
	Kind      Kind            `json:"kind" zl:"public,code"`
	Record    RecordID        `json:"record" zl:"public,record"`
	Value     json.RawMessage `json:"value" zl:"public,entry"`
	Version   uint64          `json:"version" zl:"public,number"`
}

// Approval is one organisation's consent.
type Approval struct {
	Agency   AgencyID `json:"agency" zl:"public,id"`
	Msp      MSPID    `json:"msp" zl:"public,id"`
	Registry uint64   `json:"registry" zl:"public,number"` // the registry version it saw
}

func (p *Proposal) check() error { return nil }

// ContentDigest is what an approval names: the digest of the canonical {action, kind, record, value, version}.
func ContentDigest(action Type, kind Kind, record RecordID, version uint64, value json.RawMessage) Digest {
	b := []byte(`{"action":"` + string(action) + `","kind":"` + string(kind) + `","record":"` + string(record) + `","value":`)
	b = append(b, value...)
	b = append(b, `,"version":`...)
	return DigestOf(append(strconv.AppendUint(b, version, 10), '}'))
}

// NewEntry is an empty entry of a registry kind, nil for others.
func NewEntry(k Kind) Entry {
	switch k {
	case KindOrganisation:
		return new(Organisation)
	case KindAgency:
		return new(Agency)
	case KindParty:
		return new(Party)
	case KindLicenceType:
		return new(LicenceType)
	case KindDelegation:
		return new(Delegation)
	case KindSuccession:
		return new(Succession)
	case KindPolicy:
		return new(Policy)
	case KindProposal:
		return new(Proposal)
	case KindImport:
		return new(Import)
	case KindAccessLog:
		return new(AccessLog)
	}
	return nil
}

// DecodeEntry decodes and checks a registry value against the record that it is for. raw must be canonical.
func DecodeEntry(k Kind, id RecordID, raw json.RawMessage) (Entry, error) {
	e := NewEntry(k)
	if e == nil {
		return nil, E(CodeBadValue, "kind")
	}
	if err := decodeLedger(raw, e); err != nil {
		return nil, within("value", err)
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	natural := id
	switch v := e.(type) {
	case *Organisation:
		natural = RecordID(v.Msp)
	case *Agency:
		natural = RecordID(v.ID)
	case *Party:
		natural = RecordID(v.USCC)
	case *LicenceType:
		natural = RecordID(v.Code)
	case *Succession:
		natural = RecordID(v.From)
	case *Policy:
		natural = PolicyID
	case *Import:
		natural = ImportID
	case *AccessLog:
		natural = v.ID()
	}
	if natural != id {
		return nil, E(CodeBadID, "record").With("the record's id differs from the value's")
	}
	return e, nil
}

// GenesisBody is the body of an operation derived from the genesis document.
type GenesisBody struct {
	Value json.RawMessage `json:"value" zl:"public,entry"`
}

// EmptyBody is the body of operations that say all in their type.
type EmptyBody struct{}

// ProposeBody proposes a change of a record: an admit, change or remove operation with this value (for
// remove, the value as it stands).
type ProposeBody struct {
	Action  Type            `json:"action" zl:"public,code"`
	Kind    Kind            `json:"kind" zl:"public,code"`
	Record  RecordID        `json:"record" zl:"public,record"`
	Value   json.RawMessage `json:"value" zl:"public,entry"`
	Version uint64          `json:"version" zl:"public,number"`
}

func (b *ProposeBody) check() error {
	if b.Action != Admit && b.Action != Change && b.Action != Remove {
		return E(CodeBadValue, "action").OneOf(string(Admit), string(Change), string(Remove))
	}
	m := Machines[b.Kind]
	if m == nil || !m.Allows(b.Action) {
		return E(CodeBadValue, "kind")
	}
	if b.Version == 0 {
		return E(CodeMissingField, "version")
	}
	_, err := DecodeEntry(b.Kind, b.Record, b.Value)
	return err
}

// ApproveBody approves a proposal's content as an organisation.
type ApproveBody struct {
	Content  Digest `json:"content" zl:"public,digest"`
	Registry uint64 `json:"registry" zl:"public,number"` // the registry version that the approver saw
}

// EnactBody carries out an approved proposal on the record that the operation names.
type EnactBody struct {
	Proposal RecordID        `json:"proposal" zl:"public,id"`
	Value    json.RawMessage `json:"value" zl:"public,entry"`
}

// EndpointBody is an agency's change of its own endpoint.
type EndpointBody struct {
	Endpoint string `json:"endpoint" zl:"public,text"`
}

func (b *EndpointBody) check() error { return checkEndpoint(b.Endpoint) }

// RotateBody is an agency's change of its own key: New comes, Retire goes, Proof is the old key's signature
// over RotationBytes. A lost key is replaced by k approvals instead.
type RotateBody struct {
	New    Key    `json:"new" zl:"public"`
	Proof  string `json:"proof" zl:"public,signature"` // base64url, 64 bytes
	Retire string `json:"retire" zl:"public,text"`     // key id
}

func (b *RotateBody) check() error {
	if b.New.Retired || b.New.ID == b.Retire {
		return E(CodeBadValue, "new")
	}
	if !signatureText(b.Proof) {
		return E(CodeSignatureInvalid, "proof")
	}
	return b.New.check("new")
}

// RotationBytes is what the old key signs.
func RotationBytes(agency AgencyID, retire string, next Key) []byte {
	return []byte(strings.Join([]string{"zhenglian key rotation v1", string(agency), retire, next.ID, next.Alg, next.Public}, "\n"))
}

// PartyBody registers a hosted party.
type PartyBody struct {
	Value Party `json:"value" zl:"public"`
}

func (b *PartyBody) check() error { return b.Value.check() }

// step makes the host the owner, also of a party that another host has released.
func (b *PartyBody) step(_ Header, op *Operation, e *Effect) error {
	e.Header.Owner = op.Agency
	return nil
}

// DelegateBody delegates issuing.
type DelegateBody struct {
	Value Delegation `json:"value" zl:"public"`
}

func (b *DelegateBody) check() error { return b.Value.check() }

func checkNames(zh, en string) error {
	if err := checkLine("value.name_zh", zh, 1, MaxName); err != nil {
		return err
	}
	return checkLine("value.name_en", en, 0, MaxName)
}

func checkEndpoint(s string) error {
	if s == "" || (len(s) <= 200 && (strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://127.0.0.1:"))) {
		return nil
	}
	return E(CodeBadValue, "endpoint").With("https only (plain http on 127.0.0.1)")
}
