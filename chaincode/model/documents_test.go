package model

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated documents instead of comparing them")

// TestDocuments holds the pages that are made from tables to the tables.
func TestDocuments(t *testing.T) {
	for path, want := range map[string]string{"states.md": statesPage(), filepath.Join("spec", "errors.md"): errorsPage()} {
		path = filepath.Join("..", "..", "docs", path)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the tables say (%v): run go generate ./chaincode/model", path, err)
		}
	}
}

const generated = "<!-- Made from the tables in chaincode/model by go generate ./chaincode/model; a test compares. -->\n\n"

var stateNames = map[State]string{
	InForce: "有效", Suspended: "暂停", Dormant: "歇业", Rescinded: "撤销", Withdrawn: "撤回", PenaltyRevoked: "吊销", Cancelled: "注销",
	VoidLost: "遗失作废", Active: "生效", Removed: "已注销", Open: "征求同意", Approved: "已同意", Closed: "已撤回", Imported: "已迁入", Anchored: "已存证",
}

func statesPage() string {
	var b strings.Builder
	b.WriteString("# State machines\n\n" + generated)
	b.WriteString("A record's state changes only as these tables say; `model.Step` reads them. An operation from another state is refused\n" +
		"with `transition_not_allowed`. A state's number is its place in the page format: states are only ever appended.\n")
	for _, k := range kindsInOrder() {
		m := Machines[k]
		fmt.Fprintf(&b, "\n## %s\n\n```mermaid\nstateDiagram-v2\n", k)
		for _, tr := range m.Transitions {
			verb := string(tr.Type[strings.Index(string(tr.Type), ".")+1:])
			from := tr.From
			if from == nil {
				fmt.Fprintf(&b, "    [*] --> %s: %s\n", tr.To, verb)
			}
			for _, s := range from {
				to := tr.To
				if to == "" {
					to = s
				}
				fmt.Fprintf(&b, "    %s --> %s: %s\n", s, to, verb)
			}
		}
		if k == KindProposal {
			fmt.Fprintf(&b, "    %s --> %s: the k-th approve\n", Open, Approved)
		}
		b.WriteString("```\n\n| number | state | 状态 |\n|---|---|---|\n")
		for i, s := range m.States {
			fmt.Fprintf(&b, "| %d | `%s` | %s |\n", i, s, stateNames[s])
		}
		b.WriteString("\n| operation | 操作 | from | to |\n|---|---|---|---|\n")
		for _, tr := range m.Transitions {
			from := "no record"
			if tr.From != nil {
				var names []string
				for _, s := range tr.From {
					names = append(names, "`"+string(s)+"`")
				}
				from = strings.Join(names, ", ")
			}
			to := "the same"
			if tr.To != "" {
				to = "`" + string(tr.To) + "`"
			}
			if tr.Type == Approve {
				to += ", at the k-th `approved`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", tr.Type, Types[tr.Type].Zh, from, to)
		}
	}
	return b.String()
}

func errorsPage() string {
	var b strings.Builder
	b.WriteString("# Errors\n\n" + generated)
	b.WriteString("A code names one reason for ever: it is never renamed and never given to another. Every code has a kind, and every\n" +
		"kind one HTTP status. The set of kinds is closed; a program that meets a code it does not know goes by the status.\n" +
		"On the wire an error is `application/problem+json` (RFC 9457) with `type` = `urn:zhenglian:problem:<code>` and the members\n" +
		"`code`, `zh`, `field` (the path of the offending value, never the value), `written` (`nothing`, or `perhaps`: ask for the\n" +
		"operation's outcome) and `index` (of the offending element of an array). Contracts answer codes alone.\n")
	kinds := make([]ErrorKind, 0, len(HTTPStatus))
	for k := range HTTPStatus {
		kinds = append(kinds, k)
	}
	sort.Slice(kinds, func(i, j int) bool { return HTTPStatus[kinds[i]] < HTTPStatus[kinds[j]] })
	for _, k := range kinds {
		fmt.Fprintf(&b, "\n## %s (%d)\n\n| code | 说明 | sentence |\n|---|---|---|\n", k, HTTPStatus[k])
		for _, c := range Codes() {
			if e := E(c); e.Kind() == k {
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c, e.Zh(), e.En())
			}
		}
	}
	b.WriteString("\n## Reasons of verdicts\n\n| reason | check | 说明 | sentence |\n|---|---|---|---|\n")
	names := make([]Reason, 0, len(reasons))
	for r := range reasons {
		names = append(names, r)
	}
	slices.Sort(names)
	for _, r := range names {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", r, r.Check(), r.Zh(), r.En())
	}
	return b.String()
}
