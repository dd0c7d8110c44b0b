package fabblock

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// Bounds of what is read of a policy. One beyond them is met by nobody. Fabric has none but those of the message that
// a policy stands in, and each organisation sets policies of its own: a tighter bound would let any of them stop whoever
// follows the channel. Messages nest 10,000 deep, two for each level of a policy; a rule takes four bytes, as does a
// principal that anybody meets.
const (
	maxPolicyDepth = 10_000
	maxPolicyNodes = 8 << 20 // rules and principals, those in combined ones included
)

// A Policy says whose signatures are needed. It is immutable and safe for concurrent use; the nil one is met by
// nobody. Policies are Fabric's: trees of "n of these", whose leaves are principals, and implicit ones, which count
// how many of the sub-groups' policies of one name are met.
type Policy struct {
	name string // for people
	rule rule   // nil: met by nobody
	err  error  // why rule is nil
}

// rule is a node of a policy. signers are identities whose signatures are valid, each once. used marks those that
// have met a leaf of the same tree already and count no more; met marks further ones only if it reports true.
type rule interface {
	met(signers []*msp.Subject, used []bool) bool
}

// Name is the policy's path in the configuration, or what else tells people which one it is.
func (p *Policy) Name() string {
	if p == nil {
		return ""
	}
	return p.name
}

// Err is why nobody can meet the policy, nil where somebody can.
func (p *Policy) Err() error {
	if p == nil {
		return errNoPolicy
	}
	return p.err
}

var errNoPolicy = errors.New("there is no such policy")

// MetBy reports whether the signers, each of whom stands there once, meet the policy.
func (p *Policy) MetBy(signers []*msp.Subject) bool {
	return p != nil && p.rule != nil && p.rule.met(signers, make([]bool, len(signers)))
}

// outOf is met when n of its rules are. A rule later in the list does not get the identities that an earlier one
// used, and no other choice is tried: so Fabric decides, and a smarter choice would accept what its peers refuse.
type outOf struct {
	n     int
	rules []rule
}

func (o *outOf) met(signers []*msp.Subject, used []bool) bool {
	n := 0
	attempt := make([]bool, len(used))
	for _, r := range o.rules {
		copy(attempt, used)
		if r.met(signers, attempt) {
			n++
			copy(used, attempt)
		}
	}
	return n >= o.n
}

// signedBy is met by the first unused signer that its principal accepts.
type signedBy struct{ principal msp.Principal }

func (l *signedBy) met(signers []*msp.Subject, used []bool) bool {
	for i, s := range signers {
		if !used[i] && l.principal.MetBy(s) {
			used[i] = true
			return true
		}
	}
	return false
}

// implicit is met when need of the sub-groups' policies are, each by all the signers.
type implicit struct {
	need int
	subs []*Policy
}

func (m *implicit) met(signers []*msp.Subject, _ []bool) bool {
	n := 0
	for _, p := range m.subs {
		if p.MetBy(signers) {
			if n++; n == m.need {
				return true
			}
		}
	}
	return n == m.need
}

// compiler turns a signature policy into rules, and counts them and the principals.
type compiler struct {
	leaves []rule // by identity
	left   int    // how many more there may be
}

func compileSignature(env *common.SignaturePolicyEnvelope) (rule, error) {
	return (&compiler{left: maxPolicyNodes}).signature(env)
}

var (
	errPolicyDeep = fmt.Errorf("the policy's rules are nested more than %d deep", maxPolicyDepth)
	errPolicyLong = fmt.Errorf("the policy has more than %d rules and principals", maxPolicyNodes)
)

func (c *compiler) signature(env *common.SignaturePolicyEnvelope) (rule, error) {
	c.leaves = make([]rule, 0, len(env.GetIdentities()))
	for _, p := range env.GetIdentities() {
		principal, err := msp.ReadPrincipal(p, &c.left)
		if err != nil {
			return nil, errPolicyLong // the one cause that there is
		}
		c.leaves = append(c.leaves, &signedBy{principal})
	}
	return c.compile(env.GetRule(), maxPolicyDepth)
}

func (c *compiler) compile(p *common.SignaturePolicy, depth int) (rule, error) {
	if depth == 0 {
		return nil, errPolicyDeep
	}
	if c.left--; c.left < 0 {
		return nil, errPolicyLong
	}
	switch t := p.GetType().(type) {
	case *common.SignaturePolicy_NOutOf_:
		o := &outOf{n: int(t.NOutOf.GetN()), rules: make([]rule, 0, len(t.NOutOf.GetRules()))}
		for _, sub := range t.NOutOf.GetRules() {
			r, err := c.compile(sub, depth-1)
			if err != nil {
				return nil, err
			}
			o.rules = append(o.rules, r)
		}
		return o, nil
	case *common.SignaturePolicy_SignedBy:
		if t.SignedBy < 0 || int(t.SignedBy) >= len(c.leaves) {
			return nil, fmt.Errorf("the policy names identity %d of %d", t.SignedBy, len(c.leaves))
		}
		return c.leaves[t.SignedBy], nil
	}
	return nil, errors.New("the policy has an empty rule")
}

// policies are a group's policies and those of the groups in it.
type policies struct {
	path   string             // Channel/Application
	all    map[string]*Policy // by name, those of sub-groups by Application/Admins
	groups map[string]*policies
}

// maxGroupDepth bounds how deep groups are read. A channel has three levels.
const maxGroupDepth = 8

func newPolicies(path string, g *common.ConfigGroup, depth int) (*policies, error) {
	if depth == 0 {
		return nil, fmt.Errorf("%s: groups are nested too deeply", path)
	}
	ps := &policies{path: path, all: map[string]*Policy{}, groups: map[string]*policies{}}
	for name, sub := range g.GetGroups() {
		s, err := newPolicies(path+"/"+name, sub, depth-1)
		if err != nil {
			return nil, err
		}
		ps.groups[name] = s
	}
	for name, p := range g.GetPolicies() {
		ps.all[name] = ps.compile("/"+path+"/"+name, p.GetPolicy())
	}
	for name, s := range ps.groups {
		for sub, p := range s.all {
			ps.all[name+"/"+sub] = p
		}
	}
	return ps, nil
}

func (ps *policies) compile(name string, p *common.Policy) *Policy {
	out := &Policy{name: name}
	switch p.GetType() {
	case int32(common.Policy_SIGNATURE):
		var env common.SignaturePolicyEnvelope
		if out.err = proto.Unmarshal(p.GetValue(), &env); out.err != nil {
			break
		}
		if env.GetVersion() != 0 {
			out.err = fmt.Errorf("the policy's version is %d", env.GetVersion())
			break
		}
		out.rule, out.err = compileSignature(&env)
	case int32(common.Policy_IMPLICIT_META):
		out.rule, out.err = ps.implicit(p.GetValue())
	default:
		out.err = fmt.Errorf("policies of type %d are not evaluated", p.GetType())
	}
	if out.err != nil {
		out.rule = nil
	}
	return out
}

func (ps *policies) implicit(raw []byte) (rule, error) {
	var meta common.ImplicitMetaPolicy
	if err := proto.Unmarshal(raw, &meta); err != nil {
		return nil, err
	}
	m := &implicit{}
	for _, g := range ps.groups {
		m.subs = append(m.subs, g.get(meta.GetSubPolicy()))
	}
	switch {
	case len(m.subs) == 0: // nothing to count is enough, as in Fabric
	case meta.GetRule() == common.ImplicitMetaPolicy_ANY:
		m.need = 1
	case meta.GetRule() == common.ImplicitMetaPolicy_ALL:
		m.need = len(m.subs)
	case meta.GetRule() == common.ImplicitMetaPolicy_MAJORITY:
		m.need = len(m.subs)/2 + 1
	default:
		return nil, fmt.Errorf("implicit rule %d", meta.GetRule())
	}
	return m, nil
}

// get finds a policy by its name relative to this group, or by its full path. It is nil where there is none.
func (ps *policies) get(name string) *Policy {
	if rest, ok := strings.CutPrefix(name, "/"); ok {
		if name, ok = strings.CutPrefix(rest, ps.path+"/"); !ok {
			return nil
		}
	}
	return ps.all[name]
}

// group finds a group by its path below this one.
func (ps *policies) group(path []string) *policies {
	for _, name := range path {
		if ps = ps.groups[name]; ps == nil {
			return nil
		}
	}
	return ps
}

// compileApplication reads the policy of a chaincode or a collection: rules of its own or the name of one in the
// configuration. Only bytes that are no policy at all are an error; one that nobody can meet is a policy.
func (ps *policies) compileApplication(name string, p *peer.ApplicationPolicy) *Policy {
	switch t := p.GetType().(type) {
	case *peer.ApplicationPolicy_SignaturePolicy:
		out := &Policy{name: name}
		if out.rule, out.err = compileSignature(t.SignaturePolicy); out.err != nil {
			out.rule = nil
		}
		return out
	case *peer.ApplicationPolicy_ChannelConfigPolicyReference:
		if out := ps.get(t.ChannelConfigPolicyReference); out != nil {
			return out
		}
		return &Policy{name: name, err: fmt.Errorf("%q: %w", t.ChannelConfigPolicyReference, errNoPolicy)}
	}
	return &Policy{name: name, err: errors.New("it is neither rules nor the name of a policy")}
}

// outOfMembers is the policy "n of these organisations' members", which stands in where a configuration names none.
func outOfMembers(name string, n int, ids []string) *Policy {
	o := &outOf{n: n}
	for _, id := range ids {
		o.rules = append(o.rules, &signedBy{msp.MemberOf(id)})
	}
	return &Policy{name: name, rule: o}
}

// signature is a signature that may count for a policy.
type signature struct {
	identity []byte
	sig      []byte
	message  [3][]byte // read as one
}

// signers are the identities whose signatures are valid, each once however often and in whatever form it signed. One
// bad signature does not spoil the good ones; last is the last cause, for people.
func (c *Channel) signers(set []signature) (who []*msp.Subject, last error) {
	who = make([]*msp.Subject, 0, len(set))
next:
	for i := range set {
		s := &set[i]
		subject, err := c.all.Resolve(s.identity)
		if err != nil {
			last = err
			continue
		}
		for _, other := range who {
			if other.Same(subject) {
				continue next
			}
		}
		if err := subject.Verify(s.sig, s.message[:]...); err != nil {
			last = fmt.Errorf("%s of %s: %w", subject.Name, subject.MSP, err)
			continue
		}
		if subject.Invalid() != nil {
			last = subject.Invalid()
		}
		who = append(who, subject)
	}
	return who, last
}

// unmet is the error of a policy that the signers do not meet.
func unmet(p *Policy, who []*msp.Subject, last error) error {
	if err := p.Err(); err != nil {
		return fmt.Errorf("policy %s: %w", p.Name(), err)
	}
	names := make([]string, len(who))
	for i, s := range who {
		names[i] = s.MSP + "/" + s.Name
	}
	err := fmt.Errorf("policy %s is not met by the valid signatures of %v", p.Name(), names)
	if last != nil {
		err = fmt.Errorf("%w; %w", err, last)
	}
	return err
}
