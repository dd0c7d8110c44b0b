// Package push is what the ways share by which an agency's back office pushes operations into its node without
// speaking HTTP: an exchange table and a watched folder. It has their vocabulary (a unit, its answers), the one
// door through which a unit becomes operations, and the journal that makes a unit count once.
//
// A unit is what is accepted together: one row, one file. It has a source and an id that its writer chose, and the
// digest of its content. The door knows no other way to the ledger than the API has: a principal signed in with a
// key of this node, its rights, the two-person rule, an idempotency key.
package push

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// State is how far an answer has come.
type State string

// Taken and accepted lead to one of the last two; held waits for a person. Nothing leaves committed and refused.
const (
	Taken     State = "taken"     // the node has it; nothing is decided yet
	Held      State = "held"      // stored as a draft that waits for another person's approval
	Accepted  State = "accepted"  // durable at the node, on its way to the ledger
	Committed State = "committed" // on the ledger, and applied to this node's records
	Refused   State = "refused"   // for good; nothing was written
)

// States lists the states in the order of a unit's life.
var States = []State{Taken, Held, Accepted, Committed, Refused}

// Final reports whether a state is never left.
func (s State) Final() bool { return s == Committed || s == Refused }

// Answer is what became of one operation of a unit.
type Answer struct {
	State      State              `json:"state"`
	Code       model.Code         `json:"code,omitempty"` // why it is refused, or waits
	Field      string             `json:"field,omitempty"`
	Zh         string             `json:"zh,omitempty"`
	En         string             `json:"en,omitempty"`
	Operation  string             `json:"operation,omitempty"`
	Draft      string             `json:"draft,omitempty"` // while and after it was held
	Record     model.RecordID     `json:"record,omitempty"`
	Version    uint64             `json:"version,omitempty"`
	Identifier string             `json:"identifier,omitempty"` // of a committed licence (证照标识)
	Position   *uint64            `json:"position,omitempty"`   // of the receipt
	Digest     string             `json:"digest,omitempty"`     // of the operation as it stands on the ledger
	Time       string             `json:"time,omitempty"`       // recorded at, RFC 3339
	Shown      model.Presentation `json:"presentation,omitempty"`
}

// Failed is an answer with an error: refused, or in the state that it stays in because of it.
func Failed(state State, err error) Answer {
	e := model.AsError(err)
	a := Answer{State: state, Code: e.Code, Field: e.Field, Zh: e.Zh(), En: e.En()}
	if e.Detail != "" {
		a.En += ": " + e.Detail
	}
	return a
}

// Unit is what is accepted together, or not at all.
type Unit struct {
	Source string       // the way it came: "table/qzk", "folder/inbox"; part of every idempotency key, so it never changes
	ID     string       // its writer's, unique in the source
	Digest model.Digest // of its content
	Count  int          // operations in it
	Drafts []model.Draft
}

// key is the unit's idempotency key.
func (u *Unit) key() string {
	h := sha256.New()
	for _, s := range []string{"zhenglian:push:v1", u.Source, u.ID, u.Digest.String()} {
		h.Write([]byte(strconv.Itoa(len(s)) + ":" + s))
	}
	return "push-" + hex.EncodeToString(h.Sum(nil)[:20])
}

// Caller is the principal in whose name a source pushes.
type Caller struct {
	Principal string
	Agency    model.AgencyID
	Person    model.Pseudonym
}

// Intake is the node, as a principal that is signed in with an API key has it. Safe for concurrent use.
type Intake interface {
	// SignIn finds the principal of the source's key. It fails while the key is unknown, expired or revoked.
	SignIn() (Caller, error)
	// Accept accepts the drafts, or holds them as a draft whose id it returns, as POST /v1/operations would from the
	// source's principal: the same rights, the same two-person rule, all or none, durable when it returns. The same
	// source, key and digest give the same result, whoever the principal is by then. The operations' ids are
	// model.DeriveOpID of no agency, source and key, also of those that were held. An error is about draft index where
	// index ≥ 0; nothing was written then.
	Accept(ctx context.Context, source, key string, digest model.Digest, drafts []model.Draft) (held string, index int, err error)
	// Outcomes waits until none of the operations is pending or ctx is done, and tells what is known.
	Outcomes(ctx context.Context, ids []model.OpID) ([]model.Outcome, error)
	// Known reports whether the node accepted an operation, or saw it on the ledger.
	Known(ctx context.Context, id model.OpID) (bool, error)
	// Recovered takes down operations that were accepted before the process ended, and perhaps not taken down then:
	// principal is in whose name, "" where that is not known any more; drafts are nil where they are lost.
	Recovered(ctx context.Context, principal string, agency model.AgencyID, drafts []model.Draft, ids []model.OpID) error
	// Refusal tells why a draft never becomes operations: it was not approved, or refused after it was. nil while it
	// waits, and once it is accepted.
	Refusal(ctx context.Context, draft string) (*model.Error, error)
	// Identifier is a licence's identifier, "" of anything else.
	Identifier(kind model.Kind, id model.RecordID) string
}

// patience is how long the door waits for an outcome before it answers "accepted".
const patience = 2 * time.Second
