// Package doctor says what is wrong with a node and what to do about it. Look collects facts about a node's folder,
// machine and, where it runs, the node itself; Judge makes findings of them; nothing is changed. It works with the node
// down as well. The report has the shape of `zl-network doctor`, which looks at a Fabric network.
package doctor

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Code names a fault. Codes are stable: scripts and docs/ops/doctor.*.md refer to them.
type Code string

// Every fault that the doctor knows.
const (
	ConfigBad           Code = "config.bad"
	FileMissing         Code = "file.missing"
	FileExposed         Code = "file.exposed"
	DiskNearlyFull      Code = "disk.nearly_full"
	DiskFilling         Code = "disk.filling"
	ClockSkew           Code = "clock.skew"
	ClockStepped        Code = "clock.stepped"
	StoreNewer          Code = "store.newer"
	StoreOlder          Code = "store.older"
	PortTaken           Code = "port.taken"
	PortForeign         Code = "port.address"
	CertificateBad      Code = "certificate.unreadable"
	CertificateExpired  Code = "certificate.expired"
	CertificateEarly    Code = "certificate.not_yet_valid"
	CertificateExpiring Code = "certificate.expiring"
	KeyExpiring         Code = "api_key.expiring"
	RestoreUnconfirmed  Code = "restore.unconfirmed"
	LedgerUnreachable   Code = "ledger.unreachable"
	LedgerTLS           Code = "ledger.tls"
	StoreDamaged        Code = "store.damaged"
	StoreGap            Code = "store.gap"
	NodeFinding         Code = "node.finding"
	NodeHung            Code = "node.hung"
	NodeDown            Code = "node.down"
	NodeLagging         Code = "node.lagging"
	WritesWaiting       Code = "writes.waiting"
	NodeNotReady        Code = "node.not_ready"
)

// Codes lists every code, in the order in which findings are shown: what causes others comes first.
func Codes() []Code {
	return []Code{
		ConfigBad, StoreNewer, StoreOlder, FileMissing, FileExposed, DiskNearlyFull, DiskFilling, ClockSkew, ClockStepped, PortTaken, PortForeign,
		CertificateBad, CertificateExpired, CertificateEarly, CertificateExpiring, KeyExpiring, RestoreUnconfirmed, LedgerUnreachable, LedgerTLS,
		StoreDamaged, StoreGap, NodeFinding, NodeHung, NodeDown, NodeLagging, WritesWaiting, NodeNotReady,
	}
}

// Text is what a user reads.
type Text struct {
	Zh string `json:"zh"`
	En string `json:"en"`
}

// In returns the text in a language, zh or en.
func (t Text) In(lang string) string {
	if lang == "zh" {
		return t.Zh
	}
	return t.En
}

// Cure is what to do: a sentence, and the command to paste ("" where there is none).
type Cure struct {
	Text
	Command string `json:"command"`
}

// Finding is one fault.
type Finding struct {
	Code     Code     `json:"code"`
	Subject  string   `json:"subject"` // the file, address or component that is meant
	What     Text     `json:"what"`
	Evidence []string `json:"evidence"` // what was seen
	Cure     Cure     `json:"cure"`
}

// Report is the outcome of an examination.
type Report struct {
	Healthy  bool      `json:"healthy"`
	Running  bool      `json:"running"` // the node answered
	Findings []Finding `json:"findings"`
	Notes    []Text    `json:"notes"` // no faults, but good to know; also what could not be checked
}

// Exit is the status that the command ends with.
func (r *Report) Exit() int {
	if r.Healthy {
		return 0
	}
	return 1
}

func (r *Report) sort() {
	rank := map[Code]int{}
	for i, c := range Codes() {
		rank[c] = i
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if d := rank[a.Code] - rank[b.Code]; d != 0 {
			return d
		}
		return strings.Compare(a.Subject, b.Subject)
	})
}

// Print writes the report for people, in a language.
func (r *Report) Print(w io.Writer, lang string) error {
	var b strings.Builder
	cure := map[string]string{"zh": "处理", "en": "cure"}[lang]
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "✗ %s  %s\n  %s\n", f.Code, f.Subject, f.What.In(lang))
		for _, e := range f.Evidence {
			fmt.Fprintf(&b, "    %s\n", e)
		}
		fmt.Fprintf(&b, "  %s: %s\n", cure, f.Cure.In(lang))
		if f.Cure.Command != "" {
			fmt.Fprintf(&b, "    %s\n", f.Cure.Command)
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "· %s\n", n.In(lang))
	}
	if r.Healthy {
		b.WriteString(map[string]string{"zh": "✓ 未发现故障\n", "en": "✓ nothing is wrong\n"}[lang])
	} else {
		fmt.Fprintf(&b, map[string]string{"zh": "发现 %d 项故障\n", "en": "%d faults\n"}[lang], len(r.Findings))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
