package auth

import (
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Actions that are not operations. The action of an operation is its type ("licence.issue").
const (
	ReadRecord    = "record.read"    // a record and its history
	ReadRegistry  = "registry.read"  // organisations, agencies, types, proposals
	ReadOperation = "operation.read" // what became of an operation
	ReadEvents    = "event.read"     // the stream of all operations
	Verify        = "verify"         // a verdict on a presented licence
	Search        = "search"         // find licences by what stands on them
	SearchExport  = "search.export"  // everything found, as a file
	ReadSelf      = "self.read"      // who one is, and what one may do

	ReadDraft       = "draft.read"             // requests that wait for a second person
	ApproveLicence  = "draft.approve-licence"  // to be the second person: endings and batches of licences
	ApproveRegistry = "draft.approve-registry" // of what changes the registry
	ApproveKey      = "draft.approve-key"      // of signing keys and endpoints

	ReadPeople   = "people.read"   // this node's users and keys, never the keys themselves
	ReadAccess   = "access.read"   // the access log: who looked at what
	ChangePeople = "people.change" // add, change, disable and enable users; issue and revoke keys; approve such a change of another
)

// Action is a row of the matrix: what policies speak of.
type Action struct {
	Name   string
	Groups []string // the groups of actions that it belongs to in policies
	Zh, En string
}

// Actions lists every action in a fixed order: those of the node first, then the operations that may be sent. A policy
// that names another is refused, and what does not stand here is denied.
var Actions = slices.Concat([]Action{
	{ReadSelf, []string{"basic"}, "查看本人信息", "see who one is"},
	{ReadRegistry, []string{"basic"}, "查看登记簿", "read the registry"},
	{ReadOperation, []string{"basic"}, "查询操作结果", "ask for an operation's outcome"},
	{Verify, []string{"read"}, "核验", "verify"},
	{ReadRecord, []string{"read"}, "查看记录与历史", "read a record and its history"},
	{ReadEvents, []string{"read"}, "读取事件流", "read the stream of events"},
	{Search, []string{"searching"}, "检索证照", "search for licences"},
	{SearchExport, []string{"searching"}, "导出检索结果", "export what was found"},
	{ReadDraft, nil, "查看待复核事项", "see what waits for approval"},
	{ApproveLicence, []string{"approval"}, "复核证照终止与批量", "approve endings and batches of licences"},
	{ApproveRegistry, []string{"approval"}, "复核登记事项", "approve changes of the registry"},
	{ApproveKey, []string{"approval"}, "复核签章密钥与接入地址", "approve signing keys and endpoints"},
	{ReadPeople, []string{"people"}, "查看人员与密钥", "list people and keys"},
	{ReadAccess, nil, "查看访问日志", "read the access log"},
	{ChangePeople, []string{"people"}, "管理人员与密钥，并复核他人的变动", "manage people and keys, and approve what another changes"},
}, operations())

// operations are the types of operations, each in the group of its first word. What only the ledger writes is in none,
// so that no policy permits it by a group.
func operations() (out []Action) {
	for typ, rule := range model.Types {
		a := Action{Name: string(typ), Zh: rule.Zh, En: rule.En}
		group, _, _ := strings.Cut(a.Name, ".")
		// The node itself anchors its access log. An endpoint and a key are the administrators' to change; to close a proposal ends what others have agreed to.
		if !model.Derived(typ) && typ != model.SetEndpoint && typ != model.RotateKey && typ != model.CloseProposal && typ != model.AnchorAccess {
			a.Groups = []string{group}
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Action) int { return strings.Compare(a.Name, b.Name) })
	return out
}
