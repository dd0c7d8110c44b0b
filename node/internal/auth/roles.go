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

	ReadDraft       = "draft.read"             // requests that wait for a second person
	ApproveLicence  = "draft.approve-licence"  // to be the second person: endings and batches of licences
	ApproveRegistry = "draft.approve-registry" // of what changes the registry
	ApproveKey      = "draft.approve-key"      // of signing keys and endpoints
)

var (
	reading     = []string{ReadRecord, ReadRegistry, ReadOperation, ReadEvents}
	licenceActs = types(
		model.LicenceIssue, model.LicenceAmend, model.LicenceSuspend, model.LicenceResume,
		model.LicenceDormant, model.LicenceRenew, model.LicenceTransfer, model.LicenceRescind,
		model.LicenceWithdraw, model.LicenceRevoke, model.LicenceCancel, model.LicenceVoidLost,
	)
	heldRegistryActs = types(
		model.Propose, model.Approve, model.Admit, model.Change, model.Remove,
		model.HostParty, model.ReleaseParty, model.Delegate, model.EndDelegation,
	)
)

// table is the one place that says which role may do what. What does not stand here is denied; the
// operation genesis.record stands nowhere, since nobody may send it.
var table = map[Role][]string{
	// A drafter prepares registry matters too: they wait for another person (docs/design/0020).
	Drafter:  slices.Concat(reading, licenceActs, heldRegistryActs, []string{Verify, ReadDraft}),
	Approver: slices.Concat(reading, licenceActs, heldRegistryActs, types(model.CloseProposal), []string{Verify, ReadDraft, ApproveLicence, ApproveRegistry, ApproveKey}),
	Verifier: {Verify, ReadRecord, ReadRegistry, ReadOperation},
	Auditor:  slices.Concat(reading, []string{Verify, ReadDraft}),

	SystemAdmin:   slices.Concat([]string{ReadRegistry, ReadOperation, ReadDraft, ApproveKey}, types(model.SetEndpoint)),
	SecurityAdmin: slices.Concat([]string{ReadRegistry, ReadOperation, ReadDraft, ApproveKey}, types(model.RotateKey)),
	AuditAdmin:    {ReadRecord, ReadRegistry, ReadOperation, ReadEvents, ReadDraft},
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
