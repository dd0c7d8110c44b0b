package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// nodeImport is the id of an import that a node runs; no name of a batch has the form.
var nodeImport = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}-[a-z2-7]{8}$`)

// undoAtNode has a node undo an import that it has run, and tells what came of it.
func (o *importFlags) undoAtNode(c *cobra.Command, id string, in sdk.UndoImport) error {
	targets, err := o.nodes(c.Context())
	if err != nil {
		return err
	}
	name, node, err := holderOf(c.Context(), targets, id)
	if err != nil {
		return err
	}
	i, err := node.UndoImport(c.Context(), id, in)
	if err != nil {
		return err
	}
	u, until := i.Undo, time.Now().Add(o.wait)
	for !u.State.Final() && (u.State != sdk.ImportAwaiting || time.Now().Before(until)) {
		select {
		case <-time.After(300 * time.Millisecond):
		case <-c.Context().Done():
			return c.Context().Err()
		}
		if i, err = node.Import(c.Context(), id); err != nil {
			return err
		}
		u = i.Undo
	}
	out := c.OutOrStdout()
	if u.State == sdk.ImportAwaiting {
		d, err := node.Draft(c.Context(), u.Draft, 0)
		if err != nil {
			return err
		}
		err = o.needsApproval(&importer.NeedsApproval{Node: name, Draft: d.Draft})
		if o.json {
			err = errors.Join(err, printJSON(out, map[string]any{"awaits_draft": u.Draft, "result": u}))
		}
		return err
	}
	if o.json {
		err = printJSON(out, u)
	} else {
		o.undone(out, id, i.Issued, u)
	}
	left := u.AlreadyEnded + u.AmendedSince + u.Refused
	switch {
	case err != nil:
	case u.State == sdk.ImportCancelled:
		err = errorf("撤销已取消", "the undoing was cancelled")
	case u.Problem != nil:
		err = fmt.Errorf("%s: %s", u.Problem.Code, o.say(u.Problem.Zh, u.Problem.En))
	case left > 0:
		err = errorf("%w：%d 份未能撤销，共 %d 份", "%w: %d of %d were not rescinded", errFinding, left, i.Issued)
	}
	return err
}

// holderOf finds the node that has run an import.
func holderOf(ctx context.Context, targets []importer.Target, id string) (model.NodeID, *sdk.Client, error) {
	var err error
	for _, t := range targets {
		node := t.Node.(remote).c
		if _, err = node.Import(ctx, id); !errors.Is(err, model.E(model.CodeNotFound)) {
			return t.Name, node, err
		}
	}
	return "", nil, err
}

func (o *client) undone(w io.Writer, id string, issued int, u *sdk.ImportUndo) {
	count := func(n int) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	facts(w, "", [][2]string{
		{o.say("批次", "batch"), id}, {o.say("本批签发", "issued by it"), fmt.Sprint(issued)}, {o.say("已撤销", "rescinded"), fmt.Sprint(u.Rescinded)},
		{o.say("此前已终止，未动", "ended already, left"), count(u.AlreadyEnded)},
		{o.say("之后有变更，未动（--force-amended）", "acted on since, left (--force-amended)"), count(u.AmendedSince)},
	})
	for _, l := range u.Left {
		zh, en := "此前已终止", "ended already"
		switch l.Code {
		case sdk.LeftEnded:
		case sdk.LeftAmended:
			zh, en = "之后有变更", "acted on since"
		default:
			e := model.E(l.Code)
			zh, en = e.Zh(), e.En()
		}
		fmt.Fprintf(w, "%s  %s  %s\n", l.Record, l.Code, o.say(zh, en))
	}
}
