package model

// State is a record's state. Each kind has its machine below; a page stores the state's number, which is
// its place in Machine.States and therefore part of the state's format: states are only ever appended.
type State string

// States of a licence. A verdict asks for more than the state: validity dates, effects in time, signature.
const (
	InForce        State = "in_force"        // 有效
	Suspended      State = "suspended"       // 暂停
	Dormant        State = "dormant"         // 歇业
	Rescinded      State = "rescinded"       // 撤销
	Withdrawn      State = "withdrawn"       // 撤回
	PenaltyRevoked State = "penalty_revoked" // 吊销
	Cancelled      State = "cancelled"       // 注销
	VoidLost       State = "void_lost"       // 遗失作废
)

// States of registry records.
const (
	Active   State = "active"
	Removed  State = "removed"
	Open     State = "open"     // a proposal that collects approvals
	Approved State = "approved" // a proposal with k approvals
	Closed   State = "closed"   // a proposal withdrawn by who made it
	Imported State = "imported" // an import that has been closed
	Anchored State = "anchored" // an access log whose head stands on the ledger
)

// Kinds of records.
const (
	KindOrganisation Kind = "organisation"
	KindAgency       Kind = "agency"
	KindParty        Kind = "party" // hosted without a node; its id is its USCC
	KindLicenceType  Kind = "licence-type"
	KindDelegation   Kind = "delegation"
	KindSuccession   Kind = "succession" // its id is the agency that is succeeded
	KindPolicy       Kind = "policy"     // one record, id "policy"
	KindProposal     Kind = "proposal"
	KindLicence      Kind = "licence"
	KindImport       Kind = "import"     // one record, id "import", of a ledger that took over another
	KindAccessLog    Kind = "access-log" // one record a node of an organisation: AccessLogID
)

// PolicyID is the id of the one policy record.
const PolicyID RecordID = "policy"

// Types of operations.
const (
	Genesis      Type = "genesis.record" // derived from the genesis document, never sent
	ImportClosed Type = "import.closed"  // derived from the k-th approval of closing, never sent

	Propose         Type = "registry.propose"
	Approve         Type = "registry.approve"
	CloseProposal   Type = "registry.close"
	Admit           Type = "registry.admit"
	Change          Type = "registry.change"
	Remove          Type = "registry.remove"
	SetEndpoint     Type = "registry.set-endpoint"
	RotateKey       Type = "registry.rotate-key"
	HostParty       Type = "registry.host-party"
	ReleaseParty    Type = "registry.release-party"
	Delegate        Type = "registry.delegate"
	EndDelegation   Type = "registry.end-delegation"
	LicenceIssue    Type = "licence.issue"
	LicenceAmend    Type = "licence.amend"
	LicenceSuspend  Type = "licence.suspend"
	LicenceResume   Type = "licence.resume"
	LicenceDormant  Type = "licence.dormant"
	LicenceRenew    Type = "licence.renew"
	LicenceTransfer Type = "licence.transfer"
	LicenceRescind  Type = "licence.rescind"
	LicenceWithdraw Type = "licence.withdraw"
	LicenceRevoke   Type = "licence.penalty-revoke"
	LicenceCancel   Type = "licence.cancel"
	LicenceVoidLost Type = "licence.void-lost"

	AnchorAccess Type = "access.anchor"
)

// Rule is what is fixed about a type of operation.
type Rule struct {
	Zh, En   string
	Body     func() any // a new, empty body to decode into
	registry bool       // changes what endorsers decide by, so the registry's version rises
	level    int        // of the contract that first knows it; 0 is the first
}

// Types is the table of all operation types.
var Types = map[Type]Rule{
	Genesis:         {"创世登记", "genesis entry", func() any { return new(GenesisBody) }, false, 0},
	ImportClosed:    {"迁入结束", "close import", func() any { return new(ImportBody) }, false, 0},
	Propose:         {"提出登记事项", "propose", func() any { return new(ProposeBody) }, false, 0},
	Approve:         {"同意", "approve", func() any { return new(ApproveBody) }, false, 0},
	CloseProposal:   {"撤回提案", "close proposal", func() any { return new(EmptyBody) }, false, 0},
	Admit:           {"登记", "admit", func() any { return new(EnactBody) }, true, 0},
	Change:          {"变更登记", "change", func() any { return new(EnactBody) }, true, 0},
	Remove:          {"注销登记", "remove", func() any { return new(EnactBody) }, true, 0},
	SetEndpoint:     {"变更接入地址", "set endpoint", func() any { return new(EndpointBody) }, false, 0},
	RotateKey:       {"更换签章密钥", "rotate key", func() any { return new(RotateBody) }, true, 0},
	HostParty:       {"登记托管主体", "host party", func() any { return new(PartyBody) }, false, 0},
	ReleaseParty:    {"解除托管", "release party", func() any { return new(EmptyBody) }, false, 0},
	Delegate:        {"委托发证", "delegate issuing", func() any { return new(DelegateBody) }, false, 0},
	EndDelegation:   {"终止委托", "end delegation", func() any { return new(EmptyBody) }, false, 0},
	LicenceIssue:    {"签发", "issue", func() any { return new(IssueBody) }, false, 0},
	LicenceAmend:    {"变更（更正）", "amend", func() any { return new(AmendBody) }, false, 0},
	LicenceSuspend:  {"暂停", "suspend", func() any { return new(ActBody) }, false, 0},
	LicenceResume:   {"恢复", "resume", func() any { return new(ActBody) }, false, 0},
	LicenceDormant:  {"歇业", "declare dormant", func() any { return new(ActBody) }, false, 0},
	LicenceRenew:    {"延续", "renew", func() any { return new(AmendBody) }, false, 0},
	LicenceTransfer: {"迁移", "transfer", func() any { return new(TransferBody) }, false, 0},
	LicenceRescind:  {"撤销", "rescind", func() any { return new(ActBody) }, false, 0},
	LicenceWithdraw: {"撤回", "withdraw", func() any { return new(ActBody) }, false, 0},
	LicenceRevoke:   {"吊销", "penalty-revoke", func() any { return new(ActBody) }, false, 0},
	LicenceCancel:   {"注销", "cancel", func() any { return new(ActBody) }, false, 0},
	LicenceVoidLost: {"遗失作废", "void as lost", func() any { return new(ActBody) }, false, 0},

	AnchorAccess: {"访问日志存证", "anchor the access log", func() any { return new(AnchorBody) }, false, 2},
}

// Transition allows an operation type in the states of From (none: the record must not exist) and says
// which state follows; To "" keeps the state.
type Transition struct {
	Type Type
	From []State
	To   State
}

// Machine is a kind's state machine. The contract, the API's errors and the documents' diagrams all come
// from these tables.
type Machine struct {
	Kind        Kind
	States      []State
	Transitions []Transition
}

var live = []State{InForce, Suspended, Dormant}

// Machines holds every kind's machine.
var Machines = map[Kind]*Machine{
	KindLicence: {KindLicence,
		[]State{InForce, Suspended, Dormant, Rescinded, Withdrawn, PenaltyRevoked, Cancelled, VoidLost},
		[]Transition{
			{LicenceIssue, nil, InForce},
			{LicenceAmend, live, ""},
			{LicenceRenew, []State{InForce, Dormant}, ""},
			{LicenceTransfer, live, ""},
			{LicenceSuspend, []State{InForce, Dormant}, Suspended},
			{LicenceDormant, []State{InForce}, Dormant},
			{LicenceResume, []State{Suspended, Dormant}, InForce},
			{LicenceWithdraw, live, Withdrawn},
			{LicenceRevoke, live, PenaltyRevoked},
			{LicenceVoidLost, live, VoidLost},
			// The law cancels what was revoked, withdrawn or lost, and can rescind after any other ending.
			{LicenceCancel, append([]State{PenaltyRevoked, Withdrawn, VoidLost}, live...), Cancelled},
			{LicenceRescind, append([]State{PenaltyRevoked, Withdrawn, VoidLost, Cancelled}, live...), Rescinded},
		}},
	KindProposal: {KindProposal, []State{Open, Approved, Closed}, []Transition{
		{Propose, nil, Open},
		{Approve, []State{Open}, Open}, // the contract makes it Approved at the k-th
		{CloseProposal, []State{Open}, Closed},
	}},
	KindOrganisation: enacted(KindOrganisation),
	KindAgency: enacted(KindAgency,
		Transition{SetEndpoint, []State{Active}, ""}, Transition{RotateKey, []State{Active}, ""}),
	KindLicenceType: enacted(KindLicenceType),
	KindSuccession:  enacted(KindSuccession),
	// The policy is changed and never removed: without it no operation could be decided again.
	KindPolicy: {KindPolicy, []State{Active}, []Transition{
		{Genesis, nil, Active}, {Change, []State{Active}, ""},
	}},
	KindParty: {KindParty, []State{Active, Removed}, []Transition{
		{HostParty, nil, Active},
		{HostParty, []State{Removed}, Active}, // by the next host
		{ReleaseParty, []State{Active}, Removed},
	}},
	KindImport: {KindImport, []State{Imported}, []Transition{{ImportClosed, nil, Imported}}},
	KindAccessLog: {KindAccessLog, []State{Anchored}, []Transition{
		{AnchorAccess, nil, Anchored}, {AnchorAccess, []State{Anchored}, ""},
	}},
	KindDelegation: {KindDelegation, []State{Active, Removed}, []Transition{
		{Delegate, nil, Active}, {EndDelegation, []State{Active}, Removed},
	}},
}

// Level is the contract level at which a type of operation becomes known: at a lower one nobody may send it.
func Level(t Type) int { return max(1, Types[t].level) }

// enacted is the machine of what only k approvals change.
func enacted(k Kind, own ...Transition) *Machine {
	return &Machine{k, []State{Active, Removed}, append([]Transition{
		{Genesis, nil, Active},
		{Admit, nil, Active},
		{Change, []State{Active}, ""},
		{Remove, []State{Active}, Removed},
	}, own...)}
}

// Next is the state after an operation on a record in state from ("" where there is no record).
func (m *Machine) Next(from State, t Type) (State, error) {
	for _, tr := range m.Transitions {
		if tr.Type != t {
			continue
		}
		if from == "" && tr.From == nil {
			return tr.To, nil
		}
		for _, s := range tr.From {
			if s == from {
				if tr.To == "" {
					return from, nil
				}
				return tr.To, nil
			}
		}
	}
	return "", E(CodeTransition).With("%s from state %q", t, from)
}

// Allows reports whether the machine knows the type at all.
func (m *Machine) Allows(t Type) bool {
	for _, tr := range m.Transitions {
		if tr.Type == t {
			return true
		}
	}
	return false
}

// Creates reports whether the type makes new records of its kind.
func (m *Machine) Creates(t Type) bool {
	for _, tr := range m.Transitions {
		if tr.Type == t && tr.From == nil {
			return true
		}
	}
	return false
}

func (m *Machine) number(s State) byte {
	for i, x := range m.States {
		if x == s {
			return byte(i)
		}
	}
	return 0xff
}

func (m *Machine) state(n byte) (State, bool) {
	if m == nil || int(n) >= len(m.States) {
		return "", false
	}
	return m.States[n], true
}

// Ended reports whether a licence state is one of the endings.
func (s State) Ended() bool {
	switch s {
	case Rescinded, Withdrawn, PenaltyRevoked, Cancelled, VoidLost:
		return true
	}
	return false
}
