package follow

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// On Fabric each peer adds the validation codes to a block itself, and nothing signs them. So this node derives
// whether a transaction is valid: by the checks that need no state (fabblock's verdict), by its id, and by the
// versions of what it read, as Fabric's own validation does. A peer that answers otherwise lies, or this node
// was lied to before.
//
// Ids: Fabric takes an id once, whatever became of the transaction that had it first. One might think that a
// replay always fails by the versions of what it read, so that no index of ids is needed. A replay does; but a
// creator can sign two different transactions under one nonce, and whoever saw an id can put it into nonsense
// that is ordered first. Honest peers call what comes second a duplicate, and a node that did not would blame
// them. So the records keep every id.
//
// What is judged: the contract's own transactions and those of Fabric's _lifecycle, whose public keys every
// transaction of a contract reads, so that one which was endorsed under an older definition of the contract is
// invalid. Other contracts cannot write to either namespace, and whether they are valid is not our business.

// lifecycle is the name of Fabric's system contract for definitions of contracts, and of its namespace. legacy is
// that of the one before Fabric 2: whoever defines a contract for the first time looks there that it is new.
const (
	lifecycle = "_lifecycle"
	legacy    = "lscc"
)

// system reports whether a namespace is one of definitions: the mirror has the versions of its keys.
func system(namespace string) bool { return namespace == lifecycle || namespace == legacy }

// write is what a valid transaction left under a key; an empty value took the key away. The namespace is empty
// for the contract's own.
type write struct {
	namespace, key string
	value          []byte
	tx             uint64
}

type stateKey struct{ namespace, key string }

// overlay is the mirror with the writes of the block's earlier transactions.
type overlay struct {
	base   Mirror
	block  uint64
	writes map[stateKey]write
	ids    map[string]bool // of this block's transactions so far; true where one may be valid
}

func newOverlay(base Mirror, block uint64) *overlay {
	return &overlay{base: base, block: block, writes: map[stateKey]write{}, ids: map[string]bool{}}
}

// Get reads the contract's own state.
func (o *overlay) Get(key string) ([]byte, error) {
	if w, ok := o.writes[stateKey{"", key}]; ok {
		return w.value, nil
	}
	return o.base.Get(key)
}

func (o *overlay) set(w write) { o.writes[stateKey{w.namespace, w.key}] = w }

func (o *overlay) all() []write {
	out := make([]write, 0, len(o.writes))
	for _, w := range o.writes {
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b write) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.key, b.key))
	})
	return out
}

// unchanged reports whether a key still has the version that was read, nil for absent. A key that an earlier
// transaction of the block wrote has not, whatever version that gave it.
func (o *overlay) unchanged(namespace, key string, read *fabblock.Version) (bool, error) {
	if _, written := o.writes[stateKey{namespace, key}]; written {
		return false, nil
	}
	block, tx, ok, err := o.base.Version(namespace, key)
	if err != nil || ok != (read != nil) {
		return false, err
	}
	return !ok || *read == (fabblock.Version{Block: block, Tx: tx}), nil
}

// errUndecided is why a transaction is not judged: what the block says of it stands.
var errUndecided = errors.New("undecided")

// judge holds what the block says of a transaction against what follows from the chain. It takes note of the
// transaction's id and, where it is valid, of what it wrote to the definitions of contracts.
func (r *run) judge(state *overlay, t *fabblock.Tx, data [][]byte) error {
	// Only one that is valid takes an id from the others of its block. Anybody can write another's id into nonsense.
	repeated := state.ids[t.ID]
	state.ids[t.ID] = repeated || t.Verdict == peer.TxValidationCode_VALID
	claimed := t.Code == peer.TxValidationCode_VALID
	if t.Config {
		// Orderers order a configuration only after they have applied it; no honest peer calls it invalid.
		if !claimed {
			return newFinding(HiddenTx, state.block, t.Index, nil)
		}
		return nil
	}
	var hashed hashedSet
	// Other contracts may call _lifecycle and define in its place.
	defines := t.Chaincode == lifecycle || t.Wrote(lifecycle)
	if defines && t.Verdict == peer.TxValidationCode_VALID {
		var err error
		if hashed, err = decodeHashed(data[t.Index]); err != nil {
			return newFinding(Code(fabblock.BadWriteSet), state.block, t.Index, err)
		}
	}
	if t.Chaincode == r.cfg.Chaincode || defines {
		why, err := r.invalid(state, t, &hashed, repeated)
		switch {
		case err != nil:
			return err
		case errors.Is(why, errUndecided):
		case claimed && why != nil:
			return newFinding(FalseValidity, state.block, t.Index, why)
		case !claimed && why == nil && len(t.Writes)+len(hashed.writes) > 0:
			return newFinding(HiddenTx, state.block, t.Index, fmt.Errorf("called %s", t.Code))
		}
	}
	if claimed && (defines || system(t.Chaincode)) {
		for _, w := range t.Writes {
			if system(w.Namespace) {
				state.set(write{w.Namespace, w.Key, present(w.Delete), uint64(t.Index)})
			}
		}
		for _, w := range hashed.writes {
			state.set(write{lifecycle, w.key, present(w.deleted), uint64(t.Index)})
		}
	}
	return nil
}

// present stands for a value of which only the version matters.
func present(deleted bool) []byte {
	if deleted {
		return nil
	}
	return []byte{1}
}

// invalid is why a transaction of the contract or of _lifecycle is not valid, nil if it is.
func (r *run) invalid(state *overlay, t *fabblock.Tx, hashed *hashedSet, repeated bool) (why, err error) {
	if t.Verdict != peer.TxValidationCode_VALID {
		return errors.New(t.Verdict.String()), nil
	}
	if _, _, known, err := r.cfg.Records.Known(t.ID); err != nil || known {
		return errors.New("an earlier block holds the same transaction id"), err
	}
	ours := t.Chaincode == r.cfg.Chaincode
	if !ours && t.Chaincode != lifecycle {
		why = errUndecided // what else it did, and who must endorse that, is not known here
	}
	for i := range t.Writes {
		if ours && t.Writes[i].Namespace != r.cfg.Chaincode {
			return fmt.Errorf("it writes to %q", t.Writes[i].Namespace), nil
		}
	}
	for i := range t.Reads {
		x := &t.Reads[i]
		namespace := x.Namespace
		switch {
		case namespace == r.cfg.Chaincode:
			namespace = ""
		case system(namespace):
		case ours: // the contract reads nobody else's state
			return fmt.Errorf("it read key %q of %q", x.Key, x.Namespace), nil
		default:
			why = errUndecided
			continue
		}
		if same, err := state.unchanged(namespace, x.Key, x.Version); err != nil {
			return nil, err
		} else if !same {
			return fmt.Errorf("key %q of %q had changed since it was read", x.Key, x.Namespace), nil
		}
	}
	for _, x := range hashed.reads {
		if same, err := state.unchanged(lifecycle, x.key, x.version); err != nil {
			return nil, err
		} else if !same {
			return errors.New("a private key had changed since it was read"), nil
		}
	}
	switch {
	case len(t.Ranges) > 0 && ours: // the contract makes no range queries
		return errors.New("it made a range query"), nil
	case len(t.Ranges) > 0:
		return errUndecided, nil
	case repeated:
		// Which of the two honest peers take depends on what is wrong with the other. Both bear the signature of
		// their creator, who alone can bring this about, and harms nobody else.
		return errUndecided, nil
	}
	return why, nil
}
