package model

import (
	"encoding/json"
	"unicode/utf8"
)

// RawValue is canonical JSON that is carried as it stands.
type RawValue = json.RawMessage

// Draft is an operation as a caller asks for it. The node adds id, person, time, and where they are left
// out: the record id of a new record, the version, a licence's identifier, commitments and signature.
type Draft struct {
	Agency  AgencyID        `json:"agency"`
	Type    Type            `json:"type"`
	Kind    Kind            `json:"kind,omitempty"`    // derived from the type where only one fits
	Record  RecordID        `json:"record,omitempty"`  // left out for a new licence, proposal or delegation
	Version uint64          `json:"version,omitempty"` // the version it makes; left out: the next one
	Body    json.RawMessage `json:"body"`
	// Confidential is the confidential body of a licence: it never reaches the ledger.
	Confidential *LicenceConfidential `json:"confidential,omitempty"`
}

// Presentation is what a holder shows beside a number: openings of committed fields, by field.
type Presentation map[string]Opening

// Query asks for one verdict. Exactly one of Record, Identifier, Number (with Type) and File is given.
type Query struct {
	Record       RecordID     `json:"record,omitempty"`
	Identifier   LicenceID    `json:"identifier,omitempty"`
	Number       string       `json:"number,omitempty"`
	Type         TypeCode     `json:"type,omitempty"`
	File         string       `json:"file,omitempty"`    // SHA-256 or SM3 of the licence file, hexadecimal
	At           Date         `json:"at,omitempty"`      // the day asked about; today by default
	KnownAt      Date         `json:"knownAt,omitempty"` // as known at the end of that day; now by default
	Presentation Presentation `json:"presentation,omitempty"`
	Use          *Use         `json:"use,omitempty"` // what the licence is used for; the use trail keeps it
}

// Use says for what a licence is looked at (用证): what a using agency states with a request for it. Every
// member may be left out; each has at most MaxName characters.
type Use struct {
	Purpose      string `json:"purpose,omitempty"`      // UseFor
	OrgName      string `json:"orgName,omitempty"`      // the using organisation
	Username     string `json:"username,omitempty"`     // the clerk; kept as a pseudonym only
	ItemName     string `json:"itemName,omitempty"`     // the service item (事项)
	ItemCode     string `json:"itemCode,omitempty"`     // its code
	BusinessCode string `json:"businessCode,omitempty"` // the case (业务办件) at the using organisation
}

// Check holds every member to its length.
func (u *Use) Check() error {
	for _, m := range [...]struct{ name, value string }{
		{"purpose", u.Purpose}, {"orgName", u.OrgName}, {"username", u.Username}, {"itemName", u.ItemName}, {"itemCode", u.ItemCode}, {"businessCode", u.BusinessCode},
	} {
		if len(m.value) > MaxName && utf8.RuneCountInString(m.value) > MaxName {
			return E(CodeTooLong, "use."+m.name)
		}
	}
	return nil
}

// MaxQueries is the most queries of one request.
const MaxQueries = 1000

// Verdict is the answer to one query.
type Verdict struct {
	Verdict  Word           `json:"verdict"`
	Reason   Reason         `json:"reason"`
	Check    string         `json:"check"` // the check that decided
	Zh       string         `json:"zh"`
	En       string         `json:"en"`
	Since    Date           `json:"since,omitempty"`
	At       Date           `json:"at"`
	KnownAt  Date           `json:"knownAt"`
	Record   *View          `json:"record,omitempty"`
	Position uint64         `json:"position"`             // leaves applied here
	Height   uint64         `json:"height"`               // blocks applied here
	AgeMS    int64          `json:"age_ms"`               // since this node last knew it was at the head
	Last     *LastKnown     `json:"last_known,omitempty"` // with a stale verdict
	History  []HistoryEntry `json:"history,omitempty"`
}

// LastKnown is the verdict that stood when the data was fresh.
type LastKnown struct {
	Verdict Word   `json:"verdict"`
	Reason  Reason `json:"reason"`
}
