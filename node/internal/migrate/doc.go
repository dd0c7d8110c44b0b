// Package migrate moves a pilot, several nodes on one embedded ledger, to another ledger with everything that it
// has: the same operations, executed again in the same order, give the same leaves at the same positions
// (docs/design/0016, docs/spec/import-ledger.md). It decides nothing about what may be imported: the new
// ledger's contract does, and k organisations that compare it with their own records of the old one.
//
// A node moves in these steps, each of which can be interrupted at any moment and called again:
//
//   - Switch sets records, archive and configuration of the old ledger aside in the node's folder and puts the
//     configuration of the new one in place (moves.go). Undo does the opposite.
//   - Import gives the new ledger the blocks of the archive that was set aside (import.go). One organisation is
//     enough; where several do, they take turns without harm.
//   - Compare holds the records that the node has made of the new ledger against those of the old (compare.go).
//   - Close says to the new ledger what this organisation found: position and chain of its own old records.
package migrate

// Fault is why a migration does not go on, for people: what is wrong and what to do.
type Fault struct {
	Code   string `json:"code"` // stable
	En     string `json:"en"`
	Zh     string `json:"zh"`
	Reason error  `json:"-"` // nil where the text says all
}

func (f *Fault) Error() string {
	s := f.En + " (" + f.Zh + ")"
	if f.Reason != nil {
		s += ": " + f.Reason.Error()
	}
	return s
}

// Unwrap is the reason.
func (f *Fault) Unwrap() error { return f.Reason }

// Codes of faults.
const (
	CodeNoPilot     = "not_a_pilot"   // the ledger is no embedded one, or took over another itself
	CodeDamaged     = "damaged"       // the source does not check
	CodeWaiting     = "outbox"        // accepted operations wait to be sent
	CodeBehind      = "behind"        // the new ledger has more of the pilot than this node
	CodeOther       = "other_pilot"   // the new ledger took over another one
	CodeBegun       = "begun"         // the new ledger began without a pilot
	CodeClosed      = "closed"        // the import is closed
	CodeStalled     = "stalled"       // nothing has moved for long
	CodeUnfinished  = "unfinished"    // the import has not come to its end
	CodeDifferent   = "different"     // the records of both ledgers differ
	CodeSwitched    = "switched"      // the node has been switched already
	CodeNotSwitched = "not_switched"  // the node has not been switched
	CodeInterrupted = "interrupted"   // a switch was interrupted
	CodeConfig      = "configuration" // what the node was given does not fit
)

func fault(code string, reason error, en, zh string) *Fault {
	return &Fault{Code: code, En: en, Zh: zh, Reason: reason}
}
