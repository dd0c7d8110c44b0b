package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/bench/report"
	"github.com/zhenglian/zhenglian/network/fabric"
)

// array is how many operations one request carries.
const array = 100

// node is the API of the measured node.
type node struct{ wire *wire }

func newNode(n *fabric.Node) (*node, error) {
	if n == nil || n.Keys["approver"] == "" {
		return nil, fmt.Errorf("the network has no node of %s with an approver's key", nodeOrg)
	}
	w, err := newWire(n.URL, n.Keys["approver"])
	return &node{w}, err
}

var answers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// post sends a body and gives the whole answer to read, for as long as read runs. Any status but 200 is an error.
func (n *node) post(ctx context.Context, path string, body []byte, read func([]byte) error) error {
	out := answers.Get().(*bytes.Buffer)
	defer answers.Put(out)
	out.Reset()
	status, err := n.wire.post(ctx, path, body, out)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s: status %d: %.300s", path, status, out)
	}
	return read(out.Bytes())
}

// write sends drafts and returns the records once all are committed.
func (n *node) write(ctx context.Context, body []byte, want int) (ids []model.RecordID, err error) {
	err = n.post(ctx, "/v1/operations", body, func(out []byte) (err error) {
		ids, err = report.Committed(out, want)
		return err
	})
	return ids, err
}

// question is a licence to verify, as the node and as the plain client are asked about it.
type question struct {
	body   []byte
	record model.RecordID
}

// readBack asks the node for a verdict on every record: all distinct, all of them as wanted. It returns the questions
// by which each can be asked about by its identifier.
func (n *node) readBack(ctx context.Context, ids []model.RecordID, want model.Word) ([]question, error) {
	distinct := slices.Clone(ids)
	slices.Sort(distinct)
	if distinct = slices.Compact(distinct); len(distinct) != len(ids) {
		return nil, fmt.Errorf("%d distinct records, want %d", len(distinct), len(ids))
	}
	out := make([]question, 0, len(distinct))
	for part := range slices.Chunk(distinct, model.MaxQueries) {
		queries := make([]model.Query, len(part))
		for i, id := range part {
			queries[i].Record = id
		}
		var verdicts []struct {
			Verdict model.Word   `json:"verdict"`
			Reason  model.Reason `json:"reason"`
			Record  struct {
				Public struct {
					Identifier model.LicenceID `json:"identifier"`
				} `json:"public"`
			} `json:"record"`
		}
		if err := n.post(ctx, "/v1/verify", mustJSON(queries), func(raw []byte) error { return json.Unmarshal(raw, &verdicts) }); err != nil {
			return nil, fmt.Errorf("read back: %w", err)
		}
		if len(verdicts) != len(part) {
			return nil, fmt.Errorf("read back: %d verdicts for %d queries", len(verdicts), len(part))
		}
		for i, v := range verdicts {
			if v.Verdict != want {
				return nil, fmt.Errorf("read back: %s is %s (%s), want %s", part[i], v.Verdict, v.Reason, want)
			}
			out = append(out, question{mustJSON(model.Query{Identifier: v.Record.Public.Identifier}), part[i]})
		}
	}
	return out, nil
}

// readBackSoon is readBack of what others wrote: the node may be a moment behind.
func (n *node) readBackSoon(ctx context.Context, ids []model.RecordID) error {
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := n.readBack(ctx, ids, model.Valid)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// verify asks one question and expects a valid licence; it looks at every 64th answer in full.
func (n *node) verify(ctx context.Context, body []byte, check bool) error {
	return n.post(ctx, "/v1/verify", body, func(out []byte) error {
		if !check {
			return nil
		}
		var v struct {
			Verdict model.Word `json:"verdict"`
		}
		if err := json.Unmarshal(out, &v); err != nil || v.Verdict != model.Valid {
			return fmt.Errorf("verdict %q: %.300s", v.Verdict, out)
		}
		return nil
	})
}
