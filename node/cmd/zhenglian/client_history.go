package main

import (
	"encoding/json"
	"io"
	"maps"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func historyCommand() *cobra.Command {
	var o client
	c := &cobra.Command{
		Use: "history KIND ID", Short: "who did what to a record", Args: cobra.ExactArgs(2),
		Example: "  zhenglian history licence bj-scjg.1\n  zhenglian history agency bj-scjg",
		RunE: func(c *cobra.Command, args []string) error {
			kind := model.Kind(args[0])
			if model.Machines[kind] == nil {
				return useError("没有类别 %q；类别有 %v", "there is no kind %q; kinds are %v", kind, slices.Sorted(maps.Keys(model.Machines)))
			}
			id, err := model.ParseRecordID(args[1])
			if err != nil {
				return useError("%q 不是记录编号", "%q is no record id", args[1])
			}
			node, err := o.open("auditor")
			if err != nil {
				return err
			}
			entries := []model.HistoryEntry{}
			for e, err := range node.History(c.Context(), kind, id) {
				if err != nil {
					return err
				}
				entries = append(entries, e)
			}
			if o.json {
				return printJSON(c.OutOrStdout(), entries)
			}
			o.history(c.OutOrStdout(), entries)
			return nil
		},
	}
	o.flags(c)
	return c
}

// history prints versions: when, who (agency, member organisation, person), what, on what decision, and where in the log.
func (o *client) history(w io.Writer, entries []model.HistoryEntry) {
	t := newTable(w)
	t.AppendHeader(table.Row{
		o.say("版本", "version"), o.say("时间", "time"), o.say("机关", "agency"), o.say("成员", "member"), o.say("人员", "person"), o.say("操作", "operation"),
		o.say("状态", "state"), o.say("依据", "decision"), o.say("生效", "effective"), o.say("原因", "reason"), o.say("位置", "position"),
	})
	for i := range entries {
		e := &entries[i]
		var act struct {
			model.Act
			How   model.AmendKind `json:"how"`
			To    model.AgencyID  `json:"to"`
			Value struct {
				IssuedOn model.Date `json:"issued_on"`
			} `json:"value"`
		}
		_ = json.Unmarshal(e.Body, &act) // bodies of other operations have no act
		what := o.typeName(e.Type)
		switch {
		case act.How == model.Correct:
			what = o.say("更正", "correct")
		case act.How == model.ChangeOf:
			what = o.say("变更", "change")
		case act.To != "" && e.Type == model.LicenceTransfer:
			what += " → " + string(act.To)
		}
		if e.Late {
			what += o.say("（迟到）", " (late)")
		}
		decision := short(act.Decision.Number)
		if act.Decision.Date != "" {
			decision += " (" + string(act.Decision.Date) + ")"
		}
		t.AppendRow(table.Row{e.Version, moment(e.Time), orDash(string(e.Agency)), member(e), person(e.Person), what, o.stateName(e.State), decision, act.Effective, act.Reason, e.Position})
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 1, Align: text.AlignRight}, {Number: 11, Align: text.AlignRight}})
	t.Render()
}

// none stands in a column of who did it where there is nobody to name.
const none = "—"

func orDash(s string) string {
	if s == "" {
		return none
	}
	return s
}

// member is the organisation that sent an operation. For a genesis entry that says nothing: its document is
// agreed on by all, and whichever member sends Init first is the one that the block names.
func member(e *model.HistoryEntry) string {
	if e.Type == model.Genesis {
		return none
	}
	return orDash(string(e.Msp))
}

// person is a pseudonym, short enough to tell a record's few persons apart; --json has the whole.
func person(p model.Pseudonym) string {
	if p == "" {
		return none
	}
	return string(p[:min(8, len(p))])
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
