package fabblock

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
)

// update checks a configuration transaction against the present configuration and gives the channel with the new one.
// The new configuration must be exactly what its update makes of the present one, and for every element that it
// changes the policy that the present configuration names for the element must be met by the update's signatures.
func (c *Channel) update(tx *configTx) (*Channel, error) {
	if tx.channel.GetChannelId() != c.ID {
		return nil, fmt.Errorf("the configuration is of channel %q", tx.channel.GetChannelId())
	}
	config := tx.body.GetConfig()
	if config.GetSequence() != c.Sequence+1 {
		return nil, fmt.Errorf("the configuration has number %d, and %d is the next", config.GetSequence(), c.Sequence+1)
	}
	update, err := decodeUpdate(tx.body.GetLastUpdate())
	if err != nil {
		return nil, fmt.Errorf("the update: %w", err)
	}
	root, err := c.authorise(update)
	if err != nil {
		return nil, err
	}
	if !proto.Equal(root, config.GetChannelGroup()) {
		return nil, errors.New("the configuration is not what its update makes of the present one")
	}
	return c.configured(tx)
}

// configured is the channel with another configuration and all else as it was.
func (c *Channel) configured(tx *configTx) (*Channel, error) {
	next, err := newChannel(tx)
	if err != nil {
		return nil, err
	}
	if next.SealedCodes != c.SealedCodes {
		return nil, errors.New("a channel of Fabric does not become the embedded ledger's, nor the other way")
	}
	next.Chaincode, next.defined = c.Chaincode, c.defined
	return next, next.define()
}

func decodeUpdate(env *common.Envelope) (*common.ConfigUpdateEnvelope, error) {
	var payload common.Payload
	if err := proto.Unmarshal(env.GetPayload(), &payload); err != nil {
		return nil, err
	}
	var header common.ChannelHeader
	if err := proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &header); err != nil {
		return nil, err
	}
	if header.GetType() != int32(common.HeaderType_CONFIG_UPDATE) {
		return nil, fmt.Errorf("transaction type %d is not an update", header.GetType())
	}
	update := &common.ConfigUpdateEnvelope{}
	return update, proto.Unmarshal(payload.GetData(), update)
}

// element is a group, value or policy of a configuration.
type element struct {
	group   *common.ConfigGroup // these three: the one that it is
	value   *common.ConfigValue
	policy  *common.ConfigPolicy
	within  []string // names of the groups that it stands in, without the root; for a group, itself included
	version uint64
	mod     string // the policy that changes it
}

// elements are all of a configuration by kind and path.
type elements map[string]element

func groupKey(path []string) string { return "g/" + strings.Join(path, "/") }
func valueKey(path []string, name string) string {
	return "v/" + strings.Join(path, "/") + "/" + name
}
func policyKey(path []string, name string) string {
	return "p/" + strings.Join(path, "/") + "/" + name
}

// readElements takes a configuration apart. nil has none.
func readElements(root *common.ConfigGroup) (elements, error) {
	es := elements{}
	if root == nil {
		return es, nil
	}
	return es, es.read(nil, root, maxGroupDepth)
}

func (es elements) read(path []string, g *common.ConfigGroup, depth int) error {
	if depth == 0 {
		return errors.New("groups are nested too deeply")
	}
	path = path[:len(path):len(path)]
	es[groupKey(path)] = element{group: g, within: path, version: g.GetVersion(), mod: g.GetModPolicy()}
	for name, sub := range g.GetGroups() {
		if err := checkName(name); err != nil {
			return err
		}
		if err := es.read(append(path, name), sub, depth-1); err != nil {
			return err
		}
	}
	for name, v := range g.GetValues() {
		if err := checkName(name); err != nil {
			return err
		}
		es[valueKey(path, name)] = element{value: v, within: path, version: v.GetVersion(), mod: v.GetModPolicy()}
	}
	for name, p := range g.GetPolicies() {
		if err := checkName(name); err != nil {
			return err
		}
		es[policyKey(path, name)] = element{policy: p, within: path, version: p.GetVersion(), mod: p.GetModPolicy()}
	}
	return nil
}

// maxNameBytes is the longest name of an element.
const maxNameBytes = 249

// checkName holds an element's name to letters, digits, dots and hyphens. No name can pass for a path so.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > maxNameBytes {
		return fmt.Errorf("%.20q is not a name", name)
	}
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-') {
			return fmt.Errorf("%.20q is not a name", name)
		}
	}
	return nil
}

func checkModPolicy(mod string) error {
	for _, name := range strings.Split(strings.TrimPrefix(mod, "/"), "/") {
		if err := checkName(name); err != nil {
			return fmt.Errorf("mod_policy %q: %w", mod, err)
		}
	}
	return nil
}

// authorise checks that an update applies to the present configuration and that its signers may make each change, and
// gives the configuration that comes of it.
func (c *Channel) authorise(env *common.ConfigUpdateEnvelope) (*common.ConfigGroup, error) {
	var update common.ConfigUpdate
	if err := proto.Unmarshal(env.GetConfigUpdate(), &update); err != nil {
		return nil, err
	}
	if update.GetChannelId() != c.ID {
		return nil, fmt.Errorf("the update is for channel %q", update.GetChannelId())
	}
	present, err := readElements(c.config.GetChannelGroup())
	if err != nil {
		return nil, fmt.Errorf("the present configuration: %w", err)
	}
	read, err := readElements(update.GetReadSet())
	if err != nil {
		return nil, fmt.Errorf("the update's read set: %w", err)
	}
	for key, r := range read {
		if e, ok := present[key]; !ok || e.version != r.version {
			return nil, fmt.Errorf("the update was made for version %d of %s, and that is not the present one", r.version, key)
		}
	}
	written, err := readElements(update.GetWriteSet())
	if err != nil {
		return nil, fmt.Errorf("the update's write set: %w", err)
	}
	changed := elements{}
	for key, w := range written {
		if r, ok := read[key]; !ok || r.version != w.version {
			changed[key] = w
		}
	}
	if len(changed) == 0 {
		return nil, errors.New("the update changes nothing")
	}
	if err := c.mayChange(present, changed, env); err != nil {
		return nil, err
	}
	for key, w := range changed {
		present[key] = w
	}
	return present.assemble(nil, maxGroupDepth)
}

// mayChange checks the version of each changed element, and the policy of the ones that exist. A new element needs no
// policy of its own: it becomes part of a group, and so changes that group.
func (c *Channel) mayChange(present, changed elements, env *common.ConfigUpdateEnvelope) error {
	set := make([]signature, len(env.GetSignatures()))
	for i, s := range env.GetSignatures() {
		var h common.SignatureHeader
		if err := proto.Unmarshal(s.GetSignatureHeader(), &h); err != nil {
			return fmt.Errorf("a signature of the update: %w", err)
		}
		set[i] = signature{h.GetCreator(), s.GetSignature(), [3][]byte{s.GetSignatureHeader(), env.GetConfigUpdate()}}
	}
	who, last := c.signers(set)
	for key, w := range changed {
		if err := checkModPolicy(w.mod); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		e, ok := present[key]
		if !ok {
			if w.version != 0 {
				return fmt.Errorf("%s is new and has version %d", key, w.version)
			}
			continue
		}
		if w.version != e.version+1 {
			return fmt.Errorf("%s has version %d and would get %d", key, e.version, w.version)
		}
		p := c.modPolicy(e)
		if p == nil {
			return fmt.Errorf("%s: policy %q: %w", key, e.mod, errNoPolicy)
		}
		if !p.MetBy(who) {
			return fmt.Errorf("%s may not be changed so: %w", key, unmet(p, who, last))
		}
	}
	return nil
}

// modPolicy is the policy by which a present element may be changed. A relative name counts from the group that the
// element stands in, and for a group from that group itself.
func (c *Channel) modPolicy(e element) *Policy {
	if strings.HasPrefix(e.mod, "/") {
		return c.policies.get(e.mod)
	}
	g := c.policies.group(e.within)
	if g == nil {
		return nil
	}
	return g.get(e.mod)
}

// oldDefaultPolicy stands in for a policy that configurations of Fabric 1.0 left out, as soon as the orderers have
// capabilities.
const oldDefaultPolicy = "Admins"

// assemble puts a group together from the elements that it lists. An element that no group lists any more is gone.
func (es elements) assemble(path []string, depth int) (*common.ConfigGroup, error) {
	e, ok := es[groupKey(path)]
	if !ok || depth == 0 {
		return nil, fmt.Errorf("the update leaves no group %s", groupKey(path))
	}
	path = path[:len(path):len(path)]
	_, fill := es[valueKey([]string{"Orderer"}, "Capabilities")]
	mod := func(old string) string {
		if old == "" && fill {
			return oldDefaultPolicy
		}
		return old
	}
	g := proto.Clone(e.group).(*common.ConfigGroup)
	g.ModPolicy = mod(e.mod)
	for name := range e.group.GetGroups() {
		sub, err := es.assemble(append(path, name), depth-1)
		if err != nil {
			return nil, err
		}
		g.Groups[name] = sub
	}
	for name := range e.group.GetValues() {
		v, ok := es[valueKey(path, name)]
		if !ok {
			return nil, fmt.Errorf("the update leaves no %s", valueKey(path, name))
		}
		g.Values[name] = proto.Clone(v.value).(*common.ConfigValue)
		g.Values[name].ModPolicy = mod(v.mod)
	}
	for name := range e.group.GetPolicies() {
		p, ok := es[policyKey(path, name)]
		if !ok {
			return nil, fmt.Errorf("the update leaves no %s", policyKey(path, name))
		}
		g.Policies[name] = proto.Clone(p.policy).(*common.ConfigPolicy)
		g.Policies[name].ModPolicy = mod(p.mod)
	}
	return g, nil
}
