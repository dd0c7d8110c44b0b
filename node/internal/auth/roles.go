package auth

import (
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Role is what a principal is signed in to do. A principal may hold several.
type Role string

// The roles. The three administrators (三员) watch one another: none of them can write a licence, and none
// can do another's work.
const (
	Drafter       Role = "drafter"        // prepares and sends licence operations (经办)
	Approver      Role = "approver"       // decides, registry matters included (审批)
	Verifier      Role = "verifier"       // verifies what is presented (用证)
	Auditor       Role = "auditor"        // reads everything that happened, changes nothing (审计)
	SystemAdmin   Role = "system-admin"   // runs the node (系统管理员)
	SecurityAdmin Role = "security-admin" // keys and rights (安全保密管理员)
	AuditAdmin    Role = "audit-admin"    // watches the administrators (安全审计员)
)

// Roles lists every role in a fixed order.
var Roles = []Role{Drafter, Approver, Verifier, Auditor, SystemAdmin, SecurityAdmin, AuditAdmin}

// Actions that are not operations. The action of an operation is its type ("licence.issue").
const (
	ReadRecord    = "record.read"    // a record and its history
	ReadRegistry  = "registry.read"  // organisations, agencies, types, proposals
	ReadOperation = "operation.read" // what became of an operation
	ReadEvents    = "event.read"     // the stream of all operations
	Verify        = "verify"         // a verdict on a presented licence
)

var (
	reading     = []string{ReadRecord, ReadRegistry, ReadOperation, ReadEvents}
	licenceActs = types(
		model.LicenceIssue, model.LicenceAmend, model.LicenceSuspend, model.LicenceResume,
		model.LicenceDormant, model.LicenceRenew, model.LicenceTransfer, model.LicenceRescind,
		model.LicenceWithdraw, model.LicenceRevoke, model.LicenceCancel, model.LicenceVoidLost,
	)
	registryActs = types(
		model.Propose, model.Approve, model.CloseProposal, model.Admit, model.Change, model.Remove,
		model.HostParty, model.ReleaseParty, model.Delegate, model.EndDelegation,
	)
)

// table is the one place that says which role may do what. What does not stand here is denied; the
// operation genesis.record stands nowhere, since nobody may send it.
var table = map[Role][]string{
	Drafter:  slices.Concat(reading, licenceActs, []string{Verify}, types(model.Propose, model.HostParty)),
	Approver: slices.Concat(reading, licenceActs, registryActs, []string{Verify}),
	Verifier: {Verify, ReadRecord, ReadRegistry, ReadOperation},
	Auditor:  slices.Concat(reading, []string{Verify}),

	SystemAdmin:   slices.Concat([]string{ReadRegistry, ReadOperation}, types(model.SetEndpoint)),
	SecurityAdmin: slices.Concat([]string{ReadRegistry, ReadOperation}, types(model.RotateKey)),
	AuditAdmin:    {ReadRecord, ReadRegistry, ReadOperation, ReadEvents},
}

func types(ts ...model.Type) []string {
	out := make([]string, len(ts))
	for i, t := range ts {
		out[i] = string(t)
	}
	return out
}

// May says whether a role includes an action.
func (r Role) May(action string) bool { return slices.Contains(table[r], action) }

func parseRoles(in []Role) (map[string]bool, error) {
	if len(in) == 0 {
		return nil, model.E(model.CodeMissingField, "roles")
	}
	may := map[string]bool{}
	for _, r := range in {
		actions, ok := table[r]
		if !ok {
			return nil, model.E(model.CodeBadValue, "roles")
		}
		for _, a := range actions {
			may[a] = true
		}
	}
	return may, nil
}
