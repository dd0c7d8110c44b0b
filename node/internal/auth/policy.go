package auth

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	cedar "github.com/cedar-policy/cedar-go"
)

//go:embed policies/*.cedar
var embedded embed.FS

// LocalPolicies is the folder of a node's own policies, in the node's folder.
const LocalPolicies = "policies"

// localPrefix begins the ids of a node's own policies.
const localPrefix = "node:"

const (
	maxPolicyFiles = 64
	maxPolicyFile  = 256 << 10
)

// Decision is a decision and the id of the policy that it rests on: of a denial the forbidding one's, or DefaultDeny.
type Decision = struct {
	Allowed bool
	Policy  string
}

// DefaultDeny is named as the policy where none permits.
const DefaultDeny = "default-deny"

// Relation is how the agency that an action concerns stands to the caller's.
type Relation int

// The relations: the caller's own agency (or none in particular), one below it in the registry's tree, any other.
const (
	Own Relation = iota
	BelowOwn
	Other
)

var relationNames = [...]string{Own: "own", BelowOwn: "below", Other: "other"}

func (r Relation) String() string { return relationNames[r] }

// Policies decide, in Cedar: what no policy permits, or any forbids, is denied. A decision depends on nothing but the
// set of roles, the action and the relation, so each set of roles is worked out once and then looked up: no request
// evaluates Cedar. Safe for concurrent use.
type Policies struct {
	set *cedar.PolicySet

	mu     sync.Mutex
	rights map[uint32]*rights // under mu; by the set of roles, a bit each, and hostedBit
}

// rights are all decisions on one set of roles, worked out when the first is asked for: Cedar takes some milliseconds for
// all of them, which a start need not wait for. Safe for concurrent use.
type rights struct {
	policies *Policies
	roles    []Role
	hosted   bool // of a hosted party's people

	once  sync.Once
	table atomic.Pointer[decisions]
}

// decisions are by relation and action. Immutable.
type decisions [len(relationNames)]map[string]Decision

// OpenPolicies reads the built-in policies and the node's own, *.cedar in a folder that may be absent ("" for none).
// Own policies only forbid; one that permits, that asks for what a decision does not depend on, or that names an
// unknown role or action, is refused.
func OpenPolicies(dir string) (*Policies, error) {
	p := &Policies{set: cedar.NewPolicySet(), rights: map[uint32]*rights{}}
	files, err := fs.Glob(embedded, "policies/*.cedar")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		raw, err := embedded.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := p.add(name, raw, ""); err != nil {
			return nil, err
		}
	}
	if dir == "" {
		return p, nil
	}
	if files, err = filepath.Glob(filepath.Join(dir, "*.cedar")); err != nil {
		return nil, err
	}
	if len(files) > maxPolicyFiles {
		return nil, fmt.Errorf("%s: more than %d files of policies", dir, maxPolicyFiles)
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if info.Size() > maxPolicyFile {
			return nil, fmt.Errorf("%s: larger than %d bytes", name, maxPolicyFile)
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if err := p.add(name, raw, localPrefix); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// add takes a file's policies; those of a node, whose ids have a prefix, may only forbid.
func (p *Policies) add(name string, raw []byte, prefix string) error {
	list, err := cedar.NewPolicyListFromBytes(name, raw)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, policy := range list {
		refuse := func(format string, args ...any) error {
			return fmt.Errorf("%s, line %d: %s", name, policy.Position().Line, fmt.Sprintf(format, args...))
		}
		id := string(policy.Annotations()["id"])
		if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return refuse("a policy needs @id(\"…\"), up to 64 visible ASCII characters: it stands in the access log")
		}
		if prefix != "" && policy.Effect() != cedar.Forbid {
			return refuse("policy %q permits; a node's own policies may only forbid, so that every node's rights are at most those of docs/roles", id)
		}
		if err := checkPolicy(policy); err != nil {
			return refuse("policy %q: %v", id, err)
		}
		if !p.set.Add(cedar.PolicyID(prefix+id), policy) {
			return refuse("policy %q stands here twice", id)
		}
	}
	return nil
}

// checkPolicy finds what a decision does not depend on: attributes, the context, a person, a real agency. Cedar passes
// over a policy whose evaluation fails, so such a forbid would forbid nothing; so would one whose role or action does
// not exist.
func checkPolicy(policy *cedar.Policy) error {
	raw, err := policy.MarshalJSON()
	if err != nil {
		return err
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return err
	}
	for _, part := range []string{"principal", "action", "resource", "conditions"} {
		if err := checkNode(tree[part]); err != nil {
			return err
		}
	}
	return nil
}

// allowedMembers are the members of Cedar's JSON form (https://docs.cedarpolicy.com/policies/json-format.html) that a
// policy may have. "op" and "kind" only choose among those.
var allowedMembers = []string{
	"op", "kind", "body", "entity", "entities", "in", "==", "!=", "&&", "||", "!", "left", "right", "arg", "Var", "Value", "Set", "__entity",
}

func checkNode(v any) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := checkNode(e); err != nil {
				return err
			}
		}
	case map[string]any:
		if typ, ok := v["type"].(string); ok {
			id, _ := v["id"].(string)
			return checkEntity(typ, id)
		}
		for name, below := range v {
			if !slices.Contains(allowedMembers, name) {
				return fmt.Errorf("%q is not offered: a decision depends on roles, action and relation alone", name)
			}
			if name == "Var" && below == "context" {
				return errors.New("there is no context")
			}
			if name == "op" && below == "is" {
				return errors.New("\"is\" is not offered")
			}
			if err := checkNode(below); err != nil {
				return err
			}
		}
	}
	return nil
}

// The types and groups of entities in policies.
const (
	administrator, staff = "administrator", "staff" // groups of roles
	hostedPeople         = "hosted"                 // in which a hosted party's people are, beside their roles
	tree                 = "tree"                   // the relations own and below
)

func checkEntity(typ, id string) error {
	known := false
	switch typ {
	case "Role":
		known = id == administrator || id == staff || id == hostedPeople || slices.Contains(Roles, Role(id))
	case "Action":
		known = slices.ContainsFunc(Actions, func(a Action) bool { return a.Name == id || slices.Contains(a.Groups, id) })
	case "Agency":
		known = id == tree || slices.Contains(relationNames[:], id)
	}
	if !known {
		return fmt.Errorf("%s::%q does not exist", typ, id)
	}
	return nil
}

// Decide says what an agency's people of a set of roles may do, and why.
func (p *Policies) Decide(roles []Role, action string, relation Relation) Decision {
	return p.of(roles, false).decide(action, relation)
}

// hostedBit is not a role's.
const hostedBit = 1 << 31

func (r *rights) decide(action string, relation Relation) Decision {
	t := r.table.Load()
	if t == nil {
		r.once.Do(func() { r.table.Store(r.policies.evaluate(r.roles, r.hosted)) })
		t = r.table.Load()
	}
	if d, ok := t[relation][action]; ok {
		return d
	}
	return Decision{Policy: DefaultDeny}
}

// of finds the one place where decisions on a set of roles are kept.
func (p *Policies) of(roles []Role, hosted bool) *rights {
	var set uint32
	if hosted {
		set = hostedBit
	}
	for _, r := range roles {
		if i := slices.Index(Roles, r); i >= 0 {
			set |= 1 << i
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.rights[set]
	if !ok {
		r = &rights{policies: p, roles: slices.Clone(roles), hosted: hosted}
		p.rights[set] = r
	}
	return r
}

// evaluate asks Cedar for every action and relation.
func (p *Policies) evaluate(roles []Role, ofParty bool) *decisions {
	uid := func(typ, id string) cedar.EntityUID {
		return cedar.NewEntityUID(cedar.EntityType(typ), cedar.String(id))
	}
	entities := cedar.EntityMap{}
	add := func(id cedar.EntityUID, parents ...cedar.EntityUID) {
		entities[id] = cedar.Entity{UID: id, Parents: cedar.NewEntityUIDSet(parents...)}
	}
	caller := uid("Person", "caller")
	var held []cedar.EntityUID
	for _, r := range roles {
		group := staff
		if slices.Contains(administrators, r) {
			group = administrator
		}
		add(uid("Role", string(r)), uid("Role", group))
		held = append(held, uid("Role", string(r)))
	}
	if ofParty {
		held = append(held, uid("Role", hostedPeople))
	}
	add(caller, held...)
	add(uid("Agency", Own.String()), uid("Agency", tree))
	add(uid("Agency", BelowOwn.String()), uid("Agency", tree))
	for _, a := range Actions {
		var groups []cedar.EntityUID
		for _, g := range a.Groups {
			groups = append(groups, uid("Action", g))
		}
		add(uid("Action", a.Name), groups...)
	}
	out := new(decisions)
	for relation := range relationNames {
		out[relation] = make(map[string]Decision, len(Actions))
		for _, a := range Actions {
			decision, why := cedar.Authorize(p.set, entities, cedar.Request{
				Principal: caller, Action: uid("Action", a.Name), Resource: uid("Agency", relationNames[relation]), Context: cedar.NewRecord(nil),
			})
			d := Decision{Allowed: bool(decision) && len(why.Errors) == 0, Policy: DefaultDeny}
			var ids []string
			for _, reason := range why.Reasons {
				ids = append(ids, string(reason.PolicyID))
			}
			if len(ids) > 0 {
				d.Policy = slices.Min(ids) // of several that say the same
			}
			out[relation][a.Name] = d
		}
	}
	return out
}
