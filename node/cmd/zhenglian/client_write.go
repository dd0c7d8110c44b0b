package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// writing is what the commands share that write one operation.
type writing struct {
	client
	idempotency string
	noWait      bool
}

func (o *writing) flags(c *cobra.Command) {
	o.client.flags(c)
	c.Flags().StringVar(&o.idempotency, "idempotency-key", "", "the same key and content are the same request, however often it is sent")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "return once the node has accepted, which may be before the ledger has it")
}

// write says how: who waits is told for what, since the ledger may be away for long.
func (o *writing) write(errOut io.Writer) sdk.Write {
	return sdk.Write{IdempotencyKey: o.idempotency, NoWait: o.noWait, Accepted: func(out []model.Outcome) {
		fmt.Fprintf(errOut, o.say("已受理，操作号 %s，等待账本……\n", "accepted as %s, waiting for the ledger\n"), out[0].Operation)
	}}
}

// known reports whether the node has accepted an operation and nobody has refused it.
func known(out model.Outcome) bool {
	return out.Status == model.Committed || out.Status == model.Pending
}

// settled prints what is known of an operation. Where the waiting ended early it is accepted all the same.
func (o *writing) settled(w io.Writer, out model.Outcome, err error) error {
	if told, err := o.held(w, err); told {
		return err
	}
	if !known(out) {
		if err == nil && out.Problem != nil {
			return out.Problem.Error()
		}
		if err == nil {
			err = model.E(model.CodeInternal).With("the node answered with status %q", out.Status)
		}
		return err
	}
	if err := o.outcome(w, out); err != nil {
		return err
	}
	if err == nil {
		return nil
	}
	why := err.Error()
	if errors.Is(err, context.Canceled) {
		why = o.say("已中断", "interrupted")
	} else if e := model.AsError(err); e.Cause != nil {
		why = e.Cause.Error()
	}
	return fmt.Errorf(o.say("操作 %s 已受理，不会丢失，但还不知道是否上链（%s）：可用 zhenglian history licence %s 或 GET /v1/operations/%[1]s 查询",
		"operation %s is accepted and not lost, but not known to be committed (%s): see `zhenglian history licence %s`, or GET /v1/operations/%[1]s"),
		out.Operation, why, out.Record)
}
