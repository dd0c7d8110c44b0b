package app

import (
	"context"
	"encoding/json"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/follow"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/submit"
)

// openSubmit wires the batcher between outbox, ledger and records.
func (n *Node) openSubmit() error {
	var err error
	c := submit.Config{Settled: n.intake.Settled, Logger: n.log.With("part", "submit")}
	if n.telemetry != nil {
		c.Tracer = n.telemetry
	}
	n.submit, err = submit.New(c, n.client, n.outbox, n.outbox, known{n})
	if err != nil {
		return err
	}
	n.metrics.MustRegister(n.submit.Collectors()...)
	n.intake.Queue = queue{n.submit, n.outbox}
	var waiting []model.Operation
	if err := n.outbox.Pending(func(op model.Operation, _ []byte) error {
		waiting = append(waiting, op)
		return nil
	}); err != nil {
		return err
	}
	n.intake.Recover(waiting)
	return nil
}

// queue is what intake puts operations into.
type queue struct {
	*submit.Submitter
	outbox *outbox.Outbox
}

func (q queue) Lookup(key [16]byte) (model.Digest, int, bool, error) { return q.outbox.Lookup(key) }

// known is what this node has applied, as the batcher asks about it.
type known struct{ n *Node }

func (k known) Receipt(id model.OpID) (model.Receipt, bool, error) { return k.n.records.Receipt(id) }

// Judge runs the contract on the mirror of the state, as this node's own transaction at this moment.
func (k known) Judge(op model.Operation) error {
	now := time.Now()
	op.Time = model.TimeOf(now)
	s := k.n.records.Snapshot()
	defer s.Release()
	x, err := k.n.contract.Execute(s, model.Call{
		Function: model.FunctionApply, Args: [][]byte{op.Encode()}, Msp: k.n.cfg.Msp, CommonName: string(k.n.cfg.Node), Time: now,
	})
	if err != nil {
		return err
	}
	var r model.Response
	if err := json.Unmarshal(x.Response, &r); err != nil {
		return model.AsError(err)
	}
	if len(r.Refused) > 0 {
		return &model.Error{Code: r.Refused[0].Code, Field: r.Refused[0].Field}
	}
	return nil
}

// AtHead waits for the follower to confirm, after a moment, that it has all of the ledger.
func (k known) AtHead(ctx context.Context, since time.Time) error {
	return k.n.follower.AtHead(ctx, since)
}

// committed passes on what the follower has applied.
func (n *Node) committed(blocks []follow.Committed) {
	var txs []submit.Applied
	for _, b := range blocks {
		for _, t := range b.Txs {
			txs = append(txs, submit.Applied{TxID: t.ID, Code: t.Code, Receipts: t.Receipts})
		}
	}
	n.submit.Applied(txs)
}
