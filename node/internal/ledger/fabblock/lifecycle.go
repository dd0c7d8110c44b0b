package fabblock

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	lifecycleproto "github.com/hyperledger/fabric-protos-go-apiv2/peer/lifecycle"
	"google.golang.org/protobuf/proto"
)

// Names in the namespace in which Fabric's peers keep the definitions of chaincodes. A definition is written field by
// field, and only the fields that change, so a reader has to remember the others. Approvals lie in a private
// collection of each organisation, and decide nothing here: peers look at them before they endorse a definition.
const (
	lifecycleNamespace = "_lifecycle"
	implicitCollection = "_implicit_org_" // followed by the organisation's id
	definitionType     = "ChaincodeDefinition"
	builtinValidation  = "vscc"
)

// A Definition is what the organisations have agreed about the contract. It judges the transactions of the blocks
// after the one that holds it.
type Definition struct {
	Sequence int64
	Version  string
	Policy   *Policy // who must endorse
}

// lifecycle is what the channel's blocks have written about one chaincode's definition, by key. It is never changed;
// see with.
type lifecycle map[string][]byte

// lifecycleSet is what a transaction did in the namespace.
type lifecycleSet struct {
	public      *kvrwset.KVRWSet
	collections []lifecycleCollection
}

type lifecycleCollection struct {
	name string
	set  *kvrwset.HashedRWSet
}

// definitionKey is the key of a field, or of the metadata with an empty field.
func definitionKey(chaincode, field string) string {
	if field == "" {
		return "namespaces/metadata/" + chaincode
	}
	return "namespaces/fields/" + chaincode + "/" + field
}

// isDefinition reports whether a public key of the namespace is about the chaincode.
func isDefinition(chaincode, key string) bool {
	return key == "namespaces/metadata/"+chaincode || strings.HasPrefix(key, "namespaces/fields/"+chaincode+"/")
}

// field reads one field of a definition. One that is not there is empty.
func (l lifecycle) field(chaincode, name string) (*lifecycleproto.StateData, error) {
	var d lifecycleproto.StateData
	if err := proto.Unmarshal(l[definitionKey(chaincode, name)], &d); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &d, nil
}

func (l lifecycle) message(chaincode, name string, m proto.Message) error {
	d, err := l.field(chaincode, name)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(d.GetBytes(), m); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// touches reports whether the set writes anything about the chaincode's definition.
func (set *lifecycleSet) touches(chaincode string) bool {
	if set == nil || chaincode == "" {
		return false
	}
	for _, w := range set.public.GetWrites() {
		if isDefinition(chaincode, w.GetKey()) {
			return true
		}
	}
	return false
}

// with is l after a valid transaction.
func (l lifecycle) with(chaincode string, set *lifecycleSet) lifecycle {
	next := lifecycle{}
	maps.Copy(next, l)
	for _, w := range set.public.GetWrites() {
		switch {
		case !isDefinition(chaincode, w.GetKey()):
		case w.GetIsDelete() || len(w.GetValue()) == 0:
			delete(next, w.GetKey())
		default:
			next[w.GetKey()] = w.GetValue()
		}
	}
	return next
}

// define reads the contract's definition out of what blocks have written about it.
func (c *Channel) define() error {
	c.definition = nil
	raw, ok := c.defined[definitionKey(c.Chaincode, "")]
	if !ok {
		return nil
	}
	var metadata lifecycleproto.StateMetadata
	var endorsement lifecycleproto.ChaincodeEndorsementInfo
	var validation lifecycleproto.ChaincodeValidationInfo
	if err := errors.Join(proto.Unmarshal(raw, &metadata), c.defined.message(c.Chaincode, "EndorsementInfo", &endorsement),
		c.defined.message(c.Chaincode, "ValidationInfo", &validation)); err != nil {
		return err
	}
	if metadata.GetDatatype() != definitionType {
		return fmt.Errorf("it is a %.40q", metadata.GetDatatype())
	}
	if plugin := validation.GetValidationPlugin(); plugin != builtinValidation {
		return fmt.Errorf("it is validated by plugin %q, and only %q is known: define the contract with that", plugin, builtinValidation)
	}
	sequence, err := c.defined.field(c.Chaincode, "Sequence")
	if err != nil {
		return err
	}
	d := &Definition{Sequence: sequence.GetInt64(), Version: endorsement.GetVersion()}
	name := fmt.Sprintf("of %s's definition %d", c.Chaincode, d.Sequence)
	var policy peer.ApplicationPolicy
	if err := proto.Unmarshal(validation.GetValidationParameter(), &policy); err != nil {
		d.Policy = &Policy{name: name, err: err} // to Fabric every transaction fails it then
	} else {
		d.Policy = c.policies.compileApplication(name, &policy)
	}
	c.definition = d
	return nil
}

// collectionPolicy is who must endorse writes to a collection of the lifecycle's namespace: the organisation whose
// own it is. nil where there is no such collection.
func (c *Channel) collectionPolicy(collection string) *Policy {
	id, ok := strings.CutPrefix(collection, implicitCollection)
	group := c.groups[id]
	if !ok || group == "" {
		return nil
	}
	if p := c.policies.get("/Channel/Application/" + group + "/Endorsement"); p != nil {
		return p
	}
	return outOfMembers("a member of "+id, 1, []string{id})
}
