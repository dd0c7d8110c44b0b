package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// NeedsApproval says that an import, or its undoing, waits for a second person at a node. Run again once the
// draft is approved, it goes on.
type NeedsApproval struct {
	Node  model.NodeID // "" for the one node
	Draft sdk.HeldDraft
}

func (e *NeedsApproval) Error() string {
	return fmt.Sprintf("%s: draft %s", model.CodeAwaitingApproval, e.Draft.ID)
}

// Unwrap is the error's code.
func (e *NeedsApproval) Unwrap() error { return model.E(model.CodeAwaitingApproval) }

// Rejected says that the second person has refused, or that the draft was withdrawn.
type Rejected struct{ Draft sdk.HeldDraft }

func (e *Rejected) Error() string {
	reason := ""
	if d := e.Draft.Decision; d != nil && d.Reason != "" {
		reason = ": " + d.Reason
	}
	return fmt.Sprintf("draft %s is %s%s", e.Draft.ID, e.Draft.State, reason)
}

// batchEnded reports whether a request was turned down because its batch is used up or no longer open.
func batchEnded(err error) bool {
	return errors.Is(err, model.E(model.CodeBatchNotOpen)) || errors.Is(err, model.E(model.CodeBatchExhausted))
}

// register makes a batch of what goes to each node. Its key is derived from what is imported, so that every
// run finds the batch of the first, also one that was approved in between.
func (r *run) register(c Checked, targets map[model.NodeID]Target) error {
	r.batches = map[model.NodeID]string{}
	rows := map[model.NodeID]int{}
	for node, n := range c.ByNode {
		if _, ok := targets[node]; !ok {
			node = r.im.Targets[0].Name
		}
		rows[node] += n
	}
	if n := r.j.Counts(); n.Issued+n.Already+n.Rejected >= c.Good {
		return nil // all is done
	}
	name := firstOf(r.im.Name, r.im.Map.Name, r.j.Batch())
	var waiting error
	for _, t := range r.im.Targets {
		if rows[t.Name] == 0 {
			continue
		}
		id, err := openBatch(r.ctx, t, r.j, sdk.BatchTerms{Name: clip(name, 256), File: c.File, Rows: rows[t.Name], Type: model.LicenceIssue}, "issue", r.im.Approval)
		var needs *NeedsApproval
		if errors.As(err, &needs) && waiting == nil { // the others' drafts can be approved meanwhile
			waiting = err
			continue
		}
		if err != nil && needs == nil {
			return err
		}
		r.batches[t.Name] = id
	}
	return waiting
}

func clip(s string, most int) string {
	for i := range s {
		if i > most-4 {
			return s[:i] + "…"
		}
	}
	return s
}

// openBatch registers a batch and waits until it is open, as long as the caller likes to.
func openBatch(ctx context.Context, t Target, j *Journal, terms sdk.BatchTerms, purpose string, wait time.Duration) (string, error) {
	attempt, err := j.attempt(t.Name, false)
	if err != nil {
		return "", err
	}
	failing, until := time.Now(), time.Now().Add(wait)
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		h := sha256.New()
		h.Write(j.head.Map[:])
		fmt.Fprintf(h, "%s %s %s %d %d", j.head.File, j.head.Started, purpose, terms.Rows, attempt)
		b, err := t.Node.Register(ctx, "import-batch-"+hex.EncodeToString(h.Sum(nil)[:20]), terms)
		switch {
		case err == nil:
			failing = time.Now()
			switch b.Batch.State {
			case sdk.BatchOpen:
				return b.Batch.ID, nil
			case sdk.BatchClosed:
				if b.Draft != nil && (b.Draft.State == sdk.DraftRejected || b.Draft.State == sdk.DraftWithdrawn) {
					return "", &Rejected{*b.Draft}
				}
				if attempt, err = j.attempt(t.Name, true); err != nil { // it was open too long ago
					return "", err
				}
				continue
			}
			if b.Draft == nil {
				return "", errors.New("the node says that a batch waits, and not for whom")
			}
			if time.Now().After(until) {
				return "", &NeedsApproval{t.Name, *b.Draft}
			}
		case errors.Is(err, model.E(model.CodeNotApproved)): // the draft of this key is decided against, or expired
			if attempt, err = j.attempt(t.Name, true); err != nil {
				return "", err
			}
			continue
		case !passing(err) || time.Since(failing) > defaultPatience:
			return "", err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
