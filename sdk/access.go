package sdk

import (
	"context"
	"iter"
	"net/url"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// AccessEntry is one entry of a node's access log: who asked for what, what it was about, and what was decided.
// The log stays with the node; it names persons, so only auditors read it.
type AccessEntry struct {
	Sequence  uint64          `json:"sequence"` // from 1
	Time      model.Time      `json:"time"`     // of this node's clock
	Person    string          `json:"person"`   // id of the user or key; "" in the node's own entries
	Name      string          `json:"name"`     // of the person or system, as it was then
	Pseudonym model.Pseudonym `json:"pseudonym"`
	Agency    model.AgencyID  `json:"agency"` // the person's; of a hosted party's people the one that hosts it; "" in the node's own entries
	Party     model.USCC      `json:"party,omitempty"`
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

// AccessQuery asks for entries of the access log. What is left out is not asked about.
type AccessQuery struct {
	Record AccessRecord   // entries that touched it, lists and streams that held it among them
	Person string         // id of a user or key
	Agency model.AgencyID // whose people
	From   model.Date     // first day, in Beijing
	Until  model.Date     // last day, inclusive
	After  uint64         // only entries with a greater number
}

// Access walks the entries of the node's access log, oldest first, asking for more as it goes. It ends with the first
// error. The caller must have the right access.read, and that he asked is logged as well.
func (c *Client) Access(ctx context.Context, q AccessQuery) iter.Seq2[AccessEntry, error] {
	return func(yield func(AccessEntry, error) bool) {
		v := url.Values{"limit": {"1000"}}
		for name, value := range map[string]string{
			"person": q.Person, "agency": string(q.Agency), "from": string(q.From), "until": string(q.Until),
		} {
			if value != "" {
				v.Set(name, value)
			}
		}
		if (q.Record != AccessRecord{}) {
			v.Set("record", string(q.Record.Kind)+"/"+q.Record.ID)
		}
		for after := q.After; ; {
			v.Set("after", strconv.FormatUint(after, 10))
			page, err := get[AccessPage](ctx, c, "/v1/access?"+v.Encode())
			if err != nil {
				yield(AccessEntry{}, err)
				return
			}
			for i := range page.Entries {
				if !yield(page.Entries[i], nil) {
					return
				}
			}
			if page.Next == nil {
				return
			}
			after = *page.Next
		}
	}
}
