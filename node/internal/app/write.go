package app

import (
	"context"
	"errors"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/ledger"
)

// writing gives the API its way to the ledger.
type writing struct{ n *Node }

func (w writing) Accept(ctx context.Context, s httpapi.Submission) ([]model.OpID, int, error) {
	if w.n.importing() {
		return nil, -1, model.E(model.CodeImportOpen)
	}
	return desk(w).accept(ctx, s)
}

// Wait returns outcomes once none is pending or ctx is done, to who sent the operations.
func (w writing) Wait(ctx context.Context, ids []model.OpID) ([]model.Outcome, error) {
	out, err := w.n.submit.Wait(ctx, ids)
	if err != nil && out == nil {
		return nil, err
	}
	return out, w.presented(out)
}

// Outcome tells what became of one operation. It shows no openings: whoever may ask for an operation need
// not be who sent it.
func (w writing) Outcome(_ context.Context, id model.OpID) (model.Outcome, error) {
	o, ok, err := w.n.submit.Outcome(id)
	if err != nil {
		return o, err
	}
	if !ok {
		return o, w.n.absent()
	}
	return o, nil
}

// presented adds to a committed licence's outcome what its holder needs to prove it.
func (w writing) presented(outcomes []model.Outcome) error {
	for i := range outcomes {
		o := &outcomes[i]
		if o.Kind != model.KindLicence || o.Status == model.Rejected {
			continue
		}
		openings, err := w.n.vault.Openings(o.Operation)
		if err != nil {
			return err
		}
		if len(openings) > 0 {
			o.Presentation = model.Presentation(openings)
		}
	}
	return nil
}

// found submits Init where the ledger has nothing yet. Every node of a new ledger tries; the first one's
// stands, and the others are refused, which is as good. A ledger that takes over another begins when somebody
// imports it (migrate.go).
func (n *Node) found(ctx context.Context) {
	if n.cfg.ImportFrom != "" {
		return
	}
	for ctx.Err() == nil {
		if n.records.Position() > 0 || n.follower.Finding() != nil {
			return
		}
		if n.follower.Age() < time.Minute {
			_, _, envelope, err := n.client.Propose(ctx, model.FunctionInit, [][]byte{n.genesis})
			if err == nil {
				err = n.client.Submit(ctx, envelope)
			}
			var le *ledger.Error
			if errors.As(err, &le) && le.Kind == ledger.Refused {
				n.log.Info("the ledger is initialised by another node", "code", le.Code)
			} else if err != nil {
				n.log.Warn("the ledger could not be initialised yet", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}
