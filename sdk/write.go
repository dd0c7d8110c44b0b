package sdk

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Write says how to write.
type Write struct {
	// IdempotencyKey makes the request the same request however often it is sent, also by another run of the
	// program: 1 to 128 visible ASCII characters. Left out, each call makes its own, which covers the
	// attempts within the call.
	IdempotencyKey string
	// NoWait returns once the operations are durably accepted, which may be before they are committed.
	NoWait bool
	// Accepted, where given, is told the outcomes, some of which are pending, when the node first says that all are
	// durably accepted and the call begins to wait for the ledger. Not called with NoWait.
	Accepted func([]model.Outcome)
	// Batch is the id of an open batch that the request belongs to; see RegisterBatch. Such a request has an
	// IdempotencyKey.
	Batch string
}

// Submit sends operations, at most model.MaxOperations, and returns their outcomes in order.
//
// The node accepts all of them or none: an error about one is an *ElementError and nothing was written.
// Accepted operations are committed or refused one by one: look at each outcome's Status and Problem.
//
// What needs another person's approval is a *HeldError: it is stored, and on no ledger yet.
//
// Unless NoWait, Submit returns when none is pending. If ctx ends before, or the node is lost, it returns the
// outcomes as last known with outcome_unknown: the operations are not lost, and the same IdempotencyKey tells later
// what became of them.
func (c *Client) Submit(ctx context.Context, drafts []model.Draft, w Write) ([]model.Outcome, error) {
	if len(drafts) == 0 {
		return nil, nil
	}
	body, err := encodeDrafts(drafts)
	if err != nil {
		return nil, err
	}
	out, err := c.write(ctx, http.MethodPost, "/v1/operations", body, w, decodeOutcomes)
	if err == nil && len(out) != len(drafts) {
		err = model.E(model.CodeInvalidJSON).With("the node answered %d operations with %d outcomes", len(drafts), len(out))
	}
	return out, err
}

// write sends a request under its key until its operations are settled. While they are pending, sending the
// same request again is the way to wait on: the node knows it by its key and answers with the outcomes.
//
// What the node has once accepted stays accepted, whatever becomes of the waiting.
func (c *Client) write(ctx context.Context, method, path string, body []byte, w Write, decode func([]byte) ([]model.Outcome, error)) ([]model.Outcome, error) {
	r := call{method: method, path: path, body: body, key: w.IdempotencyKey, batch: w.Batch}
	if r.key == "" {
		r.key = newKey()
	}
	if w.NoWait {
		r.path += "?wait=accepted"
	}
	var accepted []model.Outcome // as last known; nil before they are accepted
	for {
		a, err := c.do(ctx, r)
		if err != nil {
			if accepted == nil || decides(err) {
				return nil, err
			}
			return accepted, waitedFor(r.key, err)
		}
		if a.status == http.StatusAccepted && bytes.HasPrefix(a.body, []byte(`{"draft":`)) {
			var held DecidedDraft
			if err := decodeAnswer(a.body, &held); err != nil {
				return nil, err
			}
			return nil, &HeldError{held.Draft}
		}
		out, err := decode(a.body)
		if err != nil {
			if accepted == nil {
				return nil, err
			}
			return accepted, waitedFor(r.key, err)
		}
		if a.status != http.StatusAccepted || w.NoWait {
			return out, nil
		}
		if accepted == nil && w.Accepted != nil {
			w.Accepted(out)
		}
		accepted = out
		if !sleep(ctx, firstPause) {
			return accepted, waitedFor(r.key, ctx.Err())
		}
	}
}

// decides reports whether the answer to a request that was accepted before is its one operation's refusal. The
// others say how the node is, or what it thinks of the caller now.
func decides(err error) bool {
	e := model.AsError(err)
	switch e.Kind() {
	case model.Unknown, model.Unavailable, model.Limited, model.Unauthenticated, model.Internal:
		return false
	}
	return e.Code != model.CodeForbidden
}

// waitedFor says that operations are accepted and the waiting for them has ended.
func waitedFor(key string, err error) error {
	if e := model.AsError(err); e.Code == model.CodeOutcomeUnknown && e.Cause != nil {
		err = e.Cause // it knew less
	}
	return model.E(model.CodeOutcomeUnknown).With("accepted under Idempotency-Key %s", key).Because(err)
}

// writeOne sends a request for one operation. The node answers a refused one with its problem, which is an
// error here, so the outcome of a call without error is committed, or pending with NoWait.
func (c *Client) writeOne(ctx context.Context, method, path string, in any, w Write) (model.Outcome, error) {
	body, err := encode(in)
	if err != nil {
		return model.Outcome{}, err
	}
	out, err := c.write(ctx, method, path, body, w, func(b []byte) ([]model.Outcome, error) {
		one := make([]model.Outcome, 1)
		return one, decodeAnswer(b, &one[0])
	})
	if len(out) == 0 {
		return model.Outcome{}, err
	}
	return out[0], err
}

// Operation tells what became of an operation.
func (c *Client) Operation(ctx context.Context, id model.OpID) (model.Outcome, error) {
	return get[model.Outcome](ctx, c, "/v1/operations/"+id.String())
}

// Settle asks for an operation until it is committed or refused, or ctx ends.
func (c *Client) Settle(ctx context.Context, id model.OpID) (model.Outcome, error) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		o, err := c.Operation(ctx, id)
		if err != nil || o.Status != model.Pending {
			return o, err
		}
		if !sleep(ctx, pause) {
			return o, model.E(model.CodeOutcomeUnknown).Because(ctx.Err())
		}
	}
}

// Issue issues a licence.
func (c *Client) Issue(ctx context.Context, l NewLicence, w Write) (model.Outcome, error) {
	return c.writeOne(ctx, http.MethodPost, "/v1/licences", l, w)
}

// Act does an act on a licence: model.LicenceSuspend and the like.
func (c *Client) Act(ctx context.Context, id model.RecordID, act model.Type, in LicenceAct, w Write) (model.Outcome, error) {
	const area = "licence."
	if len(act) <= len(area) || act[:len(area)] != area {
		return model.Outcome{}, model.E(model.CodeUnknownOperation, "act")
	}
	return c.writeOne(ctx, http.MethodPost, "/v1/licences/"+url.PathEscape(string(id))+"/"+url.PathEscape(string(act[len(area):])), in, w)
}

// encodeDrafts writes the array of drafts. Bodies go as they stand: a batch of a hundred licences is mostly
// bodies, and the node checks them anyway.
func encodeDrafts(drafts []model.Draft) ([]byte, error) {
	size := 2
	for i := range drafts {
		size += len(drafts[i].Body) + 256
	}
	b := append(make([]byte, 0, size), '[')
	for i := range drafts {
		d := &drafts[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"type":`...)
		b = strconv.AppendQuote(b, string(d.Type))
		for _, m := range [...]struct{ name, value string }{
			{`,"agency":`, string(d.Agency)}, {`,"kind":`, string(d.Kind)}, {`,"record":`, string(d.Record)},
		} {
			if m.value != "" {
				b = strconv.AppendQuote(append(b, m.name...), m.value)
			}
		}
		if d.Version != 0 {
			b = strconv.AppendUint(append(b, `,"version":`...), d.Version, 10)
		}
		if len(d.Body) > 0 {
			b = append(append(b, `,"body":`...), d.Body...)
		}
		if d.Confidential != nil {
			c, err := encode(d.Confidential)
			if err != nil {
				return nil, &ElementError{i, model.AsError(err)}
			}
			b = append(append(b, `,"confidential":`...), c...)
		}
		b = append(b, '}')
	}
	return append(b, ']'), nil
}

// IsUnknown reports whether an error leaves open if something was written.
func IsUnknown(err error) bool {
	var e *model.Error
	return errors.As(err, &e) && e.Kind() == model.Unknown
}
