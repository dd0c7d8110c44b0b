package sdk

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Some writes need another person's approval: the node keeps them in its inbox and answers with a HeldError. Whoever
// wrote waits (WaitDraft), or asks again later under the same idempotency key; somebody else approves. See
// docs/spec/inbox.md.

// HeldDraft is a request that waits for another person, or waited.
type HeldDraft struct {
	ID         string             `json:"id"`
	State      DraftState         `json:"state"`
	Rules      []string           `json:"rules"` // why it waits: endings, registry, keys, batches
	Operations int                `json:"operations"`
	Agencies   []model.AgencyID   `json:"agencies"` // that the operations act for
	Types      map[model.Type]int `json:"types"`
	Drafter    DraftPerson        `json:"drafter"`
	Content    model.Digest       `json:"content"` // what an approver names
	Created    model.Time         `json:"created"`
	Expires    model.Time         `json:"expires"`
	Batch      *BatchTerms        `json:"batch,omitempty"`    // what is asked for is a batch
	Decision   *DraftDecision     `json:"decision,omitempty"` // once it is not pending
	Sent       bool               `json:"sent,omitempty"`     // approved, and accepted by the node: see OperationIDs
	Problem    *model.Problem     `json:"problem,omitempty"`  // approved, and refused by the node: nothing was written
	// OperationIDs are those that the request has, or will have.
	OperationIDs []model.OpID `json:"operation_ids,omitempty"`
	Erased       bool         `json:"erased,omitempty"` // its content is no longer kept
	Mine         bool         `json:"mine"`             // of who asks
	MayDecide    bool         `json:"may_decide"`       // who asks may approve or reject it
	Zh           string       `json:"zh"`               // how it stands, in words
	En           string       `json:"en"`

	// Writers is the node's own and is not sent: ids of users who can write to the source that it was pushed by.
	Writers []string `json:"-"`
}

// DraftState is a draft's state. All but the first are final.
type DraftState string

// States of a draft.
const (
	DraftPending   DraftState = "pending"
	DraftApproved  DraftState = "approved"
	DraftRejected  DraftState = "rejected"
	DraftWithdrawn DraftState = "withdrawn"
	DraftExpired   DraftState = "expired"
)

// DraftPerson is who drafts or decides.
type DraftPerson struct {
	Principal string          `json:"principal"`
	Person    model.Pseudonym `json:"person"`
	Name      string          `json:"name,omitempty"`
	Agency    model.AgencyID  `json:"agency"`
}

// DraftDecision is who decided, when, and why. Nobody decides an expiry.
type DraftDecision struct {
	By     *DraftPerson `json:"by,omitempty"`
	At     model.Time   `json:"at"`
	Reason string       `json:"reason,omitempty"`
}

// DraftRow is one operation of a draft.
type DraftRow struct {
	Index     int         `json:"index"`
	Zh        string      `json:"zh"` // what it does, in words
	En        string      `json:"en"`
	Operation model.Draft `json:"operation"`        // its confidential body only for who wrote or may decide it
	Record    *RowRecord  `json:"record,omitempty"` // that it acts on, as it stands now
	Moved     bool        `json:"moved,omitempty"`  // the record has changed since: approving will be refused
}

// RowRecord is how a record stands.
type RowRecord struct {
	Version uint64      `json:"version"`
	State   model.State `json:"state"`
}

// DraftContent is a draft with a page of its operations.
type DraftContent struct {
	Draft HeldDraft  `json:"draft"`
	Rows  []DraftRow `json:"rows"`
	Next  *int       `json:"next,omitempty"` // pass as from; absent on the last page
}

// DraftPage is a page of drafts, in the order in which they came.
type DraftPage struct {
	Drafts []HeldDraft `json:"drafts"`
	Next   string      `json:"next,omitempty"` // pass as after; absent on the last page
}

// DraftApproval names what the approver has seen.
type DraftApproval struct {
	Content *model.Digest `json:"content"`
}

// DraftReason says why.
type DraftReason struct {
	Reason string `json:"reason"`
}

// DecidedDraft is a draft after a decision, with the outcomes of its operations where it was approved.
type DecidedDraft struct {
	Draft    HeldDraft       `json:"draft"`
	Outcomes []model.Outcome `json:"outcomes,omitempty"`
}

// BatchTerms are what a batch may be used for.
type BatchTerms struct {
	Name   string         `json:"name"` // in people's words
	File   model.Digest   `json:"file"` // SHA-256 of what is sent in pieces
	Rows   int            `json:"rows"` // operations in all
	Type   model.Type     `json:"type"` // of each
	Agency model.AgencyID `json:"agency,omitempty"`
	// Records are those that a batch of endings ends, up to 100,000 and as many as Rows; of other types there are none.
	// No answer has them: they are the rows of the draft.
	Records []model.RecordID `json:"records,omitempty"`
}

// Batch is a registered batch.
type Batch struct {
	ID    string     `json:"id"`
	State BatchState `json:"state"`
	BatchTerms
	Used  int        `json:"used"`            // rows accepted so far
	Until model.Time `json:"until,omitempty"` // of an open one
}

// BatchState is whether a batch may be used.
type BatchState string

// States of a batch.
const (
	BatchPending BatchState = "pending"
	BatchOpen    BatchState = "open"
	BatchClosed  BatchState = "closed" // rejected, withdrawn, expired
)

// HeldBatch is the answer to registering a batch: Draft where it waits.
type HeldBatch struct {
	Batch Batch      `json:"batch"`
	Draft *HeldDraft `json:"draft,omitempty"`
}

// HeldError says that a write waits for another person. Nothing is on the ledger yet. errors.Is finds
// model.E(model.CodeAwaitingApproval) in it.
type HeldError struct{ Draft HeldDraft }

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s: draft %s, until %s", model.CodeAwaitingApproval, e.Draft.ID, e.Draft.Expires)
}

// Unwrap is the error's code.
func (e *HeldError) Unwrap() error {
	return model.E(model.CodeAwaitingApproval).With("draft %s", e.Draft.ID)
}

// Held finds the draft of a write that waits for another person.
func Held(err error) (HeldDraft, bool) {
	var held *HeldError
	if errors.As(err, &held) {
		return held.Draft, true
	}
	return HeldDraft{}, false
}

// DraftQuery says which drafts to list; zero fields ask for all.
type DraftQuery struct {
	State DraftState
	Mine  bool
	After string
	Limit int
}

// Drafts lists a page of drafts that the caller wrote, may decide, or may read the records of.
func (c *Client) Drafts(ctx context.Context, q DraftQuery) (DraftPage, error) {
	v := url.Values{}
	if q.State != "" {
		v.Set("state", string(q.State))
	}
	if q.Mine {
		v.Set("mine", "true")
	}
	if q.After != "" {
		v.Set("after", q.After)
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return get[DraftPage](ctx, c, "/v1/drafts?"+v.Encode())
}

// Draft shows a draft with a page of its operations, from the index given.
func (c *Client) Draft(ctx context.Context, id string, from int) (DraftContent, error) {
	return get[DraftContent](ctx, c, draftPath(id, "")+"?limit=500&from="+strconv.Itoa(from))
}

func draftPath(id, act string) string {
	p := "/v1/drafts/" + url.PathEscape(id)
	if act != "" {
		p += "/" + act
	}
	return p
}

// ApproveDraft approves a draft whose content one has seen: the digest that Draft showed. A single operation that is
// then refused is an error; of several look at each outcome.
func (c *Client) ApproveDraft(ctx context.Context, id string, content model.Digest, w Write) (DecidedDraft, error) {
	path := draftPath(id, "approve")
	if w.NoWait {
		path += "?wait=accepted"
	}
	return c.decideDraft(ctx, path, DraftApproval{&content}, w)
}

// RejectDraft ends a draft with a reason.
func (c *Client) RejectDraft(ctx context.Context, id, reason string) (HeldDraft, error) {
	d, err := c.decideDraft(ctx, draftPath(id, "reject"), DraftReason{reason}, Write{})
	return d.Draft, err
}

// WithdrawDraft takes one's own draft back.
func (c *Client) WithdrawDraft(ctx context.Context, id string) (HeldDraft, error) {
	d, err := c.decideDraft(ctx, draftPath(id, "withdraw"), struct{}{}, Write{})
	return d.Draft, err
}

// ResendDraft sends the content of one's own draft that was rejected, withdrawn, expired or refused once more, and returns
// the new draft.
func (c *Client) ResendDraft(ctx context.Context, id string) (HeldDraft, error) {
	d, err := c.decideDraft(ctx, draftPath(id, "resend"), struct{}{}, Write{})
	return d.Draft, err
}

func (c *Client) decideDraft(ctx context.Context, path string, in any, w Write) (DecidedDraft, error) {
	body, err := encode(in)
	if err != nil {
		return DecidedDraft{}, err
	}
	key := w.IdempotencyKey
	if key == "" {
		key = newKey()
	}
	return exchange[DecidedDraft](ctx, c, call{method: http.MethodPost, path: path, body: body, key: key})
}

// WaitDraft asks for a draft until it is not pending, and an approved one until the node has spoken, or ctx ends.
func (c *Client) WaitDraft(ctx context.Context, id string) (HeldDraft, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		d, err := c.Draft(ctx, id, 0)
		if err != nil {
			return d.Draft, err
		}
		h := d.Draft
		onItsWay := h.State == DraftApproved && h.Batch == nil && !h.Sent && h.Problem == nil
		if h.State != DraftPending && !onItsWay {
			return h, nil
		}
		if !sleep(ctx, pause) {
			return h, ctx.Err()
		}
	}
}

// RegisterBatch registers what will be sent in many requests. Where it needs approval the answer's State is pending and
// Draft says where it waits: ask with WaitDraft, or Batch, until it is open, and name it in Write.Batch. The same idempotency key
// and terms are the same batch.
func (c *Client) RegisterBatch(ctx context.Context, t BatchTerms, idempotencyKey string) (HeldBatch, error) {
	body, err := encode(t)
	if err != nil {
		return HeldBatch{}, err
	}
	if idempotencyKey == "" {
		idempotencyKey = newKey()
	}
	return exchange[HeldBatch](ctx, c, call{method: http.MethodPost, path: "/v1/batches", body: body, key: idempotencyKey})
}

// Batch tells how a batch stands.
func (c *Client) Batch(ctx context.Context, id string) (HeldBatch, error) {
	return get[HeldBatch](ctx, c, "/v1/batches/"+url.PathEscape(id))
}
