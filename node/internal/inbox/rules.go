package inbox

import (
	"fmt"
	"slices"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Rule is a reason why a request waits for a second person.
type Rule string

// The rules. A node may switch one off in its configuration, with a reason.
const (
	Endings  Rule = "endings"
	Registry Rule = "registry"
	Keys     Rule = "keys"
	Batches  Rule = "batches"
)

// RuleText is a rule in words.
type RuleText struct{ Zh, En string }

// Rules lists every rule.
var Rules = map[Rule]RuleText{
	Endings:  {"证照终止", "the ending of a licence"},
	Registry: {"登记事项", "a change of the registry"},
	Keys:     {"密钥、人员与接入地址", "a change of a signing key, an endpoint, a user or an API key"},
	Batches:  {"大批量", "a large batch"},
}

// ruled says which rule a type of operation falls under. A type that is in no list is free; a test holds both to the
// model's types, so that a new one is placed on purpose.
var ruled = map[model.Type]Rule{
	model.LicenceRescind: Endings, model.LicenceWithdraw: Endings, model.LicenceRevoke: Endings,
	model.LicenceCancel: Endings, model.LicenceVoidLost: Endings,

	model.Propose: Registry, model.Approve: Registry, model.Admit: Registry, model.Change: Registry, model.Remove: Registry,
	model.Delegate: Registry, model.EndDelegation: Registry, model.HostParty: Registry, model.ReleaseParty: Registry,

	model.RotateKey: Keys, model.SetEndpoint: Keys,
}

// RuleOf is the rule that a type falls under by itself, "" for none.
func RuleOf(t model.Type) Rule { return ruled[t] }

// Policy says which requests wait. The zero value holds to every rule, with the defaults.
type Policy struct {
	BatchOver int           // more operations, or rows of a batch, wait: 200
	Expires   time.Duration // a draft waits so long, and an approved batch stays open so long: 7 days
	Off       []Rule        // rules not in force
	Reason    string        // why, in people's words
}

// Bounds of a policy.
const (
	MaxBatchOver = 1_000_000
	MinExpires   = time.Hour
	MaxExpires   = 90 * 24 * time.Hour
)

func (p *Policy) defaults() {
	if p.BatchOver <= 0 {
		p.BatchOver = 200
	}
	if p.Expires <= 0 {
		p.Expires = 7 * 24 * time.Hour
	}
}

// Check finds what an operator has written wrongly.
func (p *Policy) Check() error {
	if p.BatchOver < 0 || p.BatchOver > MaxBatchOver {
		return fmt.Errorf("batch_over: 1 to %d, not %d", MaxBatchOver, p.BatchOver)
	}
	if p.Expires != 0 && (p.Expires < MinExpires || p.Expires > MaxExpires) {
		return fmt.Errorf("expires: %s to %s, not %s", MinExpires, MaxExpires, p.Expires)
	}
	for _, r := range p.Off {
		if _, ok := Rules[r]; !ok {
			return fmt.Errorf("off: no rule is called %q; there are endings, registry, keys and batches", r)
		}
	}
	if len(p.Off) > 0 && p.Reason == "" {
		return fmt.Errorf("reason: say why the two-person rule is off for %v", p.Off)
	}
	return nil
}

// Falls lists the rules that a request falls under, in force or not, in a fixed order. takes says that one of its
// amendments takes from a licence what its holder has, which is an ending.
func (p *Policy) Falls(drafts []model.Draft, takes bool) []Rule {
	var out []Rule
	if takes {
		out = append(out, Endings)
	}
	for i := range drafts {
		if r := ruled[drafts[i].Type]; r != "" && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	if len(drafts) > p.BatchOver {
		out = append(out, Batches)
	}
	slices.Sort(out)
	return out
}

// InForce keeps the rules that are.
func (p *Policy) InForce(rules []Rule) []Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r Rule) bool { return slices.Contains(p.Off, r) })
}
