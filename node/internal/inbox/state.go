package inbox

import (
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// State is a draft's state.
type State string

// States. All but the first are final. What the ledger makes of an approved draft's operations is theirs to say.
const (
	Pending   State = "pending"
	Approved  State = "approved"
	Rejected  State = "rejected"
	Withdrawn State = "withdrawn"
	Expired   State = "expired"
)

// StateText is a state in words.
var StateText = map[State]RuleText{
	Pending: {"待复核", "waits for another person"}, Approved: {"已同意", "approved"}, Rejected: {"已驳回", "rejected"},
	Withdrawn: {"已撤回", "withdrawn"}, Expired: {"已过期", "expired"},
}

// Who may make a step.
type actor string

const (
	theDrafter actor = "drafter" // who drafted it, and nobody else
	another    actor = "another" // anybody but who drafted it
	theClock   actor = "clock"
)

// Step is a row of the table of transitions: a final state, how it is reached from Pending and by whom.
type Step struct {
	To State
	by actor
}

// Steps are all that can become of a pending draft. What was approved stays so, but for what Recall takes back.
var Steps = []Step{
	{Approved, another}, {Rejected, another}, {Withdrawn, theDrafter}, {Expired, theClock},
}

// states numbers them for keys: only ever appended.
var states = []State{Pending, Approved, Rejected, Withdrawn, Expired}

func stateNames() []string {
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = string(s)
	}
	return names
}

// step decides whether a draft may come to a state by a person's hand, nil for the clock.
func (h *Held) step(to State, by *Person) error {
	for _, s := range Steps {
		if s.To != to {
			continue
		}
		switch {
		case (s.by == theClock) != (by == nil):
			return model.E(model.CodeForbidden)
		case s.by == theDrafter && by.Principal != h.Drafter.Principal:
			return model.E(model.CodeForbidden)
		case s.by == another && h.draftedBy(by):
			return model.E(model.CodeOwnDraft)
		}
		if h.State != Pending {
			return model.E(model.CodeAlreadyDecided).With("%s", h.State)
		}
		return nil
	}
	return model.E(model.CodeBadValue, "state")
}
