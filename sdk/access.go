package sdk

import "github.com/zhenglian/zhenglian/chaincode/model"

// AccessEntry is one entry of a node's access log: who asked for what, what it was about, and what was decided.
// The log stays with the node; it names persons, so only auditors read it.
type AccessEntry struct {
	Sequence  uint64          `json:"sequence"` // from 1
	Time      model.Time      `json:"time"`     // of this node's clock
	Person    string          `json:"person"`   // id of the user or key; "" in the node's own entries
	Name      string          `json:"name"`     // of the person or system, as it was then
	Pseudonym model.Pseudonym `json:"pseudonym"`
	Agency    model.AgencyID  `json:"agency"`
	Action    string          `json:"action"`  // the right that was asked for: an operation's type, or such as record.read
	Route     string          `json:"route"`   // operationId of the route
	Allowed   bool            `json:"allowed"` // by the policies; a request may fail otherwise, see status
	Policy    string          `json:"policy"`  // that decided
	Status    int             `json:"status"`  // of the answer; 202 of operations that were accepted
	Request   string          `json:"request"` // X-Request-Id
	Count     uint64          `json:"count"`   // queries, operations or records of the request; of the node's own entries what they count
	Use       *AccessUse      `json:"use,omitempty"`
	Records   []AccessRecord  `json:"records"`
}

// AccessRecord is a record that a request touched. An ID of "*" stands for all of a kind: a list, or a stream of events.
type AccessRecord struct {
	Kind model.Kind `json:"kind"`
	ID   string     `json:"id"`
}

// AccessUse is what the request stated of its purpose (model.Use), the clerk as a pseudonym.
type AccessUse struct {
	Purpose      string          `json:"purpose,omitempty"`
	OrgName      string          `json:"orgName,omitempty"`
	User         model.Pseudonym `json:"user,omitempty"`
	ItemName     string          `json:"itemName,omitempty"`
	ItemCode     string          `json:"itemCode,omitempty"`
	BusinessCode string          `json:"businessCode,omitempty"`
}

// AccessPage is a page of the access log, in the order of the entries. Next, given as after, continues; it is absent on
// the last page. A page may be shorter than asked for, or empty, and still have a next one: a search looks at so much of
// the log at a time.
type AccessPage struct {
	Entries []AccessEntry `json:"entries"`
	Next    *uint64       `json:"next,omitempty"`
}
