package doctor

import (
	"slices"
	"strings"
	"time"
)

// Code names a fault. Codes are stable: scripts and runbooks (docs/ops/faults) refer to them.
type Code string

// Every fault that the doctor knows.
const (
	PortTaken           Code = "port.taken"
	PeerDown            Code = "peer.down"
	PeerBehind          Code = "peer.behind"
	OrdererDown         Code = "orderer.down"
	OrdererHung         Code = "orderer.hung"
	OrdererUnknown      Code = "orderer.certificate_unknown"
	NoLeader            Code = "orderers.no_leader"
	ChaincodeGone       Code = "chaincode.unreachable"
	ChaincodeMixed      Code = "chaincode.mixed"
	PolicyUnsatisfiable Code = "policy.unsatisfiable"
	CertificateExpired  Code = "certificate.expired"
	CertificateExpiring Code = "certificate.expiring"
	CertificateEarly    Code = "certificate.not_yet_valid"
	ClockSkew           Code = "clock.skew"
	DiskNearlyFull      Code = "disk.nearly_full"
	NodeDown            Code = "node.down"
	NodeNotReady        Code = "node.not_ready"
	NodeFinding         Code = "node.finding"
	NodePeerRefused     Code = "node.peer_refused"
	ChannelCapabilities Code = "channel.capabilities"
)

// Codes lists every code, in the order in which findings are shown: what causes others comes first.
func Codes() []Code {
	return []Code{
		DiskNearlyFull, ClockSkew, PortTaken, CertificateExpired, CertificateEarly, CertificateExpiring,
		OrdererDown, NoLeader, OrdererUnknown, OrdererHung, PeerDown, PeerBehind, ChannelCapabilities,
		ChaincodeGone, ChaincodeMixed, PolicyUnsatisfiable, NodeDown, NodeFinding, NodePeerRefused, NodeNotReady,
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

// Cure is what to do: a sentence, and the command to paste.
type Cure struct {
	Text
	Command string `json:"command"`
}

// Finding is one fault.
type Finding struct {
	Code     Code     `json:"code"`
	Subject  string   `json:"subject"` // the program, certificate, folder or organisation that is meant
	What     Text     `json:"what"`
	Evidence []string `json:"evidence"` // what was seen, as programs said it
	Cure     Cure     `json:"cure"`
}

// Report is the outcome of an examination.
type Report struct {
	Healthy  bool          `json:"healthy"`
	Findings []Finding     `json:"findings"`
	Notes    []Text        `json:"notes"`   // no faults, but good to know
	Seconds  float64       `json:"seconds"` // how long it took
	Checked  int           `json:"checked"` // programs that were asked
	Took     time.Duration `json:"-"`
}

// Exit is the status that the command ends with.
func (r *Report) Exit() int {
	if r.Healthy {
		return 0
	}
	return 1
}

// Codes lists the codes found, each once, in the order of [Codes].
func (r *Report) Codes() []Code {
	var out []Code
	for _, f := range r.Findings {
		if !slices.Contains(out, f.Code) {
			out = append(out, f.Code)
		}
	}
	return out
}

// sort puts causes before what follows from them, and gives the report a stable order.
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
