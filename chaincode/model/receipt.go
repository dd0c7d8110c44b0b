package model

import "encoding/json"

// Receipt says where a committed operation stands. Position, the leaf's index in the verifiable log, is
// the position that everything else refers to.
type Receipt struct {
	Operation OpID     `json:"operation"`
	Digest    Digest   `json:"digest"` // of the operation as it stands on the ledger
	Kind      Kind     `json:"kind"`
	Record    RecordID `json:"record"`
	Version   uint64   `json:"version"`
	State     State    `json:"state"`
	Position  uint64   `json:"position"`
	Leaf      Digest   `json:"leaf"` // RFC 6962 leaf hash
	Block     uint64   `json:"block"`
	Tx        string   `json:"tx"`
	Time      Time     `json:"time"` // recorded at, as the operation says
	Late      bool     `json:"late,omitempty"`
}

// Progress is how far an accepted operation has come.
type Progress string

// An accepted operation is pending until it stands in a block that this node has applied (committed), or
// until the contract has refused it for good.
const (
	Pending   Progress = "pending"
	Committed Progress = "committed"
	Rejected  Progress = "refused"
)

// Outcome is the answer about one operation.
type Outcome struct {
	Operation OpID     `json:"operation"`
	Status    Progress `json:"status"`
	Kind      Kind     `json:"kind"`
	Record    RecordID `json:"record"`
	Version   uint64   `json:"version"`
	Receipt   *Receipt `json:"receipt,omitempty"` // when committed
	Problem   *Problem `json:"problem,omitempty"` // when refused
	// Presentation opens the commitments of a licence with a confidential body; it goes only to who issued it.
	Presentation Presentation `json:"presentation,omitempty"`
}

// Problem is an error on a wire (RFC 9457 with our members). Detail never holds personal data.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"` // English sentence of the code
	Zh     string `json:"zh"`    // Chinese sentence
	Status int    `json:"status"`
	Code   Code   `json:"code"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Written says what is known: "nothing" or "perhaps" (ask for the operation's outcome).
	Written string `json:"written"`
	Index   *int   `json:"index,omitempty"` // of the offending element of an array
}

// Problem puts the error into its wire form.
func (e *Error) Problem() *Problem {
	p := &Problem{
		Type: "urn:zhenglian:problem:" + string(e.Code), Title: e.En(), Zh: e.Zh(), Status: e.Status(),
		Code: e.Code, Field: e.Field, Detail: e.Detail, Written: "nothing",
	}
	if e.Kind() == Unknown {
		p.Written = "perhaps"
	}
	return p
}

// Error turns a problem read from a wire back into an error; an unknown code keeps its text.
func (p *Problem) Error() *Error {
	e := &Error{Code: p.Code, Field: p.Field, Detail: p.Detail}
	if !p.Code.Known() {
		e.Detail = p.Title
	}
	return e
}

// View is a record as a node shows it: header, public value, place in the log.
type View struct {
	Kind Kind     `json:"kind"`
	ID   RecordID `json:"id"`
	Header
	Public   json.RawMessage `json:"public"`   // the public value
	Digest   Digest          `json:"digest"`   // the record digest of the latest leaf
	Position uint64          `json:"position"` // of the latest leaf
	Leaf     Digest          `json:"leaf"`
	// Duplicate is set when another record claims the same natural number.
	Duplicate bool `json:"duplicate,omitempty"`
}

// HistoryEntry is one version of a record: who did what.
type HistoryEntry struct {
	Position  uint64          `json:"position"`
	Version   uint64          `json:"version"`
	Operation OpID            `json:"operation"`
	Type      Type            `json:"type"`
	Agency    AgencyID        `json:"agency"`
	Msp       MSPID           `json:"msp"`
	Person    Pseudonym       `json:"person,omitempty"`
	Time      Time            `json:"time"`
	State     State           `json:"state"`
	Block     uint64          `json:"block"`
	Tx        string          `json:"tx"`
	Late      bool            `json:"late,omitempty"`
	Body      json.RawMessage `json:"body"`
}
