package fabblock

import (
	"crypto/sha256"
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
// collection of each organisation, of which blocks show the hashes of keys.
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

// lifecycle is what the channel's blocks have written about one chaincode's definition: all that decides whether a
// transaction about it is valid. It is never changed; see with.
type lifecycle struct {
	public map[string]stored // key in the namespace
	hashed map[hashedKey]Version
}

type stored struct {
	value   []byte
	version Version
}

type hashedKey struct {
	collection string
	hash       [sha256.Size]byte // of the key
}

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

// approvals are the hashes of the keys under which organisations approve definitions of the chaincode that may still
// be committed or approved: the present one and the next.
func (l *lifecycle) approvals(chaincode string) map[[sha256.Size]byte]bool {
	out := map[[sha256.Size]byte]bool{}
	present := l.sequence(chaincode)
	for _, n := range []int64{present, present + 1} {
		name := fmt.Sprintf("%s#%d", chaincode, n)
		for _, key := range []string{
			definitionKey(name, ""), definitionKey(name, "EndorsementInfo"), definitionKey(name, "ValidationInfo"), definitionKey(name, "Collections"),
			"chaincode-sources/metadata/" + name, "chaincode-sources/fields/" + name + "/PackageID",
		} {
			out[sha256.Sum256([]byte(key))] = true
		}
	}
	return out
}

// field reads one field of a definition. One that is not there is empty.
func (l *lifecycle) field(chaincode, name string) (*lifecycleproto.StateData, error) {
	var d lifecycleproto.StateData
	if err := proto.Unmarshal(l.public[definitionKey(chaincode, name)].value, &d); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &d, nil
}

func (l *lifecycle) sequence(chaincode string) int64 {
	d, err := l.field(chaincode, "Sequence")
	if err != nil {
		return 0
	}
	return d.GetInt64()
}

func (l *lifecycle) message(chaincode, name string, m proto.Message) error {
	d, err := l.field(chaincode, name)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(d.GetBytes(), m); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// touches reports whether the set writes anything about the chaincode's definition or its approvals.
func (l *lifecycle) touches(chaincode string, set *lifecycleSet) bool {
	if set == nil || chaincode == "" {
		return false
	}
	for _, w := range set.public.GetWrites() {
		if isDefinition(chaincode, w.GetKey()) {
			return true
		}
	}
	if len(set.collections) == 0 {
		return false
	}
	approvals := l.approvals(chaincode)
	for _, c := range set.collections {
		for _, w := range c.set.GetHashedWrites() {
			if hash, ok := hashOf(w.GetKeyHash()); ok && approvals[hash] {
				return true
			}
		}
	}
	return false
}

func hashOf(b []byte) (hash [sha256.Size]byte, ok bool) {
	return hash, copy(hash[:], b) == len(hash) && len(b) == len(hash)
}

// conflict is the first key that the set read in another version than the present one, or empty. Keys that are not
// about the chaincode are not remembered and pass.
func (l *lifecycle) conflict(chaincode string, set *lifecycleSet) string {
	for _, r := range set.public.GetReads() {
		if !isDefinition(chaincode, r.GetKey()) {
			continue
		}
		now, ok := l.public[r.GetKey()]
		if !sameVersion(r.GetVersion(), now.version, ok) {
			return r.GetKey()
		}
	}
	approvals := l.approvals(chaincode)
	for _, c := range set.collections {
		for _, r := range c.set.GetHashedReads() {
			hash, ok := hashOf(r.GetKeyHash())
			if !ok || !approvals[hash] {
				continue
			}
			now, ok := l.hashed[hashedKey{c.name, hash}]
			if !sameVersion(r.GetVersion(), now, ok) {
				return fmt.Sprintf("%s/%x", c.name, hash)
			}
		}
	}
	return ""
}

func sameVersion(read *kvrwset.Version, now Version, present bool) bool {
	if read == nil || !present {
		return read == nil && !present
	}
	return read.GetBlockNum() == now.Block && read.GetTxNum() == now.Tx
}

// with is l after a valid transaction.
func (l *lifecycle) with(chaincode string, set *lifecycleSet, at Version) *lifecycle {
	next := &lifecycle{public: maps.Clone(l.public), hashed: maps.Clone(l.hashed)}
	if next.public == nil {
		next.public, next.hashed = map[string]stored{}, map[hashedKey]Version{}
	}
	approvals := l.approvals(chaincode)
	for _, w := range set.public.GetWrites() {
		switch {
		case !isDefinition(chaincode, w.GetKey()):
		case w.GetIsDelete() || len(w.GetValue()) == 0:
			delete(next.public, w.GetKey())
		default:
			next.public[w.GetKey()] = stored{w.GetValue(), at}
		}
	}
	for _, c := range set.collections {
		for _, w := range c.set.GetHashedWrites() {
			hash, ok := hashOf(w.GetKeyHash())
			switch key := (hashedKey{c.name, hash}); {
			case !ok || !approvals[hash]:
			case w.GetIsDelete() || w.GetIsPurge():
				delete(next.hashed, key)
			default:
				next.hashed[key] = at
			}
		}
	}
	if next.sequence(chaincode) != l.sequence(chaincode) { // approvals of the one before can decide nothing any more
		approvals = next.approvals(chaincode)
		maps.DeleteFunc(next.hashed, func(k hashedKey, _ Version) bool { return !approvals[k.hash] })
	}
	return next
}

// define reads the contract's definition out of what blocks have written about it.
func (c *Channel) define() error {
	c.definition = nil
	raw, ok := c.defined.public[definitionKey(c.Chaincode, "")]
	if !ok {
		return nil
	}
	var metadata lifecycleproto.StateMetadata
	var endorsement lifecycleproto.ChaincodeEndorsementInfo
	var validation lifecycleproto.ChaincodeValidationInfo
	if err := errors.Join(proto.Unmarshal(raw.value, &metadata), c.defined.message(c.Chaincode, "EndorsementInfo", &endorsement),
		c.defined.message(c.Chaincode, "ValidationInfo", &validation)); err != nil {
		return err
	}
	if metadata.GetDatatype() != definitionType {
		return fmt.Errorf("it is a %.40q", metadata.GetDatatype())
	}
	if plugin := validation.GetValidationPlugin(); plugin != builtinValidation {
		return fmt.Errorf("it is validated by plugin %q, and only %q is known: define the contract with that", plugin, builtinValidation)
	}
	d := &Definition{Sequence: c.defined.sequence(c.Chaincode), Version: endorsement.GetVersion()}
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
