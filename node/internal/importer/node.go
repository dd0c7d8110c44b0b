package importer

import (
	"context"
	"fmt"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Node is a node as the importer needs it: the SDK's client, in practice. Errors are *model.Error, or what
// the network says. Safe for concurrent use.
type Node interface {
	// Submit asks the node to accept all of the drafts or none, and answers with an outcome for each, in
	// order. The same key and drafts are the same request, however often it is sent. Outcomes may still be
	// pending: sending the same again waits on. A draft that the node will not accept is a *Refusal, and
	// nothing was written then. batch is the registered batch that they belong to.
	Submit(ctx context.Context, key, batch string, drafts []model.Draft) ([]model.Outcome, error)
	// Register registers a batch: what goes in many requests is looked at by a second person as one, where the
	// node's rules ask for that. The same key and terms are the same batch.
	Register(ctx context.Context, key string, t sdk.BatchTerms) (sdk.HeldBatch, error)
	// Verify answers queries, at most model.MaxQueries, in order.
	Verify(ctx context.Context, queries []model.Query) ([]model.Verdict, error)
	// Entry is an entry of the registry, model.CodeNotFound for none.
	Entry(ctx context.Context, kind model.Kind, id model.RecordID) (model.View, error)
	// Entries calls f for every entry of a kind.
	Entries(ctx context.Context, kind model.Kind, f func(model.View) error) error
}

// Refusal is a node's refusal of a whole request because of one draft.
type Refusal struct {
	Index int
	Err   *model.Error
}

func (r *Refusal) Error() string { return fmt.Sprintf("draft %d: %s", r.Index, r.Err) }

// Unwrap gives the node's error.
func (r *Refusal) Unwrap() error { return r.Err }

// Target is a node to send rows to.
type Target struct {
	// Name is the node's id in the registry. The one target of an import may leave it empty: every row is
	// sent to it then, and it refuses those of agencies that it does not act for.
	Name model.NodeID
	Node Node
}
