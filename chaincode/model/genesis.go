package model

import (
	"encoding/json"
)

// GenesisDocument is what a ledger begins with; every organisation configures its digest, and a contract
// instance endorses Init only for that document.
type GenesisDocument struct {
	Agencies      []Agency       `json:"agencies" zl:"public"`
	Channel       string         `json:"channel" zl:"public,text"`
	Created       Time           `json:"created" zl:"public,date"`
	LicenceTypes  []LicenceType  `json:"licence_types" zl:"public"`
	Organisations []Organisation `json:"organisations" zl:"public"`
	Policy        Policy         `json:"policy" zl:"public"`
}

// MaxGenesis bounds the document in bytes.
const MaxGenesis = 4 << 20

// MaxTree is the most agencies that may stand above one another.
const MaxTree = 16

// channelName checks a name as Fabric does.
func channelName(s string) bool {
	if s == "" || len(s) > 249 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// DecodeGenesis reads and checks a document. The digest is of its canonical form, so a pretty-printed
// file has the digest of what it says.
func DecodeGenesis(raw []byte) (*GenesisDocument, Digest, error) {
	var g GenesisDocument
	if len(raw) > MaxGenesis {
		return nil, Digest{}, E(CodeTooLarge)
	}
	c, err := DecodeStrict(raw, &g)
	if err != nil {
		return nil, Digest{}, err
	}
	if g.Created.IsZero() || len(g.Organisations) == 0 {
		return nil, Digest{}, E(CodeMissingField)
	}
	if !channelName(g.Channel) {
		return nil, Digest{}, E(CodeBadValue, "channel")
	}
	if _, err := g.Operations(); err != nil {
		return nil, Digest{}, err
	}
	return &g, DigestOf(c), nil
}

// Operations derives one operation a record, in the document's order: policy, organisations, agencies,
// licence types. They are never sent; contract and followers derive them alike, so that genesis records
// have headers, leaves and history like all others.
func (g *GenesisDocument) Operations() ([]Operation, error) {
	doc, err := Canonical(g)
	if err != nil {
		return nil, err
	}
	digest := DigestOf(doc)
	var ops []Operation
	seen := map[string]bool{}
	add := func(kind Kind, id RecordID, v Entry) error {
		raw, err := Canonical(v)
		if err != nil {
			return err
		}
		if _, err := DecodeEntry(kind, id, raw); err != nil {
			return err
		}
		if key := string(kind) + "/" + string(id); seen[key] {
			return E(CodeBadValue, string(kind)).With("%s stands twice", id)
		} else {
			seen[key] = true
		}
		body, err := Canonical(GenesisBody{Value: json.RawMessage(raw)})
		if err != nil {
			return err
		}
		ops = append(ops, Operation{
			Body: body, ID: DeriveOpID("", "genesis", digest.String(), len(ops)), Kind: kind, Record: id,
			Time: g.Created, Type: Genesis, Version: 1,
		})
		return nil
	}
	if err := add(KindPolicy, PolicyID, &g.Policy); err != nil {
		return nil, err
	}
	for i := range g.Organisations {
		if err := add(KindOrganisation, RecordID(g.Organisations[i].Msp), &g.Organisations[i]); err != nil {
			return nil, err
		}
	}
	parents := map[AgencyID]AgencyID{}
	for i := range g.Agencies {
		parents[g.Agencies[i].ID] = g.Agencies[i].Parent
		if !seen[string(KindOrganisation)+"/"+string(g.Agencies[i].Msp)] {
			return nil, E(CodeBadValue, "agencies").With("%s belongs to no organisation here", g.Agencies[i].ID)
		}
		if err := add(KindAgency, RecordID(g.Agencies[i].ID), &g.Agencies[i]); err != nil {
			return nil, err
		}
	}
	for i := range g.Agencies {
		depth := 0
		for id := g.Agencies[i].Parent; id != ""; id = parents[id] {
			if _, ok := parents[id]; !ok {
				return nil, E(CodeBadValue, "agencies.parent").With("%s is not registered here", id)
			}
			if depth++; depth > MaxTree {
				return nil, E(CodeBadValue, "agencies.parent").With("the tree above %s has a circle or is too deep", g.Agencies[i].ID)
			}
		}
	}
	for i := range g.LicenceTypes {
		for _, id := range sortedKeys(g.LicenceTypes[i].Issuers) {
			if _, ok := parents[id]; !ok {
				return nil, E(CodeBadValue, "licence_types.issuers").With("%s is not registered here", id)
			}
		}
		for _, k := range g.LicenceTypes[i].HolderKinds {
			if g.Policy.Level < 2 && k != HolderEnterprise && k != HolderPerson {
				return nil, E(CodeBadValue, "value.holder_kinds")
			}
		}
		if err := add(KindLicenceType, RecordID(g.LicenceTypes[i].Code), &g.LicenceTypes[i]); err != nil {
			return nil, err
		}
	}
	return ops, nil
}
